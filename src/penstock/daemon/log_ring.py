"""The newest lines of the log in memory, for `penstockctl log`: bounded in lines and in bytes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

BYTES_MAX: Final = 16 * 2**20


class Kept(msgspec.Struct, frozen=True):
    """A line: its number, its moment, its level's rank and its JSON."""

    seq: int
    at: float
    rank: int
    text: bytes


class LogRing:
    """Lines may come from any thread. Numbers begin at the clock's, so that a next daemon's are greater."""

    def __init__(self, lines_max: int, bytes_max: int = BYTES_MAX) -> None:
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._lock = threading.RLock()  # what is thrown away in the middle of it may have something to say, too
        self._wakers: set[Callable[[], None]] = set()
        self.first = self.newest = time.time_ns() // 1000  # the number before the first line's

    @property
    def bytes(self) -> int:
        """How much text is kept."""
        return self._bytes

    def resize(self, lines_max: int) -> None:
        """Keeps so many lines from now on."""
        with self._lock:
            self._lines_max = lines_max
            self._trim()

    def append(self, at: float, rank: int, text: str) -> None:
        """Keeps a line, and wakes whoever follows."""
        encoded = text.encode()
        with self._lock:
            self.newest += 1
            self._kept.append(Kept(self.newest, at, rank, encoded))
            self._bytes += len(encoded)
            self._trim()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def kept(self) -> list[Kept]:
        """All lines, the oldest first."""
        with self._lock:
            return list(self._kept)

    def after(self, seq: int) -> list[Kept]:
        """The lines after that number; all, where it is none of ours: it was another daemon's."""
        with self._lock:
            if seq > self.newest:
                return list(self._kept)
            fresh: list[Kept] = []
            for line in reversed(self._kept):
                if line.seq <= seq:
                    break
                fresh.append(line)
        return fresh[::-1]

    @contextlib.contextmanager
    def followed(self, wake: Callable[[], None]) -> Iterator[None]:
        """`wake` is called, from any thread, after each line."""
        with self._lock:
            self._wakers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(wake)

    def _trim(self) -> None:
        while self._kept and (len(self._kept) > self._lines_max or self._bytes > self._bytes_max):
            self._bytes -= len(self._kept.popleft().text)
