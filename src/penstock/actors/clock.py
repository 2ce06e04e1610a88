"""Time as a value that is passed in: the system's in production, a virtual one in tests."""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What actors may know of time."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Held while a thread or a process works for the caller; a virtual clock stands still meanwhile."""


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        await anyio.sleep(seconds)

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to hold: real time goes on by itself."""
        return contextlib.nullcontext()
