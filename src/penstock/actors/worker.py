"""A worker process, and the socket to it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio
import msgspec

from penstock import __version__
from penstock.actors.effort import Rest, read_effort, rest_after
from penstock.actors.task import Task
from penstock.actors.worker_tasks import FAILURES, LENGTH, Failed, frame
from penstock.domain.errors import BusyError

T = TypeVar("T")
_BUFFER_BYTES: Final = 4 << 20  # a whole answer fits, so a worker is not held up by a busy event loop


class WorkerLostError(BusyError):
    """The process died over a task (killed, out of memory); its caller decides whether to ask again."""


class WorkerStuckError(WorkerLostError):
    """The process was killed because the task took too long; asking again would take as long."""


class Worker:
    """One process and the socket to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = process.pid
        self.tasks_done = 0
        self._process = process
        self._reader = reader
        self._writer = writer
        self._rest: Rest | None = None
        self._limit_s = math.inf
        self._scope: anyio.CancelScope | None = None

    @classmethod
    async def start(cls) -> Worker:
        """A process that waits for its first task. OSError when there cannot be one."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - returns once the program is loaded, a millisecond
                [sys.executable, "-m", "penstock.actors.worker_tasks", __version__],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=_environment(),
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**30)
        return cls(process, reader, writer)

    async def run(self, task: Task[T]) -> T:
        """The result of `task`. Raises the PenstockError it raised there, WorkerStuckError or WorkerLostError."""
        self._rest, self._limit_s = None, task.limit_s()
        try:
            with anyio.fail_after(self._limit_s) as self._scope:
                self._writer.write(frame(msgspec.msgpack.encode(task)))
                await self._writer.drain()
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                answer = await self._reader.readexactly(length)
        except TimeoutError as error:
            message = f"a worker process did not get through it in {self._limit_s:g} s"
            raise WorkerStuckError(message) from error
        except (OSError, EOFError) as error:
            raise WorkerLostError("the worker process died over its task; try again") from error
        finally:
            self._scope = None
        self.tasks_done += 1
        failed, body = answer[:1] == b"!", memoryview(answer)[1:]
        if failed:
            failure = msgspec.msgpack.decode(body, type=Failed)
            raise FAILURES[failure.code](failure)
        result: Any = msgspec.msgpack.decode(body, type=type(task).result)
        return result  # type: ignore[no-any-return]

    def rested_s(self) -> float:
        """For how long it has done nothing over its task, as far as has been seen here: look every few seconds."""
        now_s = anyio.current_time()
        effort = read_effort(self.pid)
        if effort is None:
            return 0.0
        self._rest = Rest(effort, now_s) if self._rest is None else rest_after(self._rest, effort, now_s)
        return now_s - self._rest.since_s

    def limit(self, *, is_hung: bool) -> None:
        """Whoever waits for a file system is given the time it takes, and its task's limit anew when that answers."""
        if self._scope is not None and not self._scope.cancel_called:
            self._scope.deadline = math.inf if is_hung else anyio.current_time() + self._limit_s

    def end(self) -> None:
        """Has the process end; who waits for its answer is told that it is lost."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill(self, then: Callable[[], object] | None = None) -> None:
        """Ends the process and lets go of it; `then` is called when it has ended. Workers own nothing.

        One that is in a call to a dead file server ends when that answers. So it is waited for in a thread, which
        holds up nobody, not even the end of the daemon.
        """
        self.end()
        self._writer.transport.abort()
        loop = asyncio.get_running_loop()
        arguments = (self._process, loop, then)
        threading.Thread(target=_reap, args=arguments, name="penstock-reaper", daemon=True).start()


def _reap(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, then: Callable[[], object] | None) -> None:
    process.wait()
    if then is not None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(then)


def _environment() -> dict[str, str]:
    """One thread a worker: the machine's cores belong to the attempts."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
