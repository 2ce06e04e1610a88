"""Going on with a workflow that has ended or rests, inside one transaction: its jobs, its source, its spec."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import aiosqlite
import msgspec

from penstock.domain.revision import Revision
from penstock.domain.states import JobState, Status, WorkflowState
from penstock.store.completion import drop_completions
from penstock.store.connection import reading
from penstock.store.deriving import draw_again
from penstock.store.events import Event
from penstock.store.reviews import Amendment
from penstock.store.rows import NewStep
from penstock.store.selection import in_states
from penstock.store.workflow_store import timestamp

_UNFINISHED: Final = (JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED)
_AGAIN: Final = in_states(*_UNFINISHED)
_OWN: Final = "workflow_id = ? AND never_rerun = 0 AND method IS NULL"  # a job with a method is its library user's
# What an attempt left to go on from, and what remedies changed, stays; only the count of failures begins anew.
_REVIVE: Final = f"""
    UPDATE job SET state = 'ready', status = 'ready', failure = NULL, error_message = NULL, blamed = 0, blameless = 0,
        not_before = NULL, cancel_requested = 0, awaits = NULL, updated_at = ?
    WHERE {_OWN} AND {_AGAIN.sql} RETURNING id
"""


class Standing(msgspec.Struct, frozen=True):
    """A workflow that may be gone on with: what it is, and what would run then."""

    spec: str  # JSON
    parameters: str  # the engine's, JSON
    state: WorkflowState
    slots: int
    slots_origin: str
    priority: int
    jobs: int  # that would be made ready again
    keeping: int  # of all that would run, those whose engine parameters a remedy has changed


def load_standing(database: Path, workflow_id: str) -> Standing:
    """Where a workflow stands."""
    with reading(database) as db:
        row = db.execute(
            "SELECT spec, parameters, state, slots, slots_origin, priority FROM workflow WHERE workflow_id = ?",
            (workflow_id,),
        ).fetchone()
        states = (workflow_id, *_AGAIN.parameters)
        jobs = db.execute(f"SELECT count(*) FROM job WHERE {_OWN} AND {_AGAIN.sql}", states).fetchone()[0]
        (keeping,) = db.execute(
            f"SELECT count(*) FROM job WHERE {_OWN} AND parameters IS NOT NULL AND status != ?",
            (workflow_id, Status.COMPLETED),
        ).fetchone()
    state = WorkflowState(row[2])
    spec, parameters, _, slots, origin, priority = row
    return Standing(
        spec, parameters, state, slots, origin, priority, 0 if state is WorkflowState.PAUSED else jobs, keeping
    )


async def go_on(
    db: aiosqlite.Connection, *, workflow_id: str, revision: Revision | None, steps: Sequence[NewStep], is_due: bool
) -> Amendment:
    """A workflow runs again, with another spec where there is a `revision`; `steps` are its steps under that spec.

    `is_due`: something is left to be derived from its results.

    One that has ended gets its failed and cancelled jobs back, except those marked never-rerun, and its source is read
    on. No events: it had ended and nothing of it is left to do, so that nothing was changed.
    """
    ((state, number),) = await db.execute_fetchall(
        "SELECT state, revision FROM workflow WHERE workflow_id = ?", (workflow_id,)
    )
    ready: list[int] = []
    shift: Counter[str] = Counter()
    has_ended = state != WorkflowState.PAUSED
    drawn_again = False
    if has_ended or revision is not None:
        drawn_again = await draw_again(db, workflow_id, everything=revision is not None)
    if has_ended:
        left = await db.execute_fetchall(
            f"SELECT state, count(*) FROM job WHERE {_OWN} AND {_AGAIN.sql} GROUP BY state",
            (workflow_id, *_AGAIN.parameters),
        )
        shift.update({before: -jobs for before, jobs in left})
        rows = await db.execute_fetchall(_REVIVE, (timestamp(), workflow_id, *_AGAIN.parameters))
        ready = [row[0] for row in rows]
        shift[JobState.READY] += len(ready)
        unread = await db.execute_fetchall(
            "UPDATE step SET state = 'expanding' WHERE workflow_id = ? AND after IS NULL "
            "AND state IN ('failed', 'expanding') RETURNING id",
            (workflow_id,),
        )
        if not ready and not list(unread) and not drawn_again and not is_due:
            return Amendment()
    await drop_completions(db, workflow_id)
    events = []
    if revision is not None:
        events.append(await _revise(db, workflow_id, revision, number + 1, steps))
    events.append(await _run(db, workflow_id, f"resumed, {len(ready)} jobs again" if ready else "resumed"))
    return Amendment(events, {name: jobs for name, jobs in shift.items() if jobs}, ready)


async def run_if_changed(
    change: Callable[[aiosqlite.Connection], Awaitable[Amendment]], workflow_id: str, db: aiosqlite.Connection
) -> Amendment:
    """Carries out a change; if it touched any job, the workflow runs again, to derive anew what rested on it."""
    amendment = await change(db)
    if not amendment.changed:
        return amendment
    await drop_completions(db, workflow_id)
    runs = await _run(db, workflow_id, "results have changed")
    return msgspec.structs.replace(amendment, events=[*amendment.events, runs])


async def _run(db: aiosqlite.Connection, workflow_id: str, why: str) -> Event:
    await db.execute(
        "UPDATE workflow SET state = ?, reason = NULL, updated_at = ? WHERE workflow_id = ?",
        (WorkflowState.RUNNING, time.time(), workflow_id),
    )
    return Event("workflow_state", 0, {"state": WorkflowState.RUNNING, "reason": why})


async def _revise(
    db: aiosqlite.Connection, workflow_id: str, revision: Revision, number: int, steps: Sequence[NewStep]
) -> Event:
    sets_slots = any(change.key == "slots" for change in revision.changes)
    await db.execute(
        "UPDATE workflow SET spec = ?, parameters = ?, slots = ?, priority = ?, revision = ?, "
        "slots_origin = iif(?, 'set', slots_origin) WHERE workflow_id = ?",
        (
            *(revision.spec, revision.parameters, revision.slots, revision.priority, number),
            *(sets_slots, workflow_id),
        ),
    )
    await db.executemany(
        "UPDATE step SET parameters = ?, resources = ?, optional = ? WHERE workflow_id = ? AND key = ?",
        [(step.parameters, step.resources, step.optional, workflow_id, step.key) for step in steps],
    )
    if any(change.key.startswith(("engine.", "steps.")) for change in revision.changes):
        # Their keys named the method as it was, of which some of the steps before them may still be results.
        await db.execute(
            "UPDATE job SET calculation = NULL WHERE workflow_id = ? AND status != ? AND calculation IS NOT NULL",
            (workflow_id, Status.COMPLETED),
        )
    return Event("workflow_changed", 0, {"revision": number, "changes": msgspec.to_builtins(revision.changes)})
