"""Results of several workflows side by side, as plain functions over their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.control.messages import Table
from penstock.domain.measured import conditions, is_small
from penstock.domain.properties import PropertyResult

_ENERGY: Final = ".energy_hartree"
_TELLING: Final = ("axis", "angle", "species", "temperature_k")
"""Conditions that tell properties of a name apart; others were found with them, and differ from one to another."""
VALUE: Final = "value"


class Comparison(msgspec.Struct, frozen=True):
    """One row a material, one column for every workflow and compared column; None where there is no value."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def usual_column(tables: Sequence[Table]) -> str | None:
    """The values of properties, or the energy of the last step that all of them have."""
    common = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    return next((name for name in reversed(common) if name == VALUE or name.endswith(_ENERGY)), None)


def properties_as_table(table: Table, properties: Sequence[PropertyResult]) -> Table:
    """The table of a workflow with a row for each property that is one number or word, instead of its materials."""
    rows = tuple((_said(found), found.value) for found in properties if is_small(found.value))
    return msgspec.structs.replace(table, columns=("material", VALUE), rows=rows, total=len(rows))


def _said(found: PropertyResult) -> str:
    unit = "" if found.unit == "1" else f", {found.unit}"
    about: dict[str, Any] = {key: found.conditions[key] for key in _TELLING if key in found.conditions}
    return f"{found.subject} {found.name}{f' ({conditions(about)})' if about else ''}{unit}"


def compare(tables: Sequence[Table], columns: Sequence[str], against: str | None) -> Comparison:
    """The materials of all `tables`, by name, in the order in which they are met first.

    Materials that share a name are told apart by their order. With `against`, the id of one of the workflows, numbers
    are their differences from its; the others are left out.
    """
    found = [_by_material(table, columns) for table in tables]
    materials = list(dict.fromkeys(material for rows in found for material in rows))
    names = [table.workflow.id for table in tables]
    reference = found[names.index(against)] if against is not None else None
    heads = [name if len(columns) == 1 else f"{name} {column}" for name in names for column in columns]
    nothing = (None,) * len(columns)
    rows = []
    for material in materials:
        cells = [rows_.get(material, nothing) for rows_ in found]
        if reference is not None:
            base = reference.get(material, nothing)
            cells = [tuple(map(_difference, values, base)) for values in cells]
        rows.append((material[0], *(value for values in cells for value in values)))
    return Comparison(("material", *heads), tuple(rows))


def _by_material(table: Table, columns: Sequence[str]) -> dict[tuple[str, int], tuple[Any, ...]]:
    """By a material's name and how many of that name came before it, its values; None where a column is not there."""
    places = [table.columns.index(name) if name in table.columns else None for name in columns]
    seen: Counter[str] = Counter()
    rows = {}
    for row in table.rows:
        name = str(row[0])
        rows[name, seen[name]] = tuple(None if place is None else row[place] for place in places)
        seen[name] += 1
    return rows


def _difference(value: Any, base: Any) -> Any:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (value, base))
    return value - base if numbers else None
