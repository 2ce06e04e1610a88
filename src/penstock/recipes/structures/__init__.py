"""Where a campaign's structures come from: tables, files of frames, decks, databases; read in durable chunks."""

from penstock.recipes.structures.source import (
    Reader,
    SourceFile,
    check_source,
    first_structure,
    open_source,
    read_chunk,
    source_files,
)

__all__ = [
    "Reader",
    "SourceFile",
    "check_source",
    "first_structure",
    "open_source",
    "read_chunk",
    "source_files",
]
