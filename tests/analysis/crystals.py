"""Crystals of every Laue class, and elastic tensors that have their symmetry."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from penstock.analysis.crystal_symmetry import as_geometry
from penstock.analysis.elastic.symmetry import project_tensor
from penstock.analysis.voigt import Floats
from penstock.domain.geometry import Geometry

_PLACE = [(0.11, 0.23, 0.37)]

# Laue class: structure, independent constants along the axes of the conventional cell, strained components
CLASSES: dict[str, tuple[Atoms, str, str]] = {
    "-1": (
        crystal("Si", _PLACE, spacegroup=2, cellpar=[4, 5, 6, 80, 95, 103]),
        "C11 C12 C13 C14 C15 C16 C22 C23 C24 C25 C26 C33 C34 C35 C36 C44 C45 C46 C55 C56 C66",
        "xx yy zz yz xz xy",
    ),
    "2/m": (
        crystal("Si", _PLACE, spacegroup=14, cellpar=[4, 5, 6, 90, 105, 90]),
        "C11 C12 C13 C15 C22 C23 C25 C33 C35 C44 C46 C55 C66",
        "xx yy zz yz xz xy",
    ),
    "mmm": (
        crystal("Si", _PLACE, spacegroup=62, cellpar=[4, 5, 6, 90, 90, 90]),
        "C11 C12 C13 C22 C23 C33 C44 C55 C66",
        "xx yy zz yz xz xy",
    ),
    "4/m": (
        crystal("Si", _PLACE, spacegroup=88, cellpar=[4, 4, 6, 90, 90, 90]),
        "C11 C12 C13 C16 C33 C44 C66",
        "xx zz yz xy",
    ),
    "4/mmm": (  # rutile
        crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]),
        "C11 C12 C13 C33 C44 C66",
        "xx zz yz xy",
    ),
    "-3": (
        crystal("Si", _PLACE, spacegroup=148, cellpar=[5, 5, 8, 90, 90, 120]),
        "C11 C12 C13 C14 C15 C33 C44",
        "xx zz yz",
    ),
    "-3m": (  # quartz
        crystal(
            ["Si", "O"],
            [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)],
            spacegroup=152,
            cellpar=[4.916, 4.916, 5.4054, 90, 90, 120],
        ),
        "C11 C12 C13 C14 C33 C44",
        "xx zz yz",
    ),
    "6/m": (
        crystal("Si", _PLACE, spacegroup=176, cellpar=[5, 5, 8, 90, 90, 120]),
        "C11 C12 C13 C33 C44",
        "xx zz yz",
    ),
    "6/mmm": (bulk("Mg"), "C11 C12 C13 C33 C44", "xx zz yz"),
    "m-3": (  # pyrite
        crystal(["Fe", "S"], [(0, 0, 0), (0.385, 0.385, 0.385)], spacegroup=205, cellpar=[5.42] * 3 + [90] * 3),
        "C11 C12 C44",
        "xx yz",
    ),
    "m-3m": (bulk("Si"), "C11 C12 C44", "xx yz"),
}
# The other setting of the axes: the mirror planes of -3m stand elsewhere, and C15 takes the place of C14
OTHER_TRIGONAL = crystal("Si", [(0.31, 0, 0.37)], spacegroup=162, cellpar=[5, 5, 8, 90, 90, 120])


def geometry_of(atoms: Any) -> Geometry:
    """An ASE structure as the project has it."""
    return as_geometry(atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array)


def random_rotation(seed: int) -> Floats:
    """Any rotation."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix if np.linalg.det(matrix) > 0 else -matrix


def random_tensor(seed: int, operations: Floats | None = None) -> Floats:
    """A stable elastic tensor (GPa) with the symmetry of `operations`."""
    factor = np.random.default_rng(seed).normal(size=(6, 6))
    tensor = 20 * factor @ factor.T + 50 * np.eye(6)
    return tensor if operations is None else project_tensor(tensor, operations)


def cubic(c11: float, c12: float, c44: float) -> Floats:
    """The tensor of a cubic crystal along its axes."""
    tensor = np.diag([c11 - c12] * 3 + [c44] * 3)
    tensor[:3, :3] += c12
    return tensor


# W. C. Overton and J. Gaffney, Phys. Rev. 98, 969 (1955): at 300 K, and extrapolated to 0 K
COPPER = cubic(168.4, 121.4, 75.4)
COLD_COPPER = cubic(176.2, 124.94, 81.77)
# H. J. McSkimin and P. Andreatch, J. Appl. Phys. 35, 2161 (1964), at 298 K
SILICON = cubic(165.78, 63.94, 79.62)
# As compiled by J. D. Bass, in Mineral Physics and Crystallography, AGU (1995)
QUARTZ = np.array(
    [
        [86.6, 6.7, 12.6, -17.8, 0, 0],
        [6.7, 86.6, 12.6, 17.8, 0, 0],
        [12.6, 12.6, 106.1, 0, 0, 0],
        [-17.8, 17.8, 0, 57.8, 0, 0],
        [0, 0, 0, 0, 57.8, -17.8],
        [0, 0, 0, 0, -17.8, (86.6 - 6.7) / 2],
    ]
)
