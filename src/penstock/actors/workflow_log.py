"""`workflow.log` in a workflow's directory: what became of it, for people.

It may lie on a file server that hangs, and whoever tells something runs on the event loop. So a thread writes, which
lives for as long as there is something to write, and which the process does not wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio

_LINES_MOST: Final = 10_000
"""Lines that wait to be written; the oldest give way."""
_PATIENCE_S: Final = 1.0


class WorkflowLog:
    """Whoever puts lines into it waits for nothing. A log that cannot be written harms nobody: events are recorded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: deque[str] = deque(maxlen=_LINES_MOST)
        self._lock = threading.Lock()
        self._is_written = True
        self._written = anyio.Event()

    def put(self, lines: Iterable[str]) -> None:
        """Has these lines written, in their order. To be called on the event loop."""
        with self._lock:
            self._lines.extend(lines)
            if not self._lines or not self._is_written:
                return
            self._is_written, self._written = False, anyio.Event()
        ended = (asyncio.get_running_loop(), self._written)
        thread = threading.Thread(target=self._write, args=ended, name="penstock-workflow-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system grants no more threads; the next lines try again
            self._is_written = True

    async def settle(self) -> None:
        """Returns when all is written, or after a moment: nobody is to find the directory being written to."""
        if not self._is_written:
            with anyio.move_on_after(_PATIENCE_S):
                await self._written.wait()

    def _write(self, loop: asyncio.AbstractEventLoop, written: anyio.Event) -> None:
        while lines := self._take():
            with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as log:
                log.writelines(lines)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(written.set)

    def _take(self) -> list[str]:
        """What is to be written; nothing is, when this has been the last."""
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
            self._is_written = not lines
            return lines
