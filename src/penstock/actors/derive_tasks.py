"""What recipes derive from results, as tasks for worker processes: further jobs, and what an analysis says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from penstock.actors.task import Task
from penstock.domain.errors import SpecError
from penstock.domain.geometry import normalise
from penstock.domain.properties import Conclusion
from penstock.domain.sameness import calculation_key, material_key, method_key
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded, overlaid
from penstock.recipes.recipe import PropertyRecipe
from penstock.recipes.registry import get_property_recipe
from penstock.store.deriving import Drawn, NewJob, Unfolding
from penstock.store.subjects import SubjectReader, read_subjects

T = TypeVar("T")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a workflow's results are: its database, its name and its own directory."""

    database: str
    workflow_id: str
    directory: str


class Unfold(Task[list[Unfolding]], frozen=True):
    """Makes jobs of an unfold step out of results: of each of these jobs, or (0) of all there is."""

    place: Place
    step: str
    parents: tuple[int, ...]
    with_keys: bool  # so that others may share what is calculated
    is_long = True
    result = list[Unfolding]

    def run(self) -> list[Unfolding]:
        """What each was turned into, or why into nothing."""
        place = self.place
        with read_subjects(Path(place.database), place.workflow_id, Path(place.directory)) as reader:
            return [self._unfold(reader, parent) for parent in self.parents]

    def _unfold(self, reader: SubjectReader, parent: int) -> Unfolding:
        name, spec, shared = reader.spec()
        recipe = get_property_recipe(name)
        if parent:
            subject, record = reader.subject_of(parent)
        else:
            subject, record = reader.subject(0), None
        attempt = record.attempt if record else 0
        made, trouble = _attempted(lambda: self._make(recipe, spec, subject, record))
        if made is None:
            return Unfolding(parent, attempt, [], trouble)
        parameters = reader.step_parameters(self.step) or shared
        return Unfolding(parent, attempt, [self._new_job(spec, parameters, one) for one in made])

    def _make(
        self, recipe: PropertyRecipe, spec: WorkflowSpec, subject: Subject, parent: JobRecord | None
    ) -> list[Unfolded]:
        made = recipe.unfold(spec, self.step, subject, parent)
        if len({one.name for one in made}) < len(made):
            raise ValueError(f"step {self.step} of recipe {recipe.name} gave two jobs the same name")
        return made

    def _new_job(self, spec: WorkflowSpec, parameters: str, made: Unfolded) -> NewJob:
        known = normalise(made.geometry)
        own = msgspec.json.encode(made.engine).decode() if made.engine else None
        material = material_key(made.geometry, made.charge, made.multiplicity) if self.with_keys else None
        method = method_key(spec.engine_name, overlaid(parameters, own))
        return NewJob(
            made.name,
            known.elements,
            known.natoms,
            made.charge,
            made.multiplicity,
            made.geometry,
            msgspec.json.encode(made.label).decode(),
            own,
            calculation_key(material, method) if material else None,
            material,
        )


class Conclude(Task[list[Drawn]], frozen=True):
    """Has an analysis step draw its conclusion of each of these subjects, or (0) of all together."""

    place: Place
    step: str
    subjects: tuple[int, ...]
    is_long = True
    result = list[Drawn]

    def run(self) -> list[Drawn]:
        """A conclusion for each, be it that there is none."""
        place = self.place
        with read_subjects(Path(place.database), place.workflow_id, Path(place.directory)) as reader:
            return [self._conclude(reader, subject) for subject in self.subjects]

    def _conclude(self, reader: SubjectReader, material: int) -> Drawn:
        name, spec, _ = reader.spec()
        recipe = get_property_recipe(name)
        subject = reader.subject(material)
        seen = [(job.id, job.attempt) for job in subject.jobs]
        trouble = reader.trouble(material)
        if trouble is not None:
            return Drawn(material, Conclusion(failure=trouble), seen)
        conclusion, failure = _attempted(lambda: recipe.conclude(spec, self.step, subject))
        conclusion = conclusion or Conclusion(failure=failure)
        if changed := reader.changed_meanwhile(material):
            mixed = f"beware: some of its results were calculated before {', '.join(changed)} changed, some after"
            conclusion = msgspec.structs.replace(conclusion, notes=(*conclusion.notes, mixed))
        return Drawn(material, conclusion, seen)


def _attempted(derive: Callable[[], T]) -> tuple[T | None, str | None]:
    """What a recipe's function gives, or why it cannot. One poisonous result must not stop its workflow."""
    try:
        return derive(), None
    except (ValueError, SpecError) as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001
        return None, f"the analysis failed by itself, which is an error in Penstock: {type(error).__name__}: {error}"
