"""Retention: workflows that have ended are archived and removed when their spec says so, by the life cycle itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import anyio
import msgspec
import structlog

from penstock.actors.archive_tasks import VerifyArchive
from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.workers import Workers
from penstock.control import messages as m
from penstock.control.messages.life_cycle import LifeCycleRequest
from penstock.daemon.archive_places import new_place_in, path_towards
from penstock.daemon.life_cycle import LifeCycle
from penstock.domain.completion import CompletionState
from penstock.domain.context import work_root_of
from penstock.domain.errors import PenstockError
from penstock.domain.retention import ARCHIVE, DELETE, Due, Ended, RetentionTable, decide
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import WorkflowState
from penstock.domain.views import ArchiveInfo, RetentionInfo, WorkflowInfo
from penstock.files.room import Room
from penstock.files.threads import SilentError, ask_in_thread, in_thread, refuse_silent, where_is
from penstock.store.catalogue import Catalogue
from penstock.store.ends import End, load_end

WHOLE: Final = get_args(LifeCycleRequest)
"""The requests that are about workflows as a whole."""
EVERY_S: Final = 3600.0
_ENDED: Final = (WorkflowState.COMPLETED, WorkflowState.FAILED, WorkflowState.CANCELLED)
_FOLDER: Final = "archives"


def _has_actions(info: WorkflowInfo) -> bool:
    """Whether something is still to be done at its end."""
    return any(info.completions.get(state) for state in (CompletionState.PENDING, CompletionState.BEGUN))


class Retention:
    """Looks once an hour, and at the start."""

    def __init__(
        self, life_cycle: LifeCycle, board: Board, catalogue: Catalogue, workers: Workers, clock: Clock
    ) -> None:
        self._life_cycle = life_cycle
        self._board = board
        self._catalogue = catalogue
        self._workers = workers
        self._clock = clock
        self._applying = Room(1)
        self._log = structlog.get_logger()

    async def keep(self) -> None:
        """Does what is due, for ever. What cannot be done is tried again an hour later.

        An hour's round that hangs in a file system is left to itself, and the next goes by.
        """
        async with anyio.create_task_group() as tasks:
            while True:
                tasks.start_soon(self.apply)
                await self._clock.sleep(EVERY_S)

    async def answer(self, request: LifeCycleRequest) -> m.AnyReply:
        """The reply to a request that is about workflows as a whole."""
        if not isinstance(request, m.ReviewRetention):
            return await self._life_cycle.answer(request)
        done = await self.apply() if request.apply else []
        return m.Retention(tuple(map(_shown, await self.due())), tuple(map(_shown, done)))

    async def due(self, where: str | None = None) -> list[Due]:
        """All that retention will ever do to the workflows there are, as they are now; `where`: in one file system."""
        archives: dict[str, list[ArchiveInfo]] = {}
        for archive in await self._catalogue.archives():
            archives.setdefault(archive.workflow_id, []).append(archive)
        infos = [
            info
            for info in self._board.workflows.values()
            if info.state in _ENDED
            and not info.operation
            and not _has_actions(info)
            and where in (None, where_is(info.directory))
        ]
        places: dict[str, list[WorkflowInfo]] = {}
        for info in infos:
            places.setdefault(where_is(info.database), []).append(info)
        ends: dict[str, Ended] = {}

        async def look(there: list[WorkflowInfo]) -> None:
            with contextlib.suppress(SilentError):  # that is its own trouble
                ends.update(await ask_in_thread(there[0].database, _ends_of, there, archives))

        with self._clock.busy():
            async with anyio.create_task_group() as tasks:
                for there in places.values():
                    tasks.start_soon(look, there)
        return decide([ends[info.id] for info in infos if info.id in ends])

    async def apply(self) -> list[Due]:
        """Does what is due now; each workflow's trouble is its own, and each file system's."""
        done: list[Due] = []
        examples = {where_is(info.directory): info.directory for info in self._board.workflows.values()}
        async with anyio.create_task_group() as tasks:
            for directory in examples.values():
                tasks.start_soon(self._apply_around, directory, done)
        return done

    async def _apply_around(self, directory: str, done: list[Due]) -> None:
        """Does what is due in the file system that a directory is on."""
        try:
            with self._clock.busy():
                await refuse_silent(directory)
            async with self._applying.at(directory):
                for due in await self.due(where_is(directory)):
                    if due.at <= self._clock.time() and not due.spared and due.id in self._board.workflows:
                        await self._do_or_tell(due, done)
        except (PenstockError, SilentError) as error:
            self._log.warning("retention cannot be looked at", directory=directory, error=str(error))

    async def _do_or_tell(self, due: Due, done: list[Due]) -> None:
        try:
            await self._do(due)
        except (PenstockError, OSError) as error:
            self._log.warning("retention", workflow=due.id, action=due.action, error=str(error))
        else:
            done.append(due)
            self._log.info("retention", workflow=due.id, action=due.action)

    async def _do(self, due: Due) -> None:
        must_be_archived = bool(due.policy.archive_after)
        if due.action == ARCHIVE or (must_be_archived and not await self._is_safe(due.id)):
            info = self._board.workflows[due.id]
            destination = _destination(info, due.policy)
            path = path_towards(destination, info.directory)
            with self._clock.busy():
                await refuse_silent(path)
                place = await in_thread(path, new_place_in, destination, info.id, self._clock.time())
            await self._life_cycle.archive(m.Archive(due.id, place, delete=due.action == DELETE))
        else:
            await self._life_cycle.delete(m.Delete(due.id))

    async def _is_safe(self, workflow_id: str) -> bool:
        """Whether an archive of the workflow as it is now is where it was put, every byte of it."""
        info = self._board.workflows[workflow_id]
        with self._clock.busy():
            end = await ask_in_thread(info.database, load_end, Path(info.database), info.id)
        for archive in reversed(await self._catalogue.archives(workflow_id)):
            if not _holds(archive, end):
                continue
            with contextlib.suppress(PenstockError):
                await self._workers.run(VerifyArchive(archive.location, archive.sha256))
                return True
        return False


def _ends_of(infos: list[WorkflowInfo], archives: Mapping[str, list[ArchiveInfo]]) -> dict[str, Ended]:
    """By workflow, one after another: threads for each would stay, for nothing. What cannot be read is left out."""
    ends: dict[str, Ended] = {}
    for info in infos:
        with contextlib.suppress(PenstockError, OSError):
            ends[info.id] = _end_of(info, archives.get(info.id, []))
    return ends


def _end_of(info: WorkflowInfo, archives: list[ArchiveInfo]) -> Ended:
    end = load_end(Path(info.database), info.id)
    policy = msgspec.json.decode(end.spec, type=WorkflowSpec).retention
    is_archived = any(_holds(archive, end) for archive in archives)
    return Ended(info.id, _work_root(info), end.ended_at, policy, is_archived)


def _holds(archive: ArchiveInfo, end: End) -> bool:
    """Whether nothing of a workflow is newer than an archive of it: neither its row nor a word on one of its jobs."""
    return archive.changed_at >= end.updated_at and archive.archived_at >= end.told_at


def _destination(info: WorkflowInfo, policy: RetentionTable) -> str:
    return policy.destination or str(Path(_work_root(info), _FOLDER))


def _work_root(info: WorkflowInfo) -> str:
    return str(work_root_of(Path(info.directory)))


def _shown(due: Due) -> RetentionInfo:
    return RetentionInfo(due.id, due.action, due.at, due.spared, due.policy.destination)
