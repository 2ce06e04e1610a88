"""A daemon that answers by a script, behind a real control socket: for tests of clients."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, cast

import anyio
import anyio.from_thread

from penstock.control import messages
from penstock.control.listener import Peer, bind_listener
from penstock.control.messages import AnyItem, AnyReply, Request, StreamRequest
from penstock.control.server import Limits, serve
from penstock.domain.errors import NotFoundError

_DEFAULT_LIMITS = Limits()


class Script:
    """A handler that remembers what it was asked and answers by functions, one for each type of request.

    An answer may be a value or a coroutine; a stream is an async generator. What is not scripted is not found.
    """

    def __init__(self) -> None:
        self.seen: list[Request[Any]] = []
        self.peers: list[Peer] = []
        self.answers: dict[type[Request[Any]], Callable[[Any], Any]] = {
            messages.Ping: lambda _: messages.Pong(pid=1, version="9", uptime_s=1.5)
        }
        self.streams: dict[type[Request[Any]], Callable[[Any], AsyncGenerator[AnyItem]]] = {}

    async def call(self, request: Request[Any], peer: Peer) -> AnyReply:
        """The scripted answer."""
        self.seen.append(request)
        self.peers.append(peer)
        answer = self.answers.get(type(request))
        if answer is None:
            raise NotFoundError(f"nothing is scripted for {type(request).__name__}")
        result = answer(request)
        return cast("AnyReply", await result if hasattr(result, "__await__") else result)

    async def stream(self, request: StreamRequest, peer: Peer) -> AsyncGenerator[AnyItem]:
        """The scripted stream."""
        self.seen.append(request)
        self.peers.append(peer)
        async for item in self.streams[type(request)](request):
            yield item


class ScriptedDaemon:
    """`serve` in a thread with an event loop of its own, so that blocking clients can be tested."""

    def __init__(self, path: Path, script: Script, limits: Limits = _DEFAULT_LIMITS) -> None:
        self.path = path
        self.script = script
        self._limits = limits
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; the socket exists when this returns."""
        portal = self._stack.enter_context(anyio.from_thread.start_blocking_portal("asyncio"))
        scope = portal.call(anyio.CancelScope)
        future = portal.start_task_soon(self._serve, bind_listener(self.path), scope)

        def stop() -> None:
            portal.call(scope.cancel)
            future.result()

        self._stack.callback(stop)

    def stop(self) -> None:
        """Stop as the daemon does; it may be started again."""
        self._stack.close()

    async def _serve(self, listener: socket.socket, scope: anyio.CancelScope) -> None:
        with scope:
            await serve(listener, self.script, owner_uid=os.getuid(), limits=self._limits)
