"""What the files of one structure or more (XYZ, ext-XYZ, CIF, POSCAR, CRYSTAL decks) are read into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """Where a frame begins: the frames, bytes and lines before it in its file (bytes only of formats read by them)."""

    frame: int = 0
    offset: int = 0
    line: int = 0


class Frame(NamedTuple):
    """One frame: its geometry and comment values, or why it cannot be read; `then` is where the next begins.

    `deck` is the whole input file, where the frame is one.
    """

    line: int
    text: str
    values: Mapping[str, str]
    error: str | None
    then: Place
    deck: str | None = None
