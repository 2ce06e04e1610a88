"""A source's files are copied into the workflow's directory, which alone is read from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.spec import StructureSource
from penstock.recipes.structures.source import source_files

FOLDER: Final = "source"


class KeptFile(msgspec.Struct, frozen=True, array_like=True):
    """A source file as kept: its path relative to the workflow's directory, its size and its checksum."""

    path: str
    bytes: int
    sha256: str


class KeptSource(msgspec.Struct, frozen=True, array_like=True):
    """The kept files of a source, and the path (relative to the workflow's directory) to give to `read_chunk`."""

    path: str
    files: list[KeptFile]


def keep_source(
    source: StructureSource, path: Path, directory: Path, copy: Callable[[Path, Path], tuple[int, str]]
) -> KeptSource:
    """Copy the source at `path` below `directory` with `copy`, which returns size and checksum; safe to repeat."""
    kept = []
    for file in source_files(source, path):
        target = f"{FOLDER}/{file.name}"
        kept.append(KeptFile(target, *copy(file.path, directory / target)))
    return KeptSource(kept[0].path if path.is_file() else FOLDER, kept)
