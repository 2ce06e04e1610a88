"""Virtual time: hours pass in milliseconds, and always in the same order."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator, Sized
from typing import Final

import anyio
import anyio.lowlevel

_CALM_TURNS: Final = 2  # callbacks may stand between a future's result and the task that waits for it


class VirtualClock:
    """A `Clock` whose time only moves in `run_until` and `advance`, and only when every task waits.

    While `busy` is held (a thread or a process works in real time), time stands still. Tasks that wait for anything
    else of the real world (a socket, `anyio.sleep`) are taken to wait for ever. Needs the asyncio backend.
    """

    def __init__(self, start_s: float = 1_800_000_000.0) -> None:
        self._start_s = start_s
        self._now_s = 0.0
        self._timers: list[tuple[float, int, anyio.Event]] = []
        self._numbers = itertools.count()
        self._busy = 0
        self._calm = anyio.Event()

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._start_s + self._now_s

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Returns when somebody has moved the time on by `seconds`."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        timer = (self._now_s + seconds, next(self._numbers), anyio.Event())
        heapq.heappush(self._timers, timer)
        try:
            await timer[2].wait()
        except BaseException:
            if not timer[2].is_set():
                self._timers.remove(timer)
                heapq.heapify(self._timers)
            raise

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Time stands still inside."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                self._calm.set()

    async def advance(self, seconds: float) -> None:
        """Lets everything happen that happens within `seconds` from now."""
        end_s = self._now_s + seconds
        await self._settle()
        while self._timers and self._timers[0][0] <= end_s:
            await self._step()
        self._now_s = end_s

    async def run_until(self, predicate: Callable[[], bool], limit_s: float) -> None:
        """Moves time on until `predicate` holds; it is asked whenever every task waits.

        TimeoutError when it does not hold within `limit_s`, or when nothing is left that could happen.
        """
        end_s = self._now_s + limit_s
        await self._settle()
        while not predicate():
            if not self._timers:
                raise TimeoutError(f"at {self._now_s:g} s every task waits, and none of them for the time")
            if self._timers[0][0] > end_s:
                raise TimeoutError(f"what was waited for did not happen within {limit_s:g} s")
            await self._step()

    async def _step(self) -> None:
        """On to the next timer; those of one moment go off one after another, in the order they were set."""
        self._now_s, _, event = heapq.heappop(self._timers)
        event.set()
        await self._settle()

    async def _settle(self) -> None:
        """Returns when every other task waits and nobody is busy."""
        calm = 0
        while calm < _CALM_TURNS:
            if self._busy:
                self._calm = anyio.Event()
                await self._calm.wait()
            await anyio.lowlevel.checkpoint()
            calm = calm + 1 if not self._busy and _nothing_is_ready() else 0


def _nothing_is_ready() -> bool:
    """Whether the event loop would call nobody but its caller now: whoever could go on stands in this queue."""
    ready: Sized = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio tells nobody else
    return not len(ready)
