"""Carries out what is to be done when a workflow has ended: one action after another, found again after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec
import structlog

from penstock.actors.board import Board
from penstock.actors.story import tell_all
from penstock.daemon.workflows import Workflows
from penstock.domain.completion import Completion, CompletionAction, CompletionState, decide_next, must_hold
from penstock.domain.errors import ConflictError, NotFoundError
from penstock.domain.states import WorkflowState
from penstock.domain.views import WorkflowInfo
from penstock.files.room import Room
from penstock.files.threads import SilentError
from penstock.store.completion import CompletionStore

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 30.0  # after a database that could not be written, or a file system that does not answer
_AT_ONCE: Final = 4  # workflows, in each file system
_ENDED: Final = frozenset({WorkflowState.COMPLETED, WorkflowState.FAILED})
_WAITING: Final = (CompletionState.PENDING, CompletionState.BEGUN)


class Act(Protocol):
    """Who does an action. It raises what stands in its way, and doing it twice must be doing it once."""

    async def __call__(self, info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        """What it came to. `again`: it was begun before, or an earlier end has left its result in the same place."""


class Completions:
    """Looks for workflows that have ended and whose actions wait, and does them, several workflows at a time."""

    def __init__(self, workflows: Workflows, board: Board, clock: Any, acts: Mapping[str, Act]) -> None:
        self._workflows = workflows
        self._board = board
        self._clock = clock
        self._acts = acts
        self._at_work: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._room = Room(_AT_ONCE)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """For as long as the daemon lives."""
        async with anyio.create_task_group() as tasks:
            while True:
                for info in [info for info in self._board.workflows.values() if self._is_due(info)]:
                    self._at_work.add(info.id)
                    tasks.start_soon(self._carry_out, info)
                await self._clock.sleep(_LOOK_S)

    def _is_due(self, info: WorkflowInfo) -> bool:
        return (
            bool(info.completions)  # few have any, and all are looked at twice a second
            and any(info.completions.get(state) for state in _WAITING)
            and info.state in _ENDED
            and not info.operation
            and info.id not in self._at_work
            and not self._workflows.supervisor.has_child(info.id)
            and self._clock.monotonic() >= self._not_before.get(info.id, 0.0)
        )

    async def again(self, workflow_id: str, position: int | None) -> None:
        """Gives another turn to what failed and to what was held back for it, or to the action in that place."""
        info = self._workflows.info(workflow_id)
        if info.state not in _ENDED:
            raise ConflictError(f"workflow {workflow_id} is {info.state}; its actions come when it has ended")
        if workflow_id in self._at_work:
            raise ConflictError(f"the actions of workflow {workflow_id} are under way; see its status")
        store = CompletionStore(Path(info.database), workflow_id, self._clock.busy)
        try:
            completions = await store.load()
            await store.again(_chosen(workflow_id, completions, position))
            self._pin(workflow_id, await store.load())
        finally:
            await store.close()
        self._not_before.pop(workflow_id, None)

    async def _carry_out(self, info: WorkflowInfo) -> None:
        store = CompletionStore(Path(info.database), info.id, self._clock.busy)
        try:
            async with self._room.at(info.directory):
                completions = await store.load()
                while (completion := decide_next(completions)) is not None:
                    if not await self._take(store, info, completion, completions):
                        break
                    completions = await store.load()
                self._pin(info.id, await store.load())
        except Exception as error:  # noqa: BLE001 - what one workflow's rows are like is nobody else's trouble
            self._not_before[info.id] = self._clock.monotonic() + _AGAIN_S
            if info.id in self._board.workflows:  # the last action may have ended it
                self._log.warning("on_complete put off", workflow=info.id, error=str(error))
        finally:
            self._at_work.discard(info.id)
            await store.close()

    async def _take(
        self, store: CompletionStore, info: WorkflowInfo, completion: Completion, completions: list[Completion]
    ) -> bool:
        """One action, recorded before and after; false when the workflow has gone on meanwhile."""
        if must_hold(completion, completions):
            return await self._record(store, completion, CompletionState.HELD, "an action before it is not done")
        path = completion.action.path
        known = completion.state is CompletionState.BEGUN or (path is not None and await store.has_written(path))
        if not await self._record(store, completion, CompletionState.BEGUN):
            return False
        begun = msgspec.structs.replace(completion, state=CompletionState.BEGUN)
        try:
            result = await self._acts[completion.action.action](info, completion.action, again=known)
        except SilentError:  # its turn comes again, as after a crash
            raise
        except Exception as error:  # noqa: BLE001 - whatever an action meets is its result, and nobody else's trouble
            return await self._record(store, begun, CompletionState.FAILED, str(error))
        return await self._record(store, begun, CompletionState.DONE, result)

    async def _record(
        self, store: CompletionStore, completion: Completion, state: CompletionState, result: str | None = None
    ) -> bool:
        was_there, events = await store.record(completion, state, result)
        self._board.emit(events)
        tell_all(events)
        return was_there

    def _pin(self, workflow_id: str, completions: list[Completion]) -> None:
        counts = dict(Counter(str(completion.state) for completion in completions))
        if (info := self._board.workflows.get(workflow_id)) is not None:
            self._board.pin(msgspec.structs.replace(info, completions=counts))


def _chosen(workflow_id: str, completions: list[Completion], position: int | None) -> list[int]:
    if not completions:
        raise NotFoundError(f"workflow {workflow_id} has had nothing to do at its end; see [[on_complete]]")
    if position is None:
        states = (CompletionState.FAILED, CompletionState.HELD)
        chosen = [completion.position for completion in completions if completion.state in states]
        if not chosen:
            raise ConflictError(f"no action of workflow {workflow_id} has failed; to do one again, give its number")
        return chosen
    if not 1 <= position <= len(completions):
        raise NotFoundError(f"workflow {workflow_id} has actions 1 to {len(completions)}, not {position}")
    return [position]
