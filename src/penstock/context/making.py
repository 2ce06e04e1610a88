"""A library user's workflow comes to be: rows and a directory, as a daemon would have made them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.context import DATABASE_NAME, LIBRARY, Context, Mode
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.states import WorkflowState
from penstock.store.connection import open_writer, transaction
from penstock.store.layout import lay_out, passing_aside_of, reveal, sweep_asides
from penstock.store.library import insert_workflow
from penstock.store.rows import WorkflowRow

_REASON: Final = "made through the library, which calculates its jobs itself"
_REFUSAL: Final = (
    "echo 'this job was made through the library: only the program that made it can repeat it' >&2; exit 1"
)
_ARGV: Final = ["sh", "-c", _REFUSAL]
"""What a daemon that adopts the workflow would run, should somebody tell it to try a job again."""


def make_workflow(context: Context) -> bool:
    """Makes the workflow of `context`; False when another process has made it meanwhile.

    Killed in between it leaves nothing that is taken for a workflow. SpecError where nothing can be written,
    ConflictError where the shared database has results of a workflow of that name.
    """
    directory = Path(context.directory)
    aside = passing_aside_of(directory)
    try:
        sweep_asides(directory)
        lay_out(aside, context)
        _insert(context, aside)
        return _reveal(aside, directory)
    except OSError as error:
        message = f"cannot create {directory}: {error.strerror or error}; it must be writable and have room"
        raise SpecError(message) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _reveal(aside: Path, directory: Path) -> bool:
    try:
        reveal(aside, directory)
    except OSError:
        if not directory.exists():
            raise
        return False
    return True


def _insert(context: Context, aside: Path) -> None:
    """In a database of its own or in the shared one, where it may be from a creation that was killed."""
    database = aside / DATABASE_NAME if context.mode is Mode.ISOLATED else Path(context.database)
    with open_writer(database, create=True) as connection, transaction(connection, database) as db:
        made = insert_workflow(db, _row(context), context)
        holds = (
            "SELECT 1 FROM job WHERE workflow_id = ?1 UNION ALL SELECT 1 FROM material WHERE workflow_id = ?1 LIMIT 1"
        )
        if not made and not Path(context.directory).exists() and db.execute(holds, (context.workflow_id,)).fetchone():
            raise ConflictError(
                f"{database} holds results of a workflow {context.workflow_id!r} already; choose another id"
            )


def _row(context: Context) -> WorkflowRow:
    spec = WorkflowSpec(
        recipe=LIBRARY,
        structures=StructureSource(source=""),
        engine={"name": "command", "command": _ARGV},
        id=context.workflow_id,
        isolation=context.mode,
    )
    now = time.time()
    return WorkflowRow(
        workflow_id=context.workflow_id,
        recipe=LIBRARY,
        recipe_version=1,
        spec=msgspec.json.encode(spec).decode(),
        parameters=msgspec.json.encode({"argv": _ARGV}).decode(),
        mode=context.mode,
        namespace=context.namespace,
        state=WorkflowState.COMPLETED,
        reason=_REASON,
        slots=1,
        slots_origin=LIBRARY,
        priority=0,
        created_at=now,
        updated_at=now,
    )
