"""Which symmetry a crystal has, and its operations as rotations in space."""

from __future__ import annotations

import warnings
from typing import Any, Final, NamedTuple

import numpy as np
import spglib

from penstock.analysis.voigt import Floats
from penstock.domain.geometry import ATOMIC_NUMBERS, Geometry

_LAUE: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "triclinic": {"-1": ("1", "-1")},
    "monoclinic": {"2/m": ("2", "m", "2/m")},
    "orthorhombic": {"mmm": ("222", "mm2", "mmm")},
    "tetragonal": {"4/m": ("4", "-4", "4/m"), "4/mmm": ("422", "4mm", "-42m", "4/mmm")},
    "trigonal": {"-3": ("3", "-3"), "-3m": ("32", "3m", "-3m")},
    "hexagonal": {"6/m": ("6", "-6", "6/m"), "6/mmm": ("622", "6mm", "-6m2", "6/mmm")},
    "cubic": {"m-3": ("23", "m-3"), "m-3m": ("432", "-43m", "m-3m")},
}
_CLASSES: Final = {
    point_group: (laue_class, system)
    for system, classes in _LAUE.items()
    for laue_class, point_groups in classes.items()
    for point_group in point_groups
}


class CrystalSymmetry(NamedTuple):
    """The symmetry of a crystal.

    `operations` (n, 3, 3) are the point group's rotations and reflections, orthogonal to rounding, in the Cartesian
    frame of the cell that was given. `to_standard` (3, 3) turns that frame into the one of the conventional cell: its
    a along x, its b in the plane of x and y, c with z above it (monoclinic: b, the unique axis, is y). `conventional`
    (3, 3) makes the vectors of that cell, as rows, of those of the cell that was given.
    """

    space_group: str
    number: int
    point_group: str
    laue_class: str
    system: str
    operations: Floats
    to_standard: Floats
    conventional: Floats


def find_symmetry(geometry: Geometry, symprec: float = 1e-3) -> CrystalSymmetry:
    """The symmetry of `geometry` (Å) as spglib finds it within `symprec` (Å): from elements and positions only.

    A magnetic or charge order that lowers the symmetry is not seen. ValueError if the geometry is not periodic in all
    three directions, or if there is no symmetry to be found (atoms in one place).
    """
    cell = crystal_cell(geometry)
    dataset = _spglib(geometry, symprec)
    laue_class, system = _CLASSES[dataset.pointgroup.strip()]
    conventional = np.linalg.inv(np.asarray(dataset.transformation_matrix, dtype=float)).T
    return CrystalSymmetry(
        space_group=dataset.international,
        number=int(dataset.number),
        point_group=dataset.pointgroup.strip(),
        laue_class=laue_class,
        system=system,
        operations=_cartesian(_point_operations(dataset.hall_number), conventional @ cell),
        to_standard=_proper(np.asarray(dataset.std_rotation_matrix, dtype=float)),
        conventional=conventional,
    )


def space_group(geometry: Geometry, symprec: float) -> str:
    """The international symbol of a crystal's space group as spglib finds it within `symprec` (Å).

    ValueError as of `find_symmetry`.
    """
    return str(_spglib(geometry, symprec).international)


def conventional_parameters(geometry: Geometry, symprec: float = 1e-3) -> tuple[list[float], list[float]]:
    """Lengths (Å) and angles (degrees) of the conventional cell, as its symmetry has them exactly.

    A relaxed crystal has its symmetry but for noise; without averaging, a cubic one would have three lattice parameters
    and angles of 89.999 degrees. ValueError as of `find_symmetry`.
    """
    symmetry = find_symmetry(geometry, symprec)
    vectors = (symmetry.conventional @ crystal_cell(geometry)).T
    rotations = np.rint(np.linalg.inv(vectors) @ symmetry.operations @ vectors)
    metric = _averaged_metric(rotations, vectors)
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos(cosines[[1, 0, 0], [2, 2, 1]]))
    return [float(length) for length in lengths], [float(angle) for angle in angles]


