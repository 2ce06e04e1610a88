"""How large the unit cell of a deck is: what a run taught, noted in the deck for the decks of properties."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from penstock.engines.crystal.deck_model import Deck

_SIZE: Final = re.compile(r"# penstock: (\d{1,9}) orbitals, (\d{1,9}) electrons, atoms ((?:\d{1,3}x\d{1,6} ?)+)")
_RUN: Final = re.compile(r"(\d+)x(\d+)")


class Size(NamedTuple):
    """Atomic orbitals and electrons of the unit cell, and its atoms' conventional numbers in CRYSTAL's order."""

    orbitals: int
    electrons: int
    numbers: tuple[int, ...]


def with_size(deck: Deck, size: Size) -> Deck:
    """`deck` with a note of `size` after its last END, where CRYSTAL reads no more."""
    others = [line for line in deck.rest if not _SIZE.search(line)]
    atoms = " ".join(f"{number}x{sum(1 for _ in run)}" for number, run in itertools.groupby(size.numbers))
    note = f"# penstock: {size.orbitals} orbitals, {size.electrons} electrons, atoms {atoms}"
    return msgspec.structs.replace(deck, rest=(*others, note))


def size_of(lines: Iterable[str]) -> Size | None:
    """What `with_size` noted among the lines after a deck's last END; None where it did not."""
    match = next((found for line in lines if (found := _SIZE.search(line))), None)
    if match is None:
        return None
    runs = [(int(number), int(count)) for number, count in _RUN.findall(match[3])]
    return Size(int(match[1]), int(match[2]), tuple(number for number, count in runs for _ in range(count)))
