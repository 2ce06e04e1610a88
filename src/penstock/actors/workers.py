"""Worker processes: whatever needs ase, numpy or much CPU runs there, never in the daemon's own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeVar

import anyio
import msgspec

from penstock import __version__
from penstock.actors.clock import Clock
from penstock.actors.task import Task
from penstock.actors.worker_tasks import FAILURES, LENGTH, Failed, frame
from penstock.domain.errors import BusyError, PenstockError

T = TypeVar("T")
_IDLE_S: Final = 60.0
_BUFFER_BYTES: Final = 4 << 20  # a whole answer fits, so a worker is not held up by a busy event loop


class WorkerLostError(BusyError):
    """The process died over a task (killed, out of memory); its caller decides whether to ask again."""


class Workers(Protocol):
    """Whoever does tasks for actors."""

    async def run(self, task: Task[T]) -> T:
        """The result of `task`. Raises the PenstockError it raised, or WorkerLostError."""


class WorkerStuckError(WorkerLostError):
    """The process was killed because the task took too long; asking again would take as long."""


class WorkerPool:
    """At most `size` processes, started on demand and stopped when nobody needed them for a minute."""

    def __init__(self, size: int, clock: Clock, took: Callable[[str, float], None] | None = None) -> None:
        self._took = took  # told of each task how long its worker had it, in s
        self.size = size
        self.busy = 0
        self.waiting = 0  # tasks that wait for a worker
        self.lost = 0
        self._clock = clock
        self._slots = anyio.Semaphore(size)
        self._long = anyio.Semaphore(max(1, size - 1))
        self._idle: list[_Worker] = []

    async def run(self, task: Task[T]) -> T:
        """The result of `task`. Raises the PenstockError it raised there, or WorkerLostError."""
        async with AsyncExitStack() as stack:
            self.waiting += 1
            try:
                if task.is_long:
                    await stack.enter_async_context(self._long)
                await stack.enter_async_context(self._slots)
            finally:
                self.waiting -= 1
            began = self._clock.monotonic()
            worker = self._idle.pop() if self._idle else await _Worker.start()
            self.busy += 1
            try:
                with self._clock.busy():
                    result = await worker.run(task)
            except BaseException as error:
                if not isinstance(error, PenstockError) or isinstance(error, WorkerLostError):
                    self.lost += isinstance(error, WorkerLostError)
                    worker.kill()
                else:
                    self._keep(worker)
                raise
            finally:
                self.busy -= 1
                if self._took is not None:
                    self._took(type(task).__name__, self._clock.monotonic() - began)
            self._keep(worker)
            return result

    def close(self) -> None:
        """Stops all idle workers; busy ones stop when their caller is cancelled."""
        while self._idle:
            self._idle.pop().kill()

    def _keep(self, worker: _Worker) -> None:
        self._idle.append(worker)
        asyncio.get_running_loop().call_later(_IDLE_S, self._retire, worker, worker.tasks_done)

    def _retire(self, worker: _Worker, tasks_done: int) -> None:
        if worker in self._idle and worker.tasks_done == tasks_done:
            self._idle.remove(worker)
            worker.kill()


class _Worker:
    """One process and the socket to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.tasks_done = 0
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> _Worker:
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
        try:
            with anyio.fail_after(task.limit_s()):
                self._writer.write(frame(msgspec.msgpack.encode(task)))
                await self._writer.drain()
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                answer = await self._reader.readexactly(length)
        except TimeoutError as error:
            message = f"a worker process did not get through it in {task.limit_s():g} s"
            raise WorkerStuckError(message) from error
        except (OSError, EOFError) as error:
            raise WorkerLostError("the worker process died over its task; try again") from error
        self.tasks_done += 1
        failed, body = answer[:1] == b"!", memoryview(answer)[1:]
        if failed:
            failure = msgspec.msgpack.decode(body, type=Failed)
            raise FAILURES[failure.code](failure)
        result: Any = msgspec.msgpack.decode(body, type=type(task).result)
        return result  # type: ignore[no-any-return]

    def kill(self) -> None:
        """Ends the process at once and reaps it; workers own nothing that could be lost."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._writer.transport.abort()


def _environment() -> dict[str, str]:
    """One thread a worker: the machine's cores belong to the attempts."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
