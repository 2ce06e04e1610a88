"""States of workflows, jobs and attempts, and the tables that say which changes are lawful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class WorkflowState(StrEnum):
    """Where a workflow stands."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"  # every job ended, at least one well or none at all
    FAILED = "failed"  # every job ended, at least one failed
    CANCELLED = "cancelled"
    FAULTED = "faulted"  # its database cannot be used; siblings go on


UNENDED: Final = frozenset({WorkflowState.RUNNING, WorkflowState.PAUSED, WorkflowState.FAULTED})
"""Workflows that have not ended, whatever keeps them from going on."""


class Status(StrEnum):
    """The public `status` column: coarse and stable, so that old queries keep working."""

    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class JobState(StrEnum):
    """The exact state of a job, beside the public status."""

    READY = "ready"
    HELD = "held"  # paused by a person
    WAITING = "waiting"  # for the step before it
    SUBMITTING = "submitting"  # intent committed, the cluster may or may not know it
    QUEUED = "queued"  # the cluster has it and has not started it
    RUNNING = "running"
    COLLECTING = "collecting"  # ended, outputs are being read
    IN_DOUBT = "in_doubt"  # nobody can say yet whether it runs
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class AttemptState(StrEnum):
    """One try at a job."""

    INTENT = "intent"
    QUEUED = "queued"
    RUNNING = "running"
    COLLECTING = "collecting"
    IN_DOUBT = "in_doubt"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    NOT_RUN = "not_run"  # proven never to have started; costs the job nothing


class Resolution(StrEnum):
    """What a person says became of an attempt in doubt."""

    LOST = "lost"  # it ran and left nothing: tried again without blame
    NOT_RUN = "not_run"  # it never started; costs the job nothing
    ENDED = "ended"  # it ran to its end: its outputs are read


PUBLIC_STATUS: Final[dict[JobState, Status]] = {
    JobState.READY: Status.READY,
    JobState.HELD: Status.READY,
    JobState.WAITING: Status.READY,
    JobState.SUBMITTING: Status.READY,
    JobState.QUEUED: Status.READY,
    JobState.RUNNING: Status.RUNNING,
    JobState.COLLECTING: Status.RUNNING,
    JobState.IN_DOUBT: Status.RUNNING,
    JobState.COMPLETED: Status.COMPLETED,
    JobState.FAILED: Status.FAILED,
    JobState.TIMEOUT: Status.TIMEOUT,
    JobState.CANCELLED: Status.CANCELLED,
    JobState.SKIPPED: Status.SKIPPED,
}
"""`running` means that the calculation has begun; what merely waits in a queue is still `ready`."""

ENDED: Final = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.SKIPPED})
ACTIVE: Final = frozenset(
    {JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING, JobState.COLLECTING, JobState.IN_DOUBT}
)
ATTEMPT_ENDED: Final = frozenset(
    {
        AttemptState.COMPLETED,
        AttemptState.FAILED,
        AttemptState.TIMEOUT,
        AttemptState.CANCELLED,
        AttemptState.NOT_RUN,
    }
)

_LIVE: Final = frozenset(
    {
        AttemptState.QUEUED,
        AttemptState.RUNNING,
        AttemptState.COLLECTING,
        AttemptState.IN_DOUBT,
    }
)
ATTEMPT_TRANSITIONS: Final[dict[AttemptState, frozenset[AttemptState]]] = {
    AttemptState.INTENT: _LIVE | ATTEMPT_ENDED,
    AttemptState.QUEUED: (_LIVE | ATTEMPT_ENDED) - {AttemptState.QUEUED},
    AttemptState.RUNNING: (_LIVE | ATTEMPT_ENDED) - {AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.NOT_RUN},
    AttemptState.COLLECTING: ATTEMPT_ENDED - {AttemptState.NOT_RUN},
    AttemptState.IN_DOUBT: (_LIVE | ATTEMPT_ENDED) - {AttemptState.IN_DOUBT},
} | {ended: frozenset() for ended in ATTEMPT_ENDED}
"""An attempt only moves forward; what has ended never changes again."""


def may_follow(before: AttemptState, after: AttemptState) -> bool:
    """Whether an attempt in state `before` may be recorded as `after`."""
    return after in ATTEMPT_TRANSITIONS[before]


def public_counts(states: Mapping[str, int]) -> dict[str, int]:
    """How many jobs have which public status, where `states` counts them by exact state."""
    counts = Counter[str]()
    for state, jobs in states.items():
        counts[PUBLIC_STATUS[JobState(state)]] += jobs
    return {str(status): jobs for status, jobs in counts.items()}
