"""What goes on and on: the events of workflows, and what attempts print."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import anyio

from penstock.actors.board import Board
from penstock.control import messages as m
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import NotFoundError
from penstock.domain.states import ACTIVE, ATTEMPT_ENDED, WorkflowState
from penstock.domain.views import EventInfo, WorkflowInfo
from penstock.files.threads import ask_in_thread
from penstock.store import queries

_PAGE: Final = 1000
_LOG_BYTES: Final = 65536
_FOLLOW_S: Final = 0.3
_ENDED: Final = frozenset(
    {WorkflowState.COMPLETED, WorkflowState.FAILED, WorkflowState.CANCELLED, WorkflowState.FAULTED}
)


class Streams:
    """Their elements; closed when nobody listens any more."""

    def __init__(self, workflows: Workflows, board: Board) -> None:
        self._workflows = workflows
        self._board = board

    async def watch(self, request: m.Watch) -> AsyncGenerator[m.AnyItem]:
        """Events as they happen, those since a number first; see `messages.Watch`."""
        if request.id is not None:
            self._workflows.info(request.id)
        last = request.since or 0
        with self._board.subscribe(request.id) as subscription:
            if request.id is not None and request.since is not None:
                async for event in self._history(request.id, request.since):
                    last = event.seq
                    yield event
            while not (request.until_end and request.id and self._has_ended(request.id) and subscription.is_empty):
                news: EventInfo | None = None
                with anyio.move_on_after(1.0):  # around the wait alone: a slow client takes its own time
                    news = await subscription.take()
                if dropped := subscription.take_dropped():
                    yield m.Lagged(dropped)
                if news is not None and (request.id is None or news.seq > last):
                    yield news

    async def _history(self, workflow_id: str, since: int) -> AsyncGenerator[EventInfo]:
        database = Path(self._workflows.info(workflow_id).database)
        while True:
            page = await ask_in_thread(database, queries.events_since, database, workflow_id, since, _PAGE)
            for event in page:
                yield event
            if len(page) < _PAGE:
                return
            since = page[-1].seq

    def _has_ended(self, workflow_id: str) -> bool:
        info = self._workflows.info(workflow_id)
        if info.state == WorkflowState.FAULTED:
            return True  # of its jobs nothing more will be heard
        return info.state in _ENDED and not any(info.states.get(state) for state in ACTIVE)

    async def logs(self, request: m.Logs) -> AsyncGenerator[m.AnyItem]:
        """What an attempt prints, as it prints it where that is wished; see `messages.Logs`."""
        record = await job_record(self._workflows.info(request.id), request.job)
        number = request.attempt or record.job.attempts
        attempt = next((a for a in record.attempts if a.number == number), None)
        if attempt is None:
            raise NotFoundError(
                f"job {request.job} has no attempt {number} yet"
                if not request.attempt
                else f"job {request.job} has no attempt {number}"
            )
        offsets: dict[str, int] = {}
        directory = Path(attempt.directory)
        while True:
            ended = attempt.state in ATTEMPT_ENDED
            for name in await ask_in_thread(directory, _log_files, directory):
                while True:
                    tail = request.tail_bytes if name not in offsets else None
                    data, offset = await ask_in_thread(
                        directory, _read_log, directory / name, offsets.get(name, 0), tail
                    )
                    offsets[name] = offset
                    if not data:
                        break
                    yield m.LogChunk(name, data)
            if ended or not request.follow:
                return
            await anyio.sleep(_FOLLOW_S)
            record = await job_record(self._workflows.info(request.id), request.job)
            attempt = next(a for a in record.attempts if a.number == number)


async def job_record(info: WorkflowInfo, job: int) -> queries.JobRecord:
    """All that a workflow's database knows of a job. NotFoundError where there is no such job."""
    database, directory = Path(info.database), Path(info.directory)
    return await ask_in_thread(directory, queries.load_job, database, directory, info.id, job)


def _log_files(directory: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []
    return [n for n in ("stdout", "stderr") if n in names] + [n for n in names if n.endswith((".log", ".out"))]


def _read_log(path: Path, offset: int, tail: int | None) -> tuple[bytes, int]:
    """What follows `offset` (or the last `tail` bytes), and the new offset. Only ever a regular file of the attempt."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b"", offset
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return b"", offset
        if tail is not None:
            offset = max(0, found.st_size - tail)
        data = os.pread(fd, _LOG_BYTES, offset)
        return data, offset + len(data)
    finally:
        os.close(fd)
