"""A workflow's spec changed after it was submitted: which keys may change, and what has changed, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock.domain.build_table import BuildTable
from penstock.domain.errors import SpecError
from penstock.domain.property_tables import CHANGEABLE
from penstock.domain.settings import overlay
from penstock.domain.spec import WorkflowSpec, decode_spec
from penstock.domain.views import View

_NEW_WORKFLOW: Final = "submit another workflow for that"
_FIXED: Final[dict[str, str]] = {
    "id": f"a workflow keeps its name; {_NEW_WORKFLOW}",
    "recipe": f"the plan is made; {_NEW_WORKFLOW}",
    "structures": f"what has been read of the source is jobs already; {_NEW_WORKFLOW}",
    "isolation": f"its directories and database are made; {_NEW_WORKFLOW}",
    "cluster": f"what its attempts left lies there; {_NEW_WORKFLOW}",
    "chain": f"the jobs of its steps are made; {_NEW_WORKFLOW}",
    "engine.name": f"its results are those of one engine; {_NEW_WORKFLOW}",
}
"""Keys that no revision may change, and why."""


class SpecChange(View, frozen=True):
    """One key of a spec, dotted, with its value before and after; None: not given."""

    key: str
    old: Any
    new: Any


class Revision(msgspec.Struct, frozen=True):
    """A checked change of a workflow: `before` and `spec` are the whole specs, `parameters` the engine's, all JSON.

    Slots and priority are columns of their own, since they may have been changed without the spec.
    """

    before: str
    spec: str
    parameters: str
    slots: int
    priority: int
    changes: tuple[SpecChange, ...]


def assign(tables: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`tables` with each dotted key of `values` set; tables on the way are made. SpecError where one is no table."""
    changed = _copied(tables)
    for key, value in values.items():
        *way, name = key.split(".")
        table = changed
        for depth, part in enumerate(way, 1):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise SpecError(f"{'.'.join(way[:depth])} is no table", key=key)
            table = inner
        table[name] = value
    return changed


def revise(
    spec: WorkflowSpec, tables: Mapping[str, Any], values: Mapping[str, Any], text: str, file: str
) -> WorkflowSpec:
    """The spec as `tables` (of the file `file`, whose text is `text`) and then the dotted `values` change it.

    What neither of them names stays. SpecError, with its place, for what is wrong or may not change.
    """
    given = dict(tables)
    source = given.pop("structures", None)
    if source is not None:
        _refuse_other_source(spec, source)
    _refuse_other_kind(spec, values)
    merged = assign(overlay(msgspec.to_builtins(spec), given), values)
    revised = decode_spec(merged, text, file)
    for change in differences(spec, revised):
        if why := _why_fixed(change):
            message = f"cannot change from {_shown(change.old)} to {_shown(change.new)}: {why}"
            raise SpecError(message, key=change.key)
    return revised


def _why_fixed(change: SpecChange) -> str | None:
    """Why that key may not change; None where it may."""
    table, _, key = change.key.partition(".")
    if table in CHANGEABLE and key.partition(".")[0] not in CHANGEABLE[table]:
        return f"what has been calculated was calculated that way; {_NEW_WORKFLOW}"
    return next(
        (why for fixed, why in _FIXED.items() if change.key == fixed or change.key.startswith(f"{fixed}.")), None
    )


def _refuse_other_source(spec: WorkflowSpec, given: Any) -> None:
    """The source was copied when the workflow was made, so that its path is another now and only its name can tell."""
    known = msgspec.to_builtins(spec.structures)
    if not isinstance(given, dict):
        return
    for key, value in given.items():
        kept = known.get(key)
        if key == "build":
            same = _as_built(value) == _as_built(kept)
        elif key == "source" and isinstance(value, str) and isinstance(kept, str) and spec.structures.build is None:
            same = "/" not in kept or kept.rpartition("/")[2] == value.rpartition("/")[2]
        else:
            same = value == kept
        if not same:
            message = f"cannot change from {_shown(kept)} to {_shown(value)}: {_FIXED['structures']}"
            raise SpecError(message, key=f"structures.{key}")


def _as_built(table: Any) -> Any:
    """A table of what is built with all its keys, so that the same said in another way is the same."""
    try:
        return msgspec.convert(table, BuildTable)
    except msgspec.ValidationError:
        return table


def _refuse_other_kind(spec: WorkflowSpec, values: Mapping[str, Any]) -> None:
    """What is built cannot be read from a file from now on, nor the other way round."""
    other = "structures.build" if spec.structures.build is None else "structures.source"
    for key in values:
        if key == other or key.startswith(f"{other}."):
            raise SpecError(f"cannot be set: {_FIXED['structures']}", key=key)


def differences(old: WorkflowSpec, new: WorkflowSpec) -> tuple[SpecChange, ...]:
    """Every key whose value is another, in the order of the spec; lists count as one value."""
    return _differences(dict(_leaves(msgspec.to_builtins(old))), dict(_leaves(msgspec.to_builtins(new))))


def parameter_differences(old: str, new: str) -> tuple[SpecChange, ...]:
    """The same of an engine's parameters, JSON."""
    before, after = (dict(_leaves(msgspec.json.decode(text), "engine.")) for text in (old, new))
    return _differences(before, after)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[SpecChange, ...]:
    keys = dict.fromkeys((*before, *after))
    return tuple(SpecChange(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k))


def _leaves(tables: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _copied(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in tables.items()}


def _shown(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
