"""The lower convex hull of energies over compositions, in one to four components.

Compositions are atomic fractions, so k components span a space of k - 1 dimensions. The hull is the convex function
whose value at a composition is the lowest energy that any mixture of phases has there. Qhull finds its facets (Barber,
Dobkin, Huhdanpaa, ACM Trans. Math. Softw. 22, 469 (1996)); a point far above all phases keeps flat sets from being a
special case, and phases above the plane through the elements cannot be on the hull and are not handed to it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

MAX_COMPONENTS: Final = 4
TOLERANCE_EV: Final = 1e-8
"""Energies per atom that differ by less count as equal; what lies no higher above the hull is on it."""
_SAME_FRACTION: Final = 1e-9
_FLAT: Final = 1e-11
"""The determinant below which a facet's compositions are dependent: four phases of 500 atoms still have 1.6e-11."""
_OUTSIDE: Final = 1e-9
_CHUNK: Final = 4096


class Hull(NamedTuple):
    """`facets` (m, k): the points at the corners of each lower facet.

    `potential_ev` (m, k): the facet's plane at the pure elements, which is the chemical potential of each element in
    the facet's equilibrium, eV/atom.
    """

    facets: Indices
    potential_ev: Array


class Location(NamedTuple):
    """For each composition: the hull's energy there (eV/atom), the corners of its facet and the share of each.

    `corners` and `shares` are (n, k); shares are atomic, none is negative, and each row's sum is 1.
    """

    energy_ev: Array
    corners: Indices
    shares: Array


def compute_hull(fractions: Array, energy_ev: Array) -> Hull:
    """The lower hull of `energy_ev` (n, eV/atom) over `fractions` (n, k), k from 1 to 4.

    Where several points share a composition only the lowest (of exactly equal ones the first) can be a corner.
    ValueError for another number of components, numbers that are not finite, and a pure element that is not among the
    points.
    """
    _check_points(fractions, energy_ev)
    components = fractions.shape[1]
    elements = find_elements(fractions, energy_ev)
    formation = energy_ev - fractions @ energy_ev[elements]
    below = np.flatnonzero(formation < 0)
    below = below[~np.isin(below, elements)]
    if components == 1 or not below.size:
        facets = elements[None, :]
    else:
        below = below[np.lexsort((below, formation[below]))]
        _, first = np.unique(np.round(fractions[below] / _SAME_FRACTION), axis=0, return_index=True)
        corners = np.concatenate([elements, np.sort(below[first])])
        facets = corners[_lower_facets(fractions[corners], formation[corners])]
    potentials = np.linalg.solve(fractions[facets], energy_ev[facets][..., None])[..., 0]
    return Hull(facets, np.asarray(potentials, dtype=np.float64))


def locate(hull: Hull, fractions: Array, energy_ev: Array, at: Array) -> Location:
    """Where compositions `at` (m, k) lie on the hull of the points `fractions`, `energy_ev` that it was made of."""
    inverse: Array = np.asarray(np.linalg.inv(fractions[hull.facets]), dtype=np.float64)
    corner_energies = energy_ev[hull.facets]
    parts = [
        _locate_chunk(hull, inverse, corner_energies, at[begin : begin + _CHUNK]) for begin in range(0, len(at), _CHUNK)
    ]
    energies, corners, shares = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Location(energies, corners, shares)


def _check_points(fractions: Array, energy_ev: Array) -> None:
    """ValueError unless `fractions` (n, k) are atomic fractions of 1 to 4 components with an energy each."""
    if fractions.ndim != 2 or energy_ev.shape != fractions.shape[:1]:
        shapes = f"{fractions.shape} and {energy_ev.shape}"
        raise ValueError(f"Fractions are (n, k) and energies (n), these are {shapes}.")
    if not 1 <= fractions.shape[1] <= MAX_COMPONENTS:
        raise ValueError(f"A hull can have 1 to {MAX_COMPONENTS} components, this one would have {fractions.shape[1]}.")
    if not (np.isfinite(fractions).all() and np.isfinite(energy_ev).all()):
        raise ValueError("Fractions and energies must be finite; leave out the phases that have none.")
    if (fractions < 0).any() or not np.allclose(fractions.sum(axis=1), 1.0, rtol=0, atol=1e-9):
        raise ValueError("The fractions of each phase must not be negative and must sum to 1.")


def find_elements(fractions: Array, energy_ev: Array) -> Indices:
    """The lowest point of each pure element, of equal ones the first; ValueError names the columns without one."""
    pure = fractions >= 1.0 - _SAME_FRACTION
    if lacking := np.flatnonzero(~pure.any(axis=0)).tolist():
        numbers = ", ".join(str(column + 1) for column in lacking)
        raise ValueError(
            f"There is no phase of the pure component {numbers}; add one for each, or the hull has no end."
        )
    return np.asarray(np.argmin(np.where(pure, energy_ev[:, None], np.inf), axis=0), dtype=np.intp)


def group_compositions(fractions: Array) -> Indices:
    """A number for each point, the same for those of the same composition."""
    _, group = np.unique(np.round(fractions / _SAME_FRACTION), axis=0, return_inverse=True)
    return np.asarray(group, dtype=np.intp).reshape(-1)


def _lower_facets(fractions: Array, formation: Array) -> Indices:
    """Corners of the lower facets of points whose elements come first, at 0, and whose others are all below 0."""
    components = fractions.shape[1]
    depth = formation / -formation.min()
    points = np.column_stack([fractions[:, 1:], depth])
    above = np.append(np.full(components - 1, 1.0 / components), 1.0)
    hull = ConvexHull(np.vstack([points, above]), qhull_options="Qt")
    facets = np.sort(hull.simplices[(hull.simplices < len(points)).all(axis=1)], axis=1)
    facets = facets[np.lexsort(facets.T[::-1])].astype(np.intp)
    upright = np.abs(np.linalg.det(fractions[facets])) < _FLAT  # those over the faces of the composition space
    return np.asarray(facets[~upright], dtype=np.intp)


def _locate_chunk(hull: Hull, inverse: Array, corner_energies: Array, at: Array) -> tuple[Array, Indices, Array]:
    """A convex function is the highest of its supporting planes, which is the facet that lies over a composition.

    Rounding may let a plane win that only touches there; then the facet that holds the composition best is taken.
    """
    facet = np.argmax(at @ hull.potential_ev.T, axis=1)
    shares = np.einsum("nk,nkj->nj", at, inverse[facet])
    for point in np.flatnonzero(shares.min(axis=1) < -_OUTSIDE):
        of_all = np.einsum("k,mkj->mj", at[point], inverse)
        facet[point] = np.argmax(of_all.min(axis=1))
        shares[point] = of_all[facet[point]]
    shares = np.where(shares < _OUTSIDE, 0.0, shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return np.einsum("nk,nk->n", shares, corner_energies[facet]), hull.facets[facet], shares
