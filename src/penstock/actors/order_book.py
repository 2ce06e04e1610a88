"""A workflow's open submissions, as values and decisions: no I/O, so that every rule can be tested by calling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.domain.budget import Pace, may_prefetch
from penstock.domain.calculation import Exit
from penstock.domain.locks import NO_TOKENS
from penstock.domain.states import ATTEMPT_ENDED, AttemptState, JobState, may_follow
from penstock.domain.submission import AttemptSeen, Observed, Seen, Submission
from penstock.store.events import Event
from penstock.store.rows import OpenAttempt

JOB_STATE: Final = {
    AttemptState.INTENT: JobState.SUBMITTING,
    AttemptState.QUEUED: JobState.QUEUED,
    AttemptState.RUNNING: JobState.RUNNING,
    AttemptState.COLLECTING: JobState.COLLECTING,
    AttemptState.IN_DOUBT: JobState.IN_DOUBT,
}
"""The state of a job while its newest attempt is in this state."""

_SETTLED_BY: Final = {
    Seen.QUEUED: "the cluster has it and has not started it",
    Seen.RUNNING: "it runs",
    Seen.ENDED: "it has ended",
    Seen.NOT_RUN: "it never started",
}
_SHOWN: Final = frozenset({AttemptState.RUNNING, AttemptState.COLLECTING})
_MOVED: Final = {Seen.QUEUED: AttemptState.QUEUED, Seen.IN_DOUBT: AttemptState.IN_DOUBT}


class Order:
    """An open submission: its attempts by position, and the state last committed for each."""

    def __init__(self, submission: Submission, attempts: Iterable[OpenAttempt], step_id: int | None = None) -> None:
        self.submission = submission
        self.step_id = step_id
        self.attempts = {attempt.position: attempt for attempt in attempts}
        self.states = {position: attempt.state for position, attempt in self.attempts.items()}
        self.collecting: set[int] = set()  # ended, and their outputs are being read; committed only if that takes long
        self.started: dict[int, float | None] = {}  # seen running, to be committed once their slot is free of others
        self.settled_by: dict[int, str] = {}  # what ended the doubt of those that are still recorded as in doubt
        self.cancelling: set[int] = set()
        self.told = False  # the cluster has it
        self.placed = any(state != AttemptState.INTENT for state in self.states.values())  # the cluster spoke of it
        self.closed = False  # the cluster will say nothing more of it
        self.tokens = NO_TOKENS  # of the locks and resources that it holds
        self.tasks_leased = 0  # for how many tasks it holds them

    @property
    def is_acknowledged(self) -> bool:
        """Whether the cluster has said anything of it."""
        return any(state is not AttemptState.INTENT for state in self.states.values())

    @property
    def settled(self) -> bool:
        """Whether every attempt's end is committed and the cluster is through."""
        return self.closed and all(state in ATTEMPT_ENDED for state in self.states.values())

    @property
    def tasks_held(self) -> int:
        """How many of its tasks have an attempt that has not ended, as far as is known."""
        if self.closed:
            return 0
        return len({position % self.submission.width for position in self.live()})

    @property
    def tasks_unended(self) -> int:
        """How many of its tasks have an attempt whose end is not committed."""
        return len({n % self.submission.width for n, state in self.states.items() if state not in ATTEMPT_ENDED})

    def shown_running(self) -> int:
        """How many attempts are recorded as running; those whose outputs are being read are among them."""
        return sum(state in _SHOWN for state in self.states.values())

    def job_states(self, positions: Iterable[int]) -> Counter[str]:
        """The jobs of these attempts, counted by the state they are in."""
        return Counter(str(JOB_STATE[self.states[position]]) for position in positions)

    def settled_events(self, positions: Iterable[int]) -> list[Event]:
        """What is to be told of those of these attempts that are recorded as in doubt and no longer are."""
        return [
            Event("job_doubt_settled", self.attempts[n].job_id, {"attempt": self.attempts[n].number, "by": by})
            for n in positions
            if self.states[n] is AttemptState.IN_DOUBT and (by := self.settled_by.pop(n, _SETTLED_BY[Seen.ENDED]))
        ]

    def live(self) -> list[int]:
        """Positions that have not ended, as far as is known."""
        return [n for n, state in self.states.items() if state not in ATTEMPT_ENDED and n not in self.collecting]


class News(msgspec.Struct, frozen=True):
    """What an observation means for an order, by position."""

    moved: dict[int, AttemptState]  # queued, in doubt
    started: dict[int, float | None]  # running, and since when
    ended: dict[int, Exit]  # outputs are to be read
    not_run: dict[int, str]  # with the reason
    doubts: dict[int, str]  # why those are in doubt that now are
    settled: dict[int, str]  # what ended the doubt of those that were


