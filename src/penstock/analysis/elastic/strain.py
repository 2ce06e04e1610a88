"""Which strains determine a crystal's elastic constants, and the strained crystals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from penstock.analysis.crystal_symmetry import CrystalSymmetry, as_geometry, crystal_cell
from penstock.analysis.elastic.symmetry import NO_SYMMETRY, independent_constants, tensor_basis
from penstock.analysis.voigt import KELVIN, Floats, strain_matrix
from penstock.domain.geometry import Geometry
from penstock.domain.properties import VOIGT

AMPLITUDES: Final = (-0.01, -0.005, 0.005, 0.01)
AMPLITUDE_MAX: Final = 0.1
_AMPLITUDE_MIN: Final = 1e-5  # below, stresses differ by less than codes print
_ONE_SIGN: Final = (
    "all strain amplitudes have one sign: the curvature of stress over strain does not cancel, and errors of the order "
    "of the amplitude remain in the elastic constants unless the fit's terms of higher degree take them up; give both "
    "signs"
)
_ENOUGH: Final = 0.2  # of the information that all six patterns give on the constant that is determined worst


class Strain(msgspec.Struct, frozen=True):
    """A homogeneous small strain: `voigt` is xx yy zz yz xz xy with engineering shear, all but one of them 0.

    The crystal's vectors v become (1 + ε) · v with the symmetric matrix ε; no rotation is added. An amplitude of shear
    is the engineering strain, twice the component of ε.
    """

    label: str
    pattern: str
    amplitude: float
    voigt: tuple[float, float, float, float, float, float]


class StrainPlan(NamedTuple):
    """The strains to calculate, what they will determine, and what is to be said of them."""

    strains: tuple[Strain, ...]
    constants: tuple[str, ...]
    notes: tuple[str, ...]


def plan_strains(symmetry: CrystalSymmetry | None, amplitudes: Sequence[float] = AMPLITUDES) -> StrainPlan:
    """The fewest strains of one component each whose stresses determine all elastic constants of a crystal.

    Components and tensor are along the Cartesian axes of the cell that `symmetry` was found for; without a symmetry,
    all six components are strained. Strains of one component keep more of the crystal's symmetry than combined ones,
    which makes each cheaper, and never mix the higher-order terms of two. Of equally many, those are taken that
    determine the worst determined constant best. ValueError for amplitudes that are of no use.
    """
    sizes, notes = _check_amplitudes(amplitudes)
    operations = NO_SYMMETRY if symmetry is None else symmetry.operations
    strains = tuple(_strain(pattern, size) for pattern in choose_patterns(operations) for size in sizes)
    return StrainPlan(strains, independent_constants(operations), notes)


def choose_patterns(operations: Floats) -> tuple[str, ...]:
    """The components to strain for a crystal with the point group `operations` (n, 3, 3), as in `plan_strains`."""
    basis = tensor_basis(operations)
    # Kelvin's form of a unit engineering shear has the length √½: the information of patterns with equal amplitudes
    stresses = basis / KELVIN[None, None, :]  # (d, 6, pattern)
    information = np.einsum("aip,bip->pab", stresses, stresses)
    enough = _ENOUGH * np.linalg.eigvalsh(information.sum(axis=0))[0]
    for count in range(1, 6):
        worst = {
            patterns: float(np.linalg.eigvalsh(information[list(patterns)].sum(axis=0))[0])
            for patterns in itertools.combinations(range(6), count)
        }
        best = max(worst.values())
        if best >= enough:
            first = next(patterns for patterns, value in worst.items() if value >= (1 - 1e-6) * best)
            return tuple(VOIGT[pattern] for pattern in first)
    return VOIGT


def deform(geometry: Geometry, strain: Strain) -> Geometry:
    """The crystal `geometry` (Å) under `strain`, its atoms at the fractional coordinates they had.

    ValueError if it is not periodic in all three directions.
    """
    change = np.eye(3) + strain_matrix(strain.voigt)
    positions = np.asarray(geometry.positions, dtype=float)
    return as_geometry(geometry.symbols, positions @ change, crystal_cell(geometry) @ change)


def _strain(pattern: str, amplitude: float) -> Strain:
    a, b, c, d, e, f = (amplitude if name == pattern else 0.0 for name in VOIGT)
    label = f"{amplitude:+.4f}" if round(amplitude, 4) == amplitude else f"{amplitude:+}"
    return Strain(pattern + label, pattern, amplitude, (a, b, c, d, e, f))


def _check_amplitudes(amplitudes: Sequence[float]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    sizes = tuple(sorted(map(float, amplitudes)))
    if not sizes:
        raise ValueError("no strain amplitude is given; give some of both signs, as -0.01, -0.005, 0.005, 0.01")
    for size in sizes:
        _check_amplitude(size)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"strain amplitudes are given twice: {', '.join(map(str, sizes))}; give each once")
    if sizes[0] > 0 or sizes[-1] < 0:
        if len(sizes) < 2:
            raise ValueError(
                f"one strain amplitude, {sizes[0]}, determines nothing by itself: give at least two, best of both signs"
            )
        return sizes, (_ONE_SIGN,)
    return sizes, ()


def _check_amplitude(size: float) -> None:
    if not math.isfinite(size):
        raise ValueError(f"strain amplitude {size} is not a number")
    if size == 0:
        raise ValueError("a strain amplitude is 0, which strains nothing; leave it out")
    if abs(size) > AMPLITUDE_MAX:
        raise ValueError(
            f"strain amplitude {size} is beyond ±{AMPLITUDE_MAX}, far from linear elasticity; 0.005 to 0.01 is usual "
            "(amplitudes are fractions, not per cent)"
        )
    if abs(size) < _AMPLITUDE_MIN:
        raise ValueError(f"strain amplitude {size} is lost in the rounding of stresses; 0.005 to 0.01 is usual")
