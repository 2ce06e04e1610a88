"""Remedies: which change a failed calculation is tried again with. A table of rules and a decision over values.

A rule says for which failure it is, what it changes of the engine's parameters, memory and walltime, and how often it
may. Engines bring a table of their own; a spec's `[remedies]` overrides and extends it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.domain.calculation import FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.resources import Resources, render_walltime

TOTAL_DEFAULT: Final = 3
TOTAL_MAX: Final = 100
GOES_ON: Final = "on from the last geometry and checkpoint"
ALTERS: Final = "another calculation, off where results are compared"
FACTOR_MAX: Final = 100.0


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of one parameter; exactly one of `set`, `add`, `multiply`, `append` and `merge` is given.

    `add` and `multiply` start from `default` where the parameter has no value, and stay within `least` and `most`: a
    change that would change nothing is none, and its rule is passed over. `append` adds to a list what is not in it
    yet; `merge` puts keys into a table, tables in it likewise.
    """

    set: Any = msgspec.UNSET
    add: float | None = None
    multiply: float | None = None
    append: list[Any] | None = None
    merge: dict[str, Any] | None = None
    default: int | float | None = None  # a whole number stays one: programs may refuse 325.0 cycles
    least: float | None = None
    most: float | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row of a table of remedies.

    It answers failures of the class `on` whose evidence or message `when` (a regular expression, searched, any case)
    matches, at most `limit` times a job. `change` goes by dotted names of engine parameters. `restart`: the next
    attempt starts from the last geometry and the checkpoint of the failed one. `person`: no program can mend it; the
    text says what a person has to do. `alters`: the change is one of what is calculated, not of how it is come by, so
    that the result compares with no other.
    """

    name: str
    on: FailureClass
    when: str = ""
    limit: int = 1
    change: dict[str, Change] = {}
    memory: float = 1.0  # factor
    memory_most_mb: int | None = None
    walltime: float = 1.0  # factor
    walltime_most_s: int | None = None
    restart: bool = False
    person: str = ""
    why: str = ""  # what it does, as a person would say it
    alters: bool = False


class RemedyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[remedies]` of a spec: the total limit a job, limits by a rule's name (0 turns it off), rules of its own."""

    total: int = TOTAL_DEFAULT
    engine: bool = True  # whether the engine's own rules apply
    limits: dict[str, int] = {}
    rules: list[Rule] = []


class Remedy(msgspec.Struct, frozen=True):
    """A decision: try again, changed. `parameters` are the whole new ones; `changes` say what is new, for people."""

    rule: str
    parameters: dict[str, Any]
    changes: tuple[str, ...]
    restart: bool = False
    memory_mb: int | None = None
    walltime_s: int | None = None


class NoRemedy(msgspec.Struct, frozen=True):
    """Why no rule was applied; `person` that somebody has to do something."""

    reason: str
    person: bool = False


class AppliedRemedy(msgspec.Struct, frozen=True):
    """A remedy in the history of a job: the rule, what it changed, and the attempt that it followed."""

    rule: str
    changes: tuple[str, ...]
    after: int


def check_table(table: RemedyTable) -> None:
    """SpecError with the key of what cannot be meant; that the engine has the parameters is not looked at."""
    if not 0 <= table.total <= TOTAL_MAX:
        raise SpecError(f"must be between 0 and {TOTAL_MAX}, not {table.total}", key="remedies.total")
    for name, limit in table.limits.items():
        if limit < 0:
            raise SpecError(f"must be 0 (the rule is off) or more, not {limit}", key=f"remedies.limits.{name}")
    names = [rule.name for rule in table.rules]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise SpecError(f"there are two rules {doubled[0]!r}; give each a name of its own", key="remedies.rules")
    for number, rule in enumerate(table.rules):
        _check_rule(rule, f"remedies.rules[{number}]")


