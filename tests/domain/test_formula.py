"""Formulas are read as what they count, and what is none is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.formula import (
    _ELECTROPOSITIVE_FIRST,
    read_formula,
    reduce_counts,
    render_formula,
    usual_order,
)
from penstock.domain.geometry import ATOMIC_NUMBERS, SYMBOLS


@given(st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 999), min_size=1, max_size=6))
def test_what_is_written_is_read_again(counts: dict[str, int]) -> None:
    read = read_formula(render_formula(counts, counts))
    assert read == counts
    assert list(read) == list(counts)


def test_elements_that_come_again_are_counted_together() -> None:
    assert read_formula("CH3CH2OH") == {"C": 2, "H": 6, "O": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no formula; write it like"),
        ("si", "is no formula; write it like"),
        ("Ca(OH)2", "without brackets"),
        ("Si ", "is no formula"),
        ("SiO1.5", "is no formula"),
        ("Xx2", "there is no element 'Xx'"),
        ("SiO0", "it has 0 of O"),
        ("Si00", "it has 0 of Si"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="formula") as raised:
        read_formula(text)
    assert message in str(raised.value)


@given(st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 20))
def test_a_multiple_has_the_same_reduced_composition(counts: dict[str, int], times: int) -> None:
    multiple = {symbol: count * times for symbol, count in counts.items()}
    assert reduce_counts(multiple) == reduce_counts(counts)
    smallest = reduce_counts(counts)
    assert len({counts[symbol] / smallest[symbol] for symbol in counts}) == 1
    assert math.gcd(*smallest.values()) == 1


def test_an_order_may_name_more_elements_than_there_are() -> None:
    assert render_formula({"Cu": 3, "Au": 1}, ("Ag", "Au", "Cu")) == "AuCu3"


def test_the_usual_order_is_that_of_formulas() -> None:
    assert usual_order({"Cl", "Na"}) == ("Na", "Cl")
    assert usual_order({"O", "Ti", "Sr"}) == ("Sr", "Ti", "O")
    assert usual_order({"Al", "Ni"}) == ("Ni", "Al")
    assert usual_order({"As", "Ga"}) == ("Ga", "As")
    known = [symbol for symbol in SYMBOLS if ATOMIC_NUMBERS[symbol] <= 103]
    assert sorted(usual_order(known)) == sorted(known)
    assert set(_ELECTROPOSITIVE_FIRST) == set(known)
