"""What analyses have found written for other programs: CSV, JSON, Parquet; streamed, whatever the size."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.store.export import write_whole
from penstock.store.result_pages import Wanted, property_rows
from penstock.store.results import property_of

_COLUMNS: Final = ("step", "subject", "name", "value", "unit", "uncertainty", "method", "attempts")
_CONDITION: Final = "conditions."
_BATCH: Final = 10_000
_CONCLUSIONS: Final = """
    SELECT s.key, c.name, c.failure, c.notes, c.figures FROM conclusion c JOIN step s ON s.id = c.step_id
    WHERE c.workflow_id = ?1 AND (?2 IS NULL OR instr(c.name, ?2) > 0) ORDER BY c.subject = 0, c.subject, c.step_id
"""
Record = dict[str, Any]


def check_suffix(path: Path) -> str:
    """The format that a file's name asks for; SpecError where it asks for none that there is."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _WRITERS:
        hint = nearest(suffix, _WRITERS) or "its name ends in .csv, .json or .parquet"
        raise SpecError(f"{path.name!r} does not say a format for properties; {hint}", key="path")
    return suffix


def export_results(database: Path, workflow_id: str, path: Path, wanted: Wanted, *, overwrite: bool) -> int:
    """Writes the wanted properties to `path`, whole or not at all, as its suffix says; returns how many.

    SpecError for a path that cannot be, StoreError for a database that cannot be read.
    """
    write = _WRITERS[check_suffix(path)]
    return write_whole(database, path, lambda db, partial: write(db, partial, workflow_id, wanted), overwrite=overwrite)


def _write_csv(db: sqlite3.Connection, path: Path, workflow_id: str, wanted: Wanted) -> int:
    """A row a property; what is more than a number is JSON, and each condition has a column of its own."""
    names = _condition_types(db, workflow_id)
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*_COLUMNS, *names])
        writer.writeheader()
        for record in _records(db, workflow_id, wanted):
            count += 1
            writer.writerow({name: _cell(value) for name, value in record.items()})
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict | bool) else value


def _write_json(db: sqlite3.Connection, path: Path, workflow_id: str, wanted: Wanted) -> int:
    """As `penstockctl results --json`, with the data of the figures."""
    columns = ("recipe", "state", "reason")
    row = db.execute(f"SELECT {', '.join(columns)} FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    head = {"workflow": workflow_id, **dict(zip(columns, row, strict=True))}
    properties = (msgspec.json.encode(property_of(row)) for row in property_rows(db, workflow_id, wanted))
    conclusions = map(_conclusion, db.execute(_CONCLUSIONS, (workflow_id, wanted.subject)))
    with path.open("wb") as file:
        file.write(msgspec.json.encode(head)[:-1] + b',\n"properties": [')
        count = _write_list(file.write, properties)
        file.write(b',\n"conclusions": [')
        _write_list(file.write, conclusions)
        file.write(b"}\n")
    return count


def _write_list(write: Callable[[bytes], object], values: Iterable[bytes]) -> int:
    count = 0
    for count, value in enumerate(values, 1):
        write((b"\n" if count == 1 else b",\n") + value)
    write(b"\n]")
    return count


def _conclusion(row: tuple[str, str, str | None, str, str]) -> bytes:
    step, subject, failure, notes, figures = row
    said = {"step": step, "subject": subject, "failure": failure}
    return msgspec.json.encode(said | {"notes": _raw(notes), "figures": _raw(figures)})


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _write_parquet(db: sqlite3.Connection, path: Path, workflow_id: str, wanted: Wanted) -> int:
    """The columns of the CSV; `value` and `uncertainty` hold numbers, `value_json` and `uncertainty_json` the rest."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        message = "Parquet needs pyarrow beside penstockd: pip install 'penstock[parquet]'; or choose .csv or .json"
        raise SpecError(message, key="path") from error
    conditions = _condition_types(db, workflow_id)
    types = {name: pa.string() for name in _COLUMNS} | {name: pa.float64() for name in ("value", "uncertainty")}
    types |= {"value_json": pa.string(), "uncertainty_json": pa.string()}
    types |= {name: pa.float64() if is_number else pa.string() for name, is_number in conditions.items()}
    schema = pa.schema(list(types.items()))
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(_records(db, workflow_id, wanted)):
            count += len(batch)
            rows = [_typed(record, conditions) for record in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


def _typed(record: Record, conditions: dict[str, bool]) -> Record:
    """A record whose columns hold one type each."""
    row = dict(record) | {"attempts": _cell(record["attempts"])}
    for name in ("value", "uncertainty"):
        if not _is_number(row[name]) and row[name] is not None:
            row[f"{name}_json"], row[name] = json.dumps(row[name]), None
    for name, is_number in conditions.items():
        if name in row and not is_number:
            row[name] = str(row[name])
    return row


def _records(db: sqlite3.Connection, workflow_id: str, wanted: Wanted) -> Iterator[Record]:
    """The properties as flat records."""
    for row in property_rows(db, workflow_id, wanted):
        found = property_of(row)
        record = {name: getattr(found, name) for name in _COLUMNS if name != "step"}
        yield {"step": row["step"], **record, **{_CONDITION + name: value for name, value in found.conditions.items()}}


def _condition_types(db: sqlite3.Connection, workflow_id: str) -> dict[str, bool]:
    """The columns of the conditions, and whether all that is in them are numbers."""
    rows = db.execute(
        "SELECT e.key, min(e.type IN ('integer', 'real')) FROM result r, json_each(r.conditions) e "
        "WHERE r.workflow_id = ? GROUP BY e.key ORDER BY e.key",
        (workflow_id,),
    )
    return {_CONDITION + key: bool(is_number) for key, is_number in rows}


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WRITERS: Final[dict[str, Callable[[sqlite3.Connection, Path, str, Wanted], int]]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}
