"""Numbers with their uncertainties, as people read them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.measured import conditions, is_matrix, largest_error, listed, matrix_of, measured
from penstock.domain.properties import PropertyResult

NUMBERS = st.floats(-1e300, 1e300)


@pytest.mark.parametrize(
    ("value", "uncertainty", "shown"),
    [
        (175.3421, 1.234, "175.3 ± 1.2"),
        (175.3421, 0.0996, "175.34 ± 0.10"),
        (175.3421, 12.4, "175 ± 12"),
        (1753.421, 124.0, "1750 ± 120"),
        (0.0, 0.034, "0.000 ± 0.034"),
        (-0.0001, 0.034, "0.000 ± 0.034"),
        (-3.4567891, 0.0000021, "-3.4567891 ± 0.0000021"),
        (2.3136e-9, 1.41e-10, "(2.31 ± 0.14)e-09"),
        (1e-12, 3.3e-9, "(0.0 ± 3.3)e-09"),
        (3.6e15, 2e13, "(3.600 ± 0.020)e+15"),
        (1.5, 0.0, "1.5 ± 0"),
        (2e5, 1e-200, "200000 ± 1.0e-200"),
        (3, None, "3"),
        (2.0, None, "2"),
        (1 / 3, None, "0.333333"),
        (1.5, math.inf, "1.5"),
        (None, 0.1, "-"),
        ("hexagonal", None, "hexagonal"),
        (True, None, "True"),
    ],
)
def test_a_number_is_rounded_to_two_digits_of_its_uncertainty(value: Any, uncertainty: Any, shown: str) -> None:
    assert measured(value, uncertainty) == shown


@given(NUMBERS, NUMBERS.map(abs))
def test_rounding_never_changes_a_number_by_more_than_its_uncertainty(value: float, uncertainty: float) -> None:
    shown = measured(value, uncertainty)
    if uncertainty == 0:
        assert shown.endswith(" ± 0")
        return
    body, _, power = shown.removeprefix("(").partition(")")
    number, error = (float(f"{part}{power}") for part in body.split(" ± "))
    assert abs(number - value) <= 0.051 * uncertainty + 1e-14 * abs(value) + 1e-323
    assert error == pytest.approx(uncertainty, rel=0.051, abs=1e-323)


def test_conditions_have_their_names() -> None:
    assert conditions({"species": "Cu", "temperature_k": 800.0, "n": 3}) == "species Cu, temperature_k 800, n 3"


def test_a_tensor_is_rounded_alike_and_has_its_axes() -> None:
    rows = [[175.32 if i == j else -0.0004 for j in range(6)] for i in range(6)]
    matrix = matrix_of(rows, [[0.21] * 6] * 6)
    assert matrix.down == matrix.across == ("xx", "yy", "zz", "yz", "xz", "xy")
    assert matrix.cells[3] == ["0.00", "0.00", "0.00", "175.32", "0.00", "0.00"]
    assert matrix.power == 0
    small = matrix_of([[2.5e-9, 0, 0], [0, 2e-9, 0], [0, 0, 1e-9]])
    assert (small.down, small.power, small.cells[0]) == (("x", "y", "z"), -9, ["2.5000", "0.0000", "0.0000"])
    assert matrix_of([[0, 0]]).cells == [["0", "0"]]


def test_shapes_are_told_apart() -> None:
    assert is_matrix([[1, 2], [3, 4]])
    assert not any(map(is_matrix, (1.0, [1.0], [], [[1.0], [1.0, 2.0]], [["a"]], [[None]])))
    assert listed([3.61, 4], [0.012, 0.1]) == ["3.610 ± 0.012", "4.00 ± 0.10"]
    assert listed([1.5, 2.0], 0.1) == ["1.5", "2"]
    assert listed("ab") is listed([[1.0]]) is None
    assert largest_error(PropertyResult("p", "s", [1.0, 2.0], "GPa", [0.1, 0.25])) == [
        "standard error: at most 0.25 GPa"
    ]