def _check_rule(rule: Rule, key: str) -> None:
    try:
        re.compile(rule.when)
    except re.error as error:
        raise SpecError(f"rule {rule.name!r}: when is no regular expression: {error}", key=key) from error
    if rule.limit < 0:
        raise SpecError(f"rule {rule.name!r}: limit must be 0 (the rule is off) or more, not {rule.limit}", key=key)
    if not rule.person and not rule.change and not rule.restart and rule.memory == 1.0 and rule.walltime == 1.0:
        raise SpecError(
            f"rule {rule.name!r} changes nothing; give change, memory, walltime, restart or person", key=key
        )
    for factor in (rule.memory, rule.walltime):
        if not 1.0 <= factor <= FACTOR_MAX:
            message = (
                f"rule {rule.name!r}: memory and walltime are factors between 1 and {FACTOR_MAX:g}, not {factor:g}"
            )
            raise SpecError(message, key=key)
    for name, change in rule.change.items():
        given = [change.set is not msgspec.UNSET, *(part is not None for part in _operands(change))]
        if sum(given) != 1:
            message = f"rule {rule.name!r}: {name} needs exactly one of set, add, multiply, append and merge"
            raise SpecError(message, key=key)
        numbers = [n for n in (change.add, change.multiply, change.default, change.least, change.most) if n is not None]
        if not all(map(math.isfinite, numbers)):
            raise SpecError(f"rule {rule.name!r}: {name}: numbers must be finite", key=key)
        if change.least is not None and change.most is not None and change.least > change.most:
            message = f"rule {rule.name!r}: {name}: least {change.least:g} is more than most {change.most:g}"
            raise SpecError(message, key=key)


def _operands(change: Change) -> tuple[Any, ...]:
    return change.add, change.multiply, change.append, change.merge


def effective_rules(table: RemedyTable, engine_rules: Sequence[Rule], *, compares: bool = False) -> tuple[Rule, ...]:
    """The spec's own rules, then the engine's that they do not replace, each with its limit.

    Where the workflow `compares` results with each other, the engine's rules that alter what is calculated are off
    unless the table has a limit for them.
    """
    own = {rule.name for rule in table.rules}
    engines = (_off(rule) if compares and rule.alters else rule for rule in engine_rules)
    rules = [*table.rules, *(rule for rule in engines if table.engine and rule.name not in own)]
    return tuple(msgspec.structs.replace(rule, limit=table.limits.get(rule.name, rule.limit)) for rule in rules)


def _off(rule: Rule) -> Rule:
    return msgspec.structs.replace(rule, limit=0)


def matching_rules(rules: Iterable[Rule], failure: FailureClass, text: str) -> list[Rule]:
    """The rules that answer this failure and are not turned off, in the table's order.

    `text` is its evidence and message.
    """
    answering = (rule for rule in rules if rule.on is failure and rule.limit > 0)
    return [rule for rule in answering if re.search(rule.when, text, re.IGNORECASE)]


def decide_remedy(  # noqa: PLR0913 - a decision over everything that is known
    rules: Sequence[Rule],
    failure: FailureClass,
    text: str,
    parameters: Mapping[str, Any],
    used: Mapping[str, int],
    *,
    total: int,
    had: Resources,
    most: Resources | None = None,
) -> Remedy | NoRemedy | None:
    """The first rule that still may and does change something; None where the table says nothing about the failure.

    `used` counts the job's earlier remedies by rule; `parameters` are the engine's, as JSON would have them. `most` is
    the memory and walltime that can be had at all. A rule that wants a person is none of the remedies that `total`
    counts: where all before it are exhausted, it still holds.
    """
    matching = matching_rules(rules, failure, text)
    if not matching:
        return None
    exhausted = sum(used.values()) >= total
    passed: list[str] = []
    for rule in matching:
        if rule.person:
            return NoRemedy(f"needs a person: {rule.person}", person=True)
        if exhausted:
            continue
        if used.get(rule.name, 0) >= rule.limit:
            passed.append(f"{rule.name} was used {used.get(rule.name, 0)} of {rule.limit} times")
        elif (remedy := _apply(rule, parameters, had, most)) is not None:
            return remedy
        else:
            passed.append(f"{rule.name} has nothing left to change")
    if exhausted:
        return NoRemedy(f"{total} remedies were tried, and no more are allowed ([remedies] total)")
    return NoRemedy("no remedy is left: " + "; ".join(passed))


def leads_somewhere(parameters: Mapping[str, Any], name: str) -> bool:
    """Whether a dotted name leads to a place in tables, be it empty, and not into a value that is none."""
    return _table_at(parameters, name.split(".")[:-1]) is not None


