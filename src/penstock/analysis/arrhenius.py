"""Arrhenius: D(T) = D0 exp(-Ea / k T), fitted as ln D over 1/T with the errors that D has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.constants import physical_constants

from penstock.analysis.line import Line, fit_line
from penstock.analysis.trajectory import Floats

BOLTZMANN_EV_PER_K: Final = physical_constants["Boltzmann constant in eV/K"][0]

_CURVED: Final = 0.05


@dataclass(frozen=True, eq=False)
class Arrhenius:
    """`line` is ln D over 1/T: what is below follows from it. Intervals hold 95 %.

    `d0_factor`: one standard error of ln D0 as a factor, as D0 is known to a factor. `curvature_chance`: of a curvature
    as large by chance (Student's t on a further parabola), None for fewer than four temperatures.
    """

    line: Line
    activation_energy_ev: float
    activation_energy_error_ev: float
    activation_energy_interval_ev: tuple[float, float]
    d0_m2_s: float
    d0_factor: float
    d0_interval_m2_s: tuple[float, float]
    reduced_chi2: float | None
    curvature_chance: float | None
    notes: tuple[str, ...]

    def predict(self, temperature_k: float) -> tuple[float, tuple[float, float]]:
        """D in m²/s on the line at `temperature_k`, and its interval; ValueError unless that is positive."""
        if not (np.isfinite(temperature_k) and temperature_k > 0):
            raise ValueError(f"A temperature is a positive number of K, not {temperature_k}.")
        value, error = self.line.at(1 / temperature_k)
        return _with_interval(value, error, self.line.quantile)


def fit_arrhenius(temperatures_k: ArrayLike, d_m2_s: ArrayLike, standard_errors_m2_s: ArrayLike) -> Arrhenius:
    """Through (n) temperatures in K, D and its standard errors in m²/s, each of a run of its own.

    Errors are propagated as those of ln D. Where the points scatter more than their errors allow (chi-squared, 5 %),
    the result's are made larger and a note says so. Raises ValueError for fewer than two different temperatures, and
    for what is not positive and finite.
    """
    temperatures, values, errors = (
        np.asarray(given, float) for given in (temperatures_k, d_m2_s, standard_errors_m2_s)
    )
    _check(temperatures, values, errors)
    x, y, sigma = 1 / temperatures, np.log(values), errors / values
    line = fit_line(x, y, sigma)
    energy, energy_error = -line.slope * BOLTZMANN_EV_PER_K, line.slope_error * BOLTZMANN_EV_PER_K
    at_infinity, error = line.at(0.0)
    d0, d0_interval = _with_interval(at_infinity, error, line.quantile)
    curvature = _curvature(x, y, sigma) if len(np.unique(temperatures)) >= 4 else None
    reach = line.quantile * energy_error
    return Arrhenius(
        line=line,
        activation_energy_ev=energy,
        activation_energy_error_ev=energy_error,
        activation_energy_interval_ev=(energy - reach, energy + reach),
        d0_m2_s=d0,
        d0_factor=float(np.exp(error)),
        d0_interval_m2_s=d0_interval,
        reduced_chi2=line.reduced_chi2,
        curvature_chance=None if curvature is None else curvature[1],
        notes=_notes(line, energy, energy_error, curvature),
    )


def _check(temperatures: Floats, values: Floats, errors: Floats) -> None:
    if temperatures.ndim != 1 or not temperatures.shape == values.shape == errors.shape:
        shapes = f"{temperatures.shape}, {values.shape} and {errors.shape}"
        raise ValueError(f"Temperatures, D and errors are as many, not {shapes}.")
    for name, given in (("temperature", temperatures), ("D", values), ("error of D", errors)):
        if (wrong := ~(np.isfinite(given) & (given > 0))).any():
            raise ValueError(f"Every {name} is a positive number, but number {np.argmax(wrong)} is {given[wrong][0]}.")
    if len(np.unique(temperatures)) < 2:
        raise ValueError(
            "An activation energy takes diffusion coefficients at two different temperatures at least, there "
            f"{'is one' if len(temperatures) else 'is none'}: run at further temperatures."
        )


def _with_interval(logarithm: float, error: float, quantile: float) -> tuple[float, tuple[float, float]]:
    low, value, high = np.exp([logarithm - quantile * error, logarithm, logarithm + quantile * error])
    return float(value), (float(low), float(high))


def _curvature(x: Floats, y: Floats, sigma: Floats) -> tuple[float, float]:
    """Of a parabola through the points: its second derivative, and how probable one as large is by chance."""
    scaled = (x - x.mean()) / np.ptp(x)
    design = np.stack([np.ones_like(x), scaled, scaled**2], axis=1) / sigma[:, None]
    covariance = np.linalg.inv(design.T @ design)
    found = covariance @ design.T @ (y / sigma)
    left = len(x) - 3
    chi2 = float(((y / sigma - design @ found) ** 2).sum())
    wider = max(1.0, chi2 / left)
    height = float(found[2] / np.sqrt(covariance[2, 2] * wider))
    chance = 2 * (stats.t.sf(abs(height), left) if wider > 1 else stats.norm.sf(abs(height)))
    return float(found[2]), float(chance)


def _notes(line: Line, energy: float, energy_error: float, curvature: tuple[float, float] | None) -> tuple[str, ...]:
    notes = []
    if line.reduced_chi2 is None:
        notes.append("Two temperatures: the errors are those of D alone, whether D follows Arrhenius was not seen.")
    if line.overdispersed and line.reduced_chi2 is not None:
        notes.append(
            f"D scatters about the line with {line.reduced_chi2:.1f} times the variance that its errors explain: "
            f"they were made larger by {np.sqrt(line.reduced_chi2):.1f}. They were too small, or D bends."
        )
    if curvature is not None and curvature[1] < _CURVED:
        steeper = "low" if curvature[0] < 0 else "high"
        notes.append(
            f"ln D over 1/T is curved (p = {curvature[1]:.2g}), steeper at {steeper} temperatures: a single activation "
            "energy may not do for all of them."
        )
    if energy - 2 * energy_error < 0:
        notes.append("The activation energy is not above zero within two standard errors.")
    return tuple(notes)
