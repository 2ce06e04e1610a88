"""Diffusion coefficients of an infinite system from those in periodic boxes.

A box holds back what would flow around a particle: in a cubic box of length L of a liquid with viscosity η,
D(∞) = D(L) + ξ k T / (6 π η L) with ξ = 2.837297 (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004, doi
10.1021/jp0477147). It assumes hydrodynamics: a liquid, all three directions, a box much larger than the particles. Hops
in a solid have no such correction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import Boltzmann

from penstock.analysis.line import fit_line

_CUBIC: Final = 2.837297


@dataclass(frozen=True)
class InfiniteDiffusion:
    """D in an unbounded liquid, its standard error, and the viscosity that the boxes' slope amounts to."""

    d_m2_s: float
    standard_error_m2_s: float
    viscosity_pa_s: float | None
    reduced_chi2: float | None


def correct_finite_size(d_m2_s: float, temperature_k: float, viscosity_pa_s: float, length_a: float) -> float:
    """D in m²/s in an unbounded liquid from that in a cubic box of `length_a` Å. ValueError unless all are positive."""
    if not all(np.isfinite(given) and given > 0 for given in (d_m2_s, temperature_k, viscosity_pa_s, length_a)):
        raise ValueError("D, temperature, viscosity and length of the box are positive numbers.")
    return d_m2_s + float(_CUBIC * Boltzmann * temperature_k / (6 * np.pi * viscosity_pa_s * length_a * 1e-10))


def extrapolate_finite_size(
    lengths_a: ArrayLike, d_m2_s: ArrayLike, standard_errors_m2_s: ArrayLike, temperature_k: float
) -> InfiniteDiffusion:
    """D over 1/L, fitted by a line: needs no viscosity, but gives one where D grows with the box.

    `lengths_a` (n) in Å of cubic boxes, D and its standard errors (n) in m²/s, all at one temperature. ValueError for
    fewer than two different lengths, and what is not positive.
    """
    lengths, values, errors = (np.asarray(these, float) for these in (lengths_a, d_m2_s, standard_errors_m2_s))
    if lengths.ndim != 1 or not lengths.shape == values.shape == errors.shape:
        raise ValueError(f"Lengths, D and errors are as many: not {lengths.shape}, {values.shape}, {errors.shape}.")
    given = np.concatenate([lengths, values, errors, [temperature_k]])
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError("Lengths, D, errors and temperature are positive numbers.")
    if len(np.unique(lengths)) < 2:
        raise ValueError("An extrapolation takes boxes of two different lengths at least.")
    line = fit_line(1 / (lengths * 1e-10), values, errors)
    value, error = line.at(0.0)
    holds_back = _CUBIC * Boltzmann * temperature_k / (6 * np.pi)
    viscosity = holds_back / -line.slope if line.slope < 0 else None
    return InfiniteDiffusion(value, error, viscosity, line.reduced_chi2)
