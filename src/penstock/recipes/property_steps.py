"""What the steps of property recipes have in common: an engine is asked for a role, and a person may add to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.domain.spec import StepTable, WorkflowSpec, nearest
from penstock.engines.engine import Role
from penstock.recipes.recipe import FAN, Step

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def job_step(  # noqa: PLR0913 - a step, with all it may have
    spec: WorkflowSpec,
    key: str,
    role: Role,
    *,
    kind: str = FAN,
    after: str | None = None,
    optional: bool = False,
    whole: bool = False,
    extra: Mapping[str, Any] = _NOTHING,
) -> Step:
    """A step whose jobs do `role`, with `extra` parameters, and over them what `[steps.KEY]` says.

    How an engine does a role is a proposal, but for the task: what `[engine]` says counts more.

    SpecError where the engine has no such role, or where the spec says what only the recipe can.
    """
    engine = engines.get(spec.engine_name)
    if role not in engine.roles:
        able = [name for name in engines.names() if role in engines.get(name).roles]
        message = f"engine {engine.name!r} cannot do what step {key} needs ({role}); those that can: {', '.join(able)}"
        raise SpecError(message, key="engine.name")
    own = spec.steps.get(key, StepTable()).engine
    decided = {**engine.roles[role], **extra}
    for where, given in (("engine", spec.engine), (f"steps.{key}.engine", own)):
        if "task" in given and "task" in decided:
            raise SpecError(f"recipe {spec.recipe!r} decides what each step does; leave it out", key=f"{where}.task")
    proposed = {name: value for name, value in decided.items() if name not in spec.engine or name in extra}
    needs = spec.needs_of_step(key) if key in spec.steps else None
    return Step(key, kind, after, {**proposed, **own}, needs, optional, whole=whole)


def check_step_names(spec: WorkflowSpec, known: Collection[str]) -> None:
    """SpecError for `[steps.NAME]` of a step that is not there, and for a chain, which is another recipe's."""
    for name in spec.steps:
        if name not in known:
            hint = nearest(name, known) or f"it has {', '.join(known)}"
            raise SpecError(f"{name!r} is no step of recipe {spec.recipe!r}; {hint}", key=f"steps.{name}")
    if spec.chain.template or spec.chain.steps:
        raise SpecError(f"recipe {spec.recipe!r} has its own steps; leave [chain] out", key="chain")


def refuse_decided(spec: WorkflowSpec, decided: Mapping[str, str], steps: Iterable[str]) -> None:
    """SpecError for an engine parameter that follows from the recipe's own table, whose key `decided` gives for it.

    What is looked at are `[engine]` and the tables of `steps`: there it would not count, or what is analysed would not
    be what was calculated.
    """
    for where, table in engine_tables(spec, steps):
        for name in table:
            if name in decided:
                message = f"follows from [{spec.recipe}] {decided[name]}; leave it out here"
                raise SpecError(message, key=f"{where}.{name}")


def engine_tables(spec: WorkflowSpec, steps: Iterable[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """`[engine]`, and what `steps` have in its place, each with where it stands."""
    own = [(f"steps.{key}.engine", spec.steps[key].engine) for key in steps if key in spec.steps]
    return [("engine", spec.engine), *own]


def size_of(spec: WorkflowSpec, min_atoms: int) -> dict[str, int]:
    """How many atoms molecular dynamics takes at least, unless `[engine]` says how often the cell is repeated."""
    return {} if "supercell" in spec.engine else {"min_atoms": min_atoms}
