"""A parameter sweep (`[sweep]`): one spec with lists of values as many workflows, one a point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.ids import check_workflow_id
from penstock.domain.revision import assign

POINTS_MAX: Final = 1000
KEY: Final = "sweep"
_MODES: Final = ("grid", "zip")
_DIGITS_LEAST: Final = 3
_NOT_SWEPT: Final = {
    "id": "the points are named after it",
    "sweep": "there is no sweep of sweeps",
    "metadata.sweep": "this is where a workflow keeps its point",
}


class Point(msgspec.Struct, frozen=True):
    """One workflow of a sweep: its number from 1, its id, and what it has of its own by dotted key."""

    number: int
    id: str
    values: dict[str, Any]


def read_points(name: str, table: Any) -> tuple[Point, ...]:
    """The points of the `[sweep]` table of a sweep called `name`. SpecError, with its key, for what is no sweep.

    `mode = "grid"`: every combination, the last key running fastest; `"zip"`: the n-th value of every list together.
    """
    if not isinstance(table, dict):
        raise SpecError('is a table of lists, such as "engine.accuracy" = [1.0, 0.1]', key=KEY)
    mode = table.get("mode", "grid")
    if mode not in _MODES:
        raise SpecError(f"{mode!r} is no way to go through the values; use {' or '.join(_MODES)}", key=f"{KEY}.mode")
    axes = dict(_axes({key: value for key, value in table.items() if key != "mode"}))
    if not axes:
        raise SpecError('names no key; write it like "engine.accuracy" = [1.0, 0.1]', key=KEY)
    lengths = [len(values) for values in axes.values()]
    if mode == "zip" and len(set(lengths)) > 1:
        told = ", ".join(f"{key} has {len(values)}" for key, values in axes.items())
        raise SpecError(f"in mode zip every key needs as many values as the others: {told}", key=KEY)
    count = lengths[0] if mode == "zip" else math.prod(lengths)
    if count > POINTS_MAX:
        raise SpecError(f"makes {count} workflows; a sweep has at most {POINTS_MAX} points", key=KEY)
    rows = zip(*axes.values(), strict=True) if mode == "zip" else itertools.product(*axes.values())
    digits = max(_DIGITS_LEAST, len(str(count)))
    check_workflow_id(f"{name}-{count:0{digits}}")
    return tuple(
        Point(number, f"{name}-{number:0{digits}}", dict(zip(axes, row, strict=True)))
        for number, row in enumerate(rows, 1)
    )


def _axes(table: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every key that is swept, dotted, whether it is written with dots in quotes or without, or as a table."""
    for name, values in table.items():
        key = f"{where}{name}"
        if why := _NOT_SWEPT.get(key):
            raise SpecError(f"cannot be swept: {why}", key=f"{KEY}.{key}")
        if isinstance(values, dict):
            yield from _axes(values, f"{key}.")
        elif not isinstance(values, list) or not values:
            raise SpecError("needs a list of values", key=f"{KEY}.{key}")
        else:
            twice = next((value for n, value in enumerate(values) if value in values[:n]), None)
            if twice is not None:
                raise SpecError(f"has {twice!r} twice", key=f"{KEY}.{key}")
            yield key, values


def tables_of(tables: Mapping[str, Any], name: str, point: Point) -> dict[str, Any]:
    """The spec of one point, as tables; which point it is stands in `metadata.sweep`."""
    own = {key: value for key, value in tables.items() if key != KEY}
    if "sweep" in dict(own.get("metadata", {})):
        raise SpecError("this is where a workflow keeps its point; choose another key", key="metadata.sweep")
    told = {"name": name, "point": point.number, "values": point.values}
    return assign(own, {**point.values, "id": point.id, "metadata.sweep": told})


def describe_values(values: Mapping[str, Any]) -> str:
    """`engine.accuracy = 0.1, engine.method = "GFN2-xTB"`."""
    return ", ".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items())
