"""A look at a source before a spec is written for it: what it is taken for, its columns, its first records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from penstock.domain.geometry import normalise
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.source import check_source, formats_of, read_chunk, source_files, table_of

SAMPLE: Final = 200
"""Records that are looked at."""
_USUAL: Final = {
    "geometry_column": ("geometry", "xyz", "coordinates", "structure", "aligned_csd_core"),
    "charge_column": ("charge", "total_charge", "totalcharge", "q"),
    "unpaired_column": ("unpaired", "n_unpaired", "unpaired_electrons", "num_unpaired", "uhf", "nunpairedes"),
    "multiplicity_column": ("multiplicity", "spin_multiplicity", "mult"),
    "name_column": ("name", "id", "identifier", "label", "refcode", "title"),
}


class Survey(NamedTuple):
    """`records` and `rejected` of the first `SAMPLE`, `reason` why the first was; `is_all` where there are no more."""

    formats: tuple[str, ...]
    files: int
    records: int
    rejected: int
    is_all: bool
    reason: str

    def __str__(self) -> str:
        where = f"{'1 file' if self.files == 1 else f'{self.files} files'}, taken for {' and '.join(self.formats)}: "
        count = f"{self.records} records" if self.is_all else f"more than {self.records} records"
        bad = f"; {self.rejected} of them cannot be taken in, the first: {self.reason}" if self.rejected else ""
        return f"{where if self.files else ''}{count}{bad}"


def columns_at(source: StructureSource, path: Path) -> list[str]:
    """The columns of a CSV or Parquet file; empty for other sources. SpecError for what cannot be read."""
    table = table_of(source, path)
    return table.columns() if table else []


def guess_columns(source: StructureSource, path: Path) -> dict[str, str]:
    """Which columns of a table hold what, by the spec's keys: by the usual names, the geometries also by the first row.

    A column for unpaired electrons goes before one for the multiplicity.
    """
    table = table_of(source, path)
    return guess(table.columns(), table.first_row()) if table else {}


def guess(columns: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """As `guess_columns`, for the names in a header and the first row's cells."""
    by_name = {name.lower().replace(" ", "_"): name for name in reversed(columns)}
    found = {key: by_name[usual] for key, names in _USUAL.items() for usual in reversed(names) if usual in by_name}
    holders = [name for name, cell in zip(columns, row, strict=False) if _is_geometry(cell)]
    if holders and found.get("geometry_column") not in holders:
        found["geometry_column"] = holders[0]
    if "unpaired_column" in found:
        found.pop("multiplicity_column", None)
    return found


def survey(source: StructureSource, path: Path | None) -> Survey:
    """What the first records come to; SpecError where the source cannot be used as `source` says.

    Without a path it is what is built, of no file and no format.
    """
    check_source(source, path)
    chunk = read_chunk(source, str(path or ""), "", SAMPLE)
    return Survey(
        formats=tuple(formats_of(source, path) if path else ()),
        files=len(source_files(source, path)) if path else 0,
        records=len(chunk.structures) + len(chunk.rejected),
        rejected=len(chunk.rejected),
        is_all=chunk.done,
        reason=f"line {chunk.rejected[0].line}: {chunk.rejected[0].reason}" if chunk.rejected else "",
    )


def _is_geometry(cell: str) -> bool:
    try:
        normalise(cell)
    except ValueError:
        return False
    return True
