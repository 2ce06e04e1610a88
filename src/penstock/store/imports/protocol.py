"""Executions of protocols with their steps, and the queue they stood in: kept as they were, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.store.imports.remarks import Remarks
from penstock.store.imports.rows import integer, text
from penstock.store.imports.source import Source
from penstock.store.imports.writing import Writer

_EXECUTION: Final = (
    "execution_id",
    "workflow_name",
    "cell_line",
    "vessel_id",
    "operation_type",
    "status",
    "created_at",
    "started_at",
    "completed_at",
    "error_message",
    "metadata",
    "current_step_index",
)
_STEP: Final = (
    "step_id",
    "execution_id",
    "step_index",
    "name",
    "operation_type",
    "parameters",
    "status",
    "start_time",
    "end_time",
    "error_message",
    "result",
)
_QUEUED: Final = (
    "job_id",
    "execution_id",
    "priority",
    "status",
    "scheduled_time",
    "created_at",
    "started_at",
    "completed_at",
    "error_message",
    "metadata",
)
_STATUSES: Final = frozenset(
    {"pending", "queued", "scheduled", "running", "paused", "completed", "failed", "cancelled", "skipped"}
)
_UNFINISHED: Final = frozenset({"pending", "queued", "scheduled", "running", "paused"})
_TABLES: Final = {
    "executions": ("execution", _EXECUTION),
    "execution_steps": ("execution_step", _STEP),
    "queued_jobs": ("queued_job", _QUEUED),
}
_JSON: Final = frozenset({"metadata", "parameters", "result"})
_WHOLE: Final = frozenset({"step_index", "priority", "current_step_index"})
_RUN: Final = 2000


def read_history(sources: Sequence[Source], writer: Writer, remarks: Remarks) -> dict[str, int]:
    """Takes over all rows of the databases; how many of each status there were (`table: status`)."""
    writer.add_step("history", "record", "completed")
    statuses: dict[str, int] = {}
    for table in _TABLES:
        for source in sources:
            if table in source.tables:
                _read(source, table, writer, remarks, statuses)
    for source in sources:
        for table in sorted(set(source.tables) - set(_TABLES)):
            remarks.add(table, None, "table not taken over", f"{source.count(table)} rows")
    _find_dangling(writer, remarks)
    return statuses


def _read(source: Source, table: str, writer: Writer, remarks: Remarks, statuses: dict[str, int]) -> None:
    ours, columns = _TABLES[table]
    key = columns[0]
    for name in source.tables[table]:
        if name not in columns:
            remarks.add(table, None, "column not taken over", name)
    marks = ", ".join("?" * (len(columns) + 1))
    sql = f"INSERT OR IGNORE INTO {ours} ({', '.join(columns)}, workflow_id) VALUES ({marks})"
    for row in source.rows(table, columns):
        where = row[key] if text(row[key]) else row["rowid"]
        if text(row[key]) is None:
            remarks.add(table, where, f"no {key}", left_out=True)
            continue
        status = (text(row["status"]) or "unknown").lower()
        values = [_value(name, row[name], table, where, remarks) for name in columns]
        values[columns.index("status")] = status
        if "execution_id" in columns and text(row["execution_id"]) is None:
            values[columns.index("execution_id")] = ""
        if not writer.db.execute(sql, (*values, writer.workflow_id)).rowcount:
            remarks.add(table, where, f"a {key} that another row has", left_out=True)
            continue
        if status not in _STATUSES:
            remarks.add(table, where, "unknown status, kept as it is", status)
        elif status in _UNFINISHED and table != "execution_steps":
            remarks.add(table, where, "had not ended; nothing here goes on with it", status)
        writer.counts[table] += 1
        counted = f"{table}: {status}"
        statuses[counted] = statuses.get(counted, 0) + 1


def _value(name: str, value: Any, table: str, where: object, remarks: Remarks) -> Any:
    """A column's value as it is kept; a remark where it is not what it should be."""
    if name in _WHOLE:
        if value is not None and integer(value) is None:
            remarks.add(table, where, f"{name} is no whole number, left out", repr(value))
        return integer(value)
    if isinstance(value, bytes):
        remarks.add(table, where, f"{name} is no text, left out", f"{len(value)} bytes")
        return None
    if name in _JSON and text(value) is not None:
        try:
            msgspec.json.decode(str(value))
        except msgspec.DecodeError as error:
            remarks.add(table, where, f"{name} is not valid JSON, kept as text", str(error))
            return msgspec.json.encode(str(value)).decode()
    return None if value is None else str(value)


def _find_dangling(writer: Writer, remarks: Remarks) -> None:
    """Steps and places in the queue whose execution is in none of the databases; they are kept."""
    for ours, theirs, key in (
        ("execution_step", "execution_steps", "step_id"),
        ("queued_job", "queued_jobs", "job_id"),
    ):
        rows = writer.db.execute(
            f"SELECT {key}, execution_id FROM {ours} AS o WHERE workflow_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM execution e WHERE e.workflow_id = o.workflow_id AND e.execution_id = o.execution_id)",
            (writer.workflow_id,),
        )
        for row, execution in rows:
            remarks.add(theirs, row, "its execution is in none of the databases", str(execution))
