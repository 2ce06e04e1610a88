"""About jobs: what there are, why they are as they are, their logs, and what is changed about them."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.control.messages.base import Done, Message, Request
from penstock.control.messages.workflow import Changed
from penstock.domain.states import Resolution
from penstock.domain.views import AttemptInfo, EventInfo, JobInfo, Selection


class LeftAlone(Message, frozen=True):
    """A job that a review of job directories left as it was, and why: in a word or two, and in full."""

    job: int
    reason: str
    detail: str


class Jobs(Message, frozen=True):
    """A page of jobs; `total` counts all that the selection holds."""

    jobs: tuple[JobInfo, ...]
    total: int


class JobDetail(Message, frozen=True):
    """Everything about one job."""

    job: JobInfo
    geometry: str
    final_geometry: str | None
    attempts: tuple[AttemptInfo, ...]
    properties: dict[str, Any]
    files: tuple[str, ...]
    events: tuple[EventInfo, ...]
    units: dict[str, str] = msgspec.field(default_factory=dict)  # of those properties whose names do not say it
    made_from: int | None = None  # the job whose result it was made from
    label: dict[str, Any] = msgspec.field(default_factory=dict)  # what its recipe made it with


class Reviewed(Message, frozen=True):
    """What a review of job directories came to, in numbers of jobs.

    `changed`: adopted, recomputed or reset. `unchanged`: there was nothing to change. `left`: jobs left as they were
    although they could not be read or must not be touched, by reason; `shown` are the first of them (at most 100).
    """

    looked_at: int
    changed: int
    unchanged: int
    left: dict[str, int]
    shown: tuple[LeftAlone, ...]


class Why(Message, frozen=True):
    """The whole cause of a job's state: `verdict` in one sentence, `reasons` from the nearest cause outwards."""

    job: JobInfo
    verdict: str
    reasons: tuple[str, ...]
    events: tuple[EventInfo, ...]


class LogChunk(Message, frozen=True):
    """A piece of a job's log; `name` is the file it comes from."""

    name: str
    data: bytes


class ListJobs(Request[Jobs], frozen=True):
    """Jobs of a workflow in order of id, or of `order` (a public column, `-column` for falling)."""

    id: str
    selection: Selection = Selection()
    limit: int = 100
    offset: int = 0
    order: str = "id"
    reply = Jobs


class GetJob(Request[JobDetail], frozen=True):
    """One job."""

    id: str
    job: int
    reply = JobDetail


class Retry(Request[Changed], frozen=True):
    """Make ended jobs ready again; those marked never-rerun are left."""

    id: str
    selection: Selection = Selection()
    reply = Changed


class Mark(Request[Changed], frozen=True):
    """Set or clear the never-rerun mark."""

    id: str
    selection: Selection
    never_rerun: bool
    reply = Changed


class Resolve(Request[Changed], frozen=True):
    """Say what became of jobs that are in doubt, where evidence could not settle it; others are left."""

    id: str
    selection: Selection
    resolution: Resolution
    reply = Changed


class Rescan(Request[Reviewed], frozen=True):
    """Read the directories of jobs that have no result: where one holds a success, the job is completed by it."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class RecomputeMetrics(Request[Reviewed], frozen=True):
    """Read the outputs of completed jobs again, and take over what they say now."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class ResetMissing(Request[Reviewed], frozen=True):
    """Make completed jobs ready again whose outputs are gone; those marked never-rerun are left."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class SetJob(Request[JobDetail], frozen=True):
    """Set what is recorded of a job that is not active; None leaves as it is. `reason` is kept in its history.

    `status` is completed, failed or skipped. `max_force_hartree_per_bohr` is the largest Cartesian component.
    """

    id: str
    job: int
    status: str | None = None
    energy_hartree: float | None = None
    max_force_hartree_per_bohr: float | None = None
    scf_cycles: int | None = None
    wall_time_s: float | None = None
    reason: str | None = None
    reply = JobDetail


class Explain(Request[Why], frozen=True):
    """Why is a job in the state it is in?"""

    id: str
    job: int
    reply = Why


class Logs(Request[Done], frozen=True):
    """Stream `LogChunk`s of a job's newest attempt (or of `attempt`); with `follow`, until the attempt has ended."""

    id: str
    job: int
    attempt: int | None = None
    follow: bool = False
    tail_bytes: int | None = None


JobRequest = (
    ListJobs | GetJob | Retry | Mark | Resolve | Rescan | RecomputeMetrics | ResetMissing | SetJob | Explain | Logs
)


JobReply = Jobs | JobDetail | Reviewed | Why
