"""What a rule is: which key it sets, to what, when, why, and on whose word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.recipes.goals.goal import value_at

CONVENTION: Final = "convention"
MEASURED: Final = "measured by us"
FACTS: Final = {
    "goal": "there is a goal",
    "pseudo_dir": "ESPRESSO_PSEUDO names a folder, or Debian's is there",
    "functional": "the pseudopotentials at hand are of one functional",
    "pseudopotentials": "there is a pseudopotential for every element",
    "cutoff_ry": "the pseudopotentials suggest cut-offs",
    "is_norm_conserving": "all pseudopotentials are norm-conserving",
    "is_smeared": "occupations are smeared",
    "starting_magnetization": "there are elements that may be magnetic",
    "is_hot": "a temperature is given",
    "lattices": "orderings on lattices are built",
}
"""What may be known of a case beside system and engine, as the page of rules says it."""
_NUMBERS: Final = {"cutoff_ry": "the highest cut-off that the pseudopotentials suggest"}


class Known(NamedTuple):
    """A value that is what is known under this name, of the system or the surroundings."""

    name: str
    text: str  # what it is, in words


class Times(NamedTuple):
    """A value that is a number known, or set before, times a factor, rounded up to a whole one."""

    of: str
    factor: float


class Share(NamedTuple):
    """A value that says into how many parts what is set elsewhere must be cut for none to be longer than `each`."""

    of: str
    each: float


class When(msgspec.Struct, frozen=True):
    """When a rule holds; what is left open holds always.

    `among`: all elements are of these; `with_any`: some element is; `lightest_up_to`: the lightest element's atomic
    number. `known`: these are known; `lacking`: these are not. `unless`: none of these keys is given.
    """

    goals: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    accuracies: tuple[str, ...] = ()
    among: frozenset[str] = frozenset()
    with_any: frozenset[str] = frozenset()
    lightest_up_to: int = 0
    heaviest_up_to: int = 0
    atoms_from: int = 0
    atoms_below: int = 0
    is_built: bool | None = None
    known: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """Sets the dotted `key` of a full spec, unless it is given; `why` and `source` stand beside it there.

    `source`: a reference to the literature, "measured by us" or "convention".
    """

    key: str
    value: Any
    why: str
    source: str
    when: When = When()


class Caution(msgspec.Struct, frozen=True):
    """What to beware of, in a sentence without its full stop."""

    text: str
    when: When


class Case(msgspec.Struct, frozen=True):
    """What rules look at. `engine` is empty until there is one; `known` has what has no place in a spec."""

    goal: str
    accuracy: str
    elements: tuple[str, ...]
    atoms: int
    is_built: bool
    known: dict[str, Any]
    engine: str = ""


def by_accuracy(key: str, values: tuple[Any, Any, Any], why: str, source: str, **when: Any) -> tuple[Rule, Rule, Rule]:
    """The rules about a key whose value is another where one is in a hurry, as usual, or strict."""
    quick, normal, tight = values
    return (
        Rule(key, quick, why, source, When(accuracies=("quick",), **when)),
        Rule(key, tight, why, source, When(accuracies=("tight",), **when)),
        Rule(key, normal, why, source, When(**when)),
    )


def holds(when: When, case: Case, given: Mapping[str, Any]) -> bool:
    """Whether a rule's condition holds in a case, where `given` is what a person has said of the spec."""
    numbers = [ATOMIC_NUMBERS[element] for element in case.elements]
    return all(
        (
            not when.goals or case.goal in when.goals,
            not when.engines or case.engine in when.engines,
            not when.accuracies or case.accuracy in when.accuracies,
            not when.among or when.among.issuperset(case.elements),
            not when.with_any or not when.with_any.isdisjoint(case.elements),
            not when.lightest_up_to or min(numbers) <= when.lightest_up_to,
            not when.heaviest_up_to or max(numbers) <= when.heaviest_up_to,
            case.atoms >= when.atoms_from,
            not when.atoms_below or case.atoms < when.atoms_below,
            when.is_built is None or case.is_built == when.is_built,
            all(case.known.get(name) is not None for name in when.known),
            all(case.known.get(name) is None for name in when.lacking),
            all(value_at(given, key) is None for key in when.unless),
        )
    )


def value_of(rule: Rule, case: Case, tables: Mapping[str, Any]) -> Any:
    """What a rule that holds sets its key to."""
    match rule.value:
        case Known(name):
            return case.known[name]
        case Times(of, factor):
            return math.ceil(round(_number(of, case, tables) * factor, 6))
        case Share(of, each):
            return max(1, math.ceil(round(_number(of, case, tables) / each, 6)))
    return rule.value


def _number(of: str, case: Case, tables: Mapping[str, Any]) -> float:
    found = case.known.get(of, value_at(tables, of))
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if is_number else 0.0  # what is given and no number is refused when the spec is checked


def describe_value(value: Any) -> str:
    """A rule's value in words, for the page of rules."""
    match value:
        case Known(_, text):
            return text
        case Times(of, factor):
            return f"{factor:g} times {_NUMBERS.get(of, of)}"
        case Share(of, each):
            return f"one for each {each:g} of {of}"
    return f"`{msgspec.json.encode(value).decode()}`"


def describe_when(when: When) -> str:
    """A rule's condition in words, for the page of rules."""
    parts = [
        " or ".join(when.goals),
        " or ".join(when.engines),
        " or ".join(when.accuracies),
        f"all elements among {' '.join(sorted(when.among))}" if when.among else "",
        f"any of {' '.join(sorted(when.with_any))}" if when.with_any else "",
        f"lightest element up to Z = {when.lightest_up_to}" if when.lightest_up_to else "",
        f"elements up to Z = {when.heaviest_up_to}" if when.heaviest_up_to else "",
        f"{when.atoms_from} atoms or more" if when.atoms_from else "",
        f"fewer than {when.atoms_below} atoms" if when.atoms_below else "",
        {None: "", True: "a structure that is built", False: "structures from files"}[when.is_built],
        *(FACTS[name] for name in when.known),
        *(f"not: {FACTS[name]}" for name in when.lacking),
        f"not where {' or '.join(when.unless)} is given" if when.unless else "",
    ]
    return "; ".join(part for part in parts if part) or "always"
