"""How large the basis of a deck is: what a run taught, noted in the deck for the decks of properties."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from penstock.engines.crystal.deck_model import Deck

_SIZE: Final = re.compile(r"# penstock: (\d{1,9}) orbitals, (\d{1,9}) electrons")


class Size(NamedTuple):
    """How many atomic orbitals and electrons the unit cell has: what decks of properties count bands by."""

    orbitals: int
    electrons: int


def with_size(deck: Deck, size: Size) -> Deck:
    """`deck` with a note of `size` after its last END, where CRYSTAL reads no more."""
    others = [line for line in deck.rest if not _SIZE.search(line)]
    note = f"# penstock: {size.orbitals} orbitals, {size.electrons} electrons"
    return msgspec.structs.replace(deck, rest=(*others, note))


def size_of(deck: str | None) -> Size | None:
    """What `with_size` noted in the text of a deck; None where it did not."""
    match = _SIZE.search(deck or "")
    return Size(int(match[1]), int(match[2])) if match else None
