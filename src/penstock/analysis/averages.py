"""Averages over time: where equilibrium begins, means with standard errors of correlated series, and mean cells.

The statistical inefficiency g is how many successive values are worth one independent value: 1 + 2 Σ r(t), summed
while the autocorrelation r of neighbouring pairs is positive (Geyer, Statist. Sci. 7, 473, 1992). What such a sum
lacks since the mean is the series' own, and how uncertain it is itself, follows from the number of lags in it (Wolff,
Comput. Phys. Commun. 156, 143, 2004). Equilibrium begins where what is left has most independent values (Chodera,
J. Chem. Theory Comput. 12, 1799, 2016, doi 10.1021/acs.jctc.5b00784), as far as that can be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import ArrayLike
from scipy import fft, stats
from scipy.constants import physical_constants

from penstock.analysis.trajectory import Floats

LEAST_SAMPLES: Final = 10.0
"""Fewer independent values than this give no mean."""

_U_PER_A3_IN_G_PER_CM3: Final = physical_constants["atomic mass constant"][0] * 1e3 / 1e-24
_STARTS: Final = 40
_AS_MANY: Final = 0.7  # of the most independent values: the most is partly luck, with an error that is too small
_LEFT_LEAST: Final = 20  # values
_DRIFTS: Final = 1e-3
_CONSTANT: Final = 1e-10


class NotEquilibratedError(ValueError):
    """A series is too short, or still drifts."""


@dataclass(frozen=True)
class Mean:
    """Of the values from `start` on, with its standard error; `samples` of them are as good as independent.

    `freedom`: the standard error is known as if from the scatter of so many and one independent values.
    """

    value: float
    standard_error: float
    start: int
    inefficiency: float
    samples: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """What holds the true mean with 95 % probability, by Student's t."""
        reach = self.standard_error * float(stats.t.ppf(0.975, self.freedom))
        return self.value - reach, self.value + reach


@dataclass(frozen=True)
class AverageCell:
    """Lengths of the cell's vectors in Å, angles in degrees, volume in Å³, density in g/cm³ if a mass was given.

    All are means from frame `start` on. `cell_a`, rows are vectors, has these lengths and angles; the volume is a mean
    of its own and not that cell's, since a mean of products is not the product of means.
    """

    lengths_a: tuple[Mean, Mean, Mean]
    angles_deg: tuple[Mean, Mean, Mean]
    volume_a3: Mean
    density_g_cm3: Mean | None
    start: int
    cell_a: tuple[tuple[float, ...], ...]


