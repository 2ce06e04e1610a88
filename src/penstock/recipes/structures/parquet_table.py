"""Structures from a Parquet file, through pyarrow (an extra); the cursor is the number of rows before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.record import ChunkBuilder, find_column, value_columns

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class ParquetTable:
    """A Parquet file with a text column of geometries."""

    def __init__(self, source: StructureSource, path: Path) -> None:
        self._source = source
        self._path = path

    def check(self) -> None:
        """SpecError unless pyarrow is there, the file is Parquet, has rows, and the columns the spec names."""
        with self._open() as file:
            names = file.schema_arrow.names
            if self._source.geometry_column is None:
                message = f"name the column of {self._path} that holds the geometries; it has: {', '.join(names)}"
                raise SpecError(message, key="structures.geometry_column")
            for key, column in self._columns().items():
                find_column(column, names, f"structures.{key}", str(self._path))
            if file.metadata.num_rows == 0:
                raise SpecError(f"{self._path} has no rows", key="structures.source")

    def columns(self) -> list[str]:
        """The names in the schema."""
        with self._open() as file:
            return list(file.schema_arrow.names)

    def first_row(self) -> list[str]:
        """The first row's values as text; empty where there is none."""
        with self._open() as file:
            record = next(_records(file, 0, list(file.schema_arrow.names)), {})
            return [_text(value) for value in record.values()]

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` rows from `cursor` on."""
        row = int(cursor or 0)
        chunk = ChunkBuilder(self._source, limit)
        columns = self._columns()
        spin = columns.get("unpaired_column") or columns.get("multiplicity_column")
        with self._open() as file:
            for record in _records(file, row, list(dict.fromkeys(columns.values()))):
                if chunk.full:
                    break
                name, geometry, charge, unpaired = (
                    _text(record[column]) if column else ""
                    for column in (
                        columns.get("name_column"),
                        columns["geometry_column"],
                        columns.get("charge_column"),
                        spin,
                    )
                )
                chunk.add(row, row + 1, name, geometry, charge, unpaired)
                row += 1
        return chunk.finish(str(row), done=not chunk.full)

    def _columns(self) -> dict[str, str]:
        assert self._source.geometry_column is not None
        return {"geometry_column": self._source.geometry_column, **value_columns(self._source)}

    def _open(self) -> pq.ParquetFile:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            message = "Parquet needs pyarrow: pip install 'penstock[parquet]'"
            raise SpecError(message, key="structures.source") from error
        try:
            return pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise SpecError(f"{self._path} is not a Parquet file: {error}", key="structures.source") from error


def _records(file: pq.ParquetFile, row: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows from `row` on, decoding only the row groups they are in."""
    before = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        skip = max(0, row - before)
        before += size
        if skip >= size:
            continue
        for batch in file.iter_batches(batch_size=4096, row_groups=[group], columns=columns):
            if skip < batch.num_rows:
                yield from batch.slice(skip).to_pylist()
            skip = max(0, skip - batch.num_rows)


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
