"""How often a scheduler may be asked: budgets as values and decisions, without a clock of their own."""

from __future__ import annotations

import math
from typing import Final

_CAPACITY_SHARE: Final = 1 / 3  # of a minute's calls may be made at once; the rest trickles in, so no minute has more
_BUSY_SHARE: Final = 0.05  # of the time at most the scheduler is kept busy by us
_SLOWER_MAX: Final = 64.0
_MINUTE_S: Final = 60.0


class Budget:
    """A token bucket that never lets more than `per_min` calls through in any minute, nor more than `burst` at once."""

    def __init__(self, per_min: float, now: float, burst: float = math.inf) -> None:
        self.per_min = per_min
        self._burst = burst
        self._state = (self._capacity, now)  # tokens and when: one value, so that any thread may look

    @property
    def _capacity(self) -> float:
        return max(1.0, min(self.per_min * _CAPACITY_SHARE, self._burst))

    @property
    def _refill_per_s(self) -> float:
        return max(self.per_min - self._capacity, self.per_min / 2) / _MINUTE_S

    def left(self, now: float, slower: float = 1.0) -> float:
        """How many calls may be made at once."""
        tokens = self.peek(now, slower)
        self._state = (tokens, now)
        return tokens

    def peek(self, now: float, slower: float = 1.0) -> float:
        """The same, for whoever only looks, from whatever thread."""
        tokens, at = self._state
        return min(self._capacity, tokens + max(now - at, 0.0) * self._refill_per_s / slower)

    def wait_s(self, now: float, slower: float = 1.0) -> float:
        """How long until a call may be made."""
        return max(0.0, (1.0 - self.left(now, slower)) / self._refill_per_s * slower)

    def take(self, now: float) -> None:
        """A call is made."""
        self._state = (self.left(now) - 1.0, now)


class QueryBudget:
    """When the next query may be made: soon when something hangs on it, else now and then.

    The slower the scheduler answers, and the more it complains, the seldomer.
    """

    def __init__(self, idle_per_min: float, active_per_min: float, now: float) -> None:
        self.idle_per_min = idle_per_min
        self._active = Budget(active_per_min, now)
        self._last: float | None = None
        self._slower = 1.0
        self._latency_s = 0.0

    @property
    def active_per_min(self) -> float:
        """The most calls in a minute."""
        return self._active.per_min

    def left(self, now: float) -> float:
        """How many calls may be made at once."""
        return self._active.left(now, self._slower)

    def peek(self, now: float) -> float:
        """The same, for whoever only looks, from whatever thread."""
        return self._active.peek(now, self._slower)

    @property
    def per_min(self) -> float:
        """The most calls in a minute."""
        return self._active.per_min

    def wait_s(self, now: float, *, urgent: bool) -> float:
        """How long until the next query may be made."""
        spacing = self._latency_s / _BUSY_SHARE
        if not urgent:
            spacing = max(spacing, _MINUTE_S / self.idle_per_min * self._slower)
        rest = 0.0 if self._last is None else self._last + spacing - now
        return max(0.0, rest, self._active.wait_s(now, self._slower))

    def take(self, now: float) -> None:
        """A query is made."""
        self._active.take(now)
        self._last = now

    def answered(self, seconds: float, *, complained: bool) -> None:
        """The scheduler answered after so long; `complained` that it is asked too often."""
        self._latency_s = seconds if self._latency_s == 0.0 else 0.5 * (self._latency_s + seconds)
        self._slower = min(self._slower * 2, _SLOWER_MAX) if complained else max(self._slower / 2, 1.0)
