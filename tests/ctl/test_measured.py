"""Numbers with their uncertainties, as people read them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.measured import conditions, lines_of, measured
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


def test_an_elastic_tensor_is_a_matrix_with_voigt_labels() -> None:
    tensor = [[175.32 if i == j else -0.0004 for j in range(6)] for i in range(6)]
    errors = [[0.21] * 6] * 6
    head, *rows, error = lines_of(PropertyResult("elastic_tensor", "Cu", tensor, "GPa", errors))
    assert head.split() == ["xx", "yy", "zz", "yz", "xz", "xy"]
    assert rows[3].split() == ["yz", "0.00", "0.00", "0.00", "175.32", "0.00", "0.00"]
    assert len({len(line) for line in (head, *rows)}) == 1
    assert error == "standard error: at most 0.21 GPa"


def test_other_shapes_are_shown_as_well_as_they_can_be() -> None:
    small = PropertyResult("d", "Cu", [[2.5e-9, 0, 0], [0, 2e-9, 0], [0, 0, 1e-9]], "m2/s")
    head, *rows = lines_of(small)
    assert head.split() == ["x", "y", "z", "x", "1e-09"]
    assert rows[0].split() == ["x", "2.5000", "0.0000", "0.0000"]
    assert lines_of(PropertyResult("a", "Cu", [3.61, 4.1], "A", [0.012, 0.1])) == ["3.610 ± 0.012, 4.10 ± 0.10"]
    assert lines_of(PropertyResult("a", "Cu", [1.0] * 50, "A")) == ["50 numbers; --json has them"]
    assert lines_of(PropertyResult("a", "Cu", [[1.0], [1.0, 2.0]], "A")) == [
        "a value of several parts; --json has them"
    ]
    assert lines_of(PropertyResult("a", "Cu", [[0, 0]], "1"))[1].split() == ["1", "0", "0"]
