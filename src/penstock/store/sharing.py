"""What several workflows in one database have of one another: results that need not be calculated twice.

Of jobs with the same key (`domain/sameness`) one is calculated. Whoever is about to submit such a job looks first:
a result that is there is taken over, one that is being calculated is waited for. Each workflow changes its own rows
only; that of two who look at the same moment one goes first is seen to by the transaction that records the intent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.sameness import calculation_key
from penstock.domain.states import ACTIVE, JobState
from penstock.store.events import Event
from penstock.store.reviews import Amendment

SHARED_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS job_workflow ON job (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS job_ready_here ON job (workflow_id, id) WHERE state = 'ready'",
    "CREATE INDEX IF NOT EXISTS event_workflow ON event (workflow_id, seq)",
    "CREATE INDEX IF NOT EXISTS material_here ON material (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS material_name ON material (namespace, name)",
)
"""So that none of them passes by the rows of all others. A workflow that is alone is spared the writing of them."""

_ACTIVE: Final = ", ".join(f"'{state}'" for state in sorted(ACTIVE))
_GIVEN: Final = "IN (SELECT value FROM json_each(?))"
# A result that was calculated goes before a copy of one.
_SAME: Final = f"""
    SELECT j.id, j.calculation,
        (SELECT o.id FROM job o WHERE o.calculation = j.calculation AND o.id != j.id AND o.state = 'completed'
         ORDER BY o.origin IS NOT NULL, o.id LIMIT 1),
        (SELECT o.id FROM job o WHERE o.calculation = j.calculation AND o.id != j.id AND o.state IN ({_ACTIVE}) LIMIT 1)
    FROM job j WHERE j.id {_GIVEN} AND j.calculation IS NOT NULL ORDER BY j.id
"""
# Workflows that share a database lie side by side.
_BESIDE: Final = """
    CASE WHEN {path} LIKE '/%' OR {path} LIKE '../%' OR o.workflow_id = {own} THEN {path}
         ELSE '../' || o.workflow_id || '/' || {path} END
"""
_JOB_DIRECTORY: Final = _BESIDE.format(path="o.job_dir", own="job.workflow_id")
TAKE_OVER: Final = f"""
    UPDATE job SET state = 'completed', status = 'completed', failure = NULL, error_message = NULL, not_before = NULL,
        awaits = NULL, updated_at = ?1,
        final_energy = o.final_energy, max_forces = o.max_forces, scf_steps = o.scf_steps,
        final_geometry = o.final_geometry, final_deck = o.final_deck, checkpoint = o.checkpoint,
        job_dir = {_JOB_DIRECTORY},
        origin = coalesce(o.origin, json_object('workflow', o.workflow_id, 'job', o.id, 'attempt', o.attempts,
            'directory', o.job_dir))
    FROM job AS o WHERE job.id = ?2 AND o.id = ?3
"""
TAKE_PROPERTIES: Final = """
    INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value)
    SELECT ?1, name, ?2, 0, value FROM property WHERE job_id = ?3
"""
TAKE_FILES: Final = f"""
    INSERT INTO file (workflow_id, job_id, attempt, role, path, bytes, sha256)
    SELECT ?2, ?1, 0, f.role, {_BESIDE.format(path="f.path", own="?2")}, f.bytes, f.sha256
    FROM file f JOIN job o ON o.id = f.job_id WHERE f.job_id = ?3
