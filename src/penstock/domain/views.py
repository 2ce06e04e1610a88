"""Values people see: a workflow, a job, an attempt, an event. The store makes, the control protocol carries them."""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of all views."""


class Filter(View, frozen=True):
    """One condition on a public job column: `column op value`, op one of = != < <= > >= ~ (contains)."""

    column: str
    op: str
    value: str


class Selection(View, frozen=True):
    """Which jobs: by id, by public status or exact state, by conditions; several kinds narrow each other. None: all."""

    jobs: tuple[int, ...] = ()
    statuses: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()


class WorkflowInfo(View, frozen=True):
    """A workflow at a glance. `statuses` counts jobs by public status, `states` by exact state."""

    id: str
    recipe: str
    state: str
    directory: str  # the workflow's own directory, absolute
    mode: str
    cluster: str
    engine: str
    slots: int
    priority: int
    jobs: int
    statuses: dict[str, int]
    states: dict[str, int]
    rejected: int  # records of the source that could not be taken in
    ingesting: bool  # the source is still being read
    reason: str | None  # why it is faulted, paused or failed
    created_at: float
    updated_at: float


class JobInfo(View, frozen=True):
    """One row of the public job table."""

    id: int
    orig_index: int
    name: str
    elements: str
    natoms: int
    status: str
    state: str
    charge: int
    spin: int  # multiplicity 2S+1
    attempts: int
    never_rerun: bool
    job_dir: str | None
    max_forces: float | None  # Eh/bohr
    scf_steps: int | None
    final_energy: float | None  # Eh
    wall_time_s: float | None
    failure: str | None
    error_message: str | None
    created_at: str
    updated_at: str


class AttemptInfo(View, frozen=True):
    """One try at a job."""

    number: int
    state: str
    submission: str
    directory: str
    failure: str | None
    message: str | None
    exit_code: int | None
    exit_signal: int | None
    created_at: float
    started_at: float | None
    ended_at: float | None


class EventInfo(View, frozen=True, tag=True):
    """One line of a workflow's history; `job` is 0 for events of the whole workflow."""

    workflow: str
    seq: int
    at: float
    kind: str  # workflow_created, jobs_ingested, job_submitted, job_completed, job_failed, ...
    job: int
    text: str
    data: dict[str, Any] = {}


class RejectedInfo(View, frozen=True):
    """A record of the source that could not be taken in."""

    orig_index: int
    line: int
    reason: str


class Statistic(View, frozen=True):
    """Mean, median, least and greatest of one quantity over the completed jobs that have it."""

    count: int
    mean: float | None
    median: float | None
    min: float | None
    max: float | None


class ClusterInfo(View, frozen=True):
    """A cluster and what it is doing."""

    name: str
    kind: str
    state: str  # up, down
    reason: str | None
    cores: int
    cores_used: int
    memory_mb: int
    memory_used_mb: int
    submissions_running: int
    submissions_waiting: int
