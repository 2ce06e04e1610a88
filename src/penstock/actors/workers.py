"""The pool of worker processes: whatever needs ase, numpy or much CPU runs there, never in the daemon's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import structlog

from penstock.actors.clock import Clock
from penstock.actors.task import Task
from penstock.actors.turn import Turn, choose_next
from penstock.actors.worker import Worker, WorkerLostError, WorkerStuckError
from penstock.domain.errors import PenstockError
from penstock.files.threads import refuse_silent, where_is

__all__ = ["WorkerLostError", "WorkerPool", "WorkerStuckError", "Workers", "run_unless_silent"]

T = TypeVar("T")
_IDLE_S: Final = 60.0
_LOOK_EVERY_S: Final = 2.0
_HANGS_AFTER_S: Final = 10.0
_GIVEN_UP_AFTER_S: Final = 3600.0
"""A file server may have been replaced by another; who still waits for the old one would wait for ever."""


class Workers(Protocol):
    """Whoever does tasks for actors."""

    async def run(self, task: Task[T]) -> T:
        """The result of `task`. Raises the PenstockError it raised, or WorkerLostError."""


async def run_unless_silent(workers: Workers, task: Task[T]) -> T:
    """As `run`, for somebody who waits: where a file system that the task goes into does not answer, SilentError.

    Nothing has begun then, so nothing is done once it answers again.
    """
    for path in task.paths():
        await refuse_silent(path)
    return await workers.run(task)


class WorkerPool:
    """At most `size` processes at work, started on demand and stopped when nobody needed them for a minute.

    One that does nothing over its task for a while waits for a file system that does not answer. Its place is lent on,
    and while it waits no other task begins there. When it comes back, its result counts.
    """

    def __init__(self, size: int, clock: Clock, took: Callable[[str, float], None] | None = None) -> None:
        self._took = took  # told of each task how long its worker had it, in s
        self.size = size
        self.lost = 0
        self._clock = clock
        self._processes = 0  # but for those that were killed
        self._idle: list[Worker] = []
        self._waiting: list[Turn] = []
        self._under_way: list[Turn] = []
        self._log = structlog.get_logger()

    @property
    def busy(self) -> int:
        """Processes at work."""
        return sum(not turn.is_aside for turn in self._under_way)

    @property
    def hung(self) -> int:
        """Processes that wait for a file system that does not answer."""
        return sum(turn.is_hung for turn in self._under_way)

    @property
    def waiting(self) -> int:
        """Tasks that wait for a worker."""
        return len(self._waiting)

    def hanging(self, path: str) -> str | None:
        """The file system that `path` is on, if that is known not to answer."""
        place = where_is(path)
        hangs = any(turn.is_hung and turn.file_systems == {place} for turn in self._under_way)
        return place if hangs else None

    async def run(self, task: Task[T]) -> T:
        """The result of `task`. Raises the PenstockError it raised there, or WorkerLostError."""
        file_systems = frozenset(where_is(path) for path in task.paths())
        while True:
            turn = Turn(file_systems, is_long=task.is_long)
            await self._begin(turn)
            try:
                return await self._do(task, turn)
            except WorkerLostError:
                if not turn.is_hung:  # else that says nothing of the task
                    raise

    def close(self) -> None:
        """Stops all idle workers; busy ones stop when their caller is cancelled. Nobody is waited for."""
        while self._idle:
            self._kill(self._idle.pop())

    async def _begin(self, turn: Turn) -> None:
        """Returns when it is the turn's turn."""
        self._waiting.append(turn)
        self._admit()
        try:
            await turn.begun.wait()
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._end(turn)
            raise

    def _admit(self) -> None:
        for turn in choose_next(self._waiting, self._under_way, self.size):
            self._waiting.remove(turn)
            self._under_way.append(turn)
            turn.begun.set()

    def _end(self, turn: Turn) -> None:
        self._under_way.remove(turn)
        self._admit()

    async def _do(self, task: Task[T], turn: Turn) -> T:
        began = self._clock.monotonic()
        worker = await self._worker_for(turn)
        if turn.file_systems:
            self._look_soon(turn, worker)
        try:
            with self._clock.busy():
                result = await worker.run(task)
        except BaseException as error:
            if not isinstance(error, PenstockError) or isinstance(error, WorkerLostError):
                self.lost += isinstance(error, WorkerLostError)
                turn.is_leaving = True
                self._kill(worker, turn)
            else:
                self._keep(worker, turn)
            raise
        finally:
            if self._took is not None:
                self._took(type(task).__name__, self._clock.monotonic() - began)
        self._keep(worker, turn)
        return result

    async def _worker_for(self, turn: Turn) -> Worker:
        if self._idle:
            return self._idle.pop()
        self._processes += 1
        try:
            return await Worker.start()
        except BaseException:
            self._processes -= 1
            self._end(turn)
            raise

    # ---- those that hang --------------------------------------------------------------------------------------------

    def _look_soon(self, turn: Turn, worker: Worker) -> None:
        asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look, turn, worker)

    def _look(self, turn: Turn, worker: Worker) -> None:
        """Sees whether a worker gets on with its task. Processes are real, and so is the time that they take."""
        if turn not in self._under_way:
            return
        self._look_soon(turn, worker)
        rested_s = worker.rested_s()
        if turn.is_hung != (rested_s >= _HANGS_AFTER_S):
            self._note(turn, is_hung=not turn.is_hung)
            worker.limit(is_hung=turn.is_hung)
            self._admit()
        if rested_s >= _GIVEN_UP_AFTER_S:
            worker.end()

    def _note(self, turn: Turn, *, is_hung: bool) -> None:
        """Notes that a worker hangs, or goes on; the first and the last of a file system are told."""
        turn.is_hung = False
        alike = any(other.is_hung and other.file_systems == turn.file_systems for other in self._under_way)
        turn.is_hung = is_hung
        if alike:
            return
        directory = " or ".join(sorted(turn.file_systems))
        if is_hung:
            self._log.warning("file system does not answer; its tasks wait", directory=directory)
        else:
            self._log.info("file system answers again", directory=directory)

    # ---- processes --------------------------------------------------------------------------------------------------

    def _keep(self, worker: Worker, turn: Turn) -> None:
        """Takes a worker back, unless others have been started in its place."""
        if turn.is_hung:
            self._note(turn, is_hung=False)
        aside = sum(other.is_hung and not other.is_leaving for other in self._under_way)
        if self._processes - aside > self.size:
            self._kill(worker)
        else:
            self._idle.append(worker)
            asyncio.get_running_loop().call_later(_IDLE_S, self._retire, worker, worker.tasks_done)
        self._end(turn)

    def _kill(self, worker: Worker, turn: Turn | None = None) -> None:
        """Ends a process; its turn ends when it has."""
        self._processes -= 1
        worker.kill(then=None if turn is None else lambda: self._end(turn))

    def _retire(self, worker: Worker, tasks_done: int) -> None:
        if worker in self._idle and worker.tasks_done == tasks_done:
            self._idle.remove(worker)
            self._kill(worker)
