"""Young's modulus by direction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from penstock.analysis.elastic.moduli import stable_tensor
from penstock.analysis.voigt import COLUMNS, ROWS, Floats

_GRID = (91, 180)  # polar and azimuthal angles: 2 degrees


class Extremes(NamedTuple):
    """The smallest and the largest of Young's moduli (GPa) and the directions (3,) they belong to."""

    min_gpa: float
    min_direction: Floats
    max_gpa: float
    max_direction: Floats


def young_modulus(tensor_gpa: ArrayLike, directions: ArrayLike) -> Floats:
    """Young's moduli (...) in GPa along `directions` (..., 3) of any length: 1/E = n_i n_j n_k n_l S_ijkl.

    J. F. Nye, Physical Properties of Crystals (1957). ValueError for a tensor (6, 6) that is incomplete or of no
    stable crystal.
    """
    compliance = np.linalg.inv(stable_tensor(tensor_gpa))
    along = np.asarray(directions, dtype=float)
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    # the stress of a unit pull along n is n_i n_j, and its work is done on the strain along n
    pull = along[..., ROWS] * along[..., COLUMNS]
    modulus: Floats = 1 / np.einsum("...a,ab,...b->...", pull, compliance, pull)
    return modulus


def young_surface(tensor_gpa: ArrayLike, polar: ArrayLike, azimuth: ArrayLike) -> Floats:
    """Young's moduli (n, m) in GPa for polar angles (n,) from z and azimuthal angles (m,) from x to y, in radians."""
    return young_modulus(tensor_gpa, directions_of(np.asarray(polar)[:, None], np.asarray(azimuth)[None, :]))


def directions_of(polar: ArrayLike, azimuth: ArrayLike) -> Floats:
    """Unit vectors (..., 3) with these angles, in radians."""
    theta, phi = np.broadcast_arrays(np.asarray(polar, dtype=float), np.asarray(azimuth, dtype=float))
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)


def young_extremes(tensor_gpa: ArrayLike) -> Extremes:
    """Where Young's modulus is smallest and largest: the best points of a grid of 2 degrees, then refined.

    ValueError for a tensor (6, 6) that is incomplete or of no stable crystal.
    """
    polar, azimuth = np.linspace(0, np.pi / 2, _GRID[0] // 2 + 1), np.linspace(0, 2 * np.pi, _GRID[1], endpoint=False)
    surface = young_surface(tensor_gpa, polar, azimuth)
    found: list[tuple[float, Floats]] = []
    for sign in (1.0, -1.0):
        row, column = np.unravel_index((sign * surface).argmin(), surface.shape)
        found.append(_refine(stable_tensor(tensor_gpa), sign, float(polar[row]), float(azimuth[column])))
    return Extremes(*found[0], *found[1])


def _refine(tensor: Floats, sign: float, polar: float, azimuth: float) -> tuple[float, Floats]:
    start = directions_of(polar, azimuth)
    scale = float(young_modulus(tensor, start))

    def modulus(shift: Floats) -> float:
        return sign * float(young_modulus(tensor, start + shift)) / scale

    best = minimize(modulus, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    direction = (start + best) / np.linalg.norm(start + best)
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    return float(young_modulus(tensor, direction)), direction
