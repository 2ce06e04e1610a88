"""What several workflows in one database have of one another: results that need not be calculated twice.

Of jobs with the same key (`domain/sameness`) one is calculated. Whoever is about to submit such a job looks first:
a result that is there is taken over, one that is being calculated is waited for. Each workflow changes its own rows
only; that of two who look at the same moment one goes first is seen to by the transaction that records the intent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import aiosqlite

from penstock.domain.sameness import calculation_key
from penstock.domain.states import ACTIVE, JobState
from penstock.store.events import Event
from penstock.store.reviews import Amendment, Fetch
from penstock.store.selection import as_array

SHARED_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS job_workflow ON job (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS job_ready_here ON job (workflow_id, id) WHERE state = 'ready'",
    "CREATE INDEX IF NOT EXISTS event_workflow ON event (workflow_id, seq)",
    "CREATE INDEX IF NOT EXISTS material_here ON material (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS material_name ON material (namespace, name)",
)
"""So that none of them passes by the rows of all others. A workflow that is alone is spared the writing of them."""

_ACTIVE: Final = ", ".join(f"'{state}'" for state in sorted(ACTIVE))
_GIVEN: Final = "IN (SELECT value FROM json_each(?1))"
# Seconds; longer than any daemon is away for a restart, an upgrade or a reboot.
_PATIENCE_S: Final = 3600
# Job `o` can be waited for: its workflow was seen at work lately, and it is in no doubt that a person has to settle.
_UNDER_WAY: Final = f"""
    o.state IN ({_ACTIVE}) AND NOT (o.state = 'in_doubt' AND o.updated_at < datetime(?2, '-{_PATIENCE_S} seconds'))
    AND EXISTS (SELECT 1 FROM workflow w
        WHERE w.workflow_id = o.workflow_id AND w.seen_at >= datetime(?2, '-{_PATIENCE_S} seconds'))
"""
# Parameters are there where a remedy has changed them: it is another calculation, then.
_ALIKE: Final = "o.calculation = {0}.calculation AND o.parameters IS {0}.parameters"
# A result that was calculated goes before a copy of one.
_SAME: Final = f"""
    SELECT calculation, parameters,
        coalesce((SELECT o.id FROM job o WHERE {{0}} AND o.state = 'completed' AND o.origin IS NULL LIMIT 1),
            (SELECT o.id FROM job o WHERE {{0}} AND o.state = 'completed' LIMIT 1)),
        (SELECT o.id FROM job o WHERE {{0}} AND {_UNDER_WAY} LIMIT 1)
    FROM (SELECT DISTINCT calculation, parameters FROM job WHERE id {_GIVEN} AND calculation IS NOT NULL) AS wanted
""".format(_ALIKE.format("wanted"))
_KEYS: Final = f"SELECT id, calculation, parameters FROM job WHERE id {_GIVEN} AND calculation IS NOT NULL ORDER BY id"
_AWAITING: Final = "workflow_id = ?1 AND state = 'waiting' AND awaits IS NOT NULL"
_IN_VAIN: Final = f"""
    NOT EXISTS (SELECT 1 FROM job o WHERE o.id = job.awaits AND {_ALIKE.format("job")}
        AND (({_UNDER_WAY}) OR (o.state = 'ready' AND o.workflow_id = job.workflow_id)))
"""
_OF_OTHERS: Final = "EXISTS (SELECT 1 FROM job o WHERE o.id = job.awaits AND o.workflow_id != job.workflow_id)"
_COUNT: Final = f"""
    WITH found AS MATERIALIZED (SELECT {_IN_VAIN} AS in_vain, {_OF_OTHERS} AS of_others FROM job WHERE {_AWAITING})
    SELECT count(*), count(*) FILTER (WHERE in_vain), count(*) FILTER (WHERE of_others AND NOT in_vain) FROM found
"""
_RELEASE: Final = f"""
    UPDATE job SET state = 'ready', awaits = NULL, updated_at = ?2 WHERE {_AWAITING} AND {_IN_VAIN} RETURNING id
"""
_BEGUN_ELSEWHERE: Final = f"""
    SELECT 1 FROM job j JOIN job o ON {_ALIKE.format("j")} WHERE j.id {_GIVEN}
    AND (o.state = 'completed' OR ({_UNDER_WAY})) LIMIT 1
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
    INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value, unit)
    SELECT ?1, name, ?2, 0, value, unit FROM property WHERE job_id = ?3
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
    encoded = as_array(keys)
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
    same = {(key, own): others for key, own, *others in await db.execute_fetchall(_SAME, (as_array(jobs), stamp))}
    taken: list[tuple[int, int]] = []
    waiting: list[tuple[int, int]] = []
    ours: dict[tuple[str, str | None], int] = {}
    for job, *what in await db.execute_fetchall(_KEYS, (as_array(jobs),)):
        key: tuple[str, str | None] = (what[0], what[1])
        completed, active = same[key]
        if completed is not None:
            taken.append((job, completed))
        elif (awaited := active if active is not None else ours.get(key)) is not None:
            waiting.append((job, awaited))
        else:
            ours[key] = job
    await db.executemany(TAKE_OVER, [(stamp, job, other) for job, other in taken])
    for sql in (TAKE_PROPERTIES, TAKE_FILES):
        await db.executemany(sql, [(job, workflow_id, other) for job, other in taken])
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
    others = as_array({other for _, other in (*taken, *waiting)})
    rows = await db.execute_fetchall(f"SELECT id, workflow_id, final_energy FROM job WHERE id {_GIVEN}", (others,))
    known = {id_: (workflow, energy) for id_, workflow, energy in rows}
    reused = [
        Event("job_reused", job, {"workflow": known[o][0], "of_job": o, "energy_hartree": known[o][1]})
        for job, o in taken
    ]
    return reused + [Event("job_awaits", job, {"workflow": known[o][0], "of_job": o}) for job, o in waiting]


class Awaiting(NamedTuple):
    """How many jobs wait for the same calculation of another job."""

    jobs: int
    in_vain: int  # the other one is not under way any more
    of_others: int  # the other one is another workflow's, and under way


async def count_awaiting(fetch: Fetch, workflow_id: str, stamp: str) -> Awaiting:
    """What the workflow's jobs wait for, as it is at `stamp`."""
    [row] = await fetch(_COUNT, [workflow_id, stamp])
    return Awaiting(*row)


async def release_awaiting(db: aiosqlite.Connection, workflow_id: str, stamp: str) -> Amendment:
    """Jobs whose other one is not under way any more are ready again: what came of it is looked at before they run."""
    released = len(list(await db.execute_fetchall(_RELEASE, (workflow_id, stamp))))
    return Amendment(shift={JobState.WAITING: -released, JobState.READY: released} if released else {})


async def are_still_ours(db: aiosqlite.Connection, workflow_id: str, jobs: Sequence[int], stamp: str) -> bool:
    """Whether nobody else has begun or ended the same calculations since it was looked; if so, that we are at work."""
    if list(await db.execute_fetchall(_BEGUN_ELSEWHERE, (as_array(jobs), stamp))):
        return False
    await show_life(db, workflow_id, stamp)
    return True


async def show_life(db: aiosqlite.Connection, workflow_id: str, stamp: str) -> Amendment:
    """Records that a workflow is at work. Of one that has not been for an hour, nothing is waited for."""
    await db.execute("UPDATE workflow SET seen_at = ? WHERE workflow_id = ?", (stamp, workflow_id))
    return Amendment()
