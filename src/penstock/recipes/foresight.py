"""How many jobs a plan comes to, as far as that can be told before anything is calculated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from penstock.domain.calculation import Structure
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import JobState
from penstock.domain.subject import JobRecord, Subject
from penstock.recipes.recipe import UNFOLD, Step, UnfoldingRecipe, View
from penstock.recipes.registry import get_recipe

_AFTER_RESULTS = "how many jobs there are hangs on results"


class Foresight:
    """What becomes of structures, one after another, by step: each result is taken to leave its structure as it was.

    `parameters` are the engine's, JSON, by step. `untold` says, by step, why its jobs cannot be counted yet.
    """

    def __init__(self, spec: WorkflowSpec, parameters: Mapping[str, bytes]) -> None:
        self._spec = spec
        self._recipe = get_recipe(spec.recipe)
        self._steps = self._recipe.steps(View(spec, ()))
        self._parameters = {key: msgspec.json.decode(given) for key, given in parameters.items()}
        self.jobs: Counter[str] = Counter()
        self.untold: dict[str, str] = {}

    @property
    def unfolds(self) -> bool:
        """Whether there is anything to foresee: without it, every step has one job for every structure."""
        return any(step.kind == UNFOLD for step in self._steps)

    def see(self, structure: Structure) -> None:
        """Counts the jobs of one structure."""
        made: dict[str, list[JobRecord]] = {}
        for step in self._steps:
            if step.runs_jobs:
                made[step.key] = self._jobs_of(step, structure, made)
                self.jobs[step.key] += len(made[step.key])

    def _jobs_of(self, step: Step, structure: Structure, made: Mapping[str, Sequence[JobRecord]]) -> list[JobRecord]:
        if step.kind == UNFOLD:
            return self._unfolded(step, structure, made)
        if step.after is None:
            return [self._record(step, structure)]
        return [msgspec.structs.replace(job, step=step.key) for job in made.get(step.after, ())]

    def _unfolded(self, step: Step, structure: Structure, made: Mapping[str, Sequence[JobRecord]]) -> list[JobRecord]:
        if step.whole or not isinstance(self._recipe, UnfoldingRecipe):
            self.untold[step.key] = _AFTER_RESULTS
            return []
        subject = Subject(structure.name, tuple(job for jobs in made.values() for job in jobs))
        found: list[JobRecord] = []
        for parent in made.get(step.after or "", ()):
            try:
                children = self._recipe.unfold(self._spec, step.key, subject, parent)
            except ValueError as error:
                self.untold.setdefault(step.key, f"{structure.name}: {error}")
                continue
            found += [
                msgspec.structs.replace(parent, step=step.key, name=child.name, geometry=child.geometry)
                for child in children
            ]
        return found

    def _record(self, step: Step, structure: Structure) -> JobRecord:
        return JobRecord(
            id=0,
            step=step.key,
            subject=structure.name,
            name=structure.name,
            state=JobState.COMPLETED,
            geometry=structure.geometry,
            charge=structure.charge,
            multiplicity=structure.multiplicity,
            parameters=self._parameters.get(step.key, {}),
        )
