"""From a deck's geometry input to all its atoms, in the one form of geometries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock.domain.geometry import SYMBOLS, format_geometry
from penstock.engines.crystal.deck_keywords import free_cell
from penstock.engines.crystal.deck_model import Atom, Deck, GeometryInput, parse_number
from penstock.engines.crystal.symmetry import (
    SAME_SITE_ANGSTROM,
    Setting,
    distances,
    layer_setting,
    operations,
    primitive_vectors,
    setting_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_APART_ANGSTROM: Final = 500.0
"""CRYSTAL's formal period where there is none."""
_LENGTH_LEAST: Final = 1e-3
_AXES: Final = {"a": 3, "b": 4, "c": 5, "": 4}


def geometry_block(deck: Deck) -> str:
    """The structure of a deck in the one form, in Å, before the keywords that edit it.

    A crystal comes with all atoms of CRYSTAL's primitive cell, which its energies are for. Where symmetry cannot be
    applied the atoms are the irreducible ones alone: polymers and molecules of another group than 1, slabs of a
    rectangular one (or 52, 62, 64), and crystals with an origin of their own. ValueError where the atoms are not in
    the deck, or are no elements.
    """
    geometry = deck.geometry
    if geometry.dimensionality is None:
        raise ValueError(f"{geometry.kind}: the atoms of this deck are in another file")
    symbols = [_symbol(atom) for atom in geometry.atoms]
    if geometry.dimensionality == 0:
        return format_geometry(symbols, [atom.coordinates for atom in geometry.atoms])
    if geometry.dimensionality == 3:
        return _expanded(geometry, symbols)
    lattice = _lattice(_cell_of(geometry), geometry.dimensionality)
    symbols, fractional = _layer(geometry, symbols, lattice)
    positions = fractional[:, : len(lattice)] @ lattice
    positions[:, geometry.dimensionality :] += fractional[:, geometry.dimensionality :]
    vectors = [*lattice.tolist(), *([[0.0, 0.0, 0.0]] * (3 - geometry.dimensionality))]
    pbc = [direction < geometry.dimensionality for direction in range(3)]
    return format_geometry(symbols, positions.tolist(), vectors, pbc)


def shortest_period(geometry: GeometryInput) -> float | None:
    """The length (Å) of the shortest vector of the primitive cell; None where the cell is in another file."""
    import numpy as np

    if not geometry.dimensionality:
        return None
    lattice = _lattice(_cell_of(geometry), geometry.dimensionality)
    setting = setting_of(geometry) if geometry.dimensionality == 3 else None
    if setting is not None:
        lattice = primitive_vectors(setting.centring) @ lattice
    return float(np.min(np.linalg.norm(lattice, axis=1)))


def _symbol(atom: Atom) -> str:
    if not 0 < atom.atomic_number <= len(SYMBOLS):
        raise ValueError(f"an atom with the conventional number {atom.number} is no element")
    return SYMBOLS[atom.atomic_number - 1]


def _coordinates(geometry: GeometryInput) -> Floats:
    import numpy as np

    return np.array([atom.coordinates for atom in geometry.atoms], dtype=float)


def _cell_of(geometry: GeometryInput) -> tuple[float, float, float, float, float, float]:
    """a, b, c, alpha, beta, gamma, with what the group implies filled in."""
    assert geometry.cell is not None
    assert geometry.dimensionality is not None
    given = [parse_number(value) for value in geometry.cell.values]
    setting = setting_of(geometry) if geometry.dimensionality == 3 else None
    group = setting.space_group if setting else geometry.group_number
    if group is None:
        symbol = " ".join(geometry.group.values) if geometry.group else ""
        raise ValueError(f"the space group {symbol!r} is not known; give its number")
    free = free_parameters(geometry, group, setting)
    if len(given) < len(free):
        raise ValueError(f"space group {group} needs {len(free)} cell parameters, the deck has {len(given)}")
    values = dict(zip(free, given, strict=False))
    a = values[0]
    if geometry.is_rhombohedral and len(free) == 2 and free[1] == 3:
        return a, a, a, values[3], values[3], values[3]
    b = values.get(1, a)
    c = values.get(2, a)
    hexagonal = (143 <= group <= 194) if geometry.dimensionality == 3 else geometry.dimensionality == 2 and group >= 65
    return a, b, c, values.get(3, 90.0), values.get(4, 90.0), values.get(5, 120.0 if hexagonal else 90.0)


