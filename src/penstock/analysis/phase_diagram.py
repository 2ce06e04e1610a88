"""Phase diagrams at zero temperature: which phases are stable, what the others decompose into, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.analysis.formation import Entry, Formation, compute_formation
from penstock.analysis.hull import (
    MAX_COMPONENTS,
    TOLERANCE_EV,
    compute_hull,
    group_compositions,
    locate,
)

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


class Part(NamedTuple):
    """A phase of a decomposition: which entry, and its share of the atoms."""

    entry: int
    share: float


class PhaseDiagram(NamedTuple):
    """Entries on and above their hull; n entries, k elements, energies in eV/atom.

    `stable` (n): no further above the hull than the tolerance. `above_ev` (n): energy above the hull, never negative.
    `below_others_ev` (n): of a stable entry, how far the hull would rise at its composition if it were not there (the
    negative of the energy of its formation from the phases around it); zero if another takes its place, NaN where
    nothing else has the composition (an element's only phase) and for what is not stable.
    `ground_state` (n): the lowest entry of the same composition (the first of those that are equal within the
    tolerance), the entry itself if it is that. `above_ground_state_ev` (n): how far above it.
    `facets` (m, k): entries in equilibrium with each other. `potential_ev` (m, k): Δμ of each element there, relative
    to the references. `corners` and `shares` (n, k): the entries that lie around each one's composition on the hull,
    and how much of it each holds; `decomposition` reads them.
    """

    formation: Formation
    stable: NDArray[np.bool_]
    above_ev: Array
    below_others_ev: Array
    ground_state: Indices
    above_ground_state_ev: Array
    facets: Indices
    potential_ev: Array
    corners: Indices
    shares: Array

    @property
    def elements(self) -> tuple[str, ...]:
        """The system, in the order of the columns."""
        return self.formation.elements

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The phases, those first that were given."""
        return self.formation.entries

    @property
    def fractions(self) -> Array:
        """Atomic fractions (n, k)."""
        return self.formation.fractions

    @property
    def formation_ev(self) -> Array:
        """Formation energies (n) in eV/atom."""
        return self.formation.formation_ev

    def decomposition(self, entry: int) -> tuple[Part, ...]:
        """What `entry` becomes in equilibrium; shares are of atoms and sum to 1. A stable one stays what it is."""
        if self.stable[entry]:
            return (Part(entry, 1.0),)
        pairs = zip(self.corners[entry].tolist(), self.shares[entry].tolist(), strict=True)
        return tuple(Part(corner, share) for corner, share in pairs if share > 0)


class HullUncertainty(NamedTuple):
    """`stable_probability` (n): how often an entry was on the hull.

    `above_mean_ev` and `above_error_ev` (n): mean and standard deviation of its energy above the hull, eV/atom; what is
    sure to be stable has 0 for both.
    """

    stable_probability: Array
    above_mean_ev: Array
    above_error_ev: Array
    samples: int
    seed: int


def compute_phase_diagram(
    entries: Sequence[Entry],
    references_ev: Mapping[str, float] | None = None,
    elements: Sequence[str] | None = None,
    tolerance_ev: float = TOLERANCE_EV,
) -> PhaseDiagram:
    """The phase diagram of `entries`; references and order of elements as in `compute_formation`.

    An entry counts as stable up to `tolerance_ev` (eV/atom) above the hull. ValueError for what cannot be a diagram
    (see `compute_formation`), more than four elements, and a negative tolerance.
    """
    if not 0 <= tolerance_ev < 1:
        raise ValueError(
            f"The tolerance is {tolerance_ev} eV/atom; give a small number that is not negative, like 1e-8."
        )
    formation = compute_formation(entries, references_ev, elements)
    fractions, energies = formation.fractions, formation.formation_ev
    if len(formation.elements) > MAX_COMPONENTS:
        system = "-".join(formation.elements)
        raise ValueError(
            f"{system} has {len(formation.elements)} elements; diagrams of up to {MAX_COMPONENTS} can be made: choose"
            f" the entries of a subsystem."
        )
    hull = compute_hull(fractions, energies)
    location = locate(hull, fractions, energies, fractions)
    above = np.maximum(energies - location.energy_ev, 0.0)
    above[np.unique(hull.facets)] = 0.0
    stable = above <= tolerance_ev
    ground_state = _ground_states(fractions, energies, tolerance_ev)
    return PhaseDiagram(
        formation,
        stable,
        above,
        _below_others(fractions, energies, stable, hull.facets, location.corners),
        ground_state,
        np.maximum(energies - energies[ground_state], 0.0),
        hull.facets,
        hull.potential_ev,
        location.corners,
        location.shares,
    )


def compute_hull_uncertainty(
    diagram: PhaseDiagram,
    error_ev: Array | None = None,
    common_error_ev: float = 0.0,
    samples: int = 1000,
    seed: int = 0,
    tolerance_ev: float = TOLERANCE_EV,
) -> HullUncertainty:
    """How errors of the energies make the hull uncertain, by drawing them `samples` times (normal, independent).

    `error_ev` (n): standard errors in eV/atom, by default those of the entries. `common_error_ev`: standard error of a
    shift that all entries but the pure elements share in a draw, for a method that errs alike in all compounds against
    the elements. (An error in proportion to each element's atoms needs no number: it is the same on both sides of every
    reaction and moves no phase against the hull.) Takes as long as `samples` hulls. A probability p has itself a
    standard error of sqrt(p (1 - p) / samples). ValueError where errors are missing or negative.
    """
    fractions, energies = diagram.fractions, diagram.formation_ev
    errors = diagram.formation.error_ev if error_ev is None else np.asarray(error_ev, dtype=np.float64)
    _check_errors(diagram, errors, common_error_ev, samples)
    mixed = (fractions < 1.0).all(axis=1)
    generator = np.random.default_rng(seed)
    count, mean, spread = np.zeros(len(energies)), np.zeros(len(energies)), np.zeros(len(energies))
    for number in range(1, samples + 1):
        shift = common_error_ev * generator.standard_normal() * mixed
        drawn = energies + errors * generator.standard_normal(len(energies)) + shift
        above = _above_hull(fractions, drawn)
        count += above <= tolerance_ev
        step = above - mean  # Welford's recurrence, exact for what never varies
        mean += step / number
        spread += step * (above - mean)
    return HullUncertainty(count / samples, mean, np.sqrt(spread / (samples - 1)), samples, seed)


def _above_hull(fractions: Array, energies: Array) -> Array:
    hull = compute_hull(fractions, energies)
    above = np.maximum(energies - locate(hull, fractions, energies, fractions).energy_ev, 0.0)
    above[np.unique(hull.facets)] = 0.0
    return above


def _check_errors(diagram: PhaseDiagram, errors: Array, common_error_ev: float, samples: int) -> None:
    if errors.shape != diagram.formation_ev.shape:
        raise ValueError(f"Give one error for each of the {len(diagram.entries)} entries, not {errors.shape}.")
    if unknown := [diagram.entries[index].name for index in np.flatnonzero(~np.isfinite(errors))[:5]]:
        raise ValueError(f"The energy errors of {', '.join(unknown)} are not known; give error_ev for all entries.")
    if (errors < 0).any() or not 0 <= common_error_ev < np.inf:
        raise ValueError("A standard error cannot be negative; give errors of 0 or more, in eV/atom.")
    if samples < 2:
        raise ValueError(f"{samples} samples say nothing of an uncertainty; take some hundreds at least.")


def _ground_states(fractions: Array, energies: Array, tolerance_ev: float) -> Indices:
    group = group_compositions(fractions)
    lowest = np.full(group.max() + 1, np.inf)
    np.minimum.at(lowest, group, energies)
    level = np.flatnonzero(energies <= lowest[group] + tolerance_ev)
    _, first = np.unique(group[level], return_index=True)
    return np.asarray(level[first][group], dtype=np.intp)


def _below_others(
    fractions: Array, energies: Array, stable: NDArray[np.bool_], facets: Indices, corners: Indices
) -> Array:
    """For each stable entry, the hull of all others at its composition, less its own energy.

    Without an entry the hull changes only where its facets were, so of all others only the corners of the hull and what
    lies over those facets matter.
    """
    below = np.full(len(energies), np.nan)
    on_hull = np.zeros(len(energies), dtype=np.bool_)
    on_hull[facets] = True
    for entry in np.flatnonzero(stable):
        own = fractions[entry]
        others = on_hull | (corners == entry).any(axis=1) | (fractions == own).all(axis=1)
        others[entry] = False
        if not (fractions[others] == 1.0).any(axis=0).all():
            continue
        hull = compute_hull(fractions[others], energies[others])
        value = locate(hull, fractions[others], energies[others], own[None, :]).energy_ev[0]
        below[entry] = max(float(value - energies[entry]), 0.0)
    return below
