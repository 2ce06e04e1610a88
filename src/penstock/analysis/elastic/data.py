"""What a fit of elastic constants rests on: pairs of strain and stress, checked and brought to one form."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from penstock.analysis.elastic.strain import AMPLITUDE_MAX
from penstock.analysis.voigt import KELVIN, Floats, stress_voigt

Convention = Literal["tension", "compression"]
"""Which stress is positive: the one of a crystal that is pulled (ASE, continuum mechanics), or the one of a crystal
that is compressed and wants to expand (pw.x, pressures, Penstock's `stress_gpa`).
"""

ASYMMETRY_MAX: Final = 0.25
_SAME_DIRECTION: Final = 1e-4


class Pairs(NamedTuple):
    """Strains (n, 6) and Cauchy stresses (n, 6), both in Kelvin's form, stress positive under tension, in GPa.

    The reference's stress, where it is known, is the last pair, with strain 0. `directions` (k, 6) are the unit
    strains that occur, `direction` (n,) says which is whose (-1: the reference), `amplitude` (n,) how much of it.
    `asymmetry` is the largest antisymmetric part of a stress over the root mean square of all.
    """

    strains: Floats
    stresses: Floats
    directions: Floats
    direction: tuple[int, ...]
    amplitude: Floats
    asymmetry: float


def read_pairs(
    strains: ArrayLike, stresses_gpa: ArrayLike, convention: Convention, reference_stress_gpa: ArrayLike | None
) -> Pairs:
    """The pairs of strains (n, 6; Voigt) and stresses (n, 3, 3), with the stress (3, 3) of the crystal without strain.

    ValueError for what cannot be meant: wrong shapes, NaN, no strain at all, strains far from linear elasticity,
    stresses that are far from symmetric.
    """
    voigt, stresses = _check_shapes(strains, stresses_gpa)
    if reference_stress_gpa is not None:
        reference = np.asarray(reference_stress_gpa, dtype=float)
        if reference.shape != (3, 3) or not np.isfinite(reference).all():
            raise ValueError("the stress of the crystal without strain must be a 3x3 matrix of finite numbers, in GPa")
        voigt = np.vstack([voigt, np.zeros(6)])
        stresses = np.concatenate([stresses, reference[None]])
    asymmetry = _check_symmetric(stresses)
    if convention not in ("tension", "compression"):
        raise ValueError(f'convention must be "tension" or "compression", not {convention!r}')
    sign = 1.0 if convention == "tension" else -1.0
    kelvin = voigt / KELVIN
    directions, direction, amplitude = _directions(kelvin)
    return Pairs(kelvin, sign * stress_voigt(stresses) * KELVIN, directions, direction, amplitude, asymmetry)


def _check_shapes(strains: ArrayLike, stresses_gpa: ArrayLike) -> tuple[Floats, Floats]:
    voigt, stresses = np.asarray(strains, dtype=float), np.asarray(stresses_gpa, dtype=float)
    if voigt.ndim != 2 or voigt.shape[1] != 6 or stresses.shape != (len(voigt), 3, 3):
        raise ValueError(
            f"elastic constants need n strains of six components and as many 3x3 stresses; these have the shapes "
            f"{voigt.shape} and {stresses.shape}"
        )
    for index, (strain, stress) in enumerate(zip(voigt, stresses, strict=True)):
        if not (np.isfinite(strain).all() and np.isfinite(stress).all()):
            raise ValueError(f"strain {index} or its stress is not finite; leave out what failed")
        if np.abs(strain).max() > AMPLITUDE_MAX:
            raise ValueError(f"strain {index} is beyond ±{AMPLITUDE_MAX}, far from linear elasticity")
    if not np.abs(voigt).any():
        raise ValueError("there is no strain among the data: elastic constants cannot be determined")
    return voigt, stresses


def _check_symmetric(stresses: Floats) -> float:
    size = np.sqrt(np.mean(np.sum(stresses**2, axis=(1, 2))))
    if size == 0:
        raise ValueError("all stresses are 0; has the calculator calculated them?")
    turned = np.swapaxes(stresses, 1, 2)
    odd = np.linalg.norm(stresses - turned, axis=(1, 2)) / 2 / size
    worst = int(odd.argmax())
    if odd[worst] > ASYMMETRY_MAX:
        raise ValueError(
            f"stress {worst} is far from symmetric: its antisymmetric part is {odd[worst]:.0%} of the stresses' size; "
            "check the order of its nine numbers"
        )
    return float(odd[worst])


def _directions(kelvin: Floats) -> tuple[Floats, tuple[int, ...], Floats]:
    """Unit strains, one for strains of both signs; the first of each kind points the way of its largest component."""
    directions: list[Floats] = []
    indices, amplitudes = [], []
    for strain in kelvin:
        size = np.linalg.norm(strain)
        if size == 0:
            indices.append(-1)
            amplitudes.append(0.0)
            continue
        unit = strain / size
        index = next((i for i, known in enumerate(directions) if abs(unit @ known) > 1 - _SAME_DIRECTION**2), None)
        if index is None:
            index = len(directions)
            directions.append(unit * np.sign(unit[np.abs(unit).argmax()]))
        indices.append(index)
        amplitudes.append(float(strain @ directions[index]))
    return np.array(directions), tuple(indices), np.array(amplitudes)
