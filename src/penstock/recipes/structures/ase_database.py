"""Structures from an ASE database (SQLite); the cursor is the last row's id and the records before the next.

Rows are selected in ASE's own words, whose values reach SQLite as parameters only.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.geometry import SYMBOLS, format_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.record import ChunkBuilder, find_column, value_columns

_SELECTION: Final = re.compile(r"[\w.+=<>!,: -]{1,200}")


class AseDatabase:
    """An ASE database file; charge, spin and name come from its key-value pairs."""

    def __init__(self, source: StructureSource, path: Path) -> None:
        self._source = source
        self._path = path

    def check(self) -> None:
        """SpecError unless it is an ASE database with rows and the keys the spec names. Does not need ASE."""
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                row = connection.execute("SELECT 1 FROM systems LIMIT 1").fetchone()
                keys = [key for (key,) in connection.execute("SELECT DISTINCT key FROM keys ORDER BY key")]
        except sqlite3.Error as error:
            raise SpecError(f"{self._path} is not an ASE database: {error}", key="structures.source") from error
        if row is None:
            raise SpecError(f"{self._path} has no rows", key="structures.source")
        for key, column in value_columns(self._source).items():
            find_column(column, keys, f"structures.{key}", str(self._path))
        if self._source.select is not None:
            self._check_selection(self._source.select)

    def _check_selection(self, select: str) -> None:
        from ase.db import connect

        key = "structures.select"
        if _SELECTION.fullmatch(select) is None:
            raise SpecError(f'{select!r} selects no rows; write it like "id=3" or "formula=Si2,energy<0"', key=key)
        with connect(str(self._path), type="db", use_lock_file=False) as database:
            try:
                rows = list(database.select(select, limit=1, include_data=False))
            except (ValueError, KeyError, AssertionError, sqlite3.Error) as error:
                raise SpecError(f"ASE cannot select {select!r} in {self._path}: {error}", key=key) from error
        if not rows:
            raise SpecError(f"{self._path} has no row with {select}; 'ase db {self._path}' lists them", key=key)

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` rows from `cursor` on."""
        from ase.db import connect

        last_id, row_number = map(int, cursor.split(":")) if cursor else (0, 0)
        chunk = ChunkBuilder(self._source, limit)
        with connect(str(self._path), type="db", use_lock_file=False) as database:
            wanted = ",".join(filter(None, [self._source.select, f"id>{last_id}"]))
            for row in database.select(wanted, sort="id", limit=limit, include_data=False):
                if chunk.full:
                    break
                self._add(chunk, row_number, row)
                last_id, row_number = row.id, row_number + 1
        return chunk.finish(f"{last_id}:{row_number}", done=not chunk.full)

    def _add(self, chunk: ChunkBuilder, row_number: int, row: Any) -> None:
        source, values = self._source, row.key_value_pairs
        spin_key = source.unpaired_column or source.multiplicity_column
        where = f"row with id {row.id}: "
        numbers = row.numbers.tolist()
        if any(not 0 < number <= len(SYMBOLS) for number in numbers):
            chunk.reject(row_number, row_number + 1, f"{where}an atom without an element")
            return
        symbols = [SYMBOLS[number - 1] for number in numbers]
        geometry = format_geometry(symbols, row.positions.tolist(), row.cell.tolist(), row.pbc.tolist())
        name, charge, spin = (_text(values, key) for key in (source.name_column, source.charge_column, spin_key))
        chunk.add(row_number, row_number + 1, name, geometry, charge, spin, where)


def _text(values: Mapping[str, Any], key: str | None) -> str:
    return "" if key is None else str(values.get(key, ""))
