"""The client for anyio and asyncio programs, with the verbs of the blocking one."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import anyio
from anyio.abc import SocketAttribute, SocketStream

from penstock.control import messages
from penstock.control.client import has_ended
from penstock.control.messages import AnyItem, DaemonFrame, Lagged, LogChunk, Message, Request, WorkflowStatus
from penstock.control.session import (
    CHUNK,
    CONNECT_TIMEOUT_S,
    ENDED_WORKFLOW,
    Session,
    check_welcome,
    item_of,
    reply_of,
    retry_delays_s,
    unreachable,
)
from penstock.domain.errors import UnreachableError
from penstock.domain.log_line import LogLine
from penstock.domain.settings import socket_path
from penstock.domain.views import EventInfo, Finding

P = ParamSpec("P")
R = TypeVar("R", bound=Message)

CONNECTIONS = 8
"""Connections that one client has at most for its plain calls; further calls wait for one."""

_BROKEN = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)


def _verb(request: Callable[P, Request[R]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]]:
    """A coroutine method that takes the fields of `request` as its arguments and returns the daemon's reply."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.call(request(*args, **kwargs))

    method.__doc__ = request.__doc__
    return method


class AsyncClient:
    """Connections to the daemon, made when they are needed; close it, or use it as an async context manager.

    Calls may run side by side; arguments, replies and errors are those of `penstock.control.client.Client`. A call
    that is cancelled closes its connection; the daemon carries the request out nevertheless.
    """

    def __init__(self, socket: Path | str | None = None) -> None:
        self.path = Path(socket) if socket is not None else socket_path(os.environ)
        self._slots = anyio.CapacityLimiter(CONNECTIONS)
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections, also for a caller that is being cancelled; the next call opens another."""
        with anyio.CancelScope(shield=True):  # closing waits for nobody
            while self._idle:
                await self._idle.pop().aclose()

    ping = _verb(messages.Ping)
    submit = _verb(messages.Submit)
    adopt = _verb(messages.Adopt)
    submit_sweep = _verb(messages.SubmitSweep)
    sweeps = _verb(messages.ListSweeps)
    sweep = _verb(messages.GetSweep)
    plan = _verb(messages.Plan)
    list_workflows = _verb(messages.ListWorkflows)
    status = _verb(messages.GetStatus)
    jobs = _verb(messages.ListJobs)
    job = _verb(messages.GetJob)
    pause = _verb(messages.Pause)
    resume = _verb(messages.Resume)
    revise = _verb(messages.Revise)
    cancel = _verb(messages.Cancel)
    retry = _verb(messages.Retry)
    mark = _verb(messages.Mark)
    resolve = _verb(messages.Resolve)
    rescan = _verb(messages.Rescan)
    recompute_metrics = _verb(messages.RecomputeMetrics)
    reset_missing = _verb(messages.ResetMissing)
    set_job = _verb(messages.SetJob)
    set = _verb(messages.SetWorkflow)
    repeat_completion = _verb(messages.RepeatCompletion)
    summary = _verb(messages.Summarize)
    table = _verb(messages.Tabulate)
    results = _verb(messages.ListResults)
    write_results = _verb(messages.WriteResults)
    report = _verb(messages.WriteReport)
    export = _verb(messages.Export)
    backup = _verb(messages.Backup)
    merge = _verb(messages.Merge)
    why = _verb(messages.Explain)
    clusters = _verb(messages.ListClusters)
    report_cluster = _verb(messages.ReportCluster)
    settings = _verb(messages.GetSettings)
    spec = _verb(messages.GetSpec)
    locks = _verb(messages.ListLocks)
    release_lock = _verb(messages.ReleaseLock)
    import_databases = _verb(messages.Import)
    executions = _verb(messages.ListExecutions)
    execution = _verb(messages.GetExecution)
    archive = _verb(messages.Archive)
    archives = _verb(messages.ListArchives)
    restore = _verb(messages.Restore)
    delete = _verb(messages.Delete)
    usage = _verb(messages.MeasureUsage)
    clean = _verb(messages.Clean)
    retention = _verb(messages.ReviewRetention)

    def watch(
        self,
        id: str | None = None,
        *,
        since: int | None = None,
        until_end: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[EventInfo | Lagged]]:
        """Events of one workflow, or of all, as they happen; see `messages.Watch` and `stream`."""
        stream = self.stream(messages.Watch(id, since, until_end))
        return cast("AbstractAsyncContextManager[AsyncIterator[EventInfo | Lagged]]", stream)

    def logs(
        self,
        id: str,
        job: int,
        *,
        attempt: int | None = None,
        follow: bool = False,
        tail_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """What a job's attempt has written; see `messages.Logs` and `stream`."""
        stream = self.stream(messages.Logs(id, job, attempt, follow, tail_bytes))
        return cast("AbstractAsyncContextManager[AsyncIterator[LogChunk]]", stream)

    def log(  # noqa: PLR0913 - the request's fields
        self,
        id: str | None = None,
        *,
        lines: int = 100,
        follow: bool = False,
        level: str = "debug",
        job: int | None = None,
        cluster: str | None = None,
        since: float | None = None,
        after: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[LogLine | Lagged]]:
        """Lines of the daemon's own log; see `messages.ReadLog` and `stream`."""
        stream = self.stream(messages.ReadLog(id, lines, follow, level, job, cluster, since, after))
        return cast("AbstractAsyncContextManager[AsyncIterator[LogLine | Lagged]]", stream)

    def check_cluster(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[Finding]]:
        """What works on a cluster and what does not, one by one; see `messages.CheckCluster` and `stream`."""
        stream = self.stream(messages.CheckCluster(name))
        return cast("AbstractAsyncContextManager[AsyncIterator[Finding]]", stream)

    async def wait(self, id: str, *, patience_s: float = 60.0) -> WorkflowStatus:
        """Wait until the workflow has ended. A daemon that restarts meanwhile is waited for, up to `patience_s`."""
        delays = retry_delays_s(patience_s)
        while True:
            try:
                async with self.watch(id, until_end=True) as events:
                    async for _ in events:
                        delays = retry_delays_s(patience_s)
                status = await self.status(id)
                if status.workflow.state in ENDED_WORKFLOW:
                    return status
                delays = retry_delays_s(patience_s)
            except UnreachableError:
                delay = next(delays, None)
                if delay is None:
                    raise
                await anyio.sleep(delay)
            else:
                await anyio.sleep(next(delays))

    async def call(self, request: Request[R]) -> R:
        """The daemon's reply to `request`."""
        async with self._slots:
            connection = await self._take_connection()
            answered = False
            try:
                number = await connection.send(request)
                frame = await connection.receive()
                answered = getattr(frame, "id", 0) == number
            finally:
                if answered:
                    self._idle.append(connection)
                else:  # a late answer must never be taken for that of another call
                    await connection.aclose()
        return reply_of(frame, number, cast("type[R]", request.reply))

    async def _take_connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not has_ended(connection.socket):
                return connection
            await connection.aclose()
        return await _connect(self.path)

    @asynccontextmanager
    async def stream(self, request: messages.StreamRequest) -> AsyncGenerator[AsyncIterator[AnyItem]]:
        """A context in which the elements of a streaming request can be iterated; leaving it ends the stream."""
        connection = await _connect(self.path)
        try:
            number = await connection.send(request)
            yield _items(connection, number)
        finally:
            await connection.aclose()