def crystal_cell(geometry: Geometry) -> Floats:
    """The cell vectors (3, 3) of a crystal, one a row, in Å; ValueError if the geometry is none."""
    if geometry.lattice is None or not all(geometry.pbc):
        raise ValueError(
            "elastic constants are those of a crystal: the geometry must be periodic in all three directions, with a "
            "Lattice and pbc T T T"
        )
    return np.array(geometry.lattice, dtype=float)


def turn_crystal(geometry: Geometry, rotation: Floats) -> Geometry:
    """The same crystal, turned as a whole by `rotation` (3, 3): atoms and cell vectors v become rotation · v."""
    turned = crystal_cell(geometry) @ rotation.T
    positions = np.asarray(geometry.positions, dtype=float) @ rotation.T
    return as_geometry(geometry.symbols, positions, turned)


def as_geometry(symbols: list[str], positions: Floats, cell: Floats) -> Geometry:
    """A crystal's geometry from arrays: positions (n, 3) and cell vectors (3, 3) in Å."""
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in cell)
    return Geometry(symbols, [(float(x), float(y), float(z)) for x, y, z in positions], (a, b, c), (True, True, True))


def _spglib(geometry: Geometry, symprec: float) -> Any:
    cell = crystal_cell(geometry)
    scaled = np.asarray(geometry.positions, dtype=float) @ np.linalg.inv(cell)
    return _dataset((cell, scaled, [ATOMIC_NUMBERS[symbol] for symbol in geometry.symbols]), symprec)


def _point_operations(hall_number: int) -> Floats:
    """The point group (n, 3, 3) on coordinates of the conventional cell.

    The dataset's own are those that a supercell has as a lattice, which may be a part only.
    """
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        operations: Any = spglib.get_symmetry_from_database(hall_number)
    return np.asarray(np.unique(operations["rotations"], axis=0), dtype=float)


def _dataset(cell: tuple[Any, ...], symprec: float) -> Any:
    # spglib 2.7 and 2.8 warn at every call that errors will be exceptions one day
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            dataset = spglib.get_symmetry_dataset(cell, symprec)
        except Exception as error:  # its own kind of exception is new, and older versions have none
            raise ValueError(f"spglib finds no symmetry within {symprec} Å: {error}") from error
    if dataset is None:
        raise ValueError(f"spglib finds no symmetry within {symprec} Å; are two atoms at the same place?")
    return dataset


def _cartesian(rotations: Floats, cell: Floats) -> Floats:
    """Operations in space from those on fractional coordinates (n, 3, 3).

    A cell has its symmetry within a tolerance only, so that its operations are not quite orthogonal. The nearest cell
    that has it exactly is found by averaging the metric over the group.
    """
    vectors = cell.T
    exact = np.linalg.cholesky(_averaged_metric(rotations, vectors)).T
    exact = _nearest_rotation(vectors @ np.linalg.inv(exact)) @ exact
    operations: Floats = exact @ rotations @ np.linalg.inv(exact)
    return operations


def _averaged_metric(rotations: Floats, vectors: Floats) -> Floats:
    """The scalar products of cell vectors (3, 3; columns), averaged over operations on fractional coordinates."""
    metric: Floats = np.einsum("nki,kl,nlj->ij", rotations, vectors.T @ vectors, rotations) / len(rotations)
    return metric


def _nearest_rotation(matrix: Floats) -> Floats:
    left, _, right = np.linalg.svd(matrix)
    nearest: Floats = left @ right
    return nearest


def _proper(matrix: Floats) -> Floats:
    """The nearest rotation without reflection: a reflected axis is the same axis for an elastic tensor."""
    nearest = _nearest_rotation(matrix)
    return nearest if np.linalg.det(nearest) > 0 else -nearest


def little_group(operations: Floats, matrix: Floats) -> Floats:
    """Those of `operations` (n, 3, 3) that leave a symmetric `matrix` (3, 3) as it is."""
    turned = operations @ matrix @ np.swapaxes(operations, 1, 2)
    kept = np.abs(turned - matrix).max(axis=(1, 2)) <= 1e-4 * np.abs(matrix).max()
    remaining: Floats = operations[kept]
    return remaining
