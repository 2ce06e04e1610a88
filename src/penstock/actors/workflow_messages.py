"""What a workflow's supervisor is told: by people, by its cluster, and by its own tasks."""

from __future__ import annotations

import msgspec

from penstock.actors.cluster_port import ClusterRestarted
from penstock.domain.calculation import Exit, Outcome, PackedChunk
from penstock.domain.revision import Revision
from penstock.domain.states import JobState, Resolution
from penstock.domain.submission import Observed
from penstock.domain.views import Selection
from penstock.store.deriving import Drawn, Due, Unfolding
from penstock.store.reviews import ReviewKind, Seen


class PauseWorkflow(msgspec.Struct, frozen=True):
    """Start nothing more (all of it, or the selected jobs)."""

    selection: Selection | None


class ResumeWorkflow(msgspec.Struct, frozen=True):
    """Go on: undo a pause, or run again what failed or was cancelled, with another spec where there is a `revision`.

    With a selection, release those jobs only.
    """

    selection: Selection | None
    revision: Revision | None = None


class CancelWorkflow(msgspec.Struct, frozen=True):
    """End it all, or the selected jobs."""

    selection: Selection | None


class RetryJobs(msgspec.Struct, frozen=True):
    """Make ended jobs ready again."""

    selection: Selection


class MarkJobs(msgspec.Struct, frozen=True):
    """Set or clear the never-rerun mark."""

    selection: Selection
    never_rerun: bool


class ResolveJobs(msgspec.Struct, frozen=True):
    """A person says what became of jobs in doubt."""

    selection: Selection
    resolution: Resolution


class ChangeBudget(msgspec.Struct, frozen=True):
    """Change slots or priority."""

    slots: int | None
    priority: int | None


class SetJob(msgspec.Struct, frozen=True):
    """A person or a program says what a job's state and metrics are; `columns` are those of its row that change."""

    job: int
    state: JobState | None
    columns: dict[str, float | int | str | None]
    by: str
    reason: str | None


class ReviewJobs(msgspec.Struct, frozen=True):
    """Look through the directories of jobs; what it comes to is in the `Answer` that this is answered with."""

    kind: ReviewKind
    selection: Selection


class Touched(msgspec.Struct, frozen=True):
    """How many jobs a command changed, and how many of the selection it left alone and why."""

    changed: int
    left: int = 0
    note: str | None = None


class DrainWorkflow(msgspec.Struct, frozen=True):
    """Begin nothing new; the answer is how many attempts are still being read."""


class ReloadSlots(msgspec.Struct, frozen=True):
    """The configuration now says `slots`: taken by a workflow whose slots came from one of `origins`."""

    slots: int
    origins: frozenset[str]


class Pump(msgspec.Struct, frozen=True):
    """Look whether anything can be done."""


class ChunkRead(msgspec.Struct, frozen=True):
    """The structures that follow cursor `after` in the source, or why they cannot be had."""

    after: str
    chunk: PackedChunk | None
    trouble: str | None


class ReadingEnded(msgspec.Struct, frozen=True):
    """No further chunk comes: the source is read to its end, cannot be read on, or was not wanted any more."""


class Staged(msgspec.Struct, frozen=True):
    """A submission's inputs are rendered."""

    ulid: str
    manifest: bytes
    errors: list[tuple[int, str]]


class Collected(msgspec.Struct, frozen=True):
    """Outputs have been read."""

    ulid: str
    ends: dict[int, tuple[Exit, Outcome]]


class CollectingSlowly(msgspec.Struct, frozen=True):
    """Outputs take long to read."""

    ulid: str
    positions: frozenset[int]


class JobsSeen(msgspec.Struct, frozen=True):
    """What review number `review` has found of some jobs; `done`: of all it was given. Or why it cannot go on."""

    review: int
    seen: list[Seen]
    done: bool
    trouble: Exception | None = None


class Projected(msgspec.Struct, frozen=True):
    """The view for ASE users is up to date."""


class Derived(msgspec.Struct, frozen=True):
    """What has been derived from results of what was due, under which spec (JSON), or why nothing can be: `trouble`."""

    due: Due
    spec: str
    found: list[Unfolding] | list[Drawn]
    trouble: str | None = None


class Idle(msgspec.Struct, frozen=True):
    """Nothing has happened for a while."""


JobCommand = (
    PauseWorkflow | ResumeWorkflow | CancelWorkflow | RetryJobs | MarkJobs | ResolveJobs | SetJob | ChangeBudget
)
Command = JobCommand | ReviewJobs | DrainWorkflow | ReloadSlots
News = (
    Observed
    | ClusterRestarted
    | Pump
    | ChunkRead
    | ReadingEnded
    | Staged
    | Collected
    | CollectingSlowly
    | JobsSeen
    | Projected
    | Derived
)
Message = Command | News | Idle
