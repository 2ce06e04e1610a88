"""A geometry as CRYSTAL prints it: the crystallographic cell with its irreducible atoms, and the primitive cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.domain.geometry import SYMBOLS, Lattice, Vector, format_geometry
from penstock.engines.crystal.final_geometry import FinalGeometry
from penstock.engines.crystal.numbers import parse_number
from penstock.engines.marker_scan import Hit

Cell = tuple[float, float, float, float, float, float]
"""a, b, c in Å, alpha, beta, gamma in degrees; 500 Å along a direction without period."""
Atom = tuple[int, float, float, float]
"""Conventional atomic number (Z, Z + 200 with a pseudopotential, 0 for a ghost), and coordinates.

They are fractional along the periods of the cell and in Å along the other directions.
"""

_ATOM: Final = re.compile(r" *\d+ +([TF]) +(\d+) +[A-Z]{1,2} +(\S+) +(\S+) +(\S+)")
_NATOMS: Final = re.compile(r"ATOMS IN THE UNIT CELL: *(\d+)")
_VOLUME: Final = re.compile(r"VOLUME= *([\d.,]+)")
_END: Final = "T = ATOM BELONGING TO THE ASYMMETRIC UNIT"
_LINES_MAX: Final = 200_000


class PrintedGeometry(NamedTuple):
    """One geometry of an output. `volume_angstrom3` is that of the primitive cell, None where the file has none."""

    crystallographic: FinalGeometry
    primitive: FinalGeometry  # with all its atoms
    volume_angstrom3: float | None


class _Table(NamedTuple):
    """The atoms of a table, and which of them belong to the asymmetric unit."""

    atoms: list[Atom]
    is_irreducible: list[bool]

    def irreducible(self) -> tuple[Atom, ...]:
        return tuple(atom for atom, chosen in zip(self.atoms, self.is_irreducible, strict=True) if chosen)


def read_geometry(lattice: Hit | None, atoms: Hit, dimensionality: int | None) -> PrintedGeometry | None:
    """The geometry whose table of atoms begins at `atoms`; None where it is cut short or damaged.

    `lattice` is where its lattice parameters are printed, None for a molecule; `dimensionality` what the run said, None
    where it did not.
    """
    header = _NATOMS.search(atoms.line())
    lines = iter(atoms.lines_after())
    columns = next(lines, "")
    periods = dimensionality if dimensionality is not None else columns.count("/")
    natoms = int(header[1]) if header else 0
    cell = _cell_after(lattice) if lattice else None
    table = _read_table(lines, natoms)
    if table is None or (periods > 0 and cell is None) or not 0 <= periods <= 3:
        return None
    whole = _read_crystallographic(lines, natoms)
    if whole is None:
        return None
    primitive = FinalGeometry(periods, cell if periods else None, tuple(table.atoms))
    conventional_cell, conventional = whole
    crystallographic = FinalGeometry(
        periods,
        (conventional_cell or cell) if periods else None,
        (conventional or table).irreducible(),
    )
    return PrintedGeometry(crystallographic, primitive, _volume_after(lattice) if lattice else None)


def render_block(geometry: FinalGeometry) -> str:
    """A geometry with all its atoms as the house's ext-XYZ block; ghosts are left out, a pseudopotential does not show.

    The first vector lies along x, the second in the xy plane.
    """
    atoms = [atom for atom in geometry.atoms if atom[0] % 100]
    lattice = _vectors(geometry.cell) if geometry.cell else None
    positions = [_cartesian(atom[1:], lattice, geometry.dimensionality) for atom in atoms]
    pbc = tuple(number < geometry.dimensionality for number in range(3))
    return format_geometry([SYMBOLS[atom[0] % 100 - 1] for atom in atoms], positions, lattice, pbc)


def _read_table(lines: Iterator[str], natoms: int) -> _Table | None:
    """The table of `natoms` atoms that begins on one of the next lines; None where it is not whole."""
    atoms: list[Atom] = []
    flags: list[bool] = []
    for line in lines:
        match = _ATOM.match(line)
        if match is None:
            if atoms or _END in line:
                break
            continue
        numbers = [parse_number(text) for text in match.groups()[2:]]
        if None in numbers:
            return None
        x, y, z = (number for number in numbers if number is not None)
        atoms.append((int(match[2]), x, y, z))
        flags.append(match[1] == "T")
        if len(atoms) == natoms:
            return _Table(atoms, flags)
    return None


def _read_crystallographic(lines: Iterable[str], natoms: int) -> tuple[Cell | None, _Table | None] | None:
    """Cell and atoms of the crystallographic cell, (None, None) where it is the primitive one.

    None where the geometry's last line does not come.
    """
    cell: Cell | None = None
    table: _Table | None = None
    lines = iter(lines)
    for _, line in zip(range(_LINES_MAX), lines, strict=False):
        if _END in line:
            return cell, table
        if "CRYSTALLOGRAPHIC CELL (VOLUME=" in line:
            next(lines, "")
            cell = _parse_cell(next(lines, ""))
        elif "COORDINATES IN THE CRYSTALLOGRAPHIC CELL" in line:
            table = _read_table(lines, natoms)
            if table is None or cell is None:
                return None
    return None


def _cell_after(lattice: Hit) -> Cell | None:
    lines = lattice.lines_after(1024)
    return next((cell for _, line in zip(range(4), lines, strict=False) if (cell := _parse_cell(line))), None)


def _volume_after(lattice: Hit) -> float | None:
    match = _VOLUME.search(next(iter(lattice.lines_after(1024)), ""))
    return parse_number(match[1]) if match else None


def _parse_cell(line: str) -> Cell | None:
    numbers = [number for text in line.split() if (number := parse_number(text)) is not None]
    if len(numbers) != 6 or len(line.split()) != 6:
        return None
    a, b, c, alpha, beta, gamma = numbers
    if not (min(a, b, c) > 0 and all(0 < angle < 180 for angle in (alpha, beta, gamma))):
        return None
    return a, b, c, alpha, beta, gamma


def _vectors(cell: Cell) -> Lattice:
    a, b, c = cell[:3]
    cos_alpha, cos_beta, cos_gamma = (_cosine(angle) for angle in cell[3:])
    sin_gamma = math.sqrt(1 - cos_gamma**2)
    y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    z = math.sqrt(max(0.0, 1 - cos_beta**2 - y**2))
    return (a, 0.0, 0.0), (b * cos_gamma, b * sin_gamma, 0.0), (c * cos_beta, c * y, c * z)


def _cosine(degrees: float) -> float:
    """Exact at 90 degrees, so that a right angle makes no vector of 1e-16 Å."""
    return 0.0 if degrees == 90 else math.cos(math.radians(degrees))


def _cartesian(given: Sequence[float], lattice: Lattice | None, periods: int) -> Vector:
    if lattice is None:
        x, y, z = given
        return x, y, z
    units = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    axes = [lattice[number] if number < periods else units[number] for number in range(3)]
    x, y, z = (sum(given[number] * axes[number][axis] for number in range(3)) for axis in range(3))
    return x, y, z
