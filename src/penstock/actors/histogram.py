"""Histograms that the event loop fills and any thread may read: how many values fell below each of some bounds."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias

OTHERS: Final = "(others)"
"""What stands for all that have no series of their own."""

Key: TypeAlias = tuple[str, ...]


class Filled:
    """How a histogram is filled at one moment: values in each bucket (not summed up), the last above all bounds."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: tuple[int, ...], total: float) -> None:
        self.counts = counts
        self.total = total


class Histogram:
    """Counts of values by size; `bounds` are the upper ends of all buckets but the last, which has none.

    A lock keeps counts and sum together for whoever reads from another thread; it is held for less than a microsecond.
    """

    __slots__ = ("_counts", "_lock", "_total", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float, count: int = 1) -> None:
        """Counts `value`, so many times. What a clock that was set back makes less than nothing is nothing."""
        value = max(value, 0.0)
        bucket = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[bucket] += count
            self._total += value * count

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self._counts)

    def filled(self) -> Filled:
        """How it is filled now."""
        with self._lock:
            return Filled(tuple(self._counts), self._total)


class Histograms:
    """Histograms by key, `most` of them: what comes later under another key is counted under that of the others."""

    def __init__(self, bounds: Sequence[float], most: int = 100) -> None:
        self.bounds = tuple(bounds)
        self._most = most
        self._by_key: dict[Key, Histogram] = {}

    def observe(self, key: Key, value: float, count: int = 1) -> None:
        """Counts `value` under `key`."""
        found = self._by_key.get(key)
        if found is None:
            key = key if len(self._by_key) < self._most else (*key[:-1], OTHERS)
            found = self._by_key.setdefault(key, Histogram(self.bounds))
        found.observe(value, count)

    def filled(self) -> list[tuple[Key, Filled]]:
        """How each is filled now. The copy of the dictionary is one step for other threads."""
        return [(key, histogram.filled()) for key, histogram in self._by_key.copy().items()]


class BoundedTally:
    """Counts by key, `most` of them: what comes later is counted as one of the others, by the last part of its key."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._counts: dict[Key, int] = {}

    def add(self, key: Key, count: int = 1) -> None:
        """Counts under `key`."""
        if key not in self._counts and len(self._counts) >= self._most:
            key = (*key[:-1], OTHERS)
        self._counts[key] = self._counts.get(key, 0) + count

    def counts(self) -> dict[Key, int]:
        """A copy."""
        return self._counts.copy()
