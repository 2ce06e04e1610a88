"""Executions of protocols written for other programs: JSON with all their steps, or CSV with one row an execution."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.views import ExecutionInfo, Selection
from penstock.store.connection import reading
from penstock.store.executions import Execution, all_executions
from penstock.store.export import write_whole

_FORMATS: Final = ("csv", "json")


def holds_executions(database: Path, workflow_id: str) -> bool:
    """Whether the workflow is a history of executions."""
    with reading(database) as db:
        for table in ("execution", "queued_job"):
            if db.execute(f"SELECT 1 FROM {table} WHERE workflow_id = ? LIMIT 1", (workflow_id,)).fetchone():
                return True
    return False


def export_executions(
    database: Path, workflow_id: str, file_format: str, path: Path, selection: Selection, *, overwrite: bool
) -> int:
    """Writes the executions to `path`, whole or not at all; returns how many. A selection may be by status.

    SpecError for a format that has no place for them, a selection of jobs, and a path that cannot be.
    """
    if file_format not in _FORMATS:
        raise SpecError(f"executions can be written as {' or '.join(_FORMATS)}, not {file_format!r}", key="format")
    if selection.jobs or selection.filters:
        raise SpecError("executions are selected by status only", key="selection")

    def write(db: sqlite3.Connection, partial: Path) -> int:
        found = all_executions(db, workflow_id, selection.statuses)
        return _write_json(partial, found, workflow_id) if file_format == "json" else _write_csv(partial, found)

    return write_whole(database, path, write, overwrite=overwrite)


def _write_json(path: Path, executions: Any, workflow_id: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"workflow": {msgspec.json.encode(workflow_id).decode()}, "executions": [')
        for count, execution in enumerate(executions, 1):
            file.write(("\n" if count == 1 else ",\n") + msgspec.json.encode(_record(execution)).decode())
        file.write("\n]}\n")
    return count


def _write_csv(path: Path, executions: Any) -> int:
    count = 0
    names = (*ExecutionInfo.__struct_fields__[:-1], "steps", "queued")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for execution in executions:
            count += 1
            record = _record(execution)
            writer.writerow(_cell(record[name]) for name in names)
    return count


def _record(execution: Execution) -> dict[str, Any]:
    """An execution with its steps and its places in the queue."""
    plain = msgspec.structs.asdict(execution.execution)
    steps = [msgspec.structs.asdict(step) for step in execution.steps]
    return plain | {"steps": steps, "queued": [msgspec.structs.asdict(one) for one in execution.queued]}


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
