"""What a CRYSTAL input deck consists of."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from penstock.engines.crystal.deck_keywords import DIMENSIONS

NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eEdD][-+]?[0-9]+)?")
"""A number as Fortran reads it."""


class Entry(msgspec.Struct, frozen=True):
    """A keyword with its value lines, or a block: then `end` is the line that closes it and `entries` are within.

    `note` is what else stands on the keyword's own line. An entry without keyword holds comments before the first one.
    """

    keyword: str
    lines: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    end: str | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The keyword in upper case."""
        return self.keyword.upper()

    @property
    def is_block(self) -> bool:
        """Whether an END of its own closes it."""
        return self.end is not None


class Record(msgspec.Struct, frozen=True):
    """A line of values as they were written, and what follows them on the line."""

    values: tuple[str, ...]
    note: str = ""


class Atom(msgspec.Struct, frozen=True):
    """An irreducible atom: conventional atomic number and coordinates, fractional along periodic directions, else Å."""

    number: int
    position: tuple[str, str, str]
    note: str = ""

    @property
    def coordinates(self) -> tuple[float, float, float]:
        """The coordinates as numbers."""
        x, y, z = map(parse_number, self.position)
        return x, y, z

    @property
    def atomic_number(self) -> int:
        """The element's: CRYSTAL adds hundreds to tell atoms of one element with different bases apart."""
        return self.number % 100


class GeometryInput(msgspec.Struct, frozen=True):
    """The first section up to its atoms.

    `flags` (IFLAG IFHR IFSO) and `shift` (of the origin, in 24ths, where IFSO > 1) only of a CRYSTAL; `group` the
    space, layer, rod or point group; `cell` its free parameters (Å, degrees). `lines` only of a kind whose atoms are
    elsewhere.
    """

    kind: str
    flags: Record | None = None
    group: Record | None = None
    shift: Record | None = None
    cell: Record | None = None
    count_note: str = ""
    atoms: tuple[Atom, ...] = ()
    lines: tuple[str, ...] = ()
    note: str = ""

    @property
    def dimensionality(self) -> int | None:
        """In how many directions it is periodic; None where another file says so."""
        return DIMENSIONS.get(self.kind)

    @property
    def group_number(self) -> int | None:
        """The group's number; None where it is given by its symbol, or elsewhere."""
        if self.group is None or (self.flags is not None and self.flags.values[0] != "0"):
            return None
        return int(self.group.values[0])

    @property
    def is_rhombohedral(self) -> bool:
        """Whether a rhombohedral space group is described in its rhombohedral cell (IFHR)."""
        return self.flags is not None and self.flags.values[1] != "0"


class Basis(msgspec.Struct, frozen=True):
    """A predefined basis (first entry BASISSET) or the `lines` of an explicit one up to its `99 0`; then keywords."""

    lines: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    end: str | None = None


class Deck(msgspec.Struct, frozen=True):
    """A whole deck. `keywords` edit the geometry, and hold OPTGEOM, FREQCALC and other blocks; `end` closes them.

    A deck that only tests its geometry (TESTGEOM) ends there, without basis and SCF section. `rest` are the lines after
    the END of the SCF section: nothing, as a rule.
    """

    title: str
    geometry: GeometryInput
    keywords: tuple[Entry, ...]
    end: str | None  # None where BASISSET follows without an END
    basis: Basis = Basis()
    scf: tuple[Entry, ...] = ()
    scf_end: str | None = "END"
    rest: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A title is one line."""
        if "\n" in self.title or "\r" in self.title:
            raise ValueError("the title of a deck is one line")


def parse_number(text: str) -> float:
    """A number as Fortran writes it (1.5D-3); ValueError for anything else."""
    if NUMBER.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a number")
    value = float(text.replace("d", "e").replace("D", "e"))
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
