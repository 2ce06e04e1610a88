"""Where a mean-squared displacement grows like the time, and what it is where it does not."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from penstock.analysis.brownian import compute_covariance
from penstock.analysis.trajectory import Floats

Regime = Literal["ballistic", "caged", "subdiffusive", "too short"]

TOLERANCE: Final = 0.1
"""How far from 1 the exponent of time may be in a regime that counts as diffusive, beyond what chance explains."""

_SURE: Final = 0.25  # an exponent with a larger error says nothing of the regime
_ERRORS: Final = 3.0  # of so many standard errors chance is believed capable
SPAN: Final = 3.0
"""An exponent is taken between a lag and about so many times it, and a line fitted to as many at least."""
_ENOUGH: Final = 0.3  # relative error beyond which a mean-squared displacement is not fitted
_FRAMES_LEAST: Final = 50


class NotDiffusiveError(ValueError):
    """There is no diffusion coefficient to be had: `regime` is why, `needed_fs` how long a trajectory it would take."""

    def __init__(self, message: str, regime: Regime, needed_fs: float | None) -> None:
        super().__init__(message, regime, needed_fs)  # all of it, so that it gets from one process to another
        self.regime: Regime = regime
        self.needed_fs = needed_fs

    def __str__(self) -> str:
        return str(self.args[0])


class Exponents:
    """Local exponents of a mean-squared displacement, each between one of `lags` and one about three times as long.

    `values` and `errors` (n) for the lags that have such a partner, the first n. An error is the larger one of two: the
    scatter of the blocks, and that of a free random walk of as many particles.
    """

    def __init__(self, lags: NDArray[np.intp], msd_a2: Floats, blocks_a2: Floats, frames: int, samples: float) -> None:
        """`msd_a2` (lags), `blocks_a2` (lags, blocks): in all, in stretches. `samples`: particles times dimensions."""
        partners = np.searchsorted(lags, np.ceil(SPAN * lags))
        begins = np.flatnonzero(partners < len(lags))
        ends = partners[begins]
        walk = compute_covariance(lags, frames, 0.0) / np.outer(lags, lags) / samples
        relative = blocks_a2 / msd_a2[:, None]
        scatter = (relative[ends] - relative[begins]).var(axis=1, ddof=1) / blocks_a2.shape[1]
        model = walk[ends, ends] + walk[begins, begins] - 2 * walk[ends, begins]
        logarithms = np.log(lags[ends] / lags[begins])
        self.lags = lags
        self.values = np.log(msd_a2[ends] / msd_a2[begins]) / logarithms
        self.errors = np.sqrt(np.maximum(scatter, model)) / logarithms
        self.relative_errors = np.sqrt(np.diag(walk))

    def window(self) -> tuple[int, int] | None:
        """First and last index into `lags` of the diffusive regime, None where there is none.

        It ends with the lags that are known well enough. From its beginning on no exponent differs from 1 by more than
        `TOLERANCE` and chance; where shorter lags do, it begins at twice the first that does not: what is forgotten
        exponentially, as velocities are, is forgotten there to its square.
        """
        last = int(np.searchsorted(self.relative_errors, _ENOUGH)) - 1
        known = self.errors <= _SURE
        strange = known & (np.abs(self.values - 1) > TOLERANCE + _ERRORS * self.errors)
        first = 0
        if strange.any():
            first = int(np.searchsorted(self.lags, 2 * self.lags[np.flatnonzero(strange)[-1] + 1]))
        enough = first < len(self.values) and known[first] and self.lags[first] * SPAN <= self.lags[last]
        return (first, last) if enough else None


def refuse_if_short(frames: int, interval_fs: float) -> None:
    """Raises NotDiffusiveError for fewer frames than a regime can be told from."""
    if frames < _FRAMES_LEAST:
        needed = _FRAMES_LEAST * interval_fs
        raise NotDiffusiveError(
            f"The trajectory is too short: {frames} frames, where a diffusion coefficient takes {_FRAMES_LEAST} "
            f"({needed / 1000:.3g} ps at this spacing).",
            "too short",
            needed,
        )


def refusal(exponents: Exponents, frames: int, interval_fs: float, species: str) -> NotDiffusiveError:
    """Why there is no window: what the motion is at the longest lags that are known well enough."""
    length_fs = (frames - 1) * interval_fs
    known = np.flatnonzero(exponents.errors <= _SURE)
    of = f" of {species}" if species else ""
    if not len(known):
        error = float(exponents.errors.min(initial=np.inf)) if len(exponents.errors) else 2 * _SURE
        return _too_short(f"the exponent of time is known to ±{error:.2f} only", length_fs * (error / _SURE) ** 2, of)
    at = known[-1]
    value, error = float(exponents.values[at]), float(exponents.errors[at])
    found = (
        f"the mean-squared displacement{of} grows like t^{value:.2f}±{error:.2f} at {_ps(exponents, at, interval_fs)}"
    )
    if value - 2 * error > 1 + TOLERANCE:
        # Langevin: the exponent at a time t is t/(t - τ) once the velocity is forgotten, 1.1 at 11 τ
        factor = 10.0 if value > 1.8 else max(2.0, (value - 1) / value * 11)
        return NotDiffusiveError(
            f"The motion is ballistic: {found}, velocities are not forgotten yet. The trajectory would have to be "
            f"longer than {length_fs * factor / 1000:.3g} ps (it is {length_fs / 1000:.3g} ps).",
            "ballistic",
            length_fs * factor,
        )
    if value + 2 * error < 0.5:
        return NotDiffusiveError(
            f"The atoms are caged: {found}, they rattle about fixed places. Nothing diffuses in "
            f"{length_fs / 1000:.3g} ps. Take a higher temperature, add defects that carry the diffusion, "
            "or run for many times as long.",
            "caged",
            None,
        )
    if value + 2 * error < 1 - TOLERANCE:
        # a rattle beside a slope: the exponent is t/(t + a/b), 1 - TOLERANCE at 9 a/b
        factor = max(2.0, (1 - value) / value * (1 - TOLERANCE) / TOLERANCE)
        return NotDiffusiveError(
            f"The motion is subdiffusive: {found}, where diffusion has 1. If hops out of cages begin to be seen here, "
            f"the trajectory would have to be about {length_fs * factor / 1000:.3g} ps "
            f"(it is {length_fs / 1000:.3g} ps).",
            "subdiffusive",
            length_fs * factor,
        )
    return _too_short(f"no stretch of lags is diffusive beyond doubt ({found})", 3 * length_fs, of)


def _too_short(why: str, needed_fs: float, of: str) -> NotDiffusiveError:
    return NotDiffusiveError(
        f"The trajectory is too short for the diffusion{of}: {why}. It would have to be about "
        f"{needed_fs / 1000:.3g} ps.",
        "too short",
        needed_fs,
    )


def _ps(exponents: Exponents, at: int, interval_fs: float) -> str:
    return f"{exponents.lags[at] * interval_fs / 1000:.3g} ps"
