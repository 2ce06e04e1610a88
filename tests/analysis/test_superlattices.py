"""Numbers of derivative superstructures, published ones and those that another program (icet 4.0) finds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.analysis.superlattices import (
    Array,
    ParentLattice,
    _normal_form,
    distinct_labelings,
    hermite_normal_forms,
    reduce_cell,
    reduce_parent,
)

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
HCP = np.array([[1, 0, 0], [-0.5, math.sqrt(3) / 2, 0], [0, 0, math.sqrt(8 / 3)]])
ONE = np.zeros((1, 3))
TWO = np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])


def counts(cell: Array, sites: Array, kinds: int, largest: int) -> list[int]:
    parent = ParentLattice(4 * cell, sites, (tuple(range(kinds)),) * len(sites))
    return [sum(len(one.kinds) for one in distinct_labelings(parent, size)) for size in range(1, largest + 1)]


@pytest.mark.parametrize(
    ("cell", "sites", "kinds", "expected"),
    [
        (FCC, ONE, 2, [2, 2, 6, 19, 28, 80, 104, 390, 504]),
        (BCC, ONE, 2, [2, 2, 6, 19, 28, 80, 104, 390]),
        (FCC, ONE, 3, [3, 6, 21, 96, 165, 790]),
        (FCC, ONE, 4, [4, 12, 48, 289, 600]),
        (HCP, TWO, 2, [3, 10, 50, 270, 651]),
        (HCP, TWO, 3, [6, 51, 450]),
    ],
)
def test_as_many_as_another_program_finds(cell: Array, sites: Array, kinds: int, expected: list[int]) -> None:
    assert counts(cell, sites, kinds, len(expected)) == expected


def test_as_many_as_published() -> None:
    """Hart and Forcade (2008) do not tell a structure from the one with its two elements exchanged.

    With an odd number of sites no structure is its own exchange, so they have half as many: 3, 14, 52, 252, 682.
    """
    found = counts(FCC, ONE, 2, 11)
    assert [found[size - 1] / 2 for size in (3, 5, 7, 9, 11)] == [3, 14, 52, 252, 682]


def test_superlattices_by_the_sum_over_divisors() -> None:
    for index in range(1, 13):
        expected = sum(
            a * a * c
            for a, c in itertools.product(range(1, index + 1), repeat=2)
            if index % a == 0 and index // a % c == 0
        )
        forms = hermite_normal_forms(index)
        assert len({form.tobytes() for form in forms}) == len(forms) == expected
        assert {round(np.linalg.det(form)) for form in forms} == {index}


@given(st.integers(1, 12), st.data())
def test_a_lattice_has_one_normal_form(index: int, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(hermite_normal_forms(index)))
    mixed = form.copy()
    for _ in range(data.draw(st.integers(0, 6))):
        one, other = data.draw(st.permutations(range(3)))[:2]
        mixed[one] += data.draw(st.integers(-3, 3)) * mixed[other]
    mixed = mixed[data.draw(st.permutations(range(3)))] * data.draw(st.sampled_from([-1, 1]))
    assert _normal_form(mixed).tolist() == form.tolist()


def test_sites_that_stay_what_they_are() -> None:
    """Rocksalt with one sublattice free has the orderings of fcc."""
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    parent = ParentLattice(4 * FCC, sites, ((0, 1), (2,)))
    assert [sum(len(one.kinds) for one in distinct_labelings(parent, size)) for size in (1, 2, 3, 4)] == [2, 2, 6, 19]


def test_a_parent_is_made_primitive() -> None:
    sites = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    parent, of = reduce_parent(4 * np.eye(3), sites, [(0, 1)] * 4)
    assert len(parent.sites) == 1
    assert of == [0]
    assert abs(np.linalg.det(parent.cell)) == pytest.approx(16)
    mixed, of = reduce_parent(4 * np.eye(3), sites, [(0, 1), (2,), (2,), (2,)])
    assert len(mixed.sites) == 4
    assert sorted(mixed.allowed) == [(0, 1), (2,), (2,), (2,)]


def test_sites_at_the_same_place_are_refused() -> None:
    with pytest.raises(ValueError, match="Two sites of the parent lattice are at the same place"):
        reduce_parent(4 * np.eye(3), np.array([[0.0, 0, 0], [1.0, 0, 0]]), [(0, 1), (2,)])


def test_a_cell_without_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="spglib makes nothing of the lattice"):
        reduce_parent(np.ones((3, 3)), np.zeros((1, 3)), [(0, 1)])


def test_too_many_labelings_are_refused() -> None:
    with pytest.raises(ValueError, match="Cells of 30 atoms allow about 1e9 orderings"):
        distinct_labelings(ParentLattice(FCC, ONE, ((0, 1),)), 30)


@given(st.sampled_from(hermite_normal_forms(8)))
def test_a_reduced_cell_is_the_same_lattice_and_right_handed(form: Array) -> None:
    cell = form @ FCC
    reduced = reduce_cell(cell)
    assert np.linalg.det(reduced) == pytest.approx(abs(np.linalg.det(cell)))
    steps = reduced @ np.linalg.inv(cell)
    assert steps == pytest.approx(np.round(steps), abs=1e-9)