async def _items(connection: _Connection, number: int) -> AsyncIterator[AnyItem]:
    while (item := item_of(await connection.receive(), number)) is not None:
        yield item


class _Connection:
    """One socket, greeted by `_connect`."""

    def __init__(self, path: str, stream: SocketStream) -> None:
        self._path = path
        self._stream = stream
        self._session = Session()

    @property
    def socket(self) -> socket.socket:
        raw: socket.socket = self._stream.extra(SocketAttribute.raw_socket)
        return raw

    async def aclose(self) -> None:
        await anyio.aclose_forcefully(self._stream)

    async def send(self, request: Request[R]) -> int:
        """Make a call; its number."""
        number, data = self._session.call(request)
        try:
            await self._stream.send(data)
        except _BROKEN as error:
            raise unreachable(self._path, error.__cause__ or error) from error
        return number

    async def receive(self) -> DaemonFrame:
        """The next frame; UnreachableError when the connection ends."""
        while (frame := self._session.next_frame()) is None:
            try:
                data = await self._stream.receive(CHUNK)
            except anyio.EndOfStream:
                data = b""
            except _BROKEN as error:
                raise unreachable(self._path, error.__cause__ or error) from error
            self._session.feed(data)
        return frame

    async def greet(self) -> None:
        with suppress(*_BROKEN):  # a daemon that refuses us may have closed already; what it said is read below
            await self._stream.send(self._session.open())
        check_welcome(await self.receive())


async def _connect(path: Path) -> _Connection:
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            connection = _Connection(str(path), await anyio.connect_unix(path))
            try:
                await connection.greet()
            except BaseException:
                await connection.aclose()
                raise
    except OSError as error:  # TimeoutError is one of them
        raise unreachable(str(path), error) from error
    return connection
