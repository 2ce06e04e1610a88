"""What is waiting to be written to one client, bounded in bytes."""

from __future__ import annotations

from collections import deque

import anyio


class Outbox:
    """A queue of frames between the calls of a connection and its one writer.

    A frame larger than the bound is let in when the queue is empty. Once closed, what is in it can still be taken;
    once broken, nothing can, and whatever is put is forgotten: nobody is there to read it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._broken = False
        self._changed = anyio.Event()

    def offer(self, frame: bytes) -> bool:
        """Put `frame` if there is room now."""
        if self._broken:
            return True
        if self._frames and self._bytes + len(frame) > self._limit_bytes:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._signal()
        return True

    async def put(self, frame: bytes) -> None:
        """Put `frame`, waiting for room."""
        while not self.offer(frame):
            await self._changed.wait()

    async def take(self) -> bytes | None:
        """The oldest frame, waiting for one; None when there will be no more."""
        while not self._frames:
            if self._closed or self._broken:
                return None
            await self._changed.wait()
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        self._signal()
        return frame

    def close(self) -> None:
        """No more frames will be put."""
        self._closed = True
        self._signal()

    def break_off(self) -> None:
        """The client cannot be written to any more."""
        self._broken = True
        self._frames.clear()
        self._bytes = 0
        self._signal()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
