"""The goal file: a few keys of its own, and any key of a full spec, which goes over what grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import GOAL, WorkflowSpec, nearest
from penstock.domain.sweep import KEY as SWEEP

ELASTIC: Final = "elastic"
EQUILIBRATE: Final = "equilibrate"
DIFFUSION: Final = "diffusion"
PHASE_DIAGRAM: Final = "phase_diagram"
GOALS: Final = (ELASTIC, EQUILIBRATE, DIFFUSION, PHASE_DIAGRAM)
"""What can be asked for, each done by the recipe of that name."""
ACCURACIES: Final = ("quick", "normal", "tight")
KEYS: Final = {
    "goal": "what is wanted: " + ", ".join(GOALS),
    "system": 'of what: a formula ("Si"), a formula and a prototype, a file, a database\'s row, elements ("Cu-Au")',
    "accuracy": '"quick" to try things out, "normal", or "tight"; default "normal"',
    "engine": "the simulation code, by name or as a full spec's table; default: the first rule that fits",
    "temperatures_k": "K; needed for diffusion, one at most for equilibrate",
    "pressure_gpa": "GPa, of elastic and equilibrate; default 0",
    "max_atoms": "of phase_diagram: atoms in the cell of an ordering, at most",
    "cluster": "where it runs, as in a full spec",
    "slots": "jobs at the same time, as in a full spec",
}
"""What a goal file may say, in a few words; beside these, every key of a full spec."""
_SHORT: Final = {
    "temperatures_k": {"diffusion": "diffusion.temperatures_k", "equilibrate": "equilibrate.temperature_k"},
    "pressure_gpa": {"elastic": "elastic.pressure_gpa", "equilibrate": "equilibrate.pressure_gpa"},
    "max_atoms": {"phase_diagram": "structures.build.max_atoms"},
}
"""Keys of a goal file that are short for one of a full spec, by goal."""
_OWN: Final = (GOAL, "system", "accuracy", *_SHORT)
_INSTEAD: Final = (
    'write a goal such as goal = "elastic" and system = "Si"; for anything else write a full spec: penstockctl new'
)


class Goal(msgspec.Struct, frozen=True):
    """A goal file that was read: `given` is what it says in the keys of a full spec, `written` all of it as it stands.

    `system` is None where the file has `[structures]` of its own instead.
    """

    goal: str
    system: str | None
    accuracy: str
    given: dict[str, Any]
    written: dict[str, Any]

    def key_in_file(self, key: str) -> str:
        """What the goal file calls a key of the full spec."""
        for short, by_goal in _SHORT.items():
            if short in self.written and by_goal.get(self.goal) == key:
                return short
        if key == "engine.name" and isinstance(self.written.get("engine"), str):
            return "engine"
        is_systems = key.partition(".")[0] == "structures" and value_at(self.given, key) is None
        return "system" if is_systems and self.system is not None else key


def read_goal(tables: Mapping[str, Any]) -> Goal:
    """The goal in the tables of a file. SpecError, with its key, for what no goal file says."""
    goal = _choice(tables, GOAL, GOALS, None, _INSTEAD)
    _refuse_unknown(tables)
    accuracy = _choice(tables, "accuracy", ACCURACIES, "normal", f"use {', '.join(ACCURACIES)}")
    given = {key: value for key, value in tables.items() if key not in _OWN}
    if isinstance(given.get("engine"), str):
        given["engine"] = {"name": given["engine"]}
    for short, by_goal in _SHORT.items():
        if short in tables:
            given = _spelled_out(given, goal, short, by_goal, tables[short])
    _check_needs(goal, given)
    return Goal(goal, _system(tables), accuracy, given, dict(tables))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: tables key by key, at every depth; anything else replaces what is below."""
    merged = dict(below)
    for key, value in above.items():
        beneath = merged.get(key)
        both = isinstance(beneath, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(dict(beneath or {}), value) if both else value
    return merged


def value_at(tables: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    value: Any = tables
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def has_room(tables: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key has no value yet, and could have one: what is on the way to it are tables."""
    *way, last = key.split(".")
    table: Any = tables
    for part in way:
        table = table.get(part, {})
        if not isinstance(table, Mapping):
            return False
    return last not in table


def nested(key: str, value: Any) -> dict[str, Any]:
    """A dotted key and its value as tables."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _choice(tables: Mapping[str, Any], key: str, known: tuple[str, ...], default: str | None, instead: str) -> str:
    value = tables.get(key, default)
    if value not in known:
        hint = nearest(value, known) if isinstance(value, str) else ""
        told = f"{hint}; there are {', '.join(known)}" if hint else f"there are {', '.join(known)}; {instead}"
        raise SpecError(f"{value!r} is no {key}; {told}", key=key)
    return str(value)


def _refuse_unknown(tables: Mapping[str, Any]) -> None:
    known = [*KEYS, *(name for name in WorkflowSpec.__struct_fields__ if name not in {"recipe", *KEYS}), SWEEP]
    for key in tables:
        if key == "recipe":
            raise SpecError("the goal decides on the recipe; leave one of the two out", key=key)
        if key not in known:
            hint = nearest(key, known) or f"a goal file has {', '.join(KEYS)}, and any key of a full spec"
            raise SpecError(f"unknown key {key!r}; {hint}", key=key)


def _system(tables: Mapping[str, Any]) -> str | None:
    system, structures = tables.get("system"), tables.get("structures")
    own = isinstance(structures, Mapping) and bool({"source", "build"} & structures.keys())
    if system is None and own:
        return None
    if not isinstance(system, str) or not system.strip():
        message = 'missing; write a formula such as system = "Si", or a file such as system = "cell.cif"'
        raise SpecError(
            message if system is None else f"{system!r} is no text; write it like system = 'Si'", key="system"
        )
    if own:
        raise SpecError("the system says what the structures are; leave one of the two out", key="structures")
    return system


def _spelled_out(
    given: Mapping[str, Any], goal: str, short: str, by_goal: Mapping[str, str], value: Any
) -> dict[str, Any]:
    """`given` with a short key's value where a full spec has it."""
    if (full := by_goal.get(goal)) is None:
        raise SpecError(f"goal {goal!r} has none; it belongs to {' and '.join(by_goal)}", key=short)
    if value_at(given, full) is not None:
        raise SpecError(f"is said twice, here and as {full}; leave one of the two out", key=short)
    if not has_room(given, full):
        table = full.rpartition(".")[0]
        raise SpecError(f"is a table, written [{table}]", key=table)
    if full == "equilibrate.temperature_k":
        if not isinstance(value, list) or len(value) != 1:
            raise SpecError(f"{value!r}: equilibrate has one temperature; write it like [300]", key=short)
        value = value[0]
    return merge(given, nested(full, value))


def _check_needs(goal: str, given: Mapping[str, Any]) -> None:
    if goal == DIFFUSION and not value_at(given, "diffusion.temperatures_k"):
        message = (
            "missing: nobody but you knows where the atoms move and nothing has melted yet, or should have; give "
            "three or more, such as temperatures_k = [800, 1000, 1200], in kelvin"
        )
        raise SpecError(message, key="temperatures_k")
