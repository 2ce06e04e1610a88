"""What recipes derive from results, as tasks for worker processes: further jobs, and what an analysis says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
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
from penstock.recipes.recipe import UnfoldingRecipe
from penstock.recipes.registry import get_property_recipe, get_unfolding_recipe
from penstock.store.deriving import Drawn, NewJob, Unfolding
from penstock.store.subjects import SubjectReader, read_subjects

T = TypeVar("T")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a workflow's results are: its database, its name and its own directory."""

    database: str
    workflow_id: str
    directory: str

    def paths(self) -> tuple[str, ...]:
        """One on each file system that they are on."""
        return (self.database, self.directory)

    def reader(self) -> AbstractContextManager[SubjectReader]:
        """A reader of its subjects. Raises StoreError."""
        return read_subjects(Path(self.database), self.workflow_id, Path(self.directory))


class Unfold(Task[list[Unfolding]], frozen=True):
    """Makes jobs of an unfold step out of results: of each of these jobs, or (0) of all there is."""

    place: Place
    step: str
    parents: tuple[int, ...]
    with_keys: bool  # so that others may share what is calculated
    result = list[Unfolding]

    def paths(self) -> tuple[str, ...]:
        """The workflow's."""
        return self.place.paths()

    def run(self) -> list[Unfolding]:
        """What each was turned into, or why into nothing."""
        return [self._unfold(parent) for parent in self.parents]

    def _unfold(self, parent: int) -> Unfolding:
        with self.place.reader() as reader:  # no longer than it takes to read: others wait to write, maybe
            name, spec, shared = reader.spec()
            parameters = reader.step_parameters(self.step) or shared
            if parent:
                subject, record = reader.subject_of(parent)
                seen = reader.seen_job(parent)
            else:
                subject, record = reader.subject(0), None
                seen = reader.seen(0)
        recipe = get_unfolding_recipe(name)
        made, trouble = _attempted(
            lambda: [self._new_job(spec, parameters, one) for one in self._make(recipe, spec, subject, record)]
        )
        return Unfolding(parent, seen, made or [], trouble)

    def _make(
        self, recipe: UnfoldingRecipe, spec: WorkflowSpec, subject: Subject, parent: JobRecord | None
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

    def paths(self) -> tuple[str, ...]:
        """The workflow's."""
        return self.place.paths()

    def run(self) -> list[Drawn]:
        """A conclusion for each, be it that there is none."""
        return [self._conclude(subject) for subject in self.subjects]

    def _conclude(self, material: int) -> Drawn:
        with self.place.reader() as reader:
            name, spec, _ = reader.spec()
            subject, seen, trouble = reader.subject(material), reader.seen(material), reader.trouble(material)
            changed = reader.changed_between(material)
        if trouble is not None:
            return Drawn(material, Conclusion(failure=trouble), seen)
        recipe = get_property_recipe(name)
        conclusion, failure = _attempted(lambda: _checked(recipe.conclude(spec, self.step, subject)))
        return Drawn(material, _noted(conclusion or Conclusion(failure=failure), changed), seen)


def _noted(conclusion: Conclusion, changed: list[str]) -> Conclusion:
    """The conclusion, with a word on parameters that were changed between the calculations that it rests on."""
    if not changed:
        return conclusion
    note = f"beware: {', '.join(changed)} changed between the calculations that this rests on (resume)"
    return msgspec.structs.replace(conclusion, notes=(note, *conclusion.notes))


def _checked(conclusion: Conclusion) -> Conclusion:
    """The conclusion, if it can be sent and kept; TypeError else, before it takes others with it."""
    msgspec.json.encode(conclusion)
    return conclusion


def _attempted(derive: Callable[[], T]) -> tuple[T | None, str | None]:
    """What a recipe's function gives, or why it cannot. One poisonous result must not stop its workflow."""
    try:
        return derive(), None
    except (ValueError, SpecError) as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001
        return None, f"the analysis failed by itself, which is an error in Penstock: {type(error).__name__}: {error}"
