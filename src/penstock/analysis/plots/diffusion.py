"""Draws what `diffusion_figures` makes: mean-squared displacements, Arrhenius lines, series over time."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10
from textwrap import fill
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_QUANTILE: Final = 1.96
_WIDTH: Final = 90  # characters of a sentence that fit below a figure


def draw_msd(figure: Figure, data: dict[str, Any]) -> None:
    """On logarithmic axes all, with the fits and their windows; beside it on linear ones what was fitted."""
    curves = data["curves"]
    windows = {tuple(curve["fit"]["window_ps"]) for curve in curves if curve["fit"]}
    figure.set_size_inches(8.4 if windows else 6.4, 4.4)
    grid = figure.subplots(1, 2 if windows else 1, squeeze=False)[0]
    for number, curve in enumerate(curves):
        grid[0].loglog(curve["times_ps"], curve["msd_a2"], color=f"C{number}", label=_told(curve))
        if fit := curve["fit"]:
            _draw_line(grid[0], fit, np.geomspace(fit["window_ps"][0], fit["window_ps"][1], 50))
    if windows:
        _draw_linear(grid[1], curves, max(end for _, end in windows))
    for axes in grid:
        for begin, end in windows:
            axes.axvspan(begin, end, color="0.5", alpha=0.12, linewidth=0)
        axes.set_xlabel("time lag (ps)")
    grid[0].set_ylabel("mean-squared displacement (Å²)")
    is_told_why = any(curve["why_not"] for curve in curves)
    figure.legend(loc="outside lower center", ncols=1 if is_told_why else 2, fontsize="small")


def draw_arrhenius(figure: Figure, data: dict[str, Any]) -> None:
    """D on a logarithmic axis over 1000/T, with temperatures along the top."""
    axes = figure.add_subplot()
    temperatures: set[float] = set()
    for number, series in enumerate(data["series"]):
        colour = f"C{number}"
        values, errors = np.array(series["d_m2_s"]), np.array(series["standard_errors_m2_s"])
        factors = np.exp(_QUANTILE * errors / values)
        bars = [values - values / factors, values * factors - values]
        temperatures.update(series["temperatures_k"])
        inverse = 1000 / np.array(series["temperatures_k"])
        label = series["species"]
        if fit := series["fit"]:
            energy = _with_error(fit["activation_energy_ev"], fit["activation_energy_error_ev"])
            label = f"{label}: $E_a$ = {energy} eV"
            axes.plot(fit["per_kk"], fit["d_m2_s"], color=colour)
            axes.fill_between(fit["per_kk"], fit["low_m2_s"], fit["high_m2_s"], color=colour, alpha=0.18, linewidth=0)
        axes.errorbar(inverse, values, bars, fmt="o", color=colour, capsize=2.5, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("1000 K / T")
    axes.set_ylabel("diffusion coefficient (m²/s)")
    axes.legend(fontsize="small")
    top = axes.secondary_xaxis("top", functions=(_thousand_over, _thousand_over))
    top.xaxis.set_major_locator(FixedLocator(_apart(sorted(temperatures))))
    top.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    top.set_xlabel("temperature (K)")


def draw_time_series(figure: Figure, data: dict[str, Any]) -> None:
    """One panel for each quantity, above one another."""
    panels = data["panels"]
    width, _ = figure.get_size_inches()
    figure.set_size_inches(width, 0.9 + 1.7 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        _draw_panel(axes, panel, f"C{number}")
    grid[-1].set_xlabel("time (ps)")
    figure.align_ylabels(list(grid))


def _draw_panel(axes: Axes, panel: dict[str, Any], colour: str) -> None:
    times, mean = np.array(panel["times_ps"]), panel["mean"]
    running = np.array([np.nan if value is None else value for value in panel["running"]], float)
    middle = (np.array(panel["low"]) + np.array(panel["high"])) / 2
    axes.fill_between(times, panel["low"], panel["high"], color=colour, alpha=0.3, linewidth=0)
    axes.plot(times, middle, color=colour, linewidth=0.6, alpha=0.7)
    axes.plot(times, running, color=colour, linewidth=2)
    axes.set_ylabel(panel["label"])
    axes.margins(x=0)
    if mean is None:
        return
    axes.axhline(mean["value"], color="black", linestyle="--", linewidth=0.9)
    if mean["start_ps"] > 0:
        axes.axvspan(times[0], mean["start_ps"], color="0.5", alpha=0.25, linewidth=0)
    text = _with_error(mean["value"], mean["standard_error"])
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    axes.annotate(text, (0.99, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize="small", bbox=box)


def _draw_linear(axes: Axes, curves: list[dict[str, Any]], until_ps: float) -> None:
    for number, curve in enumerate(curves):
        times, msd = np.array(curve["times_ps"]), np.array(curve["msd_a2"])
        shown = times <= 1.25 * until_ps
        axes.plot(times[shown], msd[shown], color=f"C{number}")
        if fit := curve["fit"]:
            _draw_line(axes, fit, np.array(fit["window_ps"]))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _draw_line(axes: Axes, fit: dict[str, Any], times: Any) -> None:
    axes.plot(times, fit["intercept_a2"] + fit["slope_a2_per_ps"] * times, color="black", linestyle="--", linewidth=1)


def _told(curve: dict[str, Any]) -> str:
    if fit := curve["fit"]:
        return f"{curve['species']}: D = {_scientific(fit['d_m2_s'], fit['standard_error_m2_s'])} m²/s"
    return fill(f"{curve['species']}: {curve['why_not']}", _WIDTH) if curve["why_not"] else str(curve["species"])


def _scientific(value: float, error: float) -> str:
    power = floor(log10(value))
    digits = max(0, power - floor(log10(error)) + 1) if error > 0 else 3
    return rf"({value / 10**power:.{digits}f} ± {error / 10**power:.{digits}f})$\times 10^{{{power}}}$"


def _with_error(value: float, error: float) -> str:
    digits = max(0, 1 - floor(log10(error))) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}" if error > 0 else f"{value:.6g}"


def _thousand_over(values: Any) -> Any:
    return 1000 / np.maximum(values, 1e-9)


def _apart(temperatures: list[float]) -> list[float]:
    """Those of rising `temperatures` whose labels do not run into one another."""
    least = 0.07 * (1000 / temperatures[0] - 1000 / temperatures[-1])
    kept = temperatures[:1]
    for temperature in temperatures[1:]:
        if 1000 / kept[-1] - 1000 / temperature >= least:
            kept.append(temperature)
    return kept


KINDS: Final[dict[str, Callable[[Figure, dict[str, Any]], None]]] = {
    "msd": draw_msd,
    "arrhenius": draw_arrhenius,
    "time_series": draw_time_series,
}
