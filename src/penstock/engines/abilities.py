"""Whether an engine gives what a recipe needs, told before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from penstock import engines
from penstock.domain.errors import SpecError
from penstock.engines.engine import Ability

_GIVES = {
    Ability.ENERGY: "gives no energy",
    Ability.FORCES: "gives no forces",
    Ability.STRESS: "gives no stress",
    Ability.CELL: "relaxes no cells",
    Ability.PRESSURE: "relaxes no cells under pressure",
    Ability.DYNAMICS: "does no molecular dynamics",
}


def missing(engine: str, needed: Collection[Ability]) -> list[Ability]:
    """What of `needed` the engine called `engine` has not, in the order of `Ability`; SpecError for an unknown one."""
    has = engines.get(engine).abilities
    return [ability for ability in Ability if ability in needed and ability not in has]


def refuse_missing(engine: str, needed: Mapping[Ability, str]) -> None:
    """SpecError where the engine lacks what is needed, each for a purpose ("an elastic tensor").

    It names the engines that have all of it. To be called when a workflow is submitted.
    """
    lacking = missing(engine, needed)
    if not lacking:
        return
    purposes = "; ".join(f"engine {engine!r} {_GIVES[ability]}, which {needed[ability]} needs" for ability in lacking)
    able = [name for name in engines.names() if not missing(name, needed)]
    hint = f"engines that do: {', '.join(able)}" if able else "no engine does"
    raise SpecError(f"{purposes}; {hint}", key="engine.name")
