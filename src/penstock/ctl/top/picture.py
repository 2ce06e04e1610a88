"""What was heard of the daemon, and what was asked for: values that `feed` brings and `state` keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from penstock.control.messages import Changed, JobDetail, Request, Why
from penstock.ctl.top.rate import Track
from penstock.domain.states import ACTIVE, ENDED
from penstock.domain.views import ClusterInfo, ClusterReport, EventInfo, JobInfo, Selection, WorkflowInfo

FAILURES_KEPT: Final = 100
LOG_KEPT: Final = 65_536
"""Characters of a log that are kept."""

_FAILING_ASKED: Final = 5
_FAILED_KINDS: Final = frozenset({"job_failed", "job_retried", "job_remedied"})
_AGAIN: Final = frozenset({"job_retried", "job_remedied"})


# ---- what is asked for ----------------------------------------------------------------------------------------------


class Page(msgspec.Struct, frozen=True):
    """A page of a workflow's jobs."""

    workflow: str
    selection: Selection
    order: str
    offset: int
    limit: int


class OneJob(msgspec.Struct, frozen=True):
    """All about a job, and the log of its newest attempt, or of `attempt`."""

    workflow: str
    job: int
    attempt: int | None = None


class OneCluster(msgspec.Struct, frozen=True):
    """The report on a cluster; one without a scheduler has none."""

    name: str


Focus: TypeAlias = Page | OneJob | OneCluster | None
"""What the daemon is asked for beside the overview."""


class Action(msgspec.Struct, frozen=True):
    """Something that a person wants done, with the words for it while it is done and afterwards."""

    request: Request[Changed]
    doing: str
    done: str


# ---- what is heard --------------------------------------------------------------------------------------------------


class Failure(msgspec.Struct, frozen=True):
    """An attempt that failed. `again`: its job is tried once more."""

    at: float  # s since the epoch
    workflow: str
    job: int
    failure: str  # class
    message: str
    again: bool = False


class Looked(msgspec.Struct, frozen=True):
    """All workflows at `at` (monotonic), and what failed since the last look."""

    at: float
    workflows: tuple[WorkflowInfo, ...]
    failures: tuple[Failure, ...] = ()


class Clustered(msgspec.Struct, frozen=True):
    """All clusters."""

    clusters: tuple[ClusterInfo, ...]


class Paged(msgspec.Struct, frozen=True):
    """The jobs of a page, and how many its selection holds."""

    page: Page
    jobs: tuple[JobInfo, ...]
    total: int


class Explained(msgspec.Struct, frozen=True):
    """A job, and why it is in its state."""

    focus: OneJob
    why: Why
    detail: JobDetail


class Logged(msgspec.Struct, frozen=True):
    """What an attempt has written; `fresh`: from the beginning of what is kept."""

    focus: OneJob
    attempt: int
    text: str
    fresh: bool = False


class Reported(msgspec.Struct, frozen=True):
    """What a cluster's report says; None for one without a scheduler."""

    focus: OneCluster
    report: ClusterReport | None


class Gone(msgspec.Struct, frozen=True):
    """What was looked at is not there any more: the workflow, or of it one job, or a cluster."""

    focus: Focus
    message: str


class Lost(msgspec.Struct, frozen=True):
    """There has been no daemon since `since` (s since the epoch)."""

    since: float
    why: str


class Found(msgspec.Struct, frozen=True):
    """The daemon answers again."""


class Slow(msgspec.Struct, frozen=True):
    """The daemon has not answered for a while, or (`waiting` false) has now."""

    waiting: bool


class Trouble(msgspec.Struct, frozen=True):
    """The daemon answered with an error to what was asked for."""

    message: str


class Acted(msgspec.Struct, frozen=True):
    """An action was carried out."""

    action: Action
    reply: Changed


class Refused(msgspec.Struct, frozen=True):
    """An action was not carried out, or nobody knows."""

    action: Action
    message: str


News: TypeAlias = (
    Looked | Clustered | Paged | Explained | Logged | Reported | Gone | Lost | Found | Slow | Trouble | Acted | Refused
)


# ---- what is kept ---------------------------------------------------------------------------------------------------


class Log(msgspec.Struct, frozen=True):
    """The end of what an attempt has written."""

    focus: OneJob
    attempt: int
    text: str


class Picture(msgspec.Struct, frozen=True):
    """The newest of everything that was heard."""

    workflows: dict[str, WorkflowInfo] = {}
    tracks: dict[str, Track] = {}
    clusters: tuple[ClusterInfo, ...] = ()
    failures: tuple[Failure, ...] = ()  # newest first, one a job
    page: Paged | None = None
    explained: Explained | None = None
    log: Log | None = None
    reported: Reported | None = None
    lost: Lost | None = None
    slow: bool = False
    seen: bool = False  # there was a look at all


def failure_of(event: EventInfo) -> Failure | None:
    """The failure that an event tells of; None if it tells of none."""
    if event.kind not in _FAILED_KINDS:
        return None
    failure, message = (str(event.data.get(name) or "-") for name in ("failure", "message"))
    return Failure(event.at, event.workflow, event.job, failure, message, event.kind in _AGAIN)


def failure_of_job(workflow: str, job: JobInfo) -> Failure:
    """The failure that a job ended by."""
    at = datetime.fromisoformat(job.updated_at)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Failure(at.timestamp(), workflow, job.id, job.failure or "-", job.error_message or "-")


def failing(workflows: Iterable[WorkflowInfo]) -> list[WorkflowInfo]:
    """Those that are worth asking for what failed: some that changed last."""
    found = [info for info in workflows if info.states.get("failed") or info.states.get("timeout")]
    return sorted(found, key=lambda info: -info.updated_at)[:_FAILING_ASKED]


def merged(kept: Iterable[Failure], fresh: Iterable[Failure]) -> tuple[Failure, ...]:
    """The newest failures, newest first, the last of each job."""
    newest: dict[tuple[str, int], Failure] = {}
    for failure in sorted((*kept, *fresh), key=lambda failure: failure.at):
        key = (failure.workflow, failure.job)
        newest.pop(key, None)
        newest[key] = failure
    return tuple(reversed(newest.values()))[:FAILURES_KEPT]


def ended_jobs(info: WorkflowInfo) -> int:
    """Jobs that have ended, well or not."""
    return count(info, *ENDED)


def active_jobs(info: WorkflowInfo) -> int:
    """Jobs on their way: each takes a slot."""
    return count(info, *ACTIVE)


def count(info: WorkflowInfo, *states: str) -> int:
    """Jobs in any of these exact states."""
    return sum(info.states.get(state, 0) for state in states)
