"""A material's structure, from the deck that a row names, or what its formula tells of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.geometry import SYMBOLS, normalise

_DECK_MAX: Final = 16 << 20
_ELEMENT: Final = re.compile(r"[A-Z][a-z]?")


class DeckStructure(msgspec.Struct, frozen=True):
    """A material's structure as far as a deck tells it."""

    elements: str
    natoms: int
    spin: int
    geometry: str
    deck: str | None


def elements_of(formula: str) -> str:
    """The elements of a formula, as far as it has any that there are."""
    return ";".join(dict.fromkeys(symbol for symbol in _ELEMENT.findall(formula) if symbol in SYMBOLS))


def read_deck(path: Path) -> DeckStructure:
    """The structure of a deck; OSError or ValueError where it cannot be read."""
    from penstock.engines.crystal.deck import parse_deck, render_deck
    from penstock.engines.crystal.deck_geometry import geometry_block

    with path.open("rb") as file:
        data = file.read(_DECK_MAX + 1)
    if len(data) > _DECK_MAX or b"\0" in data:
        raise ValueError("is no deck")
    try:
        written = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        written = data.decode("latin-1")
    deck = parse_deck(written)
    found = normalise(geometry_block(deck))
    return DeckStructure(found.elements, found.natoms, found.protons % 2 + 1, found.block, render_deck(deck))
