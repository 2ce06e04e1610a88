"""The hull against sets that are known, and against linear programming, which knows no geometry."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from penstock.analysis.hull import compute_hull, locate

Array = NDArray[np.float64]


def hull_energies(fractions: Array, energies: Array) -> Array:
    hull = compute_hull(fractions, energies)
    return locate(hull, fractions, energies, fractions).energy_ev


def lowest_mixture(fractions: Array, energies: Array, at: Array) -> float:
    answer: Any = linprog(energies, A_eq=fractions.T, b_eq=at)
    assert answer.status == 0, answer.message
    return float(answer.fun)


def as_fractions(counts: list[Any]) -> Array:
    array = np.array(counts, dtype=np.float64)
    return np.asarray(array / array.sum(axis=1, keepdims=True))


@st.composite
def point_sets(draw: st.DrawFn) -> tuple[Array, Array]:
    """Small counts and energies on a coarse grid, so that ties, collinear and coplanar sets are the rule."""
    components = draw(st.integers(1, 4))
    count = st.integers(0, 3)
    compositions = st.lists(
        st.lists(count, min_size=components, max_size=components).filter(any), min_size=0, max_size=12
    )
    counts = [*np.eye(components, dtype=int).tolist(), *draw(compositions)]
    steps = draw(st.sampled_from([1.0, 0.5, 0.1, 1e-3]))
    energy = st.integers(-6, 6).map(lambda number: number * steps)
    energies = draw(st.lists(energy, min_size=len(counts), max_size=len(counts)))
    return as_fractions(counts), np.array(energies)


@given(point_sets())
@settings(max_examples=200)
def test_any_set_equals_linear_programming(points: tuple[Array, Array]) -> None:
    fractions, energies = points
    found = hull_energies(fractions, energies)
    expected = [lowest_mixture(fractions, energies, at) for at in fractions]
    assert found == pytest.approx(expected, abs=1e-9)


@given(point_sets())
def test_the_mixture_has_the_composition_and_the_energy(points: tuple[Array, Array]) -> None:
    fractions, energies = points
    location = locate(compute_hull(fractions, energies), fractions, energies, fractions)
    assert (location.shares >= 0).all()
    assert location.shares.sum(axis=1) == pytest.approx(1, abs=1e-12)
    mixed = np.einsum("nk,nkj->nj", location.shares, fractions[location.corners])
    assert mixed == pytest.approx(fractions, abs=1e-9)
    assert (location.energy_ev <= energies + 1e-9).all()


@given(point_sets(), st.integers(0, 2**32 - 1))
def test_order_and_affine_shifts_do_not_matter(points: tuple[Array, Array], seed: int) -> None:
    fractions, energies = points
    generator = np.random.default_rng(seed)
    order, columns = generator.permutation(len(energies)), generator.permutation(fractions.shape[1])
    shift = generator.uniform(-5, 5, fractions.shape[1])
    above = energies - hull_energies(fractions, energies)
    moved = energies + fractions @ shift
    again = moved[order] - hull_energies(fractions[order][:, columns], moved[order])
    assert again == pytest.approx(above[order], abs=1e-9)


@pytest.mark.parametrize("components", [2, 3, 4])
def test_random_sets_equal_linear_programming(components: int) -> None:
    generator = np.random.default_rng(components)
    drawn = generator.integers(0, 30, (120, components))
    fractions = as_fractions([*np.eye(components).tolist(), *drawn[drawn.any(axis=1)].tolist()])
    energies = -1.5 * (1 - (fractions**2).sum(axis=1)) + generator.exponential(0.05, len(fractions))
    found = hull_energies(fractions, energies)
    expected = [lowest_mixture(fractions, energies, at) for at in fractions]
    assert found == pytest.approx(expected, abs=1e-9)
    assert len(compute_hull(fractions, energies).facets) > 5


def test_a_known_binary_hull() -> None:
    fractions = as_fractions([(1, 0), (0, 1), (3, 1), (1, 1), (1, 3), (2, 1)])
    energies = np.array([0.0, 0.0, -0.1, -0.3, -0.2, -0.15])
    hull = compute_hull(fractions, energies)
    assert sorted(map(tuple, hull.facets.tolist())) == [(0, 3), (1, 4), (3, 4)]
    assert hull_energies(fractions, energies) == pytest.approx([0, 0, -0.15, -0.3, -0.2, -0.2])


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_elements_only(components: int) -> None:
    fractions, energies = np.eye(components), np.arange(components, dtype=np.float64)
    hull = compute_hull(fractions, energies)
    assert hull.facets.tolist() == [list(range(components))]
    assert hull.potential_ev == pytest.approx(energies[None, :])


@pytest.mark.parametrize("components", [2, 3, 4])
def test_nothing_forms_where_all_energies_are_positive(components: int) -> None:
    counts = list(itertools.product(range(3), repeat=components))[1:]
    fractions = as_fractions([*np.eye(components).tolist(), *counts])
    energies = np.where(fractions.max(axis=1) == 1, 0.0, 0.2)
    assert compute_hull(fractions, energies).facets.tolist() == [list(range(components))]
    assert hull_energies(fractions, energies) == pytest.approx(0)


@pytest.mark.parametrize("components", [2, 3, 4])
def test_all_phases_in_one_plane_are_on_the_hull(components: int) -> None:
    counts = [one for one in itertools.product(range(4), repeat=components) if any(one)]
    fractions = as_fractions(counts)
    energies = fractions @ np.arange(1.0, components + 1)
    assert hull_energies(fractions, energies) == pytest.approx(energies, abs=1e-12)


def test_coplanar_phases_beside_a_deep_one() -> None:
    """Every phase but one lies in the planes that the deep one spans with the edges."""
    deep = np.full(3, 1 / 3)
    counts = [one for one in itertools.product(range(7), repeat=3) if any(one)]
    fractions = as_fractions([*counts, (1, 1, 1)])
    energies = -3.0 * fractions.min(axis=1)
    assert hull_energies(fractions, energies) == pytest.approx(energies, abs=1e-12)
    lifted = energies + np.where(np.abs(fractions - deep).max(axis=1) < 1e-9, 0.0, 0.01) * (fractions.max(axis=1) < 1)
    location = locate(compute_hull(fractions, lifted), fractions, lifted, fractions)
    assert location.energy_ev == pytest.approx(energies, abs=1e-12)


def test_of_a_composition_only_the_lowest_is_a_corner_and_of_equal_ones_the_first() -> None:
    fractions = as_fractions([(1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (2, 2), (1, 1)])
    energies = np.array([0.1, 0.0, 0.0, 0.0, -0.2, -0.3, -0.3])
    assert compute_hull(fractions, energies).facets.tolist() == [[1, 5], [2, 5]]


def test_a_depth_next_to_nothing_is_still_a_hull() -> None:
    fractions = as_fractions([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)])
    energies = np.array([0, 0, 0, -1e-13, -3e-13])
    assert hull_energies(fractions, energies) == pytest.approx(energies, abs=1e-15)


def test_large_cells_close_to_an_element() -> None:
    fractions = as_fractions([(1, 0, 0), (0, 1, 0), (0, 0, 1), (499, 1, 0), (498, 1, 1), (499, 0, 1), (1, 1, 1)])
    energies = np.array([0, 0, 0, -0.002, -0.005, -0.002, -0.5])
    expected = [lowest_mixture(fractions, energies, at) for at in fractions]
    assert hull_energies(fractions, energies) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("fractions", "energies", "message"),
    [
        (np.eye(5), np.zeros(5), "1 to 4 components, this one would have 5"),
        (np.array([[1.0, 0.0], [0.5, 0.5]]), np.zeros(2), "no phase of the pure component 2"),
        (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, np.nan]), "must be finite"),
        (np.array([[1.0, 0.0], [0.0, 0.9]]), np.zeros(2), "must sum to 1"),
        (np.array([[1.0, 0.0], [-0.5, 1.5]]), np.zeros(2), "must not be negative"),
        (np.eye(2), np.zeros(3), r"these are \(2, 2\) and \(3,\)"),
    ],
)
def test_what_is_no_set_of_phases_is_refused(fractions: Array, energies: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_hull(fractions, energies)
