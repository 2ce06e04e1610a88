"""A pause between two requests, which ends early when something has happened."""

from __future__ import annotations

import time

import anyio


class Alarm:
    """Rung by what happened, hurried by a person who waits."""

    def __init__(self) -> None:
        self._rung = False
        self._hurried = False
        self._changed = anyio.Event()

    def ring(self) -> None:
        """End the pause as soon as it has been long enough; one that has not begun yet, too."""
        self._rung = True
        self._changed.set()

    def hurry(self) -> None:
        """End the pause at once; one that has not begun yet, too."""
        self._hurried = True
        self._changed.set()

    async def pause(self, least_s: float, most_s: float) -> None:
        """Wait at least `least_s` for a ring, and at most `most_s`."""
        began = time.monotonic()
        while not self._hurried:
            elapsed_s = time.monotonic() - began
            if elapsed_s >= most_s or (self._rung and elapsed_s >= least_s):
                break
            until_s = least_s if self._rung else most_s
            self._changed = anyio.Event()
            with anyio.move_on_after(until_s - elapsed_s):
                await self._changed.wait()
        self._rung = self._hurried = False
