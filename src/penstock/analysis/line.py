"""A straight line through points with known errors, which are made larger where the points scatter more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from penstock.analysis.trajectory import Floats

_OVERDISPERSED: Final = 0.05


@dataclass(frozen=True, eq=False)
class Line:
    """y = `height` + `slope` (x - `centre`); height and slope are uncorrelated.

    `reduced_chi2` and `chance` (of so much scatter or more, if the errors are right) are None for two points. Where the
    chance is below 5 % the standard errors are multiplied by the root of `reduced_chi2`: `freedom` is then what is left
    of the points, else infinite.
    """

    centre: float
    height: float
    slope: float
    height_error: float
    slope_error: float
    reduced_chi2: float | None
    chance: float | None
    freedom: float

    @property
    def overdispersed(self) -> bool:
        """Whether the errors had to be made larger."""
        return bool(np.isfinite(self.freedom))

    @property
    def quantile(self) -> float:
        """So many standard errors on both sides hold 95 %."""
        return float(stats.t.ppf(0.975, self.freedom) if self.overdispersed else stats.norm.ppf(0.975))

    def at(self, x: float) -> tuple[float, float]:
        """The line at `x`, and its standard error there."""
        away = x - self.centre
        return self.height + self.slope * away, float(np.hypot(self.height_error, self.slope_error * away))


def fit_line(x: Floats, y: Floats, errors: Floats) -> Line:
    """By least squares, `x`, `y` and their standard `errors` (n), of two different x at least."""
    weights = errors**-2.0
    centre = float(np.average(x, weights=weights))
    away = x - centre
    height = float(np.average(y, weights=weights))
    inertia = float((weights * away**2).sum())
    slope = float((weights * away * y).sum()) / inertia
    height_error, slope_error = float(weights.sum()) ** -0.5, inertia**-0.5
    if len(x) == 2:
        return Line(centre, height, slope, height_error, slope_error, None, None, np.inf)
    left = len(x) - 2
    chi2 = float((weights * (y - height - slope * away) ** 2).sum())
    chance = float(stats.chi2.sf(chi2, left))
    if chance >= _OVERDISPERSED:
        return Line(centre, height, slope, height_error, slope_error, chi2 / left, chance, np.inf)
    wider = float(np.sqrt(chi2 / left))
    return Line(centre, height, slope, height_error * wider, slope_error * wider, chi2 / left, chance, left)
