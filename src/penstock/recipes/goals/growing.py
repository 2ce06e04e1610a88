"""How a goal grows: rules set what nobody has said, the goal's own keys go over it, and each line says why it is so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import WorkflowSpec, decode_spec, locate_key
from penstock.domain.sweep import KEY as SWEEP
from penstock.recipes.goals.engine_rules import (
    CAUTIONS,
    ENGINE,
    ESPRESSO,
    GAMMA_ATOMS,
    KNOWN_ELEMENTS,
    MAGNETIC,
    POTENTIALS,
)
from penstock.recipes.goals.goal import Goal, has_room, merge, nested, value_at
from penstock.recipes.goals.property_rules import FIRST, PROPERTIES, RESOURCES
from penstock.recipes.goals.rules import Case, Rule, holds, value_of
from penstock.recipes.goals.surroundings import PSEUDO_VARIABLE, Surroundings
from penstock.recipes.goals.system import System
from penstock.recipes.goals.writing import write_text

RULES: Final = (*FIRST, *ENGINE, *ESPRESSO, *POTENTIALS, *PROPERTIES, *RESOURCES)
"""All rules, in the order in which they are gone through."""
METADATA: Final = "metadata.goal"
"""Where a workflow keeps the goal that it grew from, as it was written."""
_FIRST_KEYS: Final = ("id", "recipe", "cluster", "slots", "priority", "isolation")
_START_MAGNETIZATION: Final = 0.5
_FEW: Final = 20


class Applied(msgspec.Struct, frozen=True):
    """A rule that was applied, and what it came to."""

    key: str
    value: Any
    why: str
    source: str


class Grown(msgspec.Struct, frozen=True):
    """A full spec that grew of a goal: its tables, its text with comments, the rules that were applied.

    `elsewhere`: settings of lower rank that rules would have set; the spec is silent about them, so that they hold.
    `cautions` are for people, and stand at the head of the text.
    """

    tables: dict[str, Any]
    text: str
    rules: tuple[Applied, ...]
    elsewhere: dict[str, Any]
    cautions: tuple[str, ...] = ()


def grow(goal: Goal, system: System, around: Surroundings, file: str = "goal.toml", text: str = "") -> Grown:
    """The full spec of a goal. `file`, and its `text`, serve to say where it grew from and where an error is.

    The same arguments give the same text. SpecError, in the keys of the goal file, for what cannot be meant.
    """
    try:
        return _grow(goal, system, around, file)
    except SpecError as error:
        raise as_in_goal(error, goal, text, file) from error


def as_in_goal(error: SpecError, goal: Goal, text: str, file: str, rules: Iterable[Applied] = ()) -> SpecError:
    """`error`, about the full spec, as one about the goal file, at the line that says it; else `rules` may have."""
    if error.file not in {None, "", file}:
        return error
    key = goal.key_in_file(error.key) if error.key else None
    message = error.message
    if error.key in {rule.key for rule in rules} - {"recipe"}:
        message += "; a rule says it, over which goes what the goal file says"
    return SpecError(message, file=file, line=locate_key(text, key) if key else None, key=key)


def _grow(goal: Goal, system: System, around: Surroundings, file: str) -> Grown:
    given = goal.given | {"structures": system.structures}
    if not has_room(given, METADATA):
        raise SpecError(
            "a table [metadata] is where a workflow keeps its goal, under goal; choose others", key=METADATA
        )
    growth = _Growth(_case(goal, system, around, given), given, around.settings)
    growth.apply((*FIRST, *ENGINE))
    engine = value_at(growth.tables, "engine.name")
    if not isinstance(engine, str):
        raise _wrong_engine(given) or _no_engine(goal, system, around)
    _check_elements(engine, system)
    _check_species(given, system)
    if engine == "espresso":
        _check_pseudopotentials(given, around)
    growth.case = msgspec.structs.replace(growth.case, engine=engine)
    growth.apply((*ESPRESSO, *POTENTIALS, *PROPERTIES, *RESOURCES))
    tables = _in_order(merge(growth.tables, nested(METADATA, goal.written)))
    decode_spec({key: value for key, value in tables.items() if key != SWEEP}, "", "")
    cautions = tuple(caution.text for caution in CAUTIONS if holds(caution.when, growth.case, given))
    text = write_text(tables, growth.comments(goal), _heading(goal, file, growth.elsewhere, cautions))
    return Grown(tables, text, tuple(growth.applied), growth.elsewhere, cautions)


class _Growth:
    """A spec while it grows."""

    def __init__(self, case: Case, given: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.case = case
        self.given = given
        self.tables = dict(given)
        self.applied: list[Applied] = []
        self.elsewhere: dict[str, Any] = {}
        self._settings = settings

    def apply(self, rules: Iterable[Rule]) -> None:
        """Sets what is not set yet and what a rule is there for."""
        for rule in rules:
            if not has_room(self.tables, rule.key) or not holds(rule.when, self.case, self.given):
                continue
            if rule.key in self._settings:
                self.elsewhere[rule.key] = self._settings[rule.key]
                continue
            value = value_of(rule, self.case, self.tables)
            self.tables = merge(self.tables, nested(rule.key, value))
            self.applied.append(Applied(rule.key, value, rule.why, rule.source))

    def comments(self, goal: Goal) -> dict[str, str]:
        """What stands beside keys and tables."""
        tables = {"metadata": "the goal as it was written"}
        if goal.system:
            tables["structures"] = f"what {goal.system!r} means"
        said = dict.fromkeys(_leaves(goal.given), "as the goal says")
        rules = {rule.key: f"{rule.why} ({rule.source})" for rule in self.applied}
        return tables | said | rules


def _leaves(table: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """The dotted keys of all values that are no tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}"


