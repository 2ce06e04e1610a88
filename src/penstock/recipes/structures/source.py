"""A spec's `[structures]` table and a path become a reader; which files a source consists of.

At submission `check_source` looks at the user's files and `source_files` lists what to copy; from then on
`read_chunk` reads the copies. A source of one file is copied as that file; a folder or a glob becomes a folder that
holds the files under their names in `SourceFile`, and that folder is the path given to `read_chunk`.

Where the table says what is to be built, there is no path (None, or an empty one) until it is built and written; from
then on what was written is a source like others.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from penstock.domain.calculation import Structure, StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource, nearest
from penstock.recipes.structures.ase_database import AseDatabase
from penstock.recipes.structures.build import NAME, BuiltStructures
from penstock.recipes.structures.csv_table import CsvTable
from penstock.recipes.structures.frame_files import SUFFIXES, VASP_NAMES, FrameFiles
from penstock.recipes.structures.parquet_table import ParquetTable

_FORMATS: Final = {
    "csv": "csv",
    "parquet": "parquet",
    "xyz": "xyz",
    "extxyz": "xyz",
    "cif": "cif",
    "d12": "d12",
    "vasp": "vasp",
    "ase": "ase",
}
_SUFFIXES: Final = {**SUFFIXES, ".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".db": "ase"}
_LOOKED_AT: Final = 100
_TABLES: Final = frozenset({"csv", "parquet"})


class Reader(Protocol):
    """A source opened: stateless between calls, so any process can read any chunk."""

    def check(self) -> None:
        """SpecError unless the source can be read and has what the spec names."""

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` records from `cursor` on; "" is the beginning."""


class SourceFile(NamedTuple):
    """A file to copy, and the relative name (no "..", "/" between parts) that its copy gets."""

    path: Path
    name: str


def check_source(source: StructureSource, path: Path | None) -> None:
    """SpecError unless `path` (what `source.source` points to) can be read, or built, as the spec says.

    Looks at headers and first records only, but loads pyarrow or ASE, so call it in a worker process.
    """
    with _readable(path or Path()):
        open_source(source, path).check()
        first_structure(source, path)


def first_structure(source: StructureSource, path: Path | None) -> Structure:
    """The first structure of a source that has records; SpecError where none of the first `_LOOKED_AT` is one."""
    reader = open_source(source, path)
    chunk = reader.read("", 1)
    if not chunk.structures:
        chunk = reader.read("", _LOOKED_AT)
    if chunk.structures:
        return chunk.structures[0]
    first, count = chunk.rejected[0], len(chunk.rejected)
    which = f"none of the {count} records" if chunk.done else f"none of the first {count} records"
    message = f"{which} of {path or 'what is built'} can be taken in; line {first.line}: {first.reason}"
    raise SpecError(message, key="structures.source")


def read_chunk(source: StructureSource, path: str, cursor: str, limit: int) -> StructureChunk:
    """At most `limit` records of the source at `path` (empty: to be built) from `cursor` on ("" is the beginning).

    The same chunks come out of any process. A chunk may hold fewer records than `limit`; only `done` says that
    nothing follows.
    """
    return open_source(source, place_of(path)).read(cursor, limit)


def place_of(path: str) -> Path | None:
    """The path of a source; None for the empty one, of structures that are to be built."""
    return Path(path) if path else None


def formats_of(source: StructureSource, path: Path) -> list[str]:
    """What the files at `path` are taken for, each format once. SpecError for what is missing or of no known format."""
    chosen, files = _chosen_format(source), source_files(source, path)
    if chosen is None and path.is_file():
        return [_format_by_name(path)]
    return [chosen] if chosen else sorted({SUFFIXES[file.path.suffix.lower()] for file in files})


def table_of(source: StructureSource, path: Path) -> CsvTable | ParquetTable | None:
    """The table at `path`, whose columns a person may be asked for; None where the source is something else."""
    reader = open_source(source, path)
    return reader if isinstance(reader, CsvTable | ParquetTable) else None


