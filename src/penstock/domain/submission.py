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


class Submission(msgspec.Struct, frozen=True):
    """An order to a cluster.

    Submissions of one workflow with the same `lane` never run at the same time: a lane is a job slot. `prefetch` allows
    the cluster to queue it behind the lane's present submission on the same warm runner.
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


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One attempt of a submission: its index in it, its directory relative to the workflow's, and what to run there."""

    index: int
    directory: str
    job_id: int
    rendered: Rendered


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
    """What a cluster saw of one submission since it last told; `closed` when nothing more can come."""

    ulid: str
    attempts: dict[int, AttemptSeen]
    closed: bool

    def merged(self, newer: Observed) -> Observed:
        """Both observations as one; the newer wins where they meet, but what has ended stays ended."""
        ended = {n: attempt for n, attempt in self.attempts.items() if attempt.seen in (Seen.ENDED, Seen.NOT_RUN)}
        return Observed(self.ulid, self.attempts | newer.attempts | ended, self.closed or newer.closed)
