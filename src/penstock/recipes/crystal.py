"""The CRYSTAL chain: every material is optimised, calculated and analysed, step after step, on its own."""

from __future__ import annotations

import re
from typing import Final

from penstock.domain.errors import SpecError
from penstock.domain.spec import ResourceTable, StepTable, WorkflowSpec, nearest
from penstock.recipes.recipe import Step, View

TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "basic_opt": ("OPT",),
    "opt_sp": ("OPT", "SP"),
    "full_electronic": ("OPT", "SP", "BAND", "DOSS"),
    "double_opt": ("OPT", "OPT2", "SP"),
    "complete": ("OPT", "SP", "BAND", "DOSS", "FREQ"),
    "transport_analysis": ("OPT", "SP", "TRANSPORT"),
    "charge_analysis": ("OPT", "SP", "CHARGE+POTENTIAL"),
    "combined_analysis": ("OPT", "SP", "BAND", "DOSS", "TRANSPORT", "CHARGE+POTENTIAL"),
}
_TASKS: Final = {
    "OPT": "opt",
    "SP": "sp",
    "FREQ": "freq",
    "BAND": "band",
    "DOSS": "doss",
    "TRANSPORT": "transport",
    "CHARGE+POTENTIAL": "charge_potential",
}
_LEADS_ON: Final = frozenset({"opt", "sp"})  # what a later step can start from
_WAVEFUNCTION: Final = "fort.9"
_WEEK: Final = "7d"
_USUAL: Final[dict[str, ResourceTable]] = {
    "opt": ResourceTable(tasks=32, memory="160GB", walltime=_WEEK),
    "sp": ResourceTable(tasks=32, memory="128GB", walltime="3d"),
    "freq": ResourceTable(tasks=32, memory="224GB", walltime=_WEEK),
    "band": ResourceTable(tasks=28, memory="48GB", walltime="2h"),
    "doss": ResourceTable(tasks=28, memory="48GB", walltime="2h"),
    "transport": ResourceTable(tasks=28, memory="80GB", walltime="2h"),
    "charge_potential": ResourceTable(tasks=28, memory="80GB", walltime="2h"),
}
"""What such steps ask for on one node of a usual cluster."""


class CrystalChain:
    """One fan a step; the first over the source, each other after the nearest one that it can start from."""

    name = "crystal"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """The chain of `[chain]`; SpecError where it cannot be."""
        spec = view.spec
        if spec.engine_name != self.name:
            raise SpecError(f'recipe "crystal" runs the engine "crystal", not {spec.engine_name!r}', key="engine.name")
        names = _names(spec)
        _check_names(spec, names)
        steps: list[Step] = []
        start: str | None = None
        for name in names:
            task = _task(name)
            if start is None and task not in _LEADS_ON and task != "freq":
                raise SpecError(f"{name} needs a wavefunction: put SP or OPT before it", key="chain.steps")
            usual = _USUAL[task] if spec.chain.usual_resources else None
            own = spec.steps.get(name, StepTable()).engine
            if "task" in own or "name" in own:
                raise SpecError("the step's name says what it does; leave it out", key=f"steps.{name}.engine")
            needs = spec.needs_of_step(name, usual)
            given = (_WAVEFUNCTION,) if start else ()
            steps.append(Step(name, "fan", start, {**own, "task": task}, needs, name in spec.chain.optional, given))
            start = name if task in _LEADS_ON else start
        if sum(step.after is None for step in steps) > 1:
            raise SpecError("FREQ comes first and nothing goes on from it; put OPT or SP before it", key="chain.steps")
        return steps


def _names(spec: WorkflowSpec) -> list[str]:
    chain = spec.chain
    if chain.template and chain.steps:
        raise SpecError("give template or steps, not both", key="chain.steps")
    if chain.steps:
        return [name.upper() for name in chain.steps]
    if not chain.template:
        raise SpecError('missing; give [chain] template = "full_electronic" or steps = ["OPT", "SP"]', key="chain")
    if chain.template not in TEMPLATES:
        hint = nearest(chain.template, TEMPLATES) or f"known: {', '.join(TEMPLATES)}"
        raise SpecError(f"unknown template {chain.template!r}; {hint}", key="chain.template")
    return list(TEMPLATES[chain.template])


def _check_names(spec: WorkflowSpec, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"{name} is there twice; number repeats: {name}, {name}2", key="chain.steps")
    for key, given in (("chain.optional", spec.chain.optional), ("steps", list(spec.steps))):
        for name in given:
            if name not in names:
                hint = nearest(name, names) or f"the chain has {', '.join(names)}"
                raise SpecError(f"{name!r} is no step of the chain; {hint}", key=key)


def _task(name: str) -> str:
    """What a step does, by its name without its number."""
    kind = re.sub(r"[0-9]+$", "", name)
    if kind not in _TASKS:
        hint = nearest(kind, _TASKS) or f"known: {', '.join(_TASKS)}"
        raise SpecError(f"unknown step {name!r}; {hint}", key="chain.steps")
    return _TASKS[kind]
