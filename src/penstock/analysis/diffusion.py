"""Diffusion coefficients from mean-squared displacements, with an uncertainty that covers what it says.

Einstein: D = slope / (2 d). Successive displacements overlap, so the points of the curve are correlated, and an
ordinary least-squares fit gives an error that is far too small. Here the slope is fitted by generalised least squares,
with the covariance of a random walk (`brownian`; on the same ground as McCluskey, Coles and Morgan, J. Chem. Theory
Comput. 21, 79, 2025, doi 10.1021/acs.jctc.4c01249). That only weighs the lags. The error is seen, not modelled: the
same weights are given to successive stretches of the trajectory, and what scatters is their result. So it holds for
atoms that move together, and hop rarely, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from penstock.analysis.brownian import compute_covariance, compute_memory, variance_of_mean
from penstock.analysis.msd import ALL, MeanSquaredDisplacement, compute_projector, trace_weights
from penstock.analysis.regime import SPAN, Exponents, NotDiffusiveError, refusal, refuse_if_short
from penstock.analysis.trajectory import Floats

A2_PER_FS_IN_M2_PER_S: Final = 1e-5

_LAGS_FITTED: Final = 16
_TOO_VAGUE: Final = 0.5
_NEAR_A: Final = 1.0
_BEND: Final = 0.25  # how far from the line, as a part of it, the displacement may be at long lags, and
_BEND_CHANCE: Final = 5e-4  # how improbable that must be for a random walk
_CHANCE: Final = 5e-3  # how improbable a difference between slopes must be; looked for often, so rarely believed
_TIMES_LATER: Final = (2, 4, 8, 16)
_LATER: Final = 1.3  # by what a window's beginning is put off at a time
_VOIGT: Final = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A self-diffusion coefficient in m²/s, and what it rests on.

    `interval_m2_s` holds the true value with 95 % probability; it is not symmetric, as D is positive. `tensor_m2_s` and
    its standard errors are (3, 3) and always of all three directions. `window_fs`: first and last lag of the fit.
    `exponent` of time where the window begins, with its standard error. `intercept_a2`: of the line at lag 0.
    `dispersion`: the variance of D over that of independent random walkers; far above 1, atoms move together or seldom.
    """

    species: str
    dimension: int
    d_m2_s: float
    standard_error_m2_s: float
    interval_m2_s: tuple[float, float]
    tensor_m2_s: Floats
    tensor_standard_error_m2_s: Floats
    window_fs: tuple[float, float]
    exponent: float
    exponent_standard_error: float
    intercept_a2: float
    blocks: int
    dispersion: float
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Fit:
    """A line through mean-squared displacements at `lags`: its slope is `weights` · displacements."""

    lags: NDArray[np.intp]
    weights: Floats
    slope: float
    intercept: float
    intercept_weights: Floats
    variance: float  # of the slope, for independent random walkers

    @property
    def rattle(self) -> float:
        return max(0.0, self.intercept / self.slope) if self.slope > 0 else 0.0


