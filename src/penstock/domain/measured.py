"""Results as people read them: a number with its uncertainty, a tensor as a small matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from penstock.domain.properties import VOIGT, PropertyResult

_AXES: Final = {6: VOIGT, 3: ("x", "y", "z")}
_LEAST_FIXED: Final = -4
_MOST_FIXED: Final = 7
"""Powers of ten between which a number is written without one."""
_DIGITS: Final = 5  # of the largest number of a matrix without uncertainties
_PRECISION: Final = 15  # digits that a number has at all


def measured(value: Any, uncertainty: Any = None) -> str:
    """A value, rounded to two digits of its uncertainty: `175.3 ± 1.2`, `(2.31 ± 0.14)e-09`."""
    if not _is_number(value):
        return "-" if value is None else str(value)
    if not _is_number(uncertainty) or not math.isfinite(uncertainty) or not math.isfinite(value):
        return str(value) if isinstance(value, int) else f"{value:.6g}"
    if uncertainty == 0:
        return f"{value:.6g} ± 0"
    return _with_error(value, uncertainty)


def _with_error(value: float, uncertainty: float) -> str:
    last = _power(uncertainty) - 1
    scale = _power(max(abs(value), abs(uncertainty)))
    if scale - last > _PRECISION:
        return f"{value:.{_PRECISION}g} ± {uncertainty:.1e}"
    if _LEAST_FIXED <= scale < _MOST_FIXED:
        return f"{_rounded(value, last)} ± {_rounded(uncertainty, last)}"
    shown, error = (_rounded(Decimal(number).scaleb(-scale), last - scale) for number in (value, uncertainty))
    return f"({shown} ± {error})e{scale:+03d}"


def is_matrix(value: Any) -> bool:
    """Whether it is rows of numbers, equally long."""
    if not isinstance(value, list | tuple) or not value:
        return False
    is_table = all(isinstance(row, list | tuple) and row and all(map(_is_number, row)) for row in value)
    return is_table and len({len(row) for row in value}) == 1


def is_small(value: Any) -> bool:
    """Whether a value fits into a cell of a table: a number, a text, a truth."""
    return not isinstance(value, list | tuple | dict)


def conditions(given: Mapping[str, Any]) -> str:
    """`species Cu, temperature_k 800`."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in given.items()
    )


class Matrix(msgspec.Struct, frozen=True):
    """Numbers as text, rounded alike, with the names of rows and columns; each times ten to the `power`."""

    down: tuple[str, ...]
    across: tuple[str, ...]
    cells: list[list[str]]
    power: int


def matrix_of(rows: Sequence[Sequence[float]], uncertainty: Any = None) -> Matrix:
    """A matrix rounded to two digits of its largest uncertainty, or to five of its largest number."""
    errors = [abs(error) for error in _numbers(uncertainty) if error]
    largest = max((abs(number) for row in rows for number in row), default=0.0)
    last = _power(max(errors)) - 1 if errors else _power(largest) - _DIGITS + 1 if largest else 0
    scale = _power(largest) if largest else 0
    last = max(last, scale - _PRECISION)
    power = 0 if _LEAST_FIXED <= scale < _MOST_FIXED else scale
    cells = [[_rounded(Decimal(number).scaleb(-power), last - power) for number in row] for row in rows]
    down, across = (_AXES.get(count) or tuple(map(str, range(1, count + 1))) for count in (len(rows), len(rows[0])))
    return Matrix(down, across, cells, power)


def listed(values: Any, uncertainty: Any = None) -> list[str] | None:
    """Each number of a list with its uncertainty; None for what is no list of numbers."""
    if not isinstance(values, list | tuple) or not all(map(_is_number, values)):
        return None
    is_like = isinstance(uncertainty, list | tuple) and len(uncertainty) == len(values)
    errors = uncertainty if is_like else [None] * len(values)
    return [measured(number, error) for number, error in zip(values, errors, strict=True)]


def largest_error(found: PropertyResult) -> list[str]:
    """At most one line for all uncertainties of a value."""
    errors = _numbers(found.uncertainty)
    return [f"standard error: at most {max(errors):.2g} {found.unit}"] if errors else []


def _numbers(value: Any) -> list[float]:
    """All numbers in nested lists."""
    if isinstance(value, list | tuple):
        return [number for inner in value for number in _numbers(inner)]
    return [float(value)] if _is_number(value) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _power(number: float) -> int:
    """The power of ten of a number's first digit, once it is rounded to two digits."""
    return int(f"{number:.1e}".partition("e")[2])


def _rounded(number: float | Decimal, last: int) -> str:
    """A number rounded at the power of ten `last`; never `-0`."""
    text = f"{round(Decimal(number), -last):f}" if last > 0 else f"{Decimal(number):.{-last}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text