"""


async def name_calculations(
    db: aiosqlite.Connection, keys: Sequence[str], first_material: int, methods: Sequence[tuple[int, int, str]]
) -> None:
    """Gives the newest materials and their jobs their keys; `keys` are those of the materials from that id on.

    `methods`: of each step the id of its job for the first of them, the number of the step, and its method's key.
    """
    encoded = msgspec.json.encode(list(keys)).decode()
    await db.execute(
        "UPDATE material SET key = k.value FROM json_each(?) AS k WHERE material.id = ? + k.key",
        (encoded, first_material),
    )
    for first_job, step_id, method in methods:
        await db.execute(
            "UPDATE job SET calculation = k.value || ? FROM json_each(?) AS k WHERE job.id = ? + k.key AND step_id = ?",
            (calculation_key("", method), encoded, first_job, step_id),
        )


async def look_for_same(db: aiosqlite.Connection, workflow_id: str, jobs: Sequence[int], stamp: str) -> Amendment:
    """Of these ready jobs: results that others have are taken over, those that others calculate now are waited for.

    `changed` are the jobs that are completed by it, `unchanged` those that are left to be calculated.
    """
    taken: list[tuple[int, int]] = []
    waiting: list[tuple[int, int]] = []
    ours: dict[str, int] = {}
    for job, key, completed, active in await db.execute_fetchall(_SAME, (_array(jobs),)):
        if completed is not None:
            taken.append((job, completed))
        elif (awaited := active if active is not None else ours.get(key)) is not None:
            waiting.append((job, awaited))
        else:
            ours[key] = job
    for job, other in taken:
        await db.execute(TAKE_OVER, (stamp, job, other))
        for sql in (TAKE_PROPERTIES, TAKE_FILES):
            await db.execute(sql, (job, workflow_id, other))
    await db.executemany(
        "UPDATE job SET state = 'waiting', awaits = ?, updated_at = ? WHERE id = ?",
        [(other, stamp, job) for job, other in waiting],
    )
    gone = {job for job, _ in (*taken, *waiting)}
    shift: dict[str, int] = {
        JobState.READY: -len(gone),
        JobState.COMPLETED: len(taken),
        JobState.WAITING: len(waiting),
    }
    events = await _told(db, taken, waiting)
    return Amendment(events, shift if gone else {}, [job for job, _ in taken], [j for j in jobs if j not in gone])


async def _told(
    db: aiosqlite.Connection, taken: Sequence[tuple[int, int]], waiting: Sequence[tuple[int, int]]
) -> list[Event]:
    others = _array({other for _, other in (*taken, *waiting)})
    rows = await db.execute_fetchall(f"SELECT id, workflow_id, final_energy FROM job WHERE id {_GIVEN}", (others,))
    known = {id_: (workflow, energy) for id_, workflow, energy in rows}
    reused = [
        Event("job_reused", job, {"workflow": known[o][0], "of_job": o, "energy_hartree": known[o][1]})
        for job, o in taken
    ]
    return reused + [Event("job_awaits", job, {"workflow": known[o][0], "of_job": o}) for job, o in waiting]


async def release_awaiting(db: aiosqlite.Connection, workflow_id: str, stamp: str) -> Amendment:
    """Jobs whose other one is not active any more are ready again: what has come of it is looked at before they run."""
    rows = await db.execute_fetchall(
        "UPDATE job SET state = 'ready', awaits = NULL, updated_at = ? WHERE workflow_id = ? AND state = 'waiting' "
        f"AND awaits IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job o WHERE o.id = job.awaits AND "
        f"(o.state IN ({_ACTIVE}) OR (o.state = 'ready' AND o.workflow_id = job.workflow_id))) RETURNING id",
        (stamp, workflow_id),
    )
    released = len(list(rows))
    return Amendment(shift={JobState.WAITING: -released, JobState.READY: released} if released else {})


async def are_still_ours(db: aiosqlite.Connection, jobs: Sequence[int]) -> bool:
    """Whether nobody else has begun or ended the same calculations since it was looked."""
    rows = await db.execute_fetchall(
        f"SELECT 1 FROM job j JOIN job o ON o.calculation = j.calculation AND o.id != j.id WHERE j.id {_GIVEN} "
        f"AND j.calculation IS NOT NULL AND (o.state IN ({_ACTIVE}) OR o.state = 'completed') LIMIT 1",
        (_array(jobs),),
    )
    return not list(rows)


def _array(values: Any) -> str:
    return msgspec.json.encode(list(values)).decode()
