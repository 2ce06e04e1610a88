"""What we asked of a cluster's scheduler: how often, how it ended and how long it took."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import Counter, deque
from typing import Final

from penstock.actors.clock import Clock
from penstock.domain.views import CallCount, CallTotal, Latency

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histograms of latencies; what is longer falls into the last bucket, which has none."""
RATE_LIMITED: Final = "rate_limited"
_MINUTES: Final = 60
_SAMPLES: Final = 1000


class _Command:
    """What is kept of one command."""

    def __init__(self) -> None:
        self.newest_s: deque[float] = deque(maxlen=_SAMPLES)
        self.longest_s = 0.0
        self.sum_s = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)

    def add(self, seconds: float) -> None:
        self.newest_s.append(seconds)
        self.longest_s = max(self.longest_s, seconds)
        self.sum_s += seconds
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1


class CallLog:
    """The calls of one cluster. Its size does not grow with their number; only that of different commands counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._commands: dict[str, _Command] = {}
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._minutes: dict[int, Counter[str]] = {}
        self._newest: deque[tuple[int, int]] = deque()  # (whole second, calls in it) of the last minute

    def record(self, command: str, seconds: float, outcome: str = "ok") -> None:
        """A call that has just ended; `outcome` is ok, failed, timeout, rate_limited or unreachable."""
        self._commands.setdefault(command, _Command()).add(seconds)
        self._outcomes[command, outcome] += 1
        second = int(self._clock.time())
        self._forget(second)
        self._minutes.setdefault(second // 60, Counter())[command] += 1
        before = self._newest.pop()[1] if self._newest and self._newest[-1][0] == second else 0
        self._newest.append((second, before + 1))

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
        return tuple(CallTotal(*key, calls) for key, calls in sorted(self._outcomes.items()))

    def latencies(self) -> tuple[Latency, ...]:
        """How long each command took; median and 95th percentile are those of its last 1000 calls."""
        return tuple(_latency(name, command) for name, command in sorted(self._commands.items()))

    def histograms(self) -> dict[str, tuple[list[int], float]]:
        """By command: calls in each bucket of BUCKETS_S and above them (not summed up), and their time in all, in s."""
        return {name: (list(command.buckets), command.sum_s) for name, command in sorted(self._commands.items())}

    def _forget(self, second: int) -> None:
        """Drops what is older than it is kept."""
        while self._newest and self._newest[0][0] <= second - 60:
            self._newest.popleft()
        for minute in [m for m in self._minutes if m <= second // 60 - _MINUTES]:
            del self._minutes[minute]


def _latency(name: str, command: _Command) -> Latency:
    newest = sorted(command.newest_s)
    p95 = newest[min(len(newest) - 1, int(0.95 * len(newest)))]
    return Latency(name, sum(command.buckets), statistics.median(newest), p95, command.longest_s)