def interpret(order: Order, observed: Observed, now: float) -> News:
    """Which attempts moved on. What repeats or contradicts a later state already committed is left out."""
    news = News({}, {}, {}, {}, {}, {})
    for position, seen in _everything(order, observed).items():
        state = order.states.get(position)
        if state is None or state in ATTEMPT_ENDED or position in order.collecting:
            continue
        match seen.seen:
            case Seen.ENDED:
                assert seen.exit is not None
                news.ended[position] = seen.exit
            case Seen.NOT_RUN if may_follow(state, AttemptState.NOT_RUN):
                news.not_run[position] = seen.reason or "it never started"
            case Seen.NOT_RUN:
                news.ended[position] = Exit(None, None, now, now, "lost", "its traces vanished after it had started")
            case Seen.RUNNING if may_follow(state, AttemptState.RUNNING):
                news.started[position] = seen.started_at
            case Seen.QUEUED | Seen.IN_DOUBT if may_follow(state, _MOVED[seen.seen]):
                news.moved[position] = _MOVED[seen.seen]
            case _:
                continue
        if state is AttemptState.IN_DOUBT:
            news.settled[position] = seen.reason or _SETTLED_BY[seen.seen]
        elif seen.seen is Seen.IN_DOUBT:
            news.doubts[position] = seen.reason or "nobody can say what became of it"
    return news


def _everything(order: Order, observed: Observed) -> dict[int, AttemptSeen]:
    """What is said of each attempt. A refused submission never ran, whether or not each of its attempts is named."""
    if observed.refused is None:
        return observed.attempts
    never = AttemptSeen(Seen.NOT_RUN, reason=f"the scheduler refused it: {observed.refused}")
    unstarted = (n for n, state in order.states.items() if may_follow(state, AttemptState.NOT_RUN))
    return dict.fromkeys(unstarted, never) | observed.attempts


class OrderBook:
    """All open orders of a workflow, and which of its slots are free."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}

    def add(self, order: Order) -> None:
        """Takes an order in."""
        self.orders[order.submission.ulid] = order

    def free_lanes(self, slots: int, pace: Pace) -> list[tuple[int, bool]]:
        """The slots that can take a submission, and whether it would wait there behind another.

        Idle slots come first.
        """
        held = Counter(order.submission.lane for order in self.orders.values() if not order.closed)
        room = max(0, slots - len(held))  # slots given up may still be held
        idle = [(lane, False) for lane in range(slots) if not held[lane]][:room]
        if not may_prefetch(pace):
            return idle
        used = {lane for lane, _ in idle} | held.keys()
        return idle + [(lane, True) for lane in range(slots) if lane in used and held[lane] <= 1]

    def free_slots(self, slots: int) -> int:
        """How many slots a submission to a scheduler may take: those that no task holds.

        None while a submission is on its way: slots that become free meanwhile go together as one.
        """
        if not all(order.placed for order in self.orders.values()):
            return 0
        return max(0, slots - sum(order.tasks_held for order in self.orders.values()))

    def attempts(self) -> int:
        """How many attempts all orders have together."""
        return sum(order.submission.size for order in self.orders.values())

    def slots_held(self, *, queueing: bool) -> int:
        """How many slots hold submitted work: of a scheduler's, tasks that have not ended; of others, busy lanes."""
        if queueing:
            return sum(order.tasks_held for order in self.orders.values())
        return len({order.submission.lane for order in self.orders.values() if not order.closed})

    def unread(self) -> int:
        """How many attempts have ended and wait for their outputs to be read."""
        return sum(len(order.collecting) for order in self.orders.values())

    def startable(self, lane: int) -> list[Order]:
        """Orders of a slot with attempts seen running, once all that ran there before is recorded.

        A slot never shows two.
        """
        orders = [order for order in self.orders.values() if order.submission.lane == lane]
        return [] if any(order.collecting for order in orders) else [order for order in orders if order.started]

    def startable_within(self, slots: int) -> list[tuple[Order, list[int]]]:
        """Positions seen running at a scheduler that may be recorded as such, oldest submissions first.

        Never are more shown as running than there are slots, or tasks where slots have been taken away since: one that
        began in the place of another waits until the end of that one is recorded.
        """
        if not any(order.started for order in self.orders.values()):
            return []
        held = sum(order.tasks_held for order in self.orders.values())
        room = max(slots, held) - sum(order.shown_running() for order in self.orders.values())
        found: list[tuple[Order, list[int]]] = []
        for order in self.orders.values():
            positions = [
                n
                for n in order.started
                if n not in order.collecting and may_follow(order.states[n], AttemptState.RUNNING)
            ][: max(0, room)]
            room -= len(positions)
            if positions:
                found.append((order, positions))
        return found
