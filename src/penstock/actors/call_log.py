"""What we asked of a cluster's scheduler: how often, how it ended and how long it took."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from typing import Final, Protocol

from penstock.actors.clock import Clock
from penstock.actors.histogram import Filled, Histogram, Histograms
from penstock.domain.views import BudgetInfo, CallCount, CallTotal, Latency

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histograms of latencies; what is longer falls into the last bucket, which has none."""
RATE_LIMITED: Final = "rate_limited"
_MINUTES: Final = 60
_SAMPLES: Final = 1000
_SPENT: Final = 20_000


class Allowance(Protocol):
    """A budget of calls, for whoever looks at it."""

    @property
    def per_min(self) -> float:
        """The most calls in a minute."""

    def peek(self, now: float) -> float:
        """How many calls may be made at once, at that reading of the monotonic clock."""


class _Command(Histogram):
    """What is kept of one command."""

    def __init__(self) -> None:
        super().__init__(BUCKETS_S)
        self.newest_s: deque[float] = deque(maxlen=_SAMPLES)
        self.longest_s = 0.0

    def add(self, seconds: float) -> None:
        self.newest_s.append(seconds)
        self.longest_s = max(self.longest_s, seconds)
        self.observe(seconds)


class CallLog:
    """The calls of one cluster. Its size does not grow with their number; only that of different commands counts.

    Written by the event loop; `totals`, `histograms`, polls, budgets and waits may be read by any thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._commands: dict[str, _Command] = {}
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._minutes: dict[int, Counter[str]] = {}
        self._newest: deque[tuple[int, int]] = deque()  # (whole second, calls in it) of the last minute
        self.polls: Counter[tuple[str, str]] = Counter()  # what was asked (spool, queue, accounts), and how that ended
        self.polls_s = Histograms(BUCKETS_S)  # what was asked
        self.budgets: dict[str, Allowance] = {}  # by kind of call: query, submit
        self.budget_waits_s: dict[str, float] = {}  # by kind: how long calls have waited for their budget
        self._spent: dict[str, deque[float]] = {}  # by kind: when the newest calls were let go, monotonic

    def record(self, command: str, seconds: float, outcome: str = "ok") -> None:
        """A call that has just ended; `outcome` is ok, failed, timeout, rate_limited or unreachable."""
        self._commands.setdefault(command, _Command()).add(seconds)
        self._outcomes[command, outcome] += 1
        second = int(self._clock.time())
        self._forget(second)
        self._minutes.setdefault(second // 60, Counter())[command] += 1
        before = self._newest.pop()[1] if self._newest and self._newest[-1][0] == second else 0
        self._newest.append((second, before + 1))

    def record_poll(self, what: str, seconds: float, outcome: str) -> None:
        """A look at the spool, the queue or the accounts has just ended; `outcome` is ok or failed."""
        self.polls[what, outcome] += 1
        self.polls_s.observe((what,), seconds)

    def record_wait(self, kind: str, seconds: float) -> None:
        """A call has waited for its budget, and perhaps goes on waiting."""
        self.budget_waits_s[kind] = self.budget_waits_s.get(kind, 0.0) + max(seconds, 0.0)

    def record_spent(self, kind: str) -> None:
        """A call is let go by its budget."""
        self._spent.setdefault(kind, deque(maxlen=_SPENT)).append(self._clock.monotonic())

    def budget_infos(self) -> tuple[BudgetInfo, ...]:
        """The budgets, and how they were kept."""
        now = self._clock.monotonic()
        return tuple(
            BudgetInfo(
                kind,
                budget.per_min,
                round(max(budget.peek(now), 0.0), 1),
                sum(at > now - 60.0 for at in self._spent.get(kind, ())),
                _busiest([at for at in self._spent.get(kind, ()) if at > now - 60.0 * _MINUTES]),
                round(self.budget_waits_s.get(kind, 0.0), 3),
            )
            for kind, budget in self.budgets.items()
        )

    @property
    def rate_limited(self) -> int:
        """How often the scheduler said that it is asked too often."""
        return sum(calls for (_, outcome), calls in self._outcomes.items() if outcome == RATE_LIMITED)

    def last_minute(self) -> int:
        """Calls that ended in the last 60 s."""
        self._forget(int(self._clock.time()))
        return sum(calls for _, calls in self._newest)

    def per_minute(self) -> tuple[CallCount, ...]:
        """Calls of the last hour by minute and command, oldest first; minutes without calls are left out."""
        self._forget(int(self._clock.time()))
        return tuple(
            CallCount(minute * 60.0, command, calls)
            for minute, commands in sorted(self._minutes.items())
            for command, calls in sorted(commands.items())
        )

    def totals(self) -> tuple[CallTotal, ...]:
        """Calls since the start by command and outcome."""
        return tuple(CallTotal(*key, calls) for key, calls in sorted(dict(self._outcomes).items()))

    def latencies(self) -> tuple[Latency, ...]:
        """How long each command took; median and 95th percentile are those of its last 1000 calls."""
        return tuple(_latency(name, command) for name, command in sorted(self._commands.items()))

    def histograms(self) -> dict[str, Filled]:
        """By command: calls by how long they took, in s."""
        return {name: command.filled() for name, command in sorted(self._commands.copy().items())}

    def _forget(self, second: int) -> None:
        """Drops what is older than it is kept."""
        while self._newest and self._newest[0][0] <= second - 60:
            self._newest.popleft()
        for minute in [m for m in self._minutes if m <= second // 60 - _MINUTES]:
            del self._minutes[minute]


def _busiest(times: list[float]) -> int:
    """The most of these moments, which are in order, that lie in any 60 s."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - 60.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def _latency(name: str, command: _Command) -> Latency:
    newest = sorted(command.newest_s)
    p95 = newest[min(len(newest) - 1, int(0.95 * len(newest)))]
    return Latency(name, command.count, statistics.median(newest), p95, command.longest_s)
