"""Drawings of hulls and of stability in chemical potential, from the figures of `analysis/phase_figures.py`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from penstock.analysis.chemical_potential import order_polygon

Array = NDArray[np.float64]

_STABLE: Final = "#0072B2"  # blue, vermilion, grey: told apart by everybody (Okabe and Ito)
_ABOVE: Final = "#D55E00"
_LINE: Final = "#555555"
_FILLS: Final = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00", "#999999")
_TRIANGLE: Final = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])
_TETRAHEDRON: Final = np.array([[0.0, 0.3], [0.62, 0.0], [1.0, 0.42], [0.5, 1.12]])  # the second in front
_MOST_LABELS: Final = 24
_MOST_ROWS: Final = 18
_INDENT: Final = 0.06


def draw_hull_binary(figure: Figure, data: dict[str, Any]) -> None:
    """Formation energy over composition, the hull as a line, error bars of one standard error."""
    figure.set_size_inches(6.4, 4.8)
    axes = figure.add_subplot()
    first, second = data["elements"]
    stable = [point for point in data["points"] if point["stable"]]
    above = [point for point in data["points"] if not point["stable"]]
    for line in data["tie_lines"]:
        axes.plot([end[1] for end in line], [end[2] for end in line], "-", color=_STABLE, lw=1.5, zorder=2)
    _error_points(axes, above, "x", _ABOVE, "above the hull", 3)
    _error_points(axes, stable, "o", _STABLE, "stable", 4)
    axes.axhline(0.0, color=_LINE, lw=0.6, zorder=1)
    compounds = _label_once([point for point in stable if max(point["fractions"]) < 1])
    for point in compounds[:_MOST_LABELS]:
        place = (point["fractions"][1], point["formation_ev"])
        side = 0 if abs(place[0] - 0.5) < 0.03 else 1 if place[0] > 0.5 else -1  # outwards, off the hull
        align = {-1: "right", 0: "center", 1: "left"}[side]
        axes.annotate(
            _label(point),
            place,
            (6 * side, -6 if side else -9),
            textcoords="offset points",
            ha=align,
            va="top",
            fontsize=8,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.margins(y=0.14)
    axes.set_xlabel(f"atomic fraction of {second} in {first}-{second}")
    axes.set_ylabel("formation energy (eV/atom)")
    if above:
        axes.legend(frameon=False, fontsize=8, loc="best")


def draw_hull_ternary(figure: Figure, data: dict[str, Any]) -> None:
    """The triangle of compositions: stable phases with their tie lines, the others coloured by energy above hull."""
    figure.set_size_inches(6.4, 5.4)
    axes = figure.add_subplot()
    _draw_simplex(figure, axes, data, _TRIANGLE)
    for corner, element, shift in zip(_TRIANGLE, data["elements"], [(-12, -6), (12, -6), (0, 9)], strict=True):
        axes.annotate(
            element, corner, shift, textcoords="offset points", ha="center", va="center", fontsize=12, weight="bold"
        )
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.08, 0.96)


def draw_hull_quaternary(figure: Figure, data: dict[str, Any]) -> None:
    """The tetrahedron of compositions in projection, beside it the stable phases with their formation energies."""
    figure.set_size_inches(8.6, 5.2)
    axes, table = figure.subplots(1, 2, width_ratios=[1.35, 1.0])
    for one in range(4):
        for other in range(one):
            ends = _TETRAHEDRON[[one, other]]
            behind = (one, other) == (2, 0)
            axes.plot(ends[:, 0], ends[:, 1], "--" if behind else "-", color=_LINE, lw=0.8, zorder=1)
    _draw_simplex(figure, axes, data, _TETRAHEDRON)
    shifts = [(-11, -4), (4, -11), (11, -2), (0, 9)]
    for corner, element, shift in zip(_TETRAHEDRON, data["elements"], shifts, strict=True):
        axes.annotate(
            element, corner, shift, textcoords="offset points", ha="center", va="center", fontsize=12, weight="bold"
        )
    axes.set_xlim(-0.1, 1.1)
    axes.set_ylim(-0.1, 1.2)
    _list_stable(table, data["points"])


def draw_chemical_potential(figure: Figure, data: dict[str, Any]) -> None:
    """Regions of stability: polygons for three elements, bars for two or four."""
    if len(data["elements"]) == 3:
        _draw_polygons(figure, data)
    else:
        _draw_ranges(figure, data)


KINDS: dict[str, Callable[[Figure, dict[str, Any]], None]] = {
    "hull_binary": draw_hull_binary,
    "hull_ternary": draw_hull_ternary,
    "hull_quaternary": draw_hull_quaternary,
    "chemical_potential": draw_chemical_potential,
}


def _error_points(axes: Axes, points: list[dict[str, Any]], marker: str, colour: str, label: str, order: int) -> None:
    if not points:
        return
    x = [point["fractions"][1] for point in points]
    y = [point["formation_ev"] for point in points]
    errors = [point["error_ev"] or 0.0 for point in points]
    if any(errors):
        axes.errorbar(x, y, errors, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2.5, zorder=order)
    axes.plot(x, y, marker, color=colour, ms=5, ls="none", label=label, zorder=order)


def _draw_simplex(figure: Figure, axes: Axes, data: dict[str, Any], corners: Array) -> None:
    """What triangle and tetrahedron share: tie lines, entries, their colours and the names of stable compounds."""
    components = len(data["elements"])
    for line in data["tie_lines"]:
        ends = np.array([end[:components] for end in line]) @ corners
        axes.plot(ends[:, 0], ends[:, 1], "-", color=_LINE, lw=1.0, zorder=2)
    above = sorted((point for point in data["points"] if not point["stable"]), key=lambda point: -point["above_ev"])
    if above:
        places = np.array([point["fractions"] for point in above]) @ corners
        energies = [point["above_ev"] for point in above]
        shades = axes.scatter(
            places[:, 0], places[:, 1], c=energies, cmap="viridis", vmin=0.0, s=18, marker="s", zorder=3
        )
        bar = figure.colorbar(shades, ax=axes, shrink=0.72, pad=0.02)
        bar.set_label("energy above hull (eV/atom)", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    stable = [point for point in data["points"] if point["stable"]]
    places = np.array([point["fractions"] for point in stable]) @ corners
    axes.plot(places[:, 0], places[:, 1], "o", ms=7, color="white", mec=_ABOVE, mew=1.8, ls="none", zorder=4)
    compounds = _label_once([point for point in stable if max(point["fractions"]) < 1])
    for point in compounds[: _MOST_LABELS if components == 3 else _MOST_LABELS // 2]:
        place = np.array(point["fractions"]) @ corners
        axes.annotate(
            _label(point),
            (float(place[0]), float(place[1])),
            (0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )
    axes.set_aspect("equal")
    axes.axis("off")


def _list_stable(axes: Axes, points: Sequence[dict[str, Any]]) -> None:
    axes.axis("off")
    rows = _label_once([point for point in points if point["stable"]])
    axes.text(_INDENT, 1.0, "stable phase", fontsize=9, weight="bold", va="top", transform=axes.transAxes)
    axes.text(1.0, 1.0, "eV/atom", fontsize=9, weight="bold", va="top", ha="right", transform=axes.transAxes)
    for number, point in enumerate(rows[:_MOST_ROWS], 1):
        height = 1.0 - number / (_MOST_ROWS + 2)
        axes.text(_INDENT, height, _label(point), fontsize=9, va="top", transform=axes.transAxes)
        energy = f"{point['formation_ev']:.3f}"
        axes.text(1.0, height, energy, fontsize=9, va="top", ha="right", transform=axes.transAxes)
    if len(rows) > _MOST_ROWS:
        more = f"and {len(rows) - _MOST_ROWS} more"
        axes.text(_INDENT, 0.0, more, fontsize=9, va="bottom", color=_LINE, transform=axes.transAxes)


def _draw_polygons(figure: Figure, data: dict[str, Any]) -> None:
    figure.set_size_inches(6.4, 5.4)
    axes = figure.add_subplot()
    elements, dependent = data["elements"], data["elements"].index(data["dependent"])
    over = [column for column in range(3) if column != dependent]
    phases = sorted(data["phases"], key=lambda phase: phase["fractions"][dependent] == 0)  # neighbours differ in colour
    for number, phase in enumerate(phases):
        corners = np.array(phase["corners_ev"])[:, over]
        colour = _FILLS[number % len(_FILLS)]
        middle = corners.mean(axis=0)
        if phase["fractions"][dependent] == 0:  # follows a line here: the third potential is free below
            axes.plot(corners[:, 0], corners[:, 1], "-", color=colour, lw=4, solid_capstyle="butt", zorder=3)
        else:
            ring = order_polygon(corners)
            axes.fill(ring[:, 0], ring[:, 1], fc=colour, ec=_LINE, lw=0.9, alpha=0.55, zorder=2)
        axes.annotate(
            _subscripts(phase["formula"]),
            (float(middle[0]), float(middle[1])),
            ha="center",
            va="center",
            fontsize=9,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    room = -0.04 * data["floor_ev"]
    axes.set_xlim(data["floor_ev"], room)
    axes.set_ylim(data["floor_ev"], room)
    axes.set_xlabel(rf"$\Delta\mu$({elements[over[0]]}) (eV/atom)")
    axes.set_ylabel(rf"$\Delta\mu$({elements[over[1]]}) (eV/atom)")


def _draw_ranges(figure: Figure, data: dict[str, Any]) -> None:
    elements, phases = data["elements"], data["phases"]
    figure.set_size_inches(2.6 + 2.2 * len(elements), 1.4 + 0.32 * len(phases))
    panels = figure.subplots(1, len(elements), sharey=True)
    for column, (axes, element) in enumerate(zip(panels, elements, strict=True)):
        for row, phase in enumerate(phases):
            low, high = phase["range_ev"][column]
            start = data["floor_ev"] if low is None else low
            axes.barh(row, high - start, left=start, height=0.6, color=_FILLS[row % len(_FILLS)], ec=_LINE, lw=0.6)
            if high - start < 1e-6:
                axes.plot([high, high], [row - 0.3, row + 0.3], color=_LINE, lw=2)
        axes.set_xlim(data["floor_ev"], -0.04 * data["floor_ev"])
        axes.set_xlabel(rf"$\Delta\mu$({element}) (eV/atom)")
    panels[0].set_yticks(range(len(phases)), [_subscripts(phase["formula"]) for phase in phases])
    panels[0].invert_yaxis()


def _label_once(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point for each formula: phases that tie would be written over each other. The deepest come first."""
    ranked = sorted(points, key=lambda point: (point["formation_ev"], point["formula"]))
    return list({point["formula"]: point for point in reversed(ranked)}.values())[::-1]


def _label(point: dict[str, Any]) -> str:
    formula = _subscripts(point["formula"])
    return formula if point["probability"] is None else f"{formula} ({100 * point['probability']:.0f} %)"


def _subscripts(formula: str) -> str:
    return re.sub(r"(\d+(?:\.\d+)?)", r"$_{\1}$", formula)
