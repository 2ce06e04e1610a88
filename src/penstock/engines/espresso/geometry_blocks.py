"""Cell and positions as pw.x prints them after a step, in any of its units, as a geometry in the house's form."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.domain.geometry import ATOMIC_NUMBERS, Lattice, Vector, format_geometry

BOHR_ANGSTROM: Final = 0.529177210903
_UNIT: Final = re.compile(r"[({]?\s*(alat|bohr|angstrom|crystal)\b", re.IGNORECASE)
_ALAT: Final = re.compile(r"alat\s*=\s*([0-9.,]+)", re.IGNORECASE)
_LABEL: Final = re.compile(r"[A-Za-z]{1,3}")


class Block(NamedTuple):
    """A card in an output: the rest of its title line (its unit), and the lines below it."""

    title: str
    lines: list[str]


def number(text: str) -> float:
    """A finite number as Fortran prints it, with whatever decimal mark and exponent letter; ValueError."""
    value = float(text.replace(",", ".").replace("D", "E").replace("d", "e"))
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def symbol_of(label: str) -> str:
    """The element of a species' label (`Fe1`, `fe_up`, `O`); ValueError where there is none."""
    match = _LABEL.match(label)
    letters = match[0] if match else ""
    for length in (2, 1):
        candidate = letters[:length].capitalize()
        if len(candidate) == length and candidate in ATOMIC_NUMBERS:
            return candidate
    raise ValueError(f"{label!r} begins with no element")


def printed_geometry(
    positions: Block | None, cell: Block | None, axes: Sequence[str], alat_bohr: float | None, natoms: int | None
) -> str | None:
    """The block of the last step; None where the output holds no whole one.

    `axes` are the three `a(i) = ( ... )` lines of the summary, in units of `alat_bohr`, for runs that keep their cell.
    """
    if positions is None or natoms is None or len(positions.lines) < natoms:
        return None
    try:
        lattice = _card_lattice(cell, alat_bohr) if cell else _summary_lattice(axes, alat_bohr)
        symbols, vectors = _atoms(positions.lines[:natoms])
        cartesian = _to_cartesian(vectors, positions.title, lattice, alat_bohr)
    except (ValueError, IndexError):
        return None
    return format_geometry(symbols, cartesian, lattice, (True, True, True))


def _atoms(lines: Sequence[str]) -> tuple[list[str], list[Vector]]:
    columns = [line.split() for line in lines]
    return [symbol_of(row[0]) for row in columns], [_vector(row[1:4]) for row in columns]


def _vector(texts: Sequence[str]) -> Vector:
    x, y, z = map(number, texts)
    return x, y, z


def _card_lattice(cell: Block, alat_bohr: float | None) -> Lattice:
    a, b, c = (_vector(line.split()[:3]) for line in cell.lines[:3])
    scale = _scale(cell.title, alat_bohr)
    return _scaled(a, scale), _scaled(b, scale), _scaled(c, scale)


def _summary_lattice(axes: Sequence[str], alat_bohr: float | None) -> Lattice:
    if alat_bohr is None:
        raise ValueError("the lattice parameter is missing")
    a, b, c = (_vector(line.partition("=")[2].strip(" ()").split()[:3]) for line in axes[:3])
    scale = alat_bohr * BOHR_ANGSTROM
    return _scaled(a, scale), _scaled(b, scale), _scaled(c, scale)


def _to_cartesian(vectors: list[Vector], title: str, lattice: Lattice, alat_bohr: float | None) -> list[Vector]:
    if _unit(title) != "crystal":
        scale = _scale(title, alat_bohr)
        return [_scaled(vector, scale) for vector in vectors]
    return [_combined(vector, lattice) for vector in vectors]


def _combined(fractions: Vector, lattice: Lattice) -> Vector:
    x, y, z = (sum(f * vector[axis] for f, vector in zip(fractions, lattice, strict=True)) for axis in range(3))
    return x, y, z


def _scaled(vector: Vector, factor: float) -> Vector:
    x, y, z = vector
    return x * factor, y * factor, z * factor


def _unit(title: str) -> str:
    match = _UNIT.search(title)
    return match[1].lower() if match else "alat"


def _scale(title: str, alat_bohr: float | None) -> float:
    """What a length of this card is in Å."""
    unit = _unit(title)
    if unit == "angstrom":
        return 1.0
    if unit == "bohr":
        return BOHR_ANGSTROM
    own = _ALAT.search(title)
    alat = number(own[1]) if own else alat_bohr
    if alat is None:
        raise ValueError("the lattice parameter is missing")
    return alat * BOHR_ANGSTROM
