"""Figures of phase diagrams as values; `analysis/plots/phase_diagram.py` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from penstock.analysis.chemical_potential import StabilityRegion
from penstock.analysis.formation import reduced_formula
from penstock.analysis.phase_diagram import HullUncertainty, PhaseDiagram
from penstock.domain.properties import Figure

MOST_UNSTABLE: Final = 600
"""How many entries above the hull a figure shows at most: the nearest ones."""
_KINDS: Final = {2: "hull_binary", 3: "hull_ternary", 4: "hull_quaternary"}
_DIGITS: Final = 6


def figure_hull(diagram: PhaseDiagram, uncertainty: HullUncertainty | None = None, name: str = "hull") -> Figure:
    """The hull with its entries; ValueError for a system of one element, which has nothing to show.

    Two elements: formation energy over composition; three: the triangle; four: the tetrahedron and a list.
    """
    kind = _KINDS.get(len(diagram.elements))
    if kind is None:
        raise ValueError(f"{diagram.elements[0]} alone has no hull to draw; add entries of a second element.")
    shown = _shown(diagram)
    errors = diagram.formation.formation_error_ev
    points = [
        {
            "formula": _formula(diagram, entry),
            "fractions": _rounded(diagram.fractions[entry]),
            "formation_ev": round(float(diagram.formation_ev[entry]), _DIGITS),
            "above_ev": round(float(diagram.above_ev[entry]), _DIGITS),
            "error_ev": round(float(errors[entry]), _DIGITS) if np.isfinite(errors[entry]) else None,
            "stable": bool(diagram.stable[entry]),
            "probability": None if uncertainty is None else round(float(uncertainty.stable_probability[entry]), 4),
        }
        for entry in shown
    ]
    data: dict[str, Any] = {"elements": list(diagram.elements), "points": points, "tie_lines": _tie_lines(diagram)}
    return Figure(kind, name, f"Phase diagram of {'-'.join(diagram.elements)}", _caption(diagram, len(shown)), data)


def figure_chemical_potential(
    diagram: PhaseDiagram,
    regions: Sequence[StabilityRegion],
    dependent: str | None = None,
    name: str = "chemical_potential",
) -> Figure:
    """Where each stable phase is stable, in Δμ against the elements.

    Three elements: polygons over the potentials of two; the third's (`dependent`, by default the last) follows from
    them. Two or four: a bar for each phase and element. Of phases
    that tie, one is shown. ValueError for a `dependent` that is not of the system.
    """
    elements = list(diagram.elements)
    last = elements[-1] if dependent is None else dependent
    if last not in elements:
        raise ValueError(f"{last} is none of the elements {', '.join(elements)}; choose one of them.")
    phases = [
        {
            "formula": _formula(diagram, region.entry),
            "fractions": _rounded(diagram.fractions[region.entry]),
            "corners_ev": [_rounded(corner) for corner in region.corners_ev],
            "range_ev": [
                [None if np.isneginf(low) else round(float(low), _DIGITS), round(float(high), _DIGITS)]
                for low, high in region.range_ev
            ],
        }
        for region in _one_each(diagram, regions)
    ]
    caption = (
        "Where each phase is stable, by the chemical potentials of the elements relative to the pure elements."
        " What reaches the lower edge goes on beyond it."
    )
    data = {"elements": elements, "dependent": last, "floor_ev": round(regions[0].floor_ev, _DIGITS), "phases": phases}
    title = f"Stability in chemical potential, {'-'.join(elements)}"
    return Figure("chemical_potential", name, title, caption, data)


def _one_each(diagram: PhaseDiagram, regions: Sequence[StabilityRegion]) -> list[StabilityRegion]:
    """One region for each composition, from the first element's end to the last's."""
    by_composition = {tuple(_rounded(diagram.fractions[region.entry])): region for region in reversed(regions)}
    return [by_composition[composition] for composition in sorted(by_composition, reverse=True)]


def _shown(diagram: PhaseDiagram) -> list[int]:
    """All stable entries and the nearest of the others, in the order of the entries."""
    stable = np.flatnonzero(diagram.stable)
    rest = np.flatnonzero(~diagram.stable)
    nearest = rest[np.argsort(diagram.above_ev[rest], kind="stable")][:MOST_UNSTABLE]
    return sorted([*stable.tolist(), *nearest.tolist()])


def _caption(diagram: PhaseDiagram, shown: int) -> str:
    total, stable = len(diagram.entries), int(diagram.stable.sum())
    text = f"{total} phases, {stable} of them on the convex hull. Energies are relative to the elements."
    return text if shown == total else f"{text} The {shown} phases on or nearest to the hull are shown."


def _tie_lines(diagram: PhaseDiagram) -> list[list[list[float]]]:
    """Pairs of corners in equilibrium: of each, its fractions and its formation energy."""
    pairs: set[tuple[int, int]] = set()
    for facet in diagram.facets.tolist():
        pairs.update((a, b) for a in facet for b in facet if a < b)
    ends = [[_end(diagram, entry) for entry in pair] for pair in sorted(pairs)]
    return sorted(ends)


def _end(diagram: PhaseDiagram, entry: int) -> list[float]:
    return [*_rounded(diagram.fractions[entry]), round(float(diagram.formation_ev[entry]), _DIGITS)]


def _formula(diagram: PhaseDiagram, entry: int) -> str:
    composition = diagram.entries[entry].composition
    return reduced_formula({element: composition.get(element, 0.0) for element in diagram.elements})


def _rounded(numbers: NDArray[np.float64]) -> list[float]:
    return [round(float(number), _DIGITS) for number in numbers]
