"""A table of results with one row a material: where each of its steps stands, and what they found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.store.connection import reading

ROWS_MAX: Final = 10_000
# The energy has a column of its own, which a property of that name never takes.
_SHOWN: Final = "json_type(p.value) NOT IN ('array', 'object', 'null') AND p.name != 'energy_hartree'"
Value = str | int | float | bool | None


class MaterialTable(msgspec.Struct, frozen=True):
    """`rows` by `columns`; `total` counts the materials there are.

    Columns are `material`, `natoms`, and for each step with jobs its name (the state of its job),
    `NAME.energy_hartree`, and `NAME.PROPERTY` for every property of its jobs that is one number, word or truth. A value
    that is not there is None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    total: int


def tabulate(database: Path, workflow_id: str, *, limit: int = ROWS_MAX, offset: int = 0) -> MaterialTable:
    """The materials from number `offset` on, at most `limit` of them, in the order of the source."""
    with reading(database) as db:
        keys = "SELECT key FROM step WHERE workflow_id = ? AND kind != 'analysis' ORDER BY id"
        steps = [key for (key,) in db.execute(keys, (workflow_id,))]
        total = db.execute("SELECT count(*) FROM material WHERE workflow_id = ?", (workflow_id,)).fetchone()[0]
        columns = _columns(db, steps, workflow_id)
        rows = tuple(
            tuple(row.get(column) for column in columns)
            for row in _rows(db, workflow_id, max(0, min(limit, ROWS_MAX)), max(0, offset))
        )
    return MaterialTable(columns, rows, total)


def _columns(db: sqlite3.Connection, steps: list[str], workflow_id: str) -> tuple[str, ...]:
    found: dict[str, list[str]] = {key: [] for key in steps}
    for key, name in db.execute(
        "SELECT DISTINCT s.key, p.name FROM property p JOIN job j ON j.id = p.job_id JOIN step s ON s.id = j.step_id "
        f"WHERE p.workflow_id = ? AND {_SHOWN} ORDER BY p.name",
        (workflow_id,),
    ):
        found[key].append(f"{key}.{name}")
    columns = [column for key, own in found.items() for column in (key, f"{key}.energy_hartree", *own)]
    return ("material", "natoms", *columns)


def _rows(db: sqlite3.Connection, workflow_id: str, limit: int, offset: int) -> Iterator[dict[str, Value]]:
    """One row a material, by column."""
    cursor = db.execute(
        "SELECT m.id, m.name, j.natoms, s.key, j.state, j.final_energy, p.name, p.value "
        "FROM (SELECT id, name FROM material WHERE workflow_id = ? ORDER BY id LIMIT ? OFFSET ?) m "
        "JOIN job j ON j.material_id = m.id JOIN step s ON s.id = j.step_id "
        f"LEFT JOIN property p ON p.job_id = j.id AND {_SHOWN} "
        "ORDER BY m.id, s.id",
        (workflow_id, limit, offset),
    )
    for _, group in groupby(cursor, key=lambda row: row[0]):
        row: dict[str, Any] = {}
        for _, name, natoms, key, state, energy, of, value in group:
            row |= {"material": name, "natoms": natoms, key: state, f"{key}.energy_hartree": energy}
            if of is not None:
                row[f"{key}.{of}"] = msgspec.json.decode(value)
        yield row
