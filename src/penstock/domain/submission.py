"""What is handed to a cluster, and what a cluster tells about it.

A submission is one order to a cluster: a ulid and an immutable list of attempts, committed before anything leaves the
process. On a scheduler it becomes one job, one array or one bundle; on the local cluster a warm runner works through
it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock.domain.calculation import Exit, Rendered
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions


class Submission(msgspec.Struct, frozen=True):
    """An order to a cluster.

    Submissions of one workflow with the same `lane` never run at the same time: a lane is a job slot. `prefetch` allows
    the cluster to queue it behind the lane's present submission on the same warm runner.

    On a scheduler `width` attempts run side by side, each in a task of its own: the attempt at position p belongs to
    task p % width, and a task works through its attempts one after another. A width of `size` is an array, one of 1 a
    bundle. The local cluster knows only a width of 1.
    """

    ulid: str
    workflow_id: str
    workflow_dir: str
    mode: str
    engine: str
    lane: int
    priority: int
    prefetch: bool
    size: int
    resources: Resources
    width: int = 1
    options: SchedulerOptions = SchedulerOptions()
    directories: tuple[str, ...] = ()  # of its attempts by position, relative to the workflow's
    outputs: tuple[str, ...] = ()  # what its engine wants to read in them
    expected_s: float | None = None  # how long its longest task will probably last, None while nobody knows
    checkpoint: tuple[str, ...] = ()  # command line that saves an attempt whose walltime is over; empty: none


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One attempt of a submission: its index in it, its directory relative to the workflow's, and what to run there.

    `carry_from`, relative too, is the directory of an earlier attempt that it goes on from: the files that `rendered`
    carries are copied from there before its own are written, as far as they are there.
    """

    index: int
    directory: str
    job_id: int
    rendered: Rendered
    carry_from: str | None = None


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a runner reads: everything it needs to work through a submission."""

    ulid: str
    workflow_id: str
    workflow_dir: str
    mode: str
    engine: str
    cores: int
    walltime_s: int
    entries: list[Entry]
    memory_mb: int = 0  # with the cores: what a daemon that finds the runner again must count as taken
    environment: dict[str, str] = {}  # of its programs, beside what all attempts find


class ManifestHead(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a manifest: whose it is."""

    ulid: str
    workflow_id: str


class Seen(StrEnum):
    """What a cluster saw of an attempt."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"  # with an Exit
    NOT_RUN = "not_run"  # proven never to have started, and fenced
    IN_DOUBT = "in_doubt"


class AttemptSeen(msgspec.Struct, frozen=True, array_like=True):
    """The newest observation of one attempt."""

    seen: Seen
    started_at: float | None = None
    exit: Exit | None = None
    reason: str | None = None


class Observed(msgspec.Struct, frozen=True):
    """What a cluster saw of one submission since it last told.

    `closed` when nothing more can come; `refused` says why the scheduler will never take it as it is.
    """

    ulid: str
    attempts: dict[int, AttemptSeen]
    closed: bool
    refused: str | None = None

    def merged(self, newer: Observed) -> Observed:
        """Both observations as one; the newer wins where they meet, but what has ended stays ended."""
        ended = {n: attempt for n, attempt in self.attempts.items() if attempt.seen in (Seen.ENDED, Seen.NOT_RUN)}
        closed, refused = self.closed or newer.closed, newer.refused or self.refused
        return Observed(self.ulid, self.attempts | newer.attempts | ended, closed, refused)
