"""A workflow's open submissions, as values and decisions: no I/O, so that every rule can be tested by calling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.domain.budget import Pace, may_prefetch
from penstock.domain.calculation import Exit
from penstock.domain.states import ATTEMPT_ENDED, AttemptState, JobState, may_follow
from penstock.domain.submission import Observed, Seen, Submission
from penstock.store.workflow_store import OpenAttempt

JOB_STATE: Final = {
    AttemptState.INTENT: JobState.SUBMITTING,
    AttemptState.QUEUED: JobState.QUEUED,
    AttemptState.RUNNING: JobState.RUNNING,
    AttemptState.COLLECTING: JobState.COLLECTING,
    AttemptState.IN_DOUBT: JobState.IN_DOUBT,
}
"""The state of a job while its newest attempt is in this state."""

_PROGRESS: Final = {
    Seen.QUEUED: AttemptState.QUEUED,
    Seen.RUNNING: AttemptState.RUNNING,
    Seen.IN_DOUBT: AttemptState.IN_DOUBT,
    Seen.ENDED: AttemptState.COLLECTING,
}


class Order:
    """An open submission: its attempts by position, and the state last committed for each."""

    def __init__(self, submission: Submission, attempts: Iterable[OpenAttempt]) -> None:
        self.submission = submission
        self.attempts = {attempt.position: attempt for attempt in attempts}
        self.states = {position: attempt.state for position, attempt in self.attempts.items()}
        self.cancelling: set[int] = set()
        self.told = False  # the cluster has it
        self.closed = False  # the cluster will say nothing more of it

    @property
    def settled(self) -> bool:
        """Whether every attempt's end is committed and the cluster is through."""
        return self.closed and all(state in ATTEMPT_ENDED for state in self.states.values())

    def job_states(self, positions: Iterable[int]) -> Counter[str]:
        """The jobs of these attempts, counted by the state they are in."""
        return Counter(str(JOB_STATE[self.states[position]]) for position in positions)

    def live(self) -> list[int]:
        """Positions whose end is not committed and not being read."""
        return [
            position
            for position, state in self.states.items()
            if state not in ATTEMPT_ENDED and state is not AttemptState.COLLECTING
        ]


class Change(msgspec.Struct, frozen=True):
    """An attempt that moved on: its position, new state, and when it started if that is known."""

    position: int
    state: AttemptState
    started_at: float | None


class News(msgspec.Struct, frozen=True):
    """What an observation means for an order."""

    changes: list[Change]
    ended: dict[int, Exit]  # outputs are to be read
    not_run: dict[int, str]  # with the reason


def interpret(order: Order, observed: Observed, now: float) -> News:
    """Which attempts moved on. What repeats or contradicts a later state already committed is left out."""
    news = News([], {}, {})
    for position, seen in observed.attempts.items():
        state = order.states.get(position)
        if state is None:
            continue
        if seen.seen is Seen.NOT_RUN:
            if may_follow(state, AttemptState.NOT_RUN):
                news.not_run[position] = seen.reason or "it never started"
            elif state not in ATTEMPT_ENDED:
                news.ended[position] = Exit(None, None, now, now, "lost", "its traces vanished after it had started")
            continue
        after = _PROGRESS[seen.seen]
        if seen.seen is Seen.ENDED and seen.exit is not None and state not in ATTEMPT_ENDED:
            news.ended[position] = seen.exit
        if may_follow(state, after):
            news.changes.append(Change(position, after, seen.started_at))
    return news


class OrderBook:
    """All open orders of a workflow, and which of its slots are free."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}

    def add(self, order: Order) -> None:
        """Takes an order in."""
        self.orders[order.submission.ulid] = order

    def free_lanes(self, slots: int, pace: Pace) -> list[tuple[int, bool]]:
        """The slots that can take a submission, and whether it would wait there behind another; idle slots come first."""
        held = Counter(order.submission.lane for order in self.orders.values() if not order.closed)
        idle = [(lane, False) for lane in range(slots) if not held[lane]]
        behind = [(lane, True) for lane in range(slots) if held[lane] <= 1] if may_prefetch(pace) else []
        return idle + behind

    def unread(self) -> int:
        """How many attempts have ended and wait for their outputs to be read."""
        return sum(
            state is AttemptState.COLLECTING for order in self.orders.values() for state in order.states.values()
        )
