"""The event loop that the daemon runs in."""

from __future__ import annotations

import asyncio
from typing import Any


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's own, which makes no fuss of anyio's sockets.

    Who waits for a UNIX socket and is cancelled in the very turn in which something comes is told of it all the same,
    and his future refuses that. Nothing is lost: what came waits in the socket.
    """

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tells of an exception that nobody took."""
        if not _comes_too_late(context):
            super().call_exception_handler(context)


def _comes_too_late(context: dict[str, Any]) -> bool:
    told = getattr(getattr(context.get("handle"), "_callback", None), "__self__", None)
    error = context.get("exception")
    return isinstance(error, asyncio.InvalidStateError) and isinstance(told, asyncio.Future) and told.cancelled()
