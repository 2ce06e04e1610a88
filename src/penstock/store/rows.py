"""Rows of a workflow's database as values."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.domain.calculation import Exit, FailureClass, Outcome, Resume
from penstock.domain.remedy import AppliedRemedy
from penstock.domain.states import AttemptState, JobState
from penstock.store.events import Event


class WorkflowRow(msgspec.Struct, frozen=True):
    """The workflow table's one row of this workflow."""

    workflow_id: str
    recipe: str
    recipe_version: int
    spec: str
    parameters: str
    mode: str
    namespace: str
    state: str
    reason: str | None
    slots: int
    slots_origin: str
    priority: int
    created_at: float
    updated_at: float
    daemon: str | None = None  # JSON, a DaemonPlace: who works on it


WORKFLOW_COLUMNS: Final = ", ".join(field.name for field in msgspec.structs.fields(WorkflowRow))
"""The columns of a workflow's row, in the order of the struct."""


class StepRow(msgspec.Struct, frozen=True):
    """A step of the plan as stored."""

    id: int
    key: str
    kind: str
    state: str
    cursor: str
    after: str | None = None  # key of the step that it goes on from
    parameters: str | None = None  # JSON; None: the workflow's
    resources: str | None = None  # JSON; None: the spec's
    optional: bool = False
    whole: bool = False  # derived from all subjects together


class NewStep(msgspec.Struct, frozen=True):
    """A step to be inserted."""

    key: str
    kind: str
    after: str | None = None
    parameters: str | None = None
    resources: str | None = None
    optional: bool = False
    whole: bool = False


class ReadyJob(msgspec.Struct, frozen=True, array_like=True):
    """A job that can be submitted now. `number` is its next attempt's; None: memory and walltime are the spec's."""

    id: int
    name: str
    geometry: str
    charge: int
    multiplicity: int
    number: int
    step_id: int
    memory_mb: int | None = None
    walltime_s: int | None = None
    deck: str | None = None
    handed: str | None = None  # JSON, a Resume
    resume: str | None = None  # JSON, a Resume
    parameters: str | None = None  # JSON; None: the step's
    remedies: str | None = None  # JSON, a list of AppliedRemedy
    own: str | None = None  # JSON: engine parameters that it was made with, over its step's
    ready_at: float | None = None  # seconds since the epoch, to a second

    @property
    def goes_on_from(self) -> Resume | None:
        """What the next attempt starts from, if not from the geometry alone."""
        text = self.resume or self.handed
        return msgspec.json.decode(text, type=Resume) if text else None


class JobFacts(msgspec.Struct, frozen=True):
    """What the decision about a failed job's next attempt needs of its row."""

    blamed: int = 0
    blameless: int = 0
    never_rerun: bool = False
    parameters: str | None = None
    remedies: tuple[AppliedRemedy, ...] = ()
    own: str | None = None  # JSON: engine parameters that the job was made with, over its step's


class OpenAttempt(msgspec.Struct, frozen=True):
    """An attempt of an open submission."""

    position: int
    job_id: int
    number: int
    directory: str
    state: AttemptState


class OpenSubmission(msgspec.Struct, frozen=True):
    """A submission that is not closed, with its attempts in the manifest's order."""

    ulid: str
    lane: int
    attempts: list[OpenAttempt]
    width: int = 1
    memory_mb: int | None = None
    walltime_s: int | None = None
    step_id: int | None = None
    locks: str | None = None  # JSON: the tokens of what it holds


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt ended and what that makes of its job; memory and walltime where the next attempt gets others."""

    ulid: str
    attempt: OpenAttempt
    attempt_state: AttemptState
    job_state: JobState
    exit: Exit | None
    outcome: Outcome | None
    failure: FailureClass | None = None
    message: str | None = None
    not_before: float | None = None
    blamed: int = 0
    blameless: int = 0
    event: Event | None = None
    memory_mb: int | None = None
    walltime_s: int | None = None
    parameters: str | None = None  # JSON, where a remedy changed them
    remedies: str | None = None  # JSON, the whole history, where one was added to it
    resume: Resume | None = None


def job_directory(job_id: int) -> str:
    """A job's directory relative to the workflow's; a thousand jobs to a shard keep directories small."""
    return f"jobs/{job_id // 1000:04d}/{job_id}"
