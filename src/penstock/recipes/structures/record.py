"""One record of a source becomes a `Structure`, or a `Rejected` that says why not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.domain.calculation import Rejected, Structure, StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.geometry import normalise
from penstock.domain.spec import StructureSource, nearest

CHUNK_CHARACTERS: Final = 8_000_000
"""A chunk ends early once its geometries are this long, so that it stays a message of sane size."""
_NAME_MAX: Final = 200
_INTEGER_MAX: Final = 9999
_INTEGERS: Final = {str(number): number for number in range(-99, 100)}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,9}(?:\.0*)?")


class ChunkBuilder:
    """Collects records until the chunk is `full`."""

    def __init__(self, source: StructureSource, limit: int) -> None:
        self.source = source
        self.structures: list[Structure] = []
        self.rejected: list[Rejected] = []
        self.full = False  # the next record belongs to the next chunk
        self._records_left = limit
        self._characters_left = CHUNK_CHARACTERS

    def add(
        self, orig_index: int, line: int, name: str, geometry: str, charge: str, spin: str, where: str = ""
    ) -> bool:
        """Take a record in, or reject it; `where` goes before the reason. Whether it was. See `build_structure`."""
        try:
            self.structures.append(build_structure(self.source, orig_index, line, name, geometry, charge, spin))
        except ValueError as error:
            self.reject(orig_index, line, f"{where}{error}")
            return False
        self._count(len(geometry))
        return True

    def give_deck(self, deck: str) -> None:
        """The record just taken in is this input file."""
        self.structures[-1] = msgspec.structs.replace(self.structures[-1], deck=deck)
        self._characters_left -= len(deck)
        self.full = self.full or self._characters_left <= 0

    def reject(self, orig_index: int, line: int, reason: str) -> None:
        """Keep a record out."""
        self.rejected.append(Rejected(orig_index, line, reason))
        self._count(len(reason))

    def _count(self, characters: int) -> None:
        self._records_left -= 1
        self._characters_left -= characters
        self.full = self._records_left <= 0 or self._characters_left <= 0

    def finish(self, cursor: str, *, done: bool) -> StructureChunk:
        """What was collected; the next chunk begins at `cursor`."""
        return StructureChunk(self.structures, self.rejected, cursor, done)


def build_structure(
    source: StructureSource, orig_index: int, line: int, name: str, geometry: str, charge: str, spin: str
) -> Structure:
    """The structure of a record's texts; ValueError says what is wrong with them.

    `spin` holds unpaired electrons where the source has an `unpaired_column`, else a multiplicity. Blank texts take
    the source's defaults; without a default the multiplicity is the lowest that the number of electrons allows.
    """
    if not geometry or geometry.isspace():
        raise ValueError("the geometry is empty")
    try:
        elements, natoms, protons, block = normalise(geometry)
    except ValueError as error:
        raise ValueError(f"geometry: {error}") from None
    total_charge = _INTEGERS.get(charge)
    if total_charge is None:
        total_charge = _parse_integer(charge, "the charge") if charge.strip() else source.charge
    electrons = protons - total_charge
    unpaired = _unpaired(source, spin, electrons)
    if electrons < 0 or unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        raise ValueError(_impossible(protons, total_charge, unpaired))
    if not name:
        name = str(orig_index)
    elif len(name) > _NAME_MAX or not name.isprintable():
        name = _printable(name)
    return Structure(orig_index, line, name, elements, natoms, total_charge, unpaired + 1, block)


def find_column(given: str, known: Sequence[str], key: str, where: str) -> int:
    """The index of column `given` among `known`; SpecError names the nearest one."""
    if known.count(given) > 1:
        raise SpecError(f"{where} has {known.count(given)} columns named {given!r}; rename all but one", key=key)
    if given in known:
        return known.index(given)
    listed = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    hint = " ".join(filter(None, [nearest(given, known), f"it has: {listed or 'none'}"]))
    raise SpecError(f"{where} has no column {given!r}; {hint}", key=key)


def value_columns(source: StructureSource) -> dict[str, str]:
    """The columns the spec names besides the geometry's, by the spec's key (`charge_column` to its name)."""
    keys = ("charge_column", "unpaired_column", "multiplicity_column", "name_column")
    return {key: column for key in keys if (column := getattr(source, key)) is not None}


def _unpaired(source: StructureSource, spin: str, electrons: int) -> int:
    given = _INTEGERS.get(spin)
    if given is None and spin.strip():
        given = _parse_integer(spin, "unpaired electrons" if source.unpaired_column else "the multiplicity")
    if given is not None:
        if source.unpaired_column:
            if given < 0:
                raise ValueError(f"{given} unpaired electrons cannot be; write 0 or more")
            return given
        if given < 1:
            raise ValueError(f"multiplicity {given} cannot be; it is 2S+1, at least 1")
        return given - 1
    return electrons % 2 if source.multiplicity is None else source.multiplicity - 1


def _parse_integer(text: str, what: str) -> int:
    stripped = text.strip()
    number = int(stripped.partition(".")[0]) if _INTEGER.fullmatch(stripped) else None
    if number is None or abs(number) > _INTEGER_MAX:
        raise ValueError(f"{what} is not an integer from -{_INTEGER_MAX} to {_INTEGER_MAX}: {stripped[:40]!r}")
    return number


def _impossible(protons: int, charge: int, unpaired: int) -> str:
    electrons = protons - charge
    if electrons < 0:
        return f"charge {charge:+d} cannot be: the atoms have only {protons} electrons to give"
    have = f"charge {charge:+d} leaves {electrons} electrons"
    if unpaired > electrons:
        return f"{unpaired} unpaired electrons cannot be: {have}"
    need = "odd" if electrons % 2 else "even"
    return f"{unpaired} unpaired electrons (multiplicity {unpaired + 1}) cannot be: {have}, so the number is {need}"


def _printable(name: str) -> str:
    spaced = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(spaced.split())[:_NAME_MAX] or "?"
