"""Where a campaign's structures come from: tables, files of frames, decks, databases, what is built; read in chunks."""

from penstock.recipes.structures.build import build_structures, render_built
from penstock.recipes.structures.source import (
    Reader,
    SourceFile,
    check_source,
    first_structure,
    open_source,
    place_of,
    read_chunk,
    source_files,
)

__all__ = [
    "Reader",
    "SourceFile",
    "build_structures",
    "check_source",
    "first_structure",
    "open_source",
    "place_of",
    "read_chunk",
    "render_built",
    "source_files",
]
