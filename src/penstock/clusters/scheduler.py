"""What a scheduler is: which commands to run and what their answers mean. Pure: running them is elsewhere.

A submission is one job (an array of tasks where it is wider than one) whose name carries the submission's ulid, since
there is no other key that survives a lost answer: job ids are reused, comments may not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from penstock.clusters.shell import Completed
from penstock.domain.ids import is_ulid
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions

NAME_PREFIX: Final = "penstock-"


class Phase(StrEnum):
    """What a scheduler's state means to us."""

    QUEUED = "queued"
    HELD = "held"  # somebody must release it
    HOPELESS = "hopeless"  # it pends and never can start: impossible request, dependency never satisfied
    RUNNING = "running"  # or ending, or suspended: it holds its allocation
    COMPLETED = "completed"  # exit code 0
    FAILED = "failed"  # exit code or signal
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    INFRASTRUCTURE = "infrastructure"  # node failure, boot failure, preemption: nobody's fault
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a state we have never heard of: shown, and never taken for an end


ACTIVE: Final = frozenset({Phase.QUEUED, Phase.HELD, Phase.HOPELESS, Phase.RUNNING, Phase.UNKNOWN})
"""Phases in which a job may still do something."""


class JobRow(msgspec.Struct, frozen=True):
    """What one line of a scheduler's answer says of some tasks of one submission. Times in seconds since the epoch."""

    ulid: str
    job_id: str  # what cancels all of the submission's tasks
    tasks: tuple[int, ...]  # indices; (0,) for a submission that is no array
    phase: Phase
    state: str  # the scheduler's own word
    reason: str = ""
    exit_code: int | None = None
    exit_signal: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nodes: str = ""


class QueueView(msgspec.Struct, frozen=True):
    """The answer to one query for all jobs of this account: ours by submission, and how many are not ours, by state."""

    rows: tuple[JobRow, ...]
    others: dict[str, int] = {}


class JobRequest(msgspec.Struct, frozen=True):
    """A job to be submitted. `directory` is the submission's own in the spool; `script` an absolute path in it.

    `walltime_s` is what the scheduler is asked for; `warn_s` how long before its end the script wants to be warned.
    """

    ulid: str
    width: int
    script: str
    directory: str
    resources: Resources
    walltime_s: int
    warn_s: int
    options: SchedulerOptions
    exclude_nodes: tuple[str, ...] = ()


class Placed(msgspec.Struct, frozen=True):
    """The scheduler took it; `job_id` as in `JobRow`."""

    job_id: str


class Refused(msgspec.Struct, frozen=True):
    """The scheduler certainly did not take it. `lasting`: nor ever will as it is; else it may later."""

    reason: str
    lasting: bool


class Unclear(msgspec.Struct, frozen=True):
    """Nobody can say from this answer whether the job exists."""

    reason: str


Submitted = Placed | Refused | Unclear


class Limits(msgspec.Struct, frozen=True):
    """What the site allows, None where it does not say. Read once at connect."""

    version: str = ""
    width_max: int | None = None  # tasks of one array
    jobs_max: int | None = None  # jobs in the whole system, every array task counted
    submit_max: int | None = None  # jobs of one user
    remembered_s: int | None = None  # how long ended jobs stay in the queue's answer
    has_accounting: bool = False
    partitions: tuple[Partition, ...] = ()


class Partition(msgspec.Struct, frozen=True):
    """A partition (Slurm) or queue (Flux) and what its largest node and longest job may be; None where unlimited."""

    name: str
    is_default: bool
    is_up: bool
    nodes: int
    cores_per_node: int | None = None
    memory_mb_per_node: int | None = None
    gpus_per_node: int | None = None
    walltime_s: int | None = None


class UnreadableAnswerError(ValueError):
    """A scheduler's answer is not what it should be (torn, empty, an error text): it says nothing about any job."""


class RateLimitedError(UnreadableAnswerError):
    """The scheduler said that it is asked too often."""


class Scheduler(Protocol):
    """A kind of scheduler. `parse_*` raise UnreadableAnswerError for an answer that proves nothing, and nothing else.

    Every command is run with `environment` set, so that answers come in one language and times as epoch seconds.
    """

    @property
    def kind(self) -> str:
        """What the configuration calls it."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables for every command."""

    @property
    def warns(self) -> bool:
        """Whether it can send the script, and it alone, a signal before its time is over."""

    @property
    def task_variables(self) -> tuple[str, str, str]:
        """Shell expressions, used inside the job script, for: task index, job id, restart count."""

    @property
    def reserved_options(self) -> frozenset[str]:
        """Long options of the submit command that a raw directive must not give."""

    def with_limits(self, limits: Limits) -> Scheduler:
        """The same for a site whose limits are known."""

    def submit_argv(self, request: JobRequest) -> list[str]:
        """Submits `request.script`."""

    def parse_submit(self, answer: Completed) -> Submitted:
        """What the answer to a submission proves."""

    def queue_argv(self) -> list[str]:
        """Asks for all jobs of this account, in one call."""

    def parse_queue(self, answer: Completed) -> QueueView:
        """The live queue."""

    def accounting_argv(self, ulids: Sequence[str], since: float) -> list[str] | None:
        """Asks for what became of these submissions since then; None where the scheduler keeps no accounts."""

    def parse_accounting(self, answer: Completed) -> list[JobRow]:
        """Rows of ended and running tasks; half-filled rows are left out."""

    def cancel_argv(self, jobs: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[str]:
        """Cancels jobs (id, task indices; None for all, and for what is no array) in one call."""

    def signal_argv(self, job_id: str, task: int | None, signal: str) -> list[str]:
        """Sends a signal to the job's script only; no task for what is no array."""

    def limits_argv(self) -> list[list[str]]:
        """What to ask at connect; the first also tells the version."""

    def parse_limits(self, answers: Sequence[Completed]) -> Limits:
        """The site's limits."""


def job_name(ulid: str) -> str:
    """What the scheduler calls a submission."""
    return f"{NAME_PREFIX}{ulid}"


def is_job_name(name: str) -> bool:
    """Whether this is what `job_name` makes."""
    return ulid_of(name) is not None


def ulid_of(name: str) -> str | None:
    """The submission behind a job's name, None for what is not ours."""
    ulid = name.removeprefix(NAME_PREFIX)
    return ulid if ulid != name and is_ulid(ulid) else None