def describe_change(name: str, change: Change) -> str:
    """A change of a rule in words, for a table of rules."""
    bounds = "".join(
        f" {word} {_show(bound)}"
        for word, bound in (("down to", change.least), ("up to", change.most))
        if bound is not None
    )
    if change.add is not None:
        return f"{name} {change.add:+g}{bounds}"
    if change.multiply is not None:
        return f"{name} x {change.multiply:g}{bounds}"
    if change.append is not None:
        return f"{name} with {', '.join(map(_show, change.append))}"
    if change.merge is not None:
        return f"{name} with {_show(change.merge)}"
    return f"{name} = {_show(change.set)}"


def describe_rule(rule: Rule) -> list[str]:
    """All that a rule does, in words."""
    if rule.person:
        return [f"needs a person: {rule.person}"]
    said = [describe_change(name, change) for name, change in rule.change.items()]
    if rule.memory != 1.0:
        said.append(f"memory x {rule.memory:g}" + (f" up to {rule.memory_most_mb} MB" if rule.memory_most_mb else ""))
    if rule.walltime != 1.0:
        most = f" up to {render_walltime(rule.walltime_most_s)}" if rule.walltime_most_s else ""
        said.append(f"walltime x {rule.walltime:g}{most}")
    if rule.restart:
        said.append(GOES_ON)
    if rule.alters:
        said.append(ALTERS)
    return said


def _apply(rule: Rule, parameters: Mapping[str, Any], had: Resources, most: Resources | None) -> Remedy | None:
    changed: dict[str, Any] = msgspec.to_builtins(dict(parameters))
    said: list[str] = []
    for name, change in rule.change.items():
        *path, last = name.split(".")
        table = _table_at(changed, path)
        if table is None:
            continue
        before = table.get(last)
        after = _changed(before, change)
        if after != before:
            _put(changed, path, last, after)
            said.append(f"{name} {_show(before)} → {_show(after)}")
    if changed == parameters:  # what one change does, another of the same rule may undo
        said.clear()
    memory_mb = _grown(had.memory_mb, rule.memory, rule.memory_most_mb, most.memory_mb if most else None)
    walltime_s = _grown(had.walltime_s, rule.walltime, rule.walltime_most_s, most.walltime_s if most else None)
    if memory_mb is not None:
        said.append(f"memory {had.memory_mb} MB → {memory_mb} MB")
    if walltime_s is not None:
        said.append(f"walltime {render_walltime(had.walltime_s)} → {render_walltime(walltime_s)}")
    if rule.restart:
        said.append(GOES_ON)
    return Remedy(rule.name, changed, tuple(said), rule.restart, memory_mb, walltime_s) if said else None


def _table_at(parameters: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """The table that dotted keys lead to, empty where nothing is there yet; None where something else is."""
    table: Any = parameters
    for key in path:
        table = {} if (inner := table.get(key)) is None else inner
        if not isinstance(table, dict):
            return None
    return table  # type: ignore[no-any-return]  # it came from JSON


def _put(parameters: dict[str, Any], path: Sequence[str], last: str, value: Any) -> None:
    table = parameters
    for key in path:
        if table.get(key) is None:
            table[key] = {}
        table = table[key]
    table[last] = value


def _changed(before: Any, change: Change) -> Any:
    """The parameter after the change; as it was where the change does not go with what it is."""
    if change.append is not None:
        kept = before or []
        return kept + [item for item in change.append if item not in kept] if isinstance(kept, list) else before
    if change.merge is not None:
        return _merged(before or {}, change.merge) if isinstance(before, dict | None) else before
    if change.add is None and change.multiply is None:
        return change.set
    return _calculated(before, change)


def _calculated(before: Any, change: Change) -> Any:
    """A number added to or multiplied, within its bounds; what is no number stays as it was."""
    start = before if before is not None else change.default
    if isinstance(start, bool) or not isinstance(start, int | float):
        return before
    try:
        value = start + change.add if change.add is not None else start * (change.multiply or 0.0)
    except OverflowError:  # an integer beyond all floats
        return before
    if change.least is not None:
        value = max(value, min(change.least, start))
    if change.most is not None:
        value = min(value, max(change.most, start))
    if not math.isfinite(value):
        return before
    return int(value) if isinstance(start, int) and float(value).is_integer() else value


def _merged(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    tables = {
        key: _merged(before[key], value)
        for key, value in more.items()
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping)
    }
    return {**before, **more, **tables}


def _grown(had: int, factor: float, *bounds: int | None) -> int | None:
    """More of it, None where there is no more to be had."""
    more = min([round(had * factor), *(bound for bound in bounds if bound is not None)])
    return more if more > had else None


def _show(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
