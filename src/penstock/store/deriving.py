"""What is due to be derived from results, and what came of it, inside the supervisor's transactions.

Everything is done once: a result is unfolded when its row in `unfolding` is there, a subject is concluded when its row
in `conclusion` is, and both are written together with what they stand for. Jobs that are begun anew take back what had
been concluded of their subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.properties import Conclusion
from penstock.domain.states import ENDED, JobState
from penstock.domain.subject import WHOLE
from penstock.store.events import Event
from penstock.store.reviews import Amendment
from penstock.store.selection import Where, as_array

JobSeen = tuple[int, int, str]
"""A job as it was when it was looked at: its id, its attempts, and what else tells of a change."""
SEEN: Final = "id, attempts, state || ' ' || updated_at || ' ' || coalesce(final_energy, '')"
OF_SUBJECT: Final = "+workflow_id = ? AND subject = ?"
"""Jobs about a material. The sign keeps SQLite from passing by all jobs of the workflow, which lie in their order."""
_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(ENDED))
_OPEN: Final = ", ".join(f"'{state}'" for state in sorted(set(JobState) - ENDED))
NOT_UNFOLDED: Final = Where("id NOT IN (SELECT u.parent_id FROM unfolding u WHERE u.jobs > 0)")
"""Jobs whose result others were made of stay as they are: what was made of it would be of something else."""
FAILED_CONCLUSIONS: Final = """
    SELECT s.key, c.name, c.failure FROM conclusion c JOIN step s ON s.id = c.step_id
    WHERE c.workflow_id = ? AND c.failure IS NOT NULL ORDER BY c.subject, c.step_id
"""
"""Step, subject and reason of what could not be concluded."""
_OF_STEPS: Final = "step_id IN (SELECT id FROM step WHERE workflow_id = ?1)"  # as the keys of the tables begin
_UNFOLDABLE: Final = """
    SELECT j.id FROM job j WHERE j.workflow_id = ?1 AND j.step_id = ?2 AND j.state = 'completed'
        AND j.subject IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM unfolding u WHERE u.step_id = ?3 AND u.parent_id = j.id)
    ORDER BY j.id LIMIT ?4
"""
# Every subject has one job of the step that reads the source.
_CONCLUDABLE: Final = f"""
    SELECT j.subject FROM job j WHERE j.subject IS NOT NULL AND j.step_id IN (
            SELECT s.id FROM step s
            WHERE s.workflow_id = ?1 AND s.after IS NULL AND s.kind NOT IN ('unfold', 'analysis'))
        AND NOT EXISTS (SELECT 1 FROM conclusion c WHERE c.step_id = ?2 AND c.subject = j.subject)
        AND NOT EXISTS (SELECT 1 FROM job o WHERE o.subject = j.subject AND o.state IN ({_OPEN}))
    LIMIT ?3
"""
_NOW: Final = f"SELECT {SEEN}, state IN ({_ENDED}) FROM job"
_SUBJECT_NOW: Final = f"{_NOW} WHERE {OF_SUBJECT} ORDER BY id"
_ALL_NOW: Final = f"{_NOW} WHERE workflow_id = ? AND subject IS NOT NULL ORDER BY id"
_PARENT_NOW: Final = f"SELECT {SEEN}, state = 'completed' FROM job WHERE workflow_id = ? AND id = ?"
_INSERT_JOBS: Final = """
    INSERT INTO job (name, elements, natoms, charge, spin, geometry, label, own, calculation, orig_index, source_line,
                     status, state, created_at, updated_at, workflow_id, step_id, step, material_id, id, subject,
                     unfolded_from)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
           json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
           ?2, ?3, 'ready', 'ready', ?4, ?4, ?5, ?6, ?7, ?8 + 1 + key, ?9 + 1 + key, ?10, ?11
    FROM json_each(?1)
