"""Strains, stresses and elastic tensors as six-vectors and 6x6 matrices, and the other way round.

Voigt order is xx yy zz yz xz xy, as in `domain.properties.VOIGT`. Strains have engineering shear (yz stands for twice
the tensor's yz), stresses and elastic constants have not. Where a sum of squares must not depend on the frame,
Kelvin's form is used instead: shear components carry a factor √2, those of a 6x6 matrix √2 or 2, and every rotation of
the frame is an orthogonal 6x6 matrix (M. M. Mehrabadi and S. C. Cowin, Q. J. Mech. Appl. Math. 43, 15, 1990).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

ROWS: Final = np.array([0, 1, 2, 1, 0, 0])
COLUMNS: Final = np.array([0, 1, 2, 2, 2, 1])
KELVIN: Final[Floats] = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
"""From a stress in Voigt's form to Kelvin's by multiplying, from a strain with engineering shear by dividing shear."""
_ENGINEERING: Final[Floats] = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
UPPER: Final = np.triu_indices(6)
"""The 21 elements of a symmetric 6x6 matrix, row by row."""
CONSTANTS: Final = tuple(f"C{row + 1}{column + 1}" for row, column in zip(*UPPER, strict=True))
"""Their names: C11, C12, ... C66."""


def strain_matrix(voigt: ArrayLike) -> Floats:
    """Symmetric strains (..., 3, 3) of six-vectors (..., 6) with engineering shear."""
    return _matrix(np.asarray(voigt, dtype=float) / _ENGINEERING)


def strain_voigt(matrix: ArrayLike) -> Floats:
    """Six-vectors (..., 6) with engineering shear of the symmetric part of strains (..., 3, 3)."""
    return _vector(np.asarray(matrix, dtype=float)) * _ENGINEERING


def stress_matrix(voigt: ArrayLike) -> Floats:
    """Symmetric stresses (..., 3, 3) of six-vectors (..., 6)."""
    return _matrix(np.asarray(voigt, dtype=float))


def stress_voigt(matrix: ArrayLike) -> Floats:
    """Six-vectors (..., 6) of the symmetric part of stresses (..., 3, 3)."""
    return _vector(np.asarray(matrix, dtype=float))


def kelvin_rotation(rotation: ArrayLike) -> Floats:
    """The orthogonal matrices (..., 6, 6) that turn Kelvin's six-vectors as `rotation` (..., 3, 3) turns vectors."""
    turn = np.asarray(rotation, dtype=float)
    units = stress_matrix(np.eye(6) / KELVIN)
    turned = np.einsum("...ik,akl,...jl->...aij", turn, units, turn)
    return np.swapaxes(stress_voigt(turned) * KELVIN, -1, -2)


def to_kelvin(tensor: ArrayLike) -> Floats:
    """An elastic tensor (..., 6, 6) in Kelvin's form, from Voigt's."""
    return np.asarray(tensor, dtype=float) * np.outer(KELVIN, KELVIN)


def from_kelvin(tensor: ArrayLike) -> Floats:
    """An elastic tensor (..., 6, 6) in Voigt's form, from Kelvin's."""
    return np.asarray(tensor, dtype=float) / np.outer(KELVIN, KELVIN)


def full_tensor(tensor: ArrayLike) -> Floats:
    """The components (3, 3, 3, 3) of an elastic tensor (6, 6)."""
    pair = np.zeros((3, 3), dtype=int)
    pair[ROWS, COLUMNS] = pair[COLUMNS, ROWS] = np.arange(6)
    components: Floats = np.asarray(tensor, dtype=float)[pair[:, :, None, None], pair[None, None, :, :]]
    return components


def rotate_tensor(tensor: ArrayLike, rotation: ArrayLike) -> Floats:
    """An elastic tensor (6, 6) after the crystal has been turned by `rotation` (3, 3): v' = rotation · v.

    The same matrix, with the new axes as its rows, gives the tensor's components along other axes. ValueError if
    `rotation` is not orthogonal.
    """
    turn = np.asarray(rotation, dtype=float)
    if turn.shape != (3, 3) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-6):
        raise ValueError("the rotation of a tensor must be an orthogonal 3x3 matrix; give the new axes as its rows")
    kelvin = kelvin_rotation(turn)
    return from_kelvin(kelvin @ to_kelvin(tensor) @ kelvin.T)


def _matrix(six: Floats) -> Floats:
    matrix = np.zeros((*six.shape[:-1], 3, 3))
    matrix[..., ROWS, COLUMNS] = six
    matrix[..., COLUMNS, ROWS] = six
    return matrix


def _vector(matrix: Floats) -> Floats:
    symmetric = (matrix + np.swapaxes(matrix, -1, -2)) / 2
    six: Floats = symmetric[..., ROWS, COLUMNS]
    return six
