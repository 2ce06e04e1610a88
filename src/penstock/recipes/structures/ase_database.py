"""Structures from an ASE database (SQLite); the cursor is the last row's id and the records before the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.geometry import SYMBOLS, format_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.record import ChunkBuilder, find_column, value_columns


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

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` rows from `cursor` on."""
        from ase.db import connect

        last_id, row_number = map(int, cursor.split(":")) if cursor else (0, 0)
        chunk = ChunkBuilder(self._source, limit)
        with connect(str(self._path), type="db", use_lock_file=False) as database:
            for row in database.select(f"id>{last_id}", sort="id", limit=limit, include_data=False):
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