"""


class DerivedStep(msgspec.Struct, frozen=True):
    """A step that is derived: an unfolding of the jobs of step `parent_id`, or an analysis."""

    id: int
    key: str
    is_analysis: bool
    whole: bool
    parent_id: int | None


class Due(msgspec.Struct, frozen=True):
    """What is to be derived next: of a step, for these jobs (to unfold), or materials (to conclude); 0: for all."""

    step: DerivedStep
    of: tuple[int, ...]


class NewJob(msgspec.Struct, frozen=True, array_like=True):
    """A job that a result was turned into, its columns in the order in which they are inserted; JSON where said."""

    name: str
    elements: str
    natoms: int
    charge: int
    multiplicity: int
    geometry: str
    label: str  # JSON
    own: str | None  # JSON
    calculation: str | None
    material: str | None  # key of the structure, where results are shared


class Unfolding(msgspec.Struct, frozen=True, array_like=True):
    """What the result of a job (0: all results together) was turned into, or why into nothing.

    `seen` is the job, or all of them, as they were then. None: whatever they were.
    """

    parent: int
    seen: list[JobSeen] | None
    jobs: list[NewJob]
    trouble: str | None = None


class Drawn(msgspec.Struct, frozen=True, array_like=True):
    """What was concluded of a subject (0: of all together) when its jobs were as `seen`. None: whatever they were."""

    subject: int
    conclusion: Conclusion
    seen: list[JobSeen] | None


async def look_for_due(
    fetch: Any, workflow_id: str, plan: Sequence[DerivedStep], *, all_ended: bool, at_once: int
) -> Due | None:
    """The first thing in the plan that can be derived now; `all_ended`: no job of the workflow is open."""
    for step in plan:
        if step.whole:
            if not all_ended:
                return None  # what comes after it in the plan goes on from it
            table, column = ("conclusion", "subject") if step.is_analysis else ("unfolding", "parent_id")
            if not await fetch(f"SELECT 1 FROM {table} WHERE step_id = ? AND {column} = 0", [step.id]):
                return Due(step, (0,))
            continue
        if step.is_analysis:
            rows = await fetch(_CONCLUDABLE, [workflow_id, step.id, at_once])
        else:
            rows = await fetch(_UNFOLDABLE, [workflow_id, step.parent_id, step.id, at_once])
        if rows:
            return Due(step, tuple(row[0] for row in rows))
    return None


async def unfold(
    db: aiosqlite.Connection, workflow_id: str, step: DerivedStep, unfolding: Unfolding, stamp: str
) -> Amendment:
    """A result becomes jobs, once; what was reset meanwhile does not."""
    if not await _is_as_seen(db, workflow_id, _PARENT_NOW, unfolding.parent, unfolding.seen):
        return Amendment()
    subject, orig_index, line, namespace = await _about(db, workflow_id, unfolding.parent)
    known = {
        row[0]
        for row in await db.execute_fetchall(
            f"SELECT name FROM job WHERE {OF_SUBJECT} AND +step_id = ? AND unfolded_from IS ?",
            (workflow_id, subject, step.id, unfolding.parent or None),
        )
    }
    jobs = [job for job in unfolding.jobs if job.name not in known]
    first_job = await _last(db, "job") + 1
    first_material = await _last(db, "material") + 1
    rows = msgspec.json.encode(jobs).decode()
    own = (orig_index, line, stamp, workflow_id, step.id, step.key, first_material - 1, first_job - 1)
    await db.execute(_INSERT_JOBS, (rows, *own, subject, unfolding.parent or None))
    await db.execute(
        "INSERT INTO material (id, workflow_id, namespace, name, step_id, source_index) "
        "SELECT material_id, workflow_id, ?, name, step_id, orig_index FROM job WHERE id >= ? ORDER BY id",
        (namespace, first_job),
    )
    keys = [(job.material, first_material + n) for n, job in enumerate(jobs) if job.material]
    await db.executemany("UPDATE material SET key = ? WHERE id = ?", keys)
    await db.execute(
        "INSERT OR REPLACE INTO unfolding VALUES (?, ?, ?, ?, ?)",
        (workflow_id, step.id, unfolding.parent, len(unfolding.jobs), unfolding.trouble),
    )
    data = {"step": step.key, "jobs": len(jobs)} | ({"trouble": unfolding.trouble} if unfolding.trouble else {})
    events = [Event("jobs_unfolded", unfolding.parent, data)]
    return Amendment(events, {str(JobState.READY): len(jobs)} if jobs else {})


async def _about(db: aiosqlite.Connection, workflow_id: str, parent: int) -> tuple[int, int, int, str]:
    """Subject, place in the source and namespace of what a job, or (0) all together, is unfolded into."""
    ((subject, orig_index, line, namespace),) = await db.execute_fetchall(
        "SELECT coalesce(j.subject, 0), coalesce(j.orig_index, 0), coalesce(j.source_line, 0), w.namespace "
        "FROM workflow w LEFT JOIN job j ON j.id = ? WHERE w.workflow_id = ?",
        (parent, workflow_id),
    )
    return subject, orig_index, line, namespace


async def conclude(
    db: aiosqlite.Connection, workflow_id: str, step: DerivedStep, drawn: Drawn, stamp: str
) -> Amendment:
    """What was concluded becomes part of the results, unless the jobs it rests on have begun anew meanwhile."""
    if not await _is_as_seen(db, workflow_id, _SUBJECT_NOW, drawn.subject, drawn.seen):
        return Amendment()
    await _forget(db, step.id, drawn.subject)
    name = await _name(db, drawn.subject)
    conclusion = drawn.conclusion
    await db.execute(
        "INSERT INTO conclusion VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(workflow_id, step.id, drawn.subject, name, conclusion.failure),
            *(_json(conclusion.notes), _json(conclusion.figures), stamp),
        ),
    )
    await db.executemany(
        "INSERT INTO result (workflow_id, step_id, subject, name, about, value, unit, uncertainty, conditions, method, "
        "attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (  # written down in the connection's thread, one by one: there may be ten thousands
            (
                *(workflow_id, step.id, drawn.subject, p.name, p.subject, _json(p.value), p.unit),
                None if p.uncertainty is None else _json(p.uncertainty),
                *(_json(p.conditions), p.method, _json(p.attempts)),
            )
            for p in conclusion.properties
        ),
    )
    data = {"step": step.key, "subject": name, "properties": len(conclusion.properties)}
    data |= {"failure": conclusion.failure} if conclusion.failure else {}
    return Amendment([Event("subject_concluded", 0, data)])


async def _is_as_seen(
    db: aiosqlite.Connection, workflow_id: str, now: str, of: int, seen: Sequence[JobSeen] | None
) -> bool:
    """Whether the jobs that `now` finds of a parent or subject, for 0 all, still have the ends that were seen."""
    if of:
        rows = list(await db.execute_fetchall(now, (workflow_id, of)))
    else:
        rows = list(await db.execute_fetchall(_ALL_NOW, (workflow_id,)))
    if not all(row[3] for row in rows):
        return False
    return seen is None or [tuple(row[:3]) for row in rows] == list(seen)


async def _name(db: aiosqlite.Connection, subject: int) -> str:
    rows = list(await db.execute_fetchall("SELECT name FROM material WHERE id = ?", (subject,)))
    return rows[0][0] if rows else WHOLE


async def _forget(db: aiosqlite.Connection, step_id: int, subject: int) -> None:
    for table in ("result", "conclusion"):
        await db.execute(f"DELETE FROM {table} WHERE step_id = ? AND subject = ?", (step_id, subject))


async def forget_conclusions(db: aiosqlite.Connection, workflow_id: str, jobs: Sequence[int]) -> None:
    """What was derived from jobs that begin anew does not count any more; jobs that were made of it stay."""
    about = "SELECT 0 UNION SELECT j.subject FROM job j JOIN json_each(?2) e ON e.value = j.id"
    for table in ("result", "conclusion"):
        await db.execute(
            f"DELETE FROM {table} WHERE {_OF_STEPS} AND subject IN ({about})", (workflow_id, as_array(jobs))
        )
    await db.execute(
        f"DELETE FROM unfolding WHERE {_OF_STEPS} AND parent_id IN (SELECT 0 UNION SELECT value FROM json_each(?2))",
        (workflow_id, as_array(jobs)),
    )


async def draw_again(db: aiosqlite.Connection, workflow_id: str, *, everything: bool) -> bool:
    """Whether anything is to be derived once more: what failed, or `everything`, with another spec.

    What is unfolded once more makes only those jobs that are not there yet.
    """
    failed = "" if everything else " AND failure IS NOT NULL"
    again = list(
        await db.execute_fetchall(
            f"SELECT step_id, subject FROM conclusion WHERE workflow_id = ?{failed}", (workflow_id,)
        )
    )
    for step_id, subject in again:
        await _forget(db, step_id, subject)
    # What all together were turned into may rest on what is concluded anew.
    failed = "" if everything else f" AND (trouble IS NOT NULL{' OR parent_id = 0' if again else ''})"
    freed = await db.execute_fetchall(
        f"DELETE FROM unfolding WHERE workflow_id = ?{failed} RETURNING step_id", (workflow_id,)
    )
    return bool(again or list(freed))


async def _last(db: aiosqlite.Connection, table: str) -> int:
    return int(next(iter(await db.execute_fetchall(f"SELECT coalesce(max(id), 0) FROM {table}")))[0])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
