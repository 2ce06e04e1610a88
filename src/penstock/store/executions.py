"""Executions of protocols, as questions on short connections."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import NotFoundError
from penstock.domain.views import ExecutionInfo, ExecutionStepInfo, QueuedJobInfo
from penstock.store.connection import reading
from penstock.store.queries import PAGE_MAX

_COLUMNS: Final = (
    "e.execution_id, e.workflow_name, e.cell_line, e.vessel_id, e.operation_type, e.status, e.created_at, "
    "e.started_at, e.completed_at, e.error_message, e.metadata, e.current_step_index, (SELECT count(*) FROM "
    "execution_step s WHERE s.workflow_id = e.workflow_id AND s.execution_id = e.execution_id)"
)
_STEP: Final = ", ".join(ExecutionStepInfo.__struct_fields__)
_QUEUED: Final = ", ".join(QueuedJobInfo.__struct_fields__)
_SEARCHED: Final = (
    "execution_id",
    "workflow_name",
    "cell_line",
    "vessel_id",
    "operation_type",
    "error_message",
    "metadata",
)
_JSON: Final = frozenset({"metadata", "parameters", "result"})


class Execution(msgspec.Struct, frozen=True):
    """All that is known of an execution."""

    execution: ExecutionInfo
    steps: tuple[ExecutionStepInfo, ...]
    queued: tuple[QueuedJobInfo, ...]


def list_executions(
    database: Path, workflow_id: str, statuses: Sequence[str], search: str | None, *, limit: int, offset: int
) -> tuple[list[ExecutionInfo], int]:
    """A page of executions in the order they were made, and how many there are in all.

    `search` is looked for in names, errors and metadata, in any case.
    """
    where, values = _where(workflow_id, statuses, search)
    with reading(database) as db:
        total = db.execute(f"SELECT count(*) FROM execution e WHERE {where}", values).fetchone()[0]
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM execution e WHERE {where} ORDER BY e.created_at, e.id LIMIT ? OFFSET ?",
            (*values, max(0, min(limit, PAGE_MAX)), max(0, offset)),
        ).fetchall()
    return [_filled(ExecutionInfo, row) for row in rows], total


def load_execution(database: Path, workflow_id: str, execution_id: str) -> Execution:
    """An execution by its id, or by a beginning of it that no other has; NotFoundError otherwise."""
    with reading(database) as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM execution e WHERE e.workflow_id = ? AND substr(e.execution_id, 1, ?) = ? "
            "ORDER BY e.execution_id = ? DESC LIMIT 2",
            (workflow_id, len(execution_id), execution_id, execution_id),
        ).fetchall()
        if not execution_id or not rows:
            what = f"workflow {workflow_id} has no execution {execution_id!r}"
            raise NotFoundError(f"{what}; see 'penstockctl executions {workflow_id}'")
        if len(rows) > 1 and rows[0][0] != execution_id:
            raise NotFoundError(f"several executions of workflow {workflow_id} begin with {execution_id!r}; write more")
        return _with_parts(db, workflow_id, _filled(ExecutionInfo, rows[0]))


def all_executions(db: sqlite3.Connection, workflow_id: str, statuses: Sequence[str]) -> Iterator[Execution]:
    """Every execution of those statuses (none: all), one after another."""
    where, values = _where(workflow_id, statuses, None)
    for row in db.execute(f"SELECT {_COLUMNS} FROM execution e WHERE {where} ORDER BY e.created_at, e.id", values):
        yield _with_parts(db, workflow_id, _filled(ExecutionInfo, row))


def _with_parts(db: sqlite3.Connection, workflow_id: str, found: ExecutionInfo) -> Execution:
    key = (workflow_id, found.execution_id)
    steps = db.execute(
        f"SELECT {_STEP} FROM execution_step WHERE workflow_id = ? AND execution_id = ? ORDER BY step_index, id", key
    )
    queued = db.execute(f"SELECT {_QUEUED} FROM queued_job WHERE workflow_id = ? AND execution_id = ? ORDER BY id", key)
    return Execution(
        found,
        tuple(_filled(ExecutionStepInfo, row) for row in steps.fetchall()),
        tuple(_filled(QueuedJobInfo, row) for row in queued.fetchall()),
    )


def _where(workflow_id: str, statuses: Sequence[str], search: str | None) -> tuple[str, list[Any]]:
    conditions, values = ["e.workflow_id = ?"], [workflow_id]
    if statuses:
        conditions.append(f"e.status IN ({', '.join('?' * len(statuses))})")
        values += statuses
    if search:
        conditions.append("(" + " OR ".join(f"instr(lower(e.{name}), lower(?)) > 0" for name in _SEARCHED) + ")")
        values += [search] * len(_SEARCHED)
    return " AND ".join(conditions), values


def _filled(view: type[Any], row: Sequence[Any]) -> Any:
    values = dict(zip(view.__struct_fields__, row, strict=True))
    for name in _JSON & values.keys():
        values[name] = msgspec.json.decode(values[name]) if values[name] else None
    return view(**values)
