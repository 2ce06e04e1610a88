"""The structure of a CRYSTAL input deck (.d12), which the calculation then starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.recipes.structures.frame import Frame, Place

DECK_MAX: Final = 16 * 1024 * 1024
_LINE: Final = re.compile(r"line ([0-9]+): ")


def read_d12_frames(path: Path, place: Place) -> Iterator[Frame]:
    """The structure of the deck at `path`; one that cannot be read is a bad frame with the line where it is wrong."""
    if place.frame:
        return
    with path.open("rb") as file:
        data = file.read(DECK_MAX + 1)
    if len(data) > DECK_MAX:
        yield _bad(f"line 1: is longer than {DECK_MAX // 1024**2} MB, which no deck is")
        return
    if b"\0" in data:
        yield _bad("line 1: is not text")
        return
    yield _read_deck(_decoded(data))


def _decoded(data: bytes) -> str:
    """The text of a deck; titles and comments may be older than UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_deck(text: str) -> Frame:
    from penstock.engines.crystal.deck import parse_deck, render_deck
    from penstock.engines.crystal.deck_geometry import geometry_block

    try:
        deck = parse_deck(text)
        geometry = geometry_block(deck)
    except ValueError as error:
        return _bad(str(error))
    return Frame(1, geometry, {}, None, Place(1), render_deck(deck))


def _bad(reason: str) -> Frame:
    where = _LINE.match(reason)
    return Frame(int(where[1]) if where else 1, "", {}, reason[where.end() :] if where else reason, Place(1))