def open_source(source: StructureSource, path: Path | None) -> Reader:
    """The reader for `path`: a file, a folder or a glob. SpecError for what is missing or of no known format."""
    if path is None:
        return BuiltStructures(source)
    file_format = _chosen_format(source)
    files = source_files(source, path)
    if source.build is not None:
        return FrameFiles(msgspec.structs.replace(source, name_column=NAME), [path], [], "xyz")
    if path.is_file():
        file_format = file_format or _format_by_name(path)
    if source.geometry_column is not None and file_format not in _TABLES:
        raise SpecError("only CSV and Parquet have geometry columns; remove it", key="structures.geometry_column")
    if source.select is not None and file_format != "ase":
        raise SpecError("only rows of an ASE database can be selected; remove it", key="structures.select")
    match file_format:
        case "csv":
            return CsvTable(source, path)
        case "parquet":
            return ParquetTable(source, path)
        case "ase":
            return AseDatabase(source, path)
        case _:
            names = [] if path.is_file() else [file.name for file in files]
            return FrameFiles(source, [file.path for file in files], names, file_format)


def _format_by_name(path: Path) -> str:
    file_format = "vasp" if path.name in VASP_NAMES else _SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        message = f"cannot tell the format of {path} by its name; set format to one of {', '.join(_FORMATS)}"
        raise SpecError(message, key="structures.source")
    return file_format


def source_files(source: StructureSource, path: Path) -> list[SourceFile]:
    """The files the source at `path` consists of, in reading order; SpecError if there are none."""
    with _readable(path):
        if path.is_file():
            return _named(path.parent, iter([path]))
        if path.is_dir():
            files = [file for file in _named(path, _walk(path)) if _is_wanted(source, file)]
        elif glob.has_magic(str(path)):
            files = _matched(source, path)
        else:
            raise SpecError(f"there is no file or folder {path}", key="structures.source")
        if not files:
            raise SpecError(f"no {', '.join(SUFFIXES)} file in {path}", key="structures.source")
        for file in files:
            if not file.path.is_file():
                raise SpecError(f"{file.path} is not a file that can be read", key="structures.source")
        return files


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{error.filename or path} cannot be read: {error.strerror}"
        raise SpecError(message, key="structures.source") from error


def _is_wanted(source: StructureSource, file: SourceFile) -> bool:
    """Whether a file of many can be read, and is of the format the spec may have chosen."""
    found = SUFFIXES.get(file.path.suffix.lower())
    return found is not None and _chosen_format(source) in {None, found}


def _matched(source: StructureSource, pattern: Path) -> list[SourceFile]:
    """All that a glob matches but hidden files; it names what it means, so what cannot be read is an error."""
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    base = Path(*fixed)
    matches = (path for path in base.glob(str(Path(*pattern.parts[len(fixed) :]))) if not path.is_dir())
    files = [file for file in _named(base, matches) if not any(part.startswith(".") for part in file.name.split("/"))]
    for file in files:
        if not _is_wanted(source, file):
            message = f"{file.path} is matched, but a glob may only match {', '.join(SUFFIXES)} files"
            raise SpecError(message, key="structures.source")
    return files


def _chosen_format(source: StructureSource) -> str | None:
    if source.format is None:
        return None
    if source.format not in _FORMATS:
        hint = nearest(source.format, _FORMATS) or f"known: {', '.join(_FORMATS)}"
        raise SpecError(f"unknown format {source.format!r}; {hint}", key="structures.format")
    return _FORMATS[source.format]


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, hidden ones and symbolic links to folders left out."""
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _named(base: Path, paths: Iterator[Path]) -> list[SourceFile]:
    files = [SourceFile(path, path.relative_to(base).as_posix()) for path in paths]
    for file in files:
        if not file.name.isprintable():
            raise SpecError(f"the name {file.name!r} has unprintable characters; rename it", key="structures.source")
    return sorted(files, key=lambda file: file.name)