def free_parameters(geometry: GeometryInput, group: int, setting: Setting | None) -> tuple[int, ...]:
    """Which of a, b, c, alpha, beta, gamma (0 to 5) the input gives; a monoclinic angle goes by the unique axis."""
    assert geometry.dimensionality is not None
    free = free_cell(geometry.dimensionality, group, rhombohedral=geometry.is_rhombohedral)
    return (0, 1, 2, _AXES[setting.unique_axis]) if setting and setting.unique_axis else free


def _lattice(cell: Sequence[float], dimensionality: int = 3) -> Floats:
    """The periodic cell vectors, one a row: a along x, b in the xy plane. ValueError where they make no cell."""
    from ase.geometry import cellpar_to_cell

    *lengths, alpha, beta, gamma = cell
    cosines = [math.cos(math.radians(angle)) for angle in (alpha, beta, gamma)]
    squared = 1 - sum(cosine**2 for cosine in cosines) + 2 * math.prod(cosines)
    if min(lengths) < _LENGTH_LEAST or not all(0 < angle < 180 for angle in (alpha, beta, gamma)) or squared < 1e-6:
        raise ValueError(f"a cell of {' '.join(f'{value:g}' for value in cell)} (Å, degrees) cannot be")
    lattice: Floats = cellpar_to_cell(list(cell))
    return lattice[:dimensionality]


def _expanded(geometry: GeometryInput, symbols: list[str]) -> str:
    """All atoms of the primitive cell; the irreducible ones alone in the conventional cell without a known setting."""
    import numpy as np

    lattice = _lattice(_cell_of(geometry))
    setting = setting_of(geometry)
    if setting is None:
        return format_geometry(symbols, (_coordinates(geometry) @ lattice).tolist(), lattice.tolist(), (True,) * 3)
    transformation = primitive_vectors(setting.centring)
    primitive = transformation @ lattice
    orbits = [_orbit(atom, setting, lattice, transformation) for atom in _coordinates(geometry)]
    positions = np.concatenate(orbits) @ primitive
    return format_geometry(_repeated(symbols, orbits), positions.tolist(), primitive.tolist(), (True,) * 3)


def _repeated(symbols: list[str], orbits: list[Floats]) -> list[str]:
    return [symbol for symbol, orbit in zip(symbols, orbits, strict=True) for _ in orbit]


def _layer(geometry: GeometryInput, symbols: list[str], lattice: Floats) -> tuple[list[str], Floats]:
    """All atoms of a slab whose group is known, z in Å; the atoms as they are otherwise."""
    import numpy as np

    coordinates = _coordinates(geometry)
    setting = layer_setting(geometry.group_number or 1) if geometry.dimensionality == 2 else None
    if setting is None:
        return symbols, coordinates
    scale = np.array([1.0, 1.0, _APART_ANGSTROM])
    cell = np.vstack([lattice, [0.0, 0.0, _APART_ANGSTROM]])
    orbits = [_orbit(atom, setting, cell, np.eye(3), periodic=2) for atom in coordinates / scale]
    return _repeated(symbols, orbits), np.concatenate(orbits) * scale


def _orbit(atom: Floats, setting: Setting, lattice: Floats, transformation: Floats, periodic: int = 3) -> Floats:
    """The equivalents of an atom in the primitive cell (fractional there, 0 to 1), itself first."""
    import numpy as np

    rotations, translations = operations(setting)
    images = (rotations @ atom + translations) @ np.linalg.inv(transformation)
    images[:, :periodic] -= np.floor(images[:, :periodic] + 1e-9)
    primitive = transformation @ lattice
    sites = [images[0]]
    for image in images[1:]:
        if distances(np.array(sites) - image, primitive).min() > SAME_SITE_ANGSTROM:
            sites.append(image)
    return np.array(sites)