def fit_diffusion(msd: MeanSquaredDisplacement, directions: ArrayLike = ALL) -> Diffusion:
    """The diffusion coefficient in the space that `directions` (1 to 3 vectors of any length) span; its dimension is d.

    Raises NotDiffusiveError, a ValueError, where the motion is ballistic, caged or subdiffusive, or the trajectory too
    short to tell; ValueError for directions that do not span a space.
    """
    refuse_if_short(msd.frames, msd.interval_fs)
    projector, dimension = compute_projector(directions)
    across = trace_weights(projector)
    means = msd.tensor_a2[msd.lags] @ across
    blocks = msd.block_tensors_a2 @ across
    if not (means > 0).all():
        raise NotDiffusiveError(f"Nothing moves: {msd.species or 'the species'} stays where it is.", "caged", None)
    samples = msd.particles * _effective_dimension(msd.tensor_a2[msd.lags[-1]], projector)
    exponents = Exponents(msd.lags, means, blocks, msd.frames, samples)
    window = exponents.window()
    if window is None:
        raise refusal(exponents, msd.frames, msd.interval_fs, msd.species)
    window = _settled(msd, across, window, samples)
    chosen = _thinned(*window)
    fit = _fit(msd.lags[chosen], means[chosen], msd.frames, samples)
    slopes = np.einsum("l,lbv->bv", fit.weights, msd.block_tensors_a2[chosen])
    count = msd.frames - int(msd.lags[window[1]])
    stretches, inflation = _stretches(slopes, fit, count)
    errors = np.sqrt(inflation / len(stretches)) * stretches.std(axis=0, ddof=1) / 2
    error = float(np.sqrt(inflation / len(stretches)) * (stretches @ across).std(ddof=1) / (2 * dimension))
    value = fit.slope / (2 * dimension)
    if not value > 0 or error > _TOO_VAGUE * value:
        raise _vague(value, error, msd)
    unit = A2_PER_FS_IN_M2_PER_S / msd.interval_fs
    dispersion = float((error * 2 * dimension) ** 2 / fit.variance)
    _refuse_a_bend(msd, across, fit, samples / max(1.0, dispersion))
    tensor = fit.weights @ msd.tensor_a2[msd.lags[chosen]] / 2
    return Diffusion(
        species=msd.species,
        dimension=dimension,
        d_m2_s=value * unit,
        standard_error_m2_s=error * unit,
        interval_m2_s=_interval(value * unit, error / value, len(stretches)),
        tensor_m2_s=tensor[np.array(_VOIGT)] * unit,
        tensor_standard_error_m2_s=errors[np.array(_VOIGT)] * unit,
        window_fs=(float(fit.lags[0] * msd.interval_fs), float(fit.lags[-1] * msd.interval_fs)),
        exponent=float(exponents.values[window[0]]),
        exponent_standard_error=float(exponents.errors[window[0]]),
        intercept_a2=fit.intercept,
        blocks=len(stretches),
        dispersion=dispersion,
        notes=_notes(stretches @ across, dispersion, float(msd.tensor_a2[msd.frames // 2] @ across)),
    )


def _settled(msd: MeanSquaredDisplacement, across: Floats, window: tuple[int, int], samples: float) -> tuple[int, int]:
    """`window` (indices into the lags) from where on its slope does not depend on where it begins.

    Atoms of a liquid turn back from their neighbours: between free flight and that, the exponent of time passes through
    1 while the slope still falls. So the window begins where fits that begin 2 to 16 times later have the same slope,
    as far as the stretches of the trajectory can tell; if that is not at once, at twice the first of these, as in
    `Exponents.window`. Where there is none, it begins where half of a window is hardly left.
    """
    blocks = msd.block_tensors_a2 @ across
    lags, last = msd.lags, window[1]

    @cache
    def slopes(first: int) -> Floats:
        chosen = _thinned(first, last)
        fit = _fit(lags[chosen], msd.tensor_a2[lags[chosen]] @ across, msd.frames, samples)
        return fit.weights @ blocks[chosen]

    first = window[0]
    while True:
        later = [int(np.searchsorted(lags, times * lags[first])) for times in _TIMES_LATER]
        later = [number for number in later if _has_room(lags, number, last)]
        if not later:
            return first, last
        if not any(_differ(slopes(first) - slopes(number)) for number in later):
            return (first if first == window[0] else later[0]), last
        first = max(first + 1, int(np.searchsorted(lags, _LATER * lags[first])))


def _has_room(lags: NDArray[np.intp], first: int, last: int) -> bool:
    """Whether lags from `first` to `last` span enough for a line."""
    return first < last and bool(lags[first] * SPAN <= lags[last])


def _differ(differences: Floats) -> bool:
    """Whether the mean of what stretches differ by is not 0."""
    return bool(stats.ttest_1samp(differences, 0.0).pvalue < _CHANCE)


def _effective_dimension(tensor: Floats, projector: Floats) -> float:
    """How many equal directions would scatter as much as those of the projected `tensor` (6)."""
    inside = projector @ tensor[np.array(_VOIGT)] @ projector
    return float(np.trace(inside) ** 2 / np.trace(inside @ inside))


def _thinned(first: int, last: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(first, last, min(_LAGS_FITTED, last - first + 1)).round().astype(np.intp))


def _fit(lags: NDArray[np.intp], means: Floats, frames: int, samples: float) -> _Fit:
    """Generalised least squares: the covariance depends on intercept over slope, so a few rounds are made."""
    design = np.stack([np.ones(len(lags)), lags], axis=1).astype(float)
    rattle = 0.0
    for _ in range(3):
        covariance = compute_covariance(lags, frames, rattle)
        weighted = np.linalg.solve(covariance, design)
        scatter = np.linalg.inv(design.T @ weighted)
        intercept, slope = scatter @ weighted.T @ means
        variance = float(scatter[1, 1]) * slope**2 / samples
        weights = scatter @ weighted.T
        fit = _Fit(lags, weights[1], float(slope), float(intercept), weights[0], variance)
        rattle = min(fit.rattle, 10.0 * float(lags[-1]))
    return fit


def _stretches(slopes: Floats, fit: _Fit, count: int) -> tuple[Floats, float]:
    """`slopes` (blocks, 6) in stretches long enough to be independent, and what their variance is to be multiplied by.

    Of a random walk it is known how much neighbouring stretches still have in common; `count` is the number of origins.
    """
    memory = compute_memory(fit.lags, fit.weights, fit.rattle)
    whole = variance_of_mean(memory, count)
    for joined in (1, 2, 4):
        stretches = slopes.reshape(-1, joined, 6).mean(axis=1)
        many = len(stretches)
        alone = variance_of_mean(memory, max(1, count // many))
        inflation = whole * (many - 1) / (alone - whole)
        if inflation < 1.25:
            break
    return stretches, max(1.0, float(inflation))


def _refuse_a_bend(msd: MeanSquaredDisplacement, across: Floats, fit: _Fit, samples: float) -> None:
    """The line must still hold at a third and at half of the trajectory: a wide cage looks free at first.

    So far as is known there: a displacement squared over its expectation is taken for a chi-squared number.
    """
    longer = np.array([msd.frames // 3, msd.frames // 2])
    covariance = compute_covariance(np.append(fit.lags, longer), msd.frames, fit.rattle)
    for place, lag in enumerate(longer):
        expected = fit.intercept + fit.slope * lag
        from_line = np.append(-fit.intercept_weights - fit.weights * lag, np.arange(2) == place)
        freedom = 2 * expected**2 * samples / (from_line @ covariance @ from_line * fit.slope**2)
        ratio = float(msd.tensor_a2[lag] @ across / expected)
        chance = min(stats.chi2.cdf(ratio * freedom, freedom), stats.chi2.sf(ratio * freedom, freedom))
        if abs(ratio - 1) > _BEND and chance < _BEND_CHANCE:
            raise _bent(msd, int(lag), ratio)


def _bent(msd: MeanSquaredDisplacement, lag: int, ratio: float) -> NotDiffusiveError:
    needed_fs = 10 * (msd.frames - 1) * msd.interval_fs
    return NotDiffusiveError(
        f"The mean-squared displacement of {msd.species or 'the species'} is straight at first, but at "
        f"{lag * msd.interval_fs / 1000:.3g} ps it is {ratio:.2f} of what the line gives: "
        f"{'the atoms are caged' if ratio < 1 else 'the motion becomes faster'} on a longer scale. It would take "
        f"about {needed_fs / 1000:.3g} ps to see what comes after.",
        "caged" if ratio < 1 else "ballistic",
        needed_fs,
    )


def _interval(value: float, relative_error: float, stretches: int) -> tuple[float, float]:
    """95 %, by Student's t on the logarithm: an error grows with the D it belongs to."""
    factor = float(np.exp(stats.t.ppf(0.975, stretches - 1) * relative_error))
    return value / factor, value * factor


def _notes(slopes: Floats, dispersion: float, reached_a2: float) -> tuple[str, ...]:
    notes = []
    half = len(slopes) // 2
    if stats.ttest_ind(slopes[:half], slopes[half:], equal_var=False).pvalue < 0.001:
        notes.append(
            "The second half of the trajectory diffuses "
            f"{slopes[half:].mean() / slopes[:half].mean():.2f} times as fast as the first: it may not be equilibrated."
        )
    if dispersion > stats.f.ppf(0.999, len(slopes) - 1, 1000):
        notes.append(
            f"D scatters with {dispersion:.1f} times the variance of independent random walkers: atoms move together "
            "or hop rarely. The error given takes that into account."
        )
    if reached_a2 < _NEAR_A**2:
        notes.append(
            f"In half of the trajectory atoms get {np.sqrt(reached_a2):.2g} Å away, less than a site is from the next: "
            "this may be a slow motion within a cage. A longer trajectory would tell."
        )
    return tuple(notes)


def _vague(value: float, error: float, msd: MeanSquaredDisplacement) -> NotDiffusiveError:
    length_fs = (msd.frames - 1) * msd.interval_fs
    needed_fs = length_fs * max(4.0, (error / (0.2 * value)) ** 2) if value > 0 else 10.0 * length_fs
    found = f"known to ±{error / value:.0%} only" if value > 0 else "not above zero"
    return NotDiffusiveError(
        f"The trajectory is too short: the diffusion coefficient of {msd.species or 'the species'} is {found}. It "
        f"would have to be about {needed_fs / 1000:.3g} ps (it is {length_fs / 1000:.3g} ps).",
        "too short",
        needed_fs,
    )
