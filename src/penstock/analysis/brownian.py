"""How the mean-squared displacements of a random walk scatter together: what a fit to them has to know.

The walk is Gaussian, with stationary steps and the mean-squared displacement `rattle` + lag, in units of the slope: a
free walk, and about it a motion that soon forgets itself (a cage, an error of the position). All is for one particle
along one axis; n particles and d axes divide a covariance by n·d. Lags and times count frames.

The covariance of overlapping displacements follows from the mean-squared displacement alone, and that of their squares
is twice its square (Wick). Michalet and Berglund, Phys. Rev. E 85, 061916 (2012), and Bullerjahn, von Bülow and Hummer,
J. Chem. Phys. 153, 024116 (2020), fit on the same ground.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.analysis.trajectory import Floats


def compute_covariance(lags: NDArray[np.intp], frames: int, rattle: float) -> Floats:
    """(n, n): between the means over all origins in `frames`, for (n) `lags` in rising order."""
    counts = frames - lags
    covariance = np.empty((len(lags), len(lags)))
    for row, (apart, squares) in enumerate(_covariances_of_squares(lags, rattle)):
        shorter = counts[: row + 1]
        overlaps = np.minimum(counts[row], shorter[:, None] + apart) - np.maximum(0, apart)
        means = (np.maximum(0, overlaps) * squares).sum(axis=1) / (counts[row] * shorter)
        covariance[row, : row + 1] = covariance[: row + 1, row] = means
    return covariance


def compute_memory(lags: NDArray[np.intp], weights: Floats, rattle: float) -> Floats:
    """How a sum of squared displacements, `weights` (n) for `lags` (n), goes with itself 0, 1, … frames later.

    (longest lag + 1): its autocovariance over origins; beyond, it is none.
    """
    found = np.zeros(lags[-1] + 1)
    for row, (_, squares) in enumerate(_covariances_of_squares(lags, rattle)):
        lag = int(lags[row])
        shorter = weights[row] * (weights[:row] @ squares[:row])
        found[: lag + 1] += weights[row] ** 2 * squares[row, lag:] + shorter[lag:] + shorter[lag::-1]
    return found


def variance_of_mean(memory: Floats, count: int) -> float:
    """Of the mean of `count` successive values whose autocovariance is `memory`."""
    apart = np.arange(1, min(count, len(memory)))
    return float((memory[0] + 2.0 * ((1 - apart / count) * memory[apart]).sum()) / count)


def _covariances_of_squares(lags: NDArray[np.intp], rattle: float) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """For each lag, of its displacement squared and those over it and the shorter ones, that begin `apart` earlier.

    `apart` (2 lag + 1) from -lag to lag, the covariances (lags so far, 2 lag + 1).
    """
    longest = int(lags[-1])
    msd = rattle + np.abs(np.arange(-2 * longest, 2 * longest + 1.0))
    msd[2 * longest] = 0.0
    for row, lag in enumerate(lags):
        apart = np.arange(-lag, lag + 1)
        here = apart + 2 * longest
        behind = here - lags[: row + 1, None]
        together = msd[here + lag] - msd[here] + msd[behind] - msd[behind + lag]
        yield apart, together * together / 2  # half a sum of four, squared and doubled
