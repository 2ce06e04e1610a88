"""What is done at the ends of a workflow, as rows: planned with the end itself, then one after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.completion import Completion, CompletionAction, CompletionState
from penstock.domain.views import CompletionInfo, EventInfo
from penstock.store.connection import reading
from penstock.store.database import BusyGuard, Database
from penstock.store.events import Event, insert_events
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations
from penstock.store.selection import as_array

_NEWEST: Final = "(SELECT max(run) FROM completion WHERE workflow_id = ?1)"
_OF_NEWEST: Final = (
    "SELECT run, position, action, state, result, at FROM completion "
    f"WHERE workflow_id = ?1 AND run = {_NEWEST} ORDER BY position"
)

_TOLD: Final = {
    CompletionState.DONE: Event("workflow_action_done", 0),
    CompletionState.FAILED: Event("workflow_action_failed", 0),
    CompletionState.HELD: Event("workflow_action_held", 0),
}


async def plan_completions(db: aiosqlite.Connection, workflow_id: str, actions: Sequence[CompletionAction]) -> None:
    """Inside the transaction that ends a workflow: the actions of this end, waiting for their turn."""
    if not actions:
        return
    ((ends,),) = await db.execute_fetchall(
        "SELECT coalesce(max(run), 0) FROM completion WHERE workflow_id = ?", (workflow_id,)
    )
    await db.executemany(
        "INSERT INTO completion (workflow_id, run, position, action, state, at) VALUES (?, ?, ?, ?, 'pending', ?)",
        [
            (workflow_id, ends + 1, n, msgspec.json.encode(action).decode(), time.time())
            for n, action in enumerate(actions, 1)
        ],
    )


async def drop_completions(db: aiosqlite.Connection, workflow_id: str) -> None:
    """Inside the transaction that lets a workflow run again: what has not been done of its last end never will be."""
    await db.execute(
        "UPDATE completion SET state = 'dropped', at = ? "
        "WHERE workflow_id = ? AND state IN ('pending', 'begun', 'held')",
        (time.time(), workflow_id),
    )


def load_completions(database: Path, workflow_id: str) -> list[CompletionInfo]:
    """The actions of a workflow's newest end, for people."""
    with reading(database) as db:
        found = [_completion(row) for row in db.execute(_OF_NEWEST, (workflow_id,))]
    return [CompletionInfo(c.position, c.action.words, c.state, c.result, c.at) for c in found]


class CompletionStore:
    """The actions of a workflow that has ended; whoever carries them out has a connection of its own."""

    def __init__(self, database: Path, workflow_id: str, busy: BusyGuard) -> None:
        self.workflow_id = workflow_id
        self._db = Database(database, load_migrations(WORKFLOW_MIGRATIONS), busy)

    async def close(self) -> None:
        """Closes the connection."""
        await self._db.close()

    async def load(self) -> list[Completion]:
        """The actions of the newest end, in their order."""
        return [_completion(row) for row in await self._db.fetch(_OF_NEWEST, (self.workflow_id,))]

    async def has_written(self, path: str) -> bool:
        """Whether an earlier end of this workflow has left its results at `path`.

        What was written before it came out of an archive was written by another, or in another place.
        """
        rows = await self._db.fetch(
            "SELECT 1 FROM completion WHERE workflow_id = ? AND state = 'done' "
            "AND json_extract(action, '$.path') = ? AND at > (SELECT coalesce(max(at), 0) FROM event "
            "WHERE workflow_id = completion.workflow_id AND kind = 'workflow_restored') LIMIT 1",
            (self.workflow_id, path),
        )
        return bool(rows)

    async def record(
        self, completion: Completion, state: CompletionState, result: str | None = None
    ) -> tuple[bool, list[EventInfo]]:
        """Moves an action on, with its event; false, and nothing done, when it is not as it was any more."""
        async with self._db.transaction() as db:
            cursor = await db.execute(
                "UPDATE completion SET state = ?, result = ?, at = ? "
                "WHERE workflow_id = ? AND run = ? AND position = ? AND state = ?",
                (
                    *(state, result, time.time()),
                    *(self.workflow_id, completion.run, completion.position, completion.state),
                ),
            )
            if not cursor.rowcount:
                return False, []
            if state is CompletionState.BEGUN:
                return True, []
            data = {"action": completion.action.words, "result": result}
            event = msgspec.structs.replace(_TOLD[state], data=data)
            return True, await insert_events(db, self.workflow_id, [event])

    async def again(self, positions: Sequence[int]) -> None:
        """Lets these actions of the newest end wait for another turn."""
        async with self._db.transaction() as db:
            await db.execute(
                f"UPDATE completion SET state = 'pending', result = NULL WHERE workflow_id = ?1 AND run = {_NEWEST} "
                "AND position IN (SELECT value FROM json_each(?2)) AND state != 'begun'",
                (self.workflow_id, as_array(positions)),
            )


def _completion(row: Sequence[Any]) -> Completion:
    run, position, action, state, result, at = row
    decoded = msgspec.json.decode(action, type=CompletionAction)
    return Completion(run, position, decoded, CompletionState(state), result, at)
