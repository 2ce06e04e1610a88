"""Figures of diffusion as values: mean-squared displacements, Arrhenius lines, and what was watched over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.analysis.arrhenius import Arrhenius
from penstock.analysis.averages import Mean
from penstock.analysis.diffusion import Diffusion
from penstock.analysis.msd import ALL, MeanSquaredDisplacement, compute_projector, trace_weights
from penstock.analysis.trajectory import Floats
from penstock.domain.properties import Figure

_POINTS: Final = 150
_LINE_POINTS: Final = 60
_BINS: Final = 400
_A2_PER_PS: Final = 1e8  # of one m²/s


def figure_msd(
    displacements: Mapping[str, MeanSquaredDisplacement],
    found: Mapping[str, Diffusion | str],
    directions: ArrayLike = ALL,
    *,
    name: str = "msd",
    title: str = "Mean-squared displacement",
) -> Figure:
    """Each species' displacement in the space of `directions`, with its fit, or why there is none, from `found`."""
    across = trace_weights(compute_projector(directions)[0])
    curves = []
    for species, msd in displacements.items():
        lags = np.unique(np.geomspace(1, max(1, msd.frames // 2), _POINTS).round().astype(int))
        lags = lags[msd.tensor_a2[lags] @ across > 0]
        fit = found.get(species)
        curves.append(
            {
                "species": species,
                "times_ps": _listed(lags * msd.interval_fs / 1000),
                "msd_a2": _listed(msd.tensor_a2[lags] @ across),
                "fit": _fit(fit) if isinstance(fit, Diffusion) else None,
                "why_not": fit if isinstance(fit, str) else None,
            }
        )
    caption = "Mean over all time origins; shaded is where it was fitted (dashed)."
    return Figure("msd", name, title, caption, {"curves": curves})


def figure_arrhenius(
    points: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    fits: Mapping[str, Arrhenius],
    *,
    name: str = "arrhenius",
    title: str = "Diffusion over temperature",
) -> Figure:
    """`points`: temperatures (K), D and standard errors (m²/s) of each species; `fits` of those that have one."""
    series = []
    for species, given in points.items():
        temperatures, values, errors = (np.asarray(these, float) for these in given)
        series.append(
            {
                "species": species,
                "temperatures_k": _listed(temperatures),
                "d_m2_s": _listed(values),
                "standard_errors_m2_s": _listed(errors),
                "fit": _band(fits[species], temperatures) if species in fits else None,
            }
        )
    caption = "Bars are 95 % intervals of D, the band that of the line ln D = ln D0 - Ea / kT."
    return Figure("arrhenius", name, title, caption, {"series": series})


def figure_time_series(
    series: Mapping[str, ArrayLike],
    interval_fs: float,
    means: Mapping[str, Mean],
    *,
    name: str = "time_series",
    title: str = "Over time",
) -> Figure:
    """`series`: values (n) every `interval_fs` by name with unit; `means` of those that have one."""
    panels = []
    for label, given in series.items():
        values = np.asarray(given, float)
        edges = np.unique(np.linspace(0, len(values), min(_BINS, len(values)) + 1).astype(int))
        centres = (edges[:-1] + edges[1:] - 1) / 2
        running = np.cumsum(values)[edges[1:] - 1] / edges[1:]
        mean = means.get(label)
        if mean is not None:
            kept = np.cumsum(values[mean.start :])
            counts = np.maximum(edges[1:] - mean.start, 1)
            running = np.where(edges[1:] > mean.start, kept[counts - 1] / counts, np.nan)
        panels.append(
            {
                "label": label,
                "times_ps": _listed(centres * interval_fs / 1000),
                "low": _listed(np.minimum.reduceat(values, edges[:-1])),
                "high": _listed(np.maximum.reduceat(values, edges[:-1])),
                "running": [None if np.isnan(value) else value for value in _listed(running)],
                "mean": None
                if mean is None
                else {
                    "value": mean.value,
                    "standard_error": mean.standard_error,
                    "start_ps": mean.start * interval_fs / 1000,
                },
            }
        )
    caption = "Grey: what was left out before equilibrium. Thick: the running mean since; dashed: the mean that counts."
    return Figure("time_series", name, title, caption, {"panels": panels})


def _fit(found: Diffusion) -> dict[str, Any]:
    return {
        "window_ps": [edge / 1000 for edge in found.window_fs],
        "intercept_a2": found.intercept_a2,
        "slope_a2_per_ps": 2 * found.dimension * found.d_m2_s * _A2_PER_PS,
        "d_m2_s": found.d_m2_s,
        "standard_error_m2_s": found.standard_error_m2_s,
    }


def _band(found: Arrhenius, temperatures: Floats) -> dict[str, Any]:
    inverse = np.linspace(1 / temperatures.max(), 1 / temperatures.min(), _LINE_POINTS)
    margin = 0.06 * (inverse[-1] - inverse[0])
    inverse = np.linspace(inverse[0] - margin, inverse[-1] + margin, _LINE_POINTS)
    predicted = [found.predict(1 / x) for x in inverse]
    return {
        "per_kk": _listed(1000 * inverse),
        "d_m2_s": [value for value, _ in predicted],
        "low_m2_s": [low for _, (low, _) in predicted],
        "high_m2_s": [high for _, (_, high) in predicted],
        "activation_energy_ev": found.activation_energy_ev,
        "activation_energy_error_ev": found.activation_energy_error_ev,
    }


def _listed(values: NDArray[Any]) -> list[float]:
    """As numbers of six digits: a picture shows no more."""
    return [float(f"{value:.6g}") for value in values]