def compute_inefficiency(values: Floats) -> tuple[float, float]:
    """g of a series (n), 1 at least, and 1 for one that does not change; and the degrees of freedom behind it."""
    if _is_constant(values):
        return 1.0, float(len(values))
    away = values - values.mean()
    padded = fft.next_fast_len(2 * len(away), real=True)
    correlation = fft.irfft(np.abs(fft.rfft(away, padded)) ** 2, padded)[: len(away)]
    correlation = correlation / correlation[0]
    pairs = correlation[: len(away) // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    taken = pairs[: negative[0]] if len(negative) else pairs
    part = 2 * len(taken) / len(away)  # of the series, that the lags of the sum are
    return max(1.0, float(2 * np.minimum.accumulate(taken).sum() - 1) * (1 + 2 * part)), max(1.0, 1 / (2 * part))


def find_start(values: Floats) -> int:
    """The index from which a series (n) is best averaged. At most three quarters are left out."""
    candidates = np.unique(np.linspace(0, 3 * len(values) // 4, _STARTS).astype(int))
    samples = np.array([_samples(values[start:]) for start in candidates])
    return int(candidates[np.argmax(samples >= _AS_MANY * samples.max())])


def average_series(values: ArrayLike, name: str, start: int | None = None) -> Mean:
    """The mean of `values` (n), equally spaced in time, from `start` on (None: where equilibrium begins).

    `name` is for the message. Raises NotEquilibratedError where fewer than `LEAST_SAMPLES` are independent and where
    the rest still drifts; ValueError for what is not a series of finite numbers.
    """
    series = np.asarray(values, float)
    if series.ndim != 1 or not np.isfinite(series).all():
        raise ValueError(f"{name} is a series of finite numbers, which {series.shape} with gaps is not.")
    if len(series) < _LEFT_LEAST:
        raise NotEquilibratedError(f"{name} has {len(series)} values, a mean takes {_LEFT_LEAST} at least: run longer.")
    start = find_start(series) if start is None else start
    rest = series[start:]
    if _is_constant(rest):
        return Mean(float(rest[-1]), 0.0, start, 1.0, float(len(rest)), float(len(rest)))
    inefficiency, freedom = compute_inefficiency(rest)
    samples = len(rest) / inefficiency
    if samples < LEAST_SAMPLES:
        longer = len(series) * 2 * LEAST_SAMPLES / samples
        raise NotEquilibratedError(
            f"{name} is not averaged: its {len(rest)} values from number {start} on are worth {samples:.1f} "
            f"independent ones, a mean takes {LEAST_SAMPLES:.0f}. Run on, to about {longer:.0f} values in all."
        )
    _refuse_drift(rest, name, start)
    error = float(rest.std(ddof=1) * np.sqrt(inefficiency / len(rest)))
    return Mean(float(rest.mean()), error, start, inefficiency, samples, freedom)


def average_cell(
    cells_a: ArrayLike, mass_u: float | None = None, repeats: tuple[int, int, int] = (1, 1, 1)
) -> AverageCell:
    """Of `cells_a` (frames, 3, 3) in Å, rows are vectors, that hold `mass_u` in u.

    `repeats`: how many cells make up the supercell along each vector, the result is of one of them. Equilibrium begins
    for all where it does for the last of lengths, angles and volume. Raises as `average_series`.
    """
    cells = np.asarray(cells_a, float)
    if cells.ndim != 3 or cells.shape[1:] != (3, 3):
        raise ValueError(f"Cells are (frames, 3, 3), not {cells.shape}.")
    if not np.isfinite(cells).all() or (np.abs(np.linalg.det(cells)) == 0).any():
        raise ValueError("Every cell is of finite numbers and has a volume.")
    supercells = np.abs(np.linalg.det(cells))
    cells = cells / np.array(repeats, float)[:, None]
    lengths = np.linalg.norm(cells, axis=2)
    units = cells / lengths[:, :, None]
    cosines = np.stack([(units[:, i] * units[:, j]).sum(axis=1) for i, j in ((1, 2), (0, 2), (0, 1))], axis=1)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    volumes = np.abs(np.linalg.det(cells))
    series = [*lengths.T, *angles.T, volumes]
    names = ("Length a", "Length b", "Length c", "Angle alpha", "Angle beta", "Angle gamma", "The volume")
    start = max(average_series(one, name).start for one, name in zip(series, names, strict=True))
    a, b, c, alpha, beta, gamma, volume = (
        average_series(one, name, start) for one, name in zip(series, names, strict=True)
    )
    density = None if mass_u is None else average_series(mass_u / supercells * _U_PER_A3_IN_G_PER_CM3, "Density", start)
    means = [mean.value for mean in (a, b, c, alpha, beta, gamma)]
    cell = tuple(tuple(map(float, vector)) for vector in cellpar_to_cell(means))
    return AverageCell((a, b, c), (alpha, beta, gamma), volume, density, start, cell)


def _samples(values: Floats) -> float:
    return len(values) / compute_inefficiency(values)[0]


def _is_constant(values: Floats) -> bool:
    return bool(np.ptp(values) <= _CONSTANT * np.abs(values).max())


def _refuse_drift(rest: Floats, name: str, start: int) -> None:
    """A line through the values; its error is that of as many independent ones as there are about the line."""
    times = np.arange(len(rest))
    line = stats.linregress(times, rest)
    freedom = max(1.0, _samples(rest - line.slope * times) - 2)
    error = line.stderr * np.sqrt((len(rest) - 2) / freedom)
    if 2 * stats.t.sf(abs(line.slope) / error, freedom) < _DRIFTS:
        raise NotEquilibratedError(
            f"{name} is not equilibrated: from value {start} on it still drifts, by {line.slope * len(rest):.3g} over "
            f"{len(rest)} values that scatter by {rest.std():.3g}. Run on."
        )
