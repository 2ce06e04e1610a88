"""What a crystal's symmetry leaves of its elastic tensor."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from penstock.analysis.voigt import CONSTANTS, KELVIN, UPPER, Floats, from_kelvin, kelvin_rotation, to_kelvin

NO_SYMMETRY: Final[Floats] = np.eye(3)[None]
"""The group of a crystal that has no symmetry (an inversion changes no elastic tensor)."""

# Diagonal blocks first, so that names are the usual ones: C11 C12 C13 C33 C44 C14 of a trigonal crystal.
_PREFERRED: Final = tuple(
    CONSTANTS.index(name)
    for name in (
        *("C11", "C12", "C13", "C22", "C23", "C33", "C44", "C55", "C66"),
        *("C14", "C15", "C16", "C24", "C25", "C26", "C34", "C35", "C36", "C45", "C46", "C56"),
    )
)
_CLEAR: Final = 0.3  # of the largest remainder: what a constant must add to count as independent of those before it


def tensor_basis(operations: Floats) -> Floats:
    """An orthonormal basis (d, 6, 6), in Kelvin's form, of the elastic tensors that `operations` (n, 3, 3) leave alone.

    d is the number of independent constants: 3 of a cubic crystal, 21 of a triclinic one.
    """
    units = _symmetric_units()
    turns = kelvin_rotation(operations)
    averaged = np.einsum("nik,akl,njl->aij", turns, units, turns, optimize=True) / len(turns)
    projector = np.einsum("aij,bij->ab", units, averaged)
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    basis: Floats = np.einsum("ad,aij->dij", vectors[:, values > 0.5], units)
    return basis


def stress_basis(operations: Floats) -> Floats:
    """An orthonormal basis (m, 6), in Kelvin's form, of the stresses that `operations` (n, 3, 3) leave alone."""
    projector = kelvin_rotation(operations).mean(axis=0)
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    basis: Floats = vectors[:, values > 0.5].T
    return basis


def project_tensor(tensor: ArrayLike, operations: Floats) -> Floats:
    """The elastic tensor (6, 6) nearest to `tensor` that has the symmetry of `operations` (n, 3, 3).

    It is the average over the group; nearest is meant in the sum of squares over all 81 components.
    """
    kelvin = to_kelvin(tensor)
    turns = kelvin_rotation(operations)
    average = (turns @ ((kelvin + kelvin.T) / 2) @ np.swapaxes(turns, 1, 2)).mean(axis=0)
    return from_kelvin(average)


def independent_constants(operations: Floats) -> tuple[str, ...]:
    """Names of elastic constants that fix all others by symmetry: C11, C12, C44 of a cubic crystal along its axes."""
    return constants_of(tensor_basis(operations))


def constants_of(basis: Floats) -> tuple[str, ...]:
    """Names of constants whose values fix every tensor that `basis` (d, 6, 6) spans."""
    rows = basis[:, *UPPER].T.copy()  # (21, d)
    chosen: list[int] = []
    for _ in range(len(basis)):
        sizes = np.linalg.norm(rows, axis=1)
        pick = next(index for index in _PREFERRED if sizes[index] >= _CLEAR * sizes.max())
        direction = rows[pick] / sizes[pick]
        rows -= np.outer(rows @ direction, direction)
        chosen.append(pick)
    return tuple(CONSTANTS[index] for index in sorted(chosen))


def voigt_rows(basis: Floats) -> Floats:
    """The 21 Voigt constants (C11, C12, ... C66) of each member of `basis` (d, 6, 6): (21, d)."""
    rows: Floats = (basis / np.outer(KELVIN, KELVIN))[:, *UPPER].T
    return rows


def _symmetric_units() -> Floats:
    """An orthonormal basis (21, 6, 6) of symmetric matrices."""
    units = np.zeros((21, 6, 6))
    rows, columns = UPPER
    size = np.where(rows == columns, 1.0, np.sqrt(0.5))
    units[np.arange(21), rows, columns] = units[np.arange(21), columns, rows] = size
    return units
