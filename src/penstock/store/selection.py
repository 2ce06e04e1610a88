"""A selection of jobs as SQL: every column and operator from a fixed list, every value a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import unknown_key
from penstock.domain.states import JobState, Status
from penstock.domain.views import Filter, Selection

COLUMNS: Final[dict[str, type[int | float | str]]] = {
    "id": int,
    "orig_index": int,
    "name": str,
    "elements": str,
    "natoms": int,
    "status": str,
    "state": str,
    "charge": int,
    "spin": int,
    "attempts": int,
    "never_rerun": int,
    "job_dir": str,
    "max_forces": float,
    "scf_steps": int,
    "final_energy": float,
    "wall_time_s": float,
    "failure": str,
    "error_message": str,
    "created_at": str,
    "updated_at": str,
    "step": str,
}
_OPERATORS: Final = {"=": "=", "!=": "IS NOT", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_INTEGERS: Final = range(-(2**63), 2**63)  # what SQLite can hold
_STATES: Final = frozenset(JobState)
_STATUSES: Final = frozenset(Status)


def as_array(values: Iterable[Any]) -> str:
    """Values for SQLite's `json_each`: as many as there are in one parameter."""
    return msgspec.json.encode(list(values)).decode()


class Where(msgspec.Struct, frozen=True):
    """A condition and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()

    def __and__(self, other: Where) -> Where:
        """Both conditions."""
        return Where(f"({self.sql}) AND ({other.sql})", self.parameters + other.parameters)


RUN_HERE: Final = Where("method IS NULL")
"""Jobs that a daemon may run: those of library users are calculated by their programs alone."""


def in_states(*states: JobState) -> Where:
    """Jobs in any of `states`."""
    return Where(f"state IN ({','.join('?' * len(states))})", tuple(str(state) for state in states))


def where_selected(workflow_id: str, selection: Selection) -> Where:
    """The workflow's jobs that `selection` names. SpecError for an unknown status, column or operator."""
    where = Where("workflow_id = ?", (workflow_id,))
    if selection.jobs:
        where &= Where("id IN (SELECT value FROM json_each(?))", (as_array(selection.jobs),))
    if selection.statuses:
        where &= _status_condition(selection.statuses)
    for condition in selection.filters:
        where &= _filter_condition(condition)
    return where


def order_by(order: str) -> str:
    """`ORDER BY` for a public column, falling with a leading `-`; jobs without a value come last."""
    column, falling = order.removeprefix("-"), order.startswith("-")
    if column not in COLUMNS:
        raise unknown_key(column, list(COLUMNS), "order")
    return f"ORDER BY {column} IS NULL, {column} {'DESC' if falling else 'ASC'}, id"


def _status_condition(names: tuple[str, ...]) -> Where:
    unknown = [name for name in names if name not in _STATUSES and name not in _STATES]
    if unknown:
        raise unknown_key(unknown[0], sorted(map(str, _STATUSES | _STATES)), "status")
    marks = ",".join("?" * len(names))
    return Where(f"status IN ({marks}) OR state IN ({marks})", names + names)


def _filter_condition(condition: Filter) -> Where:
    kind = COLUMNS.get(condition.column)
    if kind is None:
        raise unknown_key(condition.column, list(COLUMNS), "filter")
    if condition.op == "~":
        return Where(f"instr({condition.column}, ?) > 0", (condition.value,))
    if condition.op not in _OPERATORS:
        raise SpecError(f"unknown operator {condition.op!r}; use = != < <= > >= or ~", key=f"filter.{condition.column}")
    try:
        value = kind(condition.value)
    except ValueError:
        value = None
    if value is None or (isinstance(value, int) and value not in _INTEGERS):
        message = f"{condition.value!r} is not a number that {condition.column} can be compared with"
        raise SpecError(message, key=f"filter.{condition.column}")
    return Where(f"{condition.column} {_OPERATORS[condition.op]} ?", (value,))
