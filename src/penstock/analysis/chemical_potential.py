"""Where a phase is stable in chemical potentials, relative to the elements: Δμ = μ - E(element), in eV/atom.

A phase p with atomic fractions x is in equilibrium where Σ x_i(p) Δμ_i equals its formation energy, and stable there
where Σ x_i(q) Δμ_i exceeds the formation energy of no other phase q. These conditions make a convex region: of a binary
phase an interval, of a ternary one a polygon, of a quaternary one a polyhedron. It has no lower end in the potential of
an element that the phase does not contain; for a corner there, a floor is set.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.analysis.hull import TOLERANCE_EV
from penstock.analysis.phase_diagram import PhaseDiagram

Array = NDArray[np.float64]

_BELOW_LOWEST_EV = 0.5


class StabilityRegion(NamedTuple):
    """Where entry `entry` is stable. `corners_ev` (c, k): Δμ of each element at the region's corners, eV/atom.

    `range_ev` (k, 2) is the least and the greatest Δμ of each element, -inf where there is none. Corners at `floor_ev`
    are no property of the phase, only the drawing's end.
    """

    entry: int
    corners_ev: Array
    range_ev: Array
    floor_ev: float


def compute_stability_regions(diagram: PhaseDiagram, floor_ev: float | None = None) -> list[StabilityRegion]:
    """The region of each stable entry in Δμ (relative to `diagram`'s references), in the order of the entries.

    `floor_ev`: the lowest Δμ that corners are sought at, by default 0.5 eV below the lowest that an equilibrium of as
    many phases as components has. ValueError if an equilibrium lies below it, and for fewer than two components.
    """
    if len(diagram.elements) < 2:
        raise ValueError(
            "A chemical potential has a range only against another; give a system of two or more elements."
        )
    potentials = diagram.potential_ev
    lowest = float(potentials.min())
    floor = lowest - _BELOW_LOWEST_EV if floor_ev is None else floor_ev
    if floor >= lowest:
        raise ValueError(f"The floor of {floor} eV cuts equilibria off; choose one below {lowest:.6g} eV.")
    return [_region(diagram, int(entry), floor) for entry in np.flatnonzero(diagram.stable)]


def order_polygon(points: Array) -> Array:
    """The corners (c, 2) of a convex polygon in counterclockwise order, for drawing."""
    offset = points - points.mean(axis=0)
    return points[np.argsort(np.arctan2(offset[:, 1], offset[:, 0]), kind="stable")]


def _region(diagram: PhaseDiagram, entry: int, floor: float) -> StabilityRegion:
    fractions, energies = diagram.fractions, diagram.formation_ev
    own, energy = fractions[entry], energies[entry] - diagram.above_ev[entry]
    components = len(own)
    touching = np.abs(diagram.potential_ev @ own - energy) <= 2 * TOLERANCE_EV
    rivals = np.unique(diagram.facets[touching])
    rivals = rivals[(np.abs(fractions[rivals] - own) > 1e-9).any(axis=1)]
    rows = np.vstack([fractions[rivals], -np.eye(components)])
    limits = np.concatenate([energies[rivals], np.full(components, -floor)])
    corners = _corners(own, energy, rows, limits)
    ends = np.column_stack([corners.min(axis=0), corners.max(axis=0)])
    ends[own == 0, 0] = -np.inf
    return StabilityRegion(entry, corners, ends, floor)


def _corners(own: Array, energy: float, rows: Array, limits: Array) -> Array:
    """The corners of {μ: own·μ = energy, rows·μ ≤ limits}: as many conditions as unknowns hold, none is broken."""
    free = len(own) - 1
    chosen = np.array(list(combinations(range(len(rows)), free)))
    matrices = np.concatenate([np.broadcast_to(own, (len(chosen), 1, free + 1)), rows[chosen]], axis=1)
    sides = np.concatenate([np.full((len(chosen), 1), energy), limits[chosen]], axis=1)
    sound = np.abs(np.linalg.det(matrices)) > 1e-10
    found = np.linalg.solve(matrices[sound], sides[sound][..., None])[..., 0]
    kept = found[(found @ rows.T <= limits + 1e-7).all(axis=1)]
    _, first = np.unique(np.round(kept / 1e-7), axis=0, return_index=True)
    distinct: list[Array] = []
    for corner in kept[np.sort(first)]:
        if all(np.abs(corner - other).max() > 1e-6 for other in distinct):
            distinct.append(corner)
    return np.array(sorted(map(tuple, distinct)))