def _case(goal: Goal, system: System, around: Surroundings, given: Mapping[str, Any]) -> Case:
    """What the rules look at; what is not known is None."""
    has_files = bool(around.files) and not around.lacking
    looks = has_files and value_at(given, "engine.pseudopotentials") is None
    magnetic = [element for element in system.elements if element in MAGNETIC]
    known = {
        "goal": goal.goal,
        "pseudo_dir": around.pseudo_dir or None,
        "functional": around.functional if looks else None,
        "pseudopotentials": dict(around.files) if looks else None,
        "is_norm_conserving": True if looks and around.is_norm_conserving else None,
        "cutoff_ry": around.cutoff_ry if looks else None,
        "is_smeared": True if value_at(given, "engine.occupations") in {None, "smearing"} else None,
        "starting_magnetization": dict.fromkeys(magnetic, _START_MAGNETIZATION) or None,
        "is_hot": True if value_at(given, "equilibrate.temperature_k") is not None else None,
        "lattices": value_at(given, "structures.build.lattices") or None,
    }
    return Case(goal.goal, goal.accuracy, system.elements, system.atoms, system.is_built, known)


def _wrong_engine(given: Mapping[str, Any]) -> SpecError | None:
    """The error where somebody said which engine, but not as it is said."""
    table = given.get("engine", {})
    if isinstance(table, Mapping) and "name" not in table:
        return None
    return SpecError('is a name, such as engine = "emt", or a table with a name', key="engine")


def _no_engine(goal: Goal, system: System, around: Surroundings) -> SpecError:
    elements = ", ".join(system.elements)
    if around.pseudo_dir:
        missing = f"{around.pseudo_dir} has no pseudopotentials of one functional for {', '.join(around.lacking)}"
    else:
        missing = f"{PSEUDO_VARIABLE} names no folder of pseudopotentials"
    gamma = f"tblite knows the Gamma point only, for which a cell needs {GAMMA_ATOMS} atoms"
    return SpecError(
        f"no rule chooses an engine for {goal.goal} of {elements}: {missing}; EMT is for Al Cu Ag Au Ni Pd Pt; {gamma}"
        '. Choose one yourself: engine = "espresso" and pseudo_dir, say, in a table [engine]',
        key="engine",
    )


def _check_elements(engine: str, system: System) -> None:
    """SpecError for elements that an engine has no parameters for."""
    known = KNOWN_ELEMENTS.get(engine)
    unknown = [element for element in system.elements if known is not None and element not in known]
    if unknown:
        example = ", ".join(sorted(known or ())) if len(known or ()) < _FEW else f"{len(known or ())} elements"
        raise SpecError(f"{engine} knows {example}, and not {', '.join(unknown)}; choose another", key="engine.name")


def _check_species(given: Mapping[str, Any], system: System) -> None:
    """SpecError for species whose diffusion is wanted and of which there are no atoms: only the end would show it."""
    species = value_at(given, "diffusion.species")
    if isinstance(species, list) and (unknown := [one for one in species if one not in system.elements]):
        message = f"there is no {unknown[0]} among the atoms; there are {', '.join(system.elements)}"
        raise SpecError(message, key="diffusion.species")


def _check_pseudopotentials(given: Mapping[str, Any], around: Surroundings) -> None:
    """SpecError where pw.x is chosen and nobody says which pseudopotentials."""
    if value_at(given, "engine.pseudopotentials") is not None or not around.pseudo_dir:
        return
    if around.lacking:
        wanted = f"of {functional}" if (functional := value_at(given, "engine.functional")) else "of one functional"
        message = (
            f"{around.pseudo_dir} has no pseudopotentials {wanted} for {', '.join(around.lacking)}; put them there, or "
            "name files in [engine.pseudopotentials]"
        )
        raise SpecError(message, key="engine.pseudo_dir")


def _heading(goal: Goal, file: str, elsewhere: Mapping[str, Any], cautions: tuple[str, ...]) -> list[str]:
    name = PurePath(file).name
    name = name if name.isprintable() else repr(name)
    lines = [
        f"Grown from {name}: goal {goal.goal}, accuracy {goal.accuracy}.",
        "Any line may be changed; beside each stands why it is as it is, and on whose word.",
        *(f"Beware: {caution}." for caution in cautions),
    ]
    if elsewhere:
        told = ", ".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in elsewhere.items())
        lines.append(f"Set elsewhere, and left so: {told} (penstockctl config).")
    return lines


def _in_order(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables in the order in which the reference has them."""
    fields = list(dict.fromkeys((*_FIRST_KEYS, *WorkflowSpec.__struct_fields__)))
    ordered = sorted(tables, key=lambda key: fields.index(key) if key in fields else len(fields))
    in_order = {key: tables[key] for key in ordered}
    engine = in_order["engine"]
    return in_order | {"engine": {"name": engine["name"], **engine}}
