"""What a library user hands over, checked and brought to the form that is kept. SpecError says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.geometry import normalise

FORCES: Final = "forces_hartree_per_bohr"
"""The property that forces are kept as: one row of three components an atom."""


def encode_method(engine: str, parameters: Mapping[str, Any] | None) -> str:
    """Engine and parameters as they are kept: JSON, with sorted keys, so that the same is the same text."""
    if not engine or not isinstance(engine, str):
        raise SpecError(f"{engine!r} is no engine's name", key="engine")
    value = {"engine": engine, "parameters": dict(parameters or {})}
    try:
        return msgspec.json.encode(value, order="sorted", enc_hook=_plain).decode()
    except (TypeError, ValueError) as error:
        raise SpecError(f"JSON cannot hold them: {error}", key="parameters") from error


def finite_number(name: str, value: float | None) -> float | None:
    """A number that can be recorded; None stays None."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise SpecError(f"{value} is not a finite number; a calculation without a result has failed", key=name)
    return number


def force_rows(given: Any, natoms: int) -> list[list[float]]:
    """The rows, none where there are none; as many as atoms, of three components, finite."""
    if given is None:
        return []
    rows: Sequence[Sequence[Any]] = given.tolist() if hasattr(given, "tolist") else given
    try:
        forces = [[float(x) for x in row] for row in rows]
    except (TypeError, ValueError) as error:
        raise SpecError(f"not rows of numbers: {error}", key=FORCES) from error
    if len(forces) != natoms or any(len(row) != 3 for row in forces):
        raise SpecError(f"{natoms} rows of three components are expected, one an atom", key=FORCES)
    if not all(math.isfinite(x) for row in forces for x in row):
        raise SpecError("not all of them are finite", key=FORCES)
    return forces


def geometry_block(geometry: str) -> str:
    """A geometry in the one form."""
    try:
        return normalise(geometry).block
    except ValueError as error:
        raise SpecError(str(error), key="geometry") from None


def _plain(value: Any) -> Any:
    """What numpy's numbers and arrays are to JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON knows")


def encode_property(name: str, value: Any) -> str:
    """A property as JSON; numpy's numbers and arrays are what they are in Python."""
    try:
        text = msgspec.json.encode(value, enc_hook=_plain).decode()
    except (TypeError, ValueError) as error:
        raise SpecError(f"JSON cannot hold it: {error}", key=f"properties.{name}") from error
    return text
