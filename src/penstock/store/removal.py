"""A workflow's rows taken out of a database that other workflows may use, inside a transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from penstock.store.connection import open_writer, reading, transaction
from penstock.store.lock_table import LockTable

REMOVE_WORKFLOW: Final = tuple(
    f"DELETE FROM {table} WHERE workflow_id = :id"
    for table in (
        *("property", "file", "attempt", "submission", "event", "rejected", "tally", "merged", "completion"),
        *("result", "conclusion", "unfolding"),
        *("execution_step", "queued_job", "execution"),
        *("job", "material", "step", "workflow"),
    )
)
"""Statements that leave nothing of workflow `:id`. Results that other workflows took from it are copies, and stay."""


def remove_workflow(database: Path, workflow_id: str) -> None:
    """Removes all rows of a workflow; harmless when there are none, or no database."""
    if not database.is_file():
        return
    with open_writer(database) as db, transaction(db, database):
        for statement in REMOVE_WORKFLOW:
            db.execute(statement, {"id": workflow_id})


def give_back_locks(tables: Iterable[Path], workflow_id: str) -> None:
    """Gives back what a workflow that is gone holds or waits for in files of locks; harmless where there is none."""
    for path in tables:
        if path.is_file():
            table = LockTable(path)
            try:
                table.settle(workflow_id, [])
                table.withdraw(workflow_id)
            finally:
                table.close()


def remove_begun(database: Path, workflow_id: str, claim: str | None) -> None:
    """Removes what a creation leaves that was killed, and nothing that has ever been worked on.

    With the `claim` of a daemon, only what that daemon began.
    """
    if not database.is_file():
        return
    with open_writer(database) as db, transaction(db, database):
        has_jobs = db.execute("SELECT 1 FROM job WHERE workflow_id = ? LIMIT 1", (workflow_id,)).fetchone()
        begun = db.execute("SELECT daemon FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
        if not has_jobs and begun is not None and claim in (None, begun[0]):
            for statement in REMOVE_WORKFLOW:
                db.execute(statement, {"id": workflow_id})


def remove_empty(database: Path) -> None:
    """Removes a database in which no workflow is left, and its folder if that has nothing else; harmless when gone."""
    if database.is_file() and database.stat().st_size:
        with reading(database) as db:
            if db.execute("SELECT 1 FROM workflow LIMIT 1").fetchone():
                return
    for ending in ("", "-journal", "-wal", "-shm"):
        database.with_name(f"{database.name}{ending}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        database.parent.rmdir()
