"""The blocking client. It imports neither asyncio nor anyio, so that a command starts at once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, cast

from penstock.control import messages
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


def _verb(request: Callable[P, Request[R]]) -> Callable[Concatenate[Client, P], R]:
    """A method that takes the fields of `request` as its arguments, calls the daemon and returns the reply."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(request(*args, **kwargs))

    method.__doc__ = request.__doc__
    return method


class Client:
    """A connection to the daemon, made at the first call; safe to share between threads.

    `socket` is the control socket's path (default: PENSTOCK_SOCKET, else `penstockd.sock` in the state directory);
    `timeout_s` bounds the wait for any one answer. Every verb raises UnreachableError when no daemon answers, and the
    daemon's own errors (SpecError, NotFoundError, ConflictError, ...) as they are. Each stream has a connection of its
    own, which ends with its iterator.
    """

    def __init__(self, socket: Path | str | None = None, *, timeout_s: float | None = None) -> None:
        self.path = Path(socket) if socket is not None else socket_path(os.environ)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._drop()

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
    ) -> Generator[EventInfo | Lagged]:
        """Events of one workflow, or of all, as they happen; see `messages.Watch`."""
        return cast("Generator[EventInfo | Lagged]", self.stream(messages.Watch(id, since, until_end)))

    def logs(
        self,
        id: str,
        job: int,
        *,
        attempt: int | None = None,
        follow: bool = False,
        tail_bytes: int | None = None,
    ) -> Generator[LogChunk]:
        """What a job's attempt has written; see `messages.Logs`."""
        return cast("Generator[LogChunk]", self.stream(messages.Logs(id, job, attempt, follow, tail_bytes)))

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
    ) -> Generator[LogLine | Lagged]:
        """Lines of the daemon's own log; see `messages.ReadLog`."""
        stream = self.stream(messages.ReadLog(id, lines, follow, level, job, cluster, since, after))
        return cast("Generator[LogLine | Lagged]", stream)

    def check_cluster(self, name: str) -> Generator[Finding]:
        """What works on a cluster and what does not, one by one; see `messages.CheckCluster`."""
        return cast("Generator[Finding]", self.stream(messages.CheckCluster(name)))

    def wait(self, id: str, *, patience_s: float = 60.0) -> WorkflowStatus:
        """Block until the workflow has ended. A daemon that restarts meanwhile is waited for, up to `patience_s`."""
        delays = retry_delays_s(patience_s)
        while True:
            try:
                for _ in self.watch(id, until_end=True):
                    delays = retry_delays_s(patience_s)
                status = self.status(id)
                if status.workflow.state in ENDED_WORKFLOW:
                    return status
                delays = retry_delays_s(patience_s)
            except UnreachableError:
                delay = next(delays, None)
                if delay is None:
                    raise
                time.sleep(delay)
            else:
                time.sleep(next(delays))

    def call(self, request: Request[R]) -> R:
        """The daemon's reply to `request`."""
        with self._lock:
            number, frame = self._exchange(request)
        return reply_of(frame, number, cast("type[R]", request.reply))

    def stream(self, request: messages.StreamRequest) -> Generator[AnyItem]:
        """The elements of a streaming request; its connection ends with the iterator."""
        with closing(_Connection(self.path, self._timeout_s)) as connection:
            number = connection.send(request)
            while (item := item_of(connection.receive(None), number)) is not None:
                yield item

    def _exchange(self, request: Request[R]) -> tuple[int, DaemonFrame]:
        answered = False
        try:
            if self._connection is not None and has_ended(self._connection.socket):
                self._drop()
            if self._connection is None:
                self._connection = _Connection(self.path, self._timeout_s)
            number = self._connection.send(request)
            frame = self._connection.receive(self._timeout_s)
            answered = getattr(frame, "id", 0) == number
        finally:
            if not answered:  # a late answer must never be taken for that of another call
                self._drop()
        return number, frame

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def has_ended(connection: socket.socket) -> bool:
    """Whether an idle connection cannot be used again: the daemon closed it, or bytes came that nobody asked for."""
    connection.settimeout(0)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class _Connection:
    """One socket, greeted."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        self._path = str(path)
        self._timeout_s = timeout_s
        self._session = Session()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._greet(CONNECT_TIMEOUT_S if timeout_s is None else timeout_s)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()

    def send(self, request: Request[R]) -> int:
        """Make a call; its number."""
        number, data = self._session.call(request)
        self.socket.settimeout(self._timeout_s)
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise unreachable(self._path, error) from error
        return number

    def receive(self, timeout_s: float | None) -> DaemonFrame:
        """The next frame; UnreachableError when the connection ends or nothing comes for `timeout_s`."""
        self.socket.settimeout(timeout_s)
        while (frame := self._session.next_frame()) is None:
            try:
                data = self.socket.recv(CHUNK)
            except OSError as error:
                raise unreachable(self._path, error) from error
            self._session.feed(data)
        return frame

    def _greet(self, timeout_s: float) -> None:
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(self._path)
        except OSError as error:
            raise unreachable(self._path, error) from error
        with suppress(OSError):  # a daemon that refuses us may have closed already; what it said is read below
            self.socket.sendall(self._session.open())
        check_welcome(self.receive(timeout_s))
