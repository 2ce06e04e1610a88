"""The plan as a function: given all that is known, which steps should exist?

Calling it again changes nothing, so a crash at any point is repaired by calling it again.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from penstock.domain.properties import Conclusion
from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded

FAN: Final = "fan"
UNFOLD: Final = "unfold"
ANALYSIS: Final = "analysis"


class Step(msgspec.Struct, frozen=True):
    """A part of the plan, known by its `key`.

    A `fan` is one job for every structure of the spec's source. With `after` it is a link of a chain: each of its jobs
    goes on from the job of that step for the same material, from its geometry and the files it left, as soon as that
    one is done. `engine` is put over the spec's engine parameters, `resources` in the place of the spec's. An
    `optional` step may fail without failing the workflow; what follows it then goes on from what it had been given.
    `given` names files that the step before will have left: what is looked at before anything has run takes them for
    there.

    An `unfold` makes jobs of its own: of every completed job of `after`, or, where it is `whole`, of all subjects
    together once the steps before it are done. An `analysis` draws its conclusion from a subject (a material of the
    source with all jobs about it) when all of these have ended, or, where it is `whole`, from all subjects together.
    They are for an `UnfoldingRecipe` and a `PropertyRecipe` to do, in a worker process.
    """

    key: str
    kind: str
    after: str | None = None
    engine: dict[str, Any] = {}
    resources: Resources | None = None
    optional: bool = False
    given: tuple[str, ...] = ()
    whole: bool = False

    @property
    def runs_jobs(self) -> bool:
        """Whether it has jobs for an engine."""
        return self.kind != ANALYSIS

    def parameters_over(self, shared: str) -> str:
        """The engine's parameters of this step, JSON, where `shared` are the workflow's."""
        return msgspec.json.encode(msgspec.json.decode(shared) | self.engine).decode() if self.engine else shared


class StepView(msgspec.Struct, frozen=True):
    """What a recipe may know of a step: where it stands and how its jobs ended."""

    key: str
    state: str
    jobs: dict[str, int]


class View(msgspec.Struct, frozen=True):
    """What a recipe may know of its workflow."""

    spec: WorkflowSpec
    steps: tuple[StepView, ...]


class Recipe(Protocol):
    """Which steps a workflow needs.

    `version` is stored with the workflow, so an upgrade never changes a running plan.
    """

    name: str
    version: int

    def steps(self, view: View) -> list[Step]:
        """All steps that should exist, those that exist already included; SpecError for a spec that cannot be meant."""


@runtime_checkable
class PropertyRecipe(Recipe, Protocol):
    """A recipe that draws conclusions from results, a pure function that runs in worker processes.

    A ValueError says, in a sentence for the user, why nothing can be derived.
    """

    def conclude(self, spec: WorkflowSpec, step: str, subject: Subject) -> Conclusion:
        """What an analysis step says of its subject."""


@runtime_checkable
class UnfoldingRecipe(PropertyRecipe, Protocol):
    """One that makes jobs of results, too, in the same way."""

    def unfold(self, spec: WorkflowSpec, step: str, subject: Subject, parent: JobRecord | None) -> list[Unfolded]:
        """The jobs of an unfold step: made of the completed `parent`; of a whole one, of all there is."""
