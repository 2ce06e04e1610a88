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

_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(ENDED))
NOT_UNFOLDED: Final = Where("NOT EXISTS (SELECT 1 FROM unfolding u WHERE u.parent_id = job.id AND u.jobs > 0)")
"""Jobs whose result others were made of stay as they are: what was made of it would be of something else."""
FAILED_CONCLUSIONS: Final = """
    SELECT s.key, c.name, c.failure FROM conclusion c JOIN step s ON s.id = c.step_id
    WHERE c.workflow_id = ? AND c.failure IS NOT NULL ORDER BY c.subject, c.step_id
"""
"""Step, subject and reason of what could not be concluded."""
_UNFOLDABLE: Final = """
    SELECT j.id FROM job j WHERE j.workflow_id = ?1 AND j.step_id = ?2 AND j.state = 'completed'
        AND j.subject IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM unfolding u WHERE u.step_id = ?3 AND u.parent_id = j.id)
    ORDER BY j.id LIMIT ?4
"""
_CONCLUDABLE: Final = f"""
    SELECT j.subject FROM job j WHERE j.workflow_id = ?1 AND j.subject > 0
        AND NOT EXISTS (SELECT 1 FROM conclusion c WHERE c.step_id = ?2 AND c.subject = j.subject)
    GROUP BY j.subject HAVING max(j.state NOT IN ({_ENDED})) = 0 ORDER BY j.subject LIMIT ?3
"""
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
    """What the result of a job (0: all results together) was turned into, or why into nothing."""

    parent: int
    attempt: int | None  # of the parent, that gave the result; None: whichever
    jobs: list[NewJob]
    trouble: str | None = None


class Drawn(msgspec.Struct, frozen=True, array_like=True):
    """What was concluded of a subject (0: of all together) when its jobs were `seen`: id and attempt of each.

    None: whatever they were.
    """

    subject: int
    conclusion: Conclusion
    seen: list[tuple[int, int]] | None


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
    parent = await _parent(db, workflow_id, unfolding)
    if parent is None:
        return Amendment()
    subject, orig_index, line, namespace = parent
    known = {
        row[0]
        for row in await db.execute_fetchall(
            "SELECT name FROM job WHERE step_id = ? AND unfolded_from IS ?", (step.id, unfolding.parent or None)
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


async def _parent(db: aiosqlite.Connection, workflow_id: str, unfolding: Unfolding) -> tuple[int, int, int, str] | None:
    """Subject, place in the source and namespace of the job that is unfolded; None where its result is gone."""
    if not unfolding.parent:
        ((namespace,),) = await db.execute_fetchall(
            "SELECT namespace FROM workflow WHERE workflow_id = ?", (workflow_id,)
        )
        return 0, 0, 0, namespace
    rows = list(
        await db.execute_fetchall(
            "SELECT j.subject, j.orig_index, j.source_line, w.namespace FROM job j "
            "JOIN workflow w ON w.workflow_id = j.workflow_id "
            "WHERE j.id = ?1 AND j.state = 'completed' AND j.attempts = coalesce(?2, j.attempts)",
            (unfolding.parent, unfolding.attempt),
        )
    )
    return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None


async def conclude(
    db: aiosqlite.Connection, workflow_id: str, step: DerivedStep, drawn: Drawn, stamp: str
) -> Amendment:
    """What was concluded becomes part of the results, unless the jobs it rests on have begun anew meanwhile."""
    if drawn.seen is not None and not await _is_as_seen(db, workflow_id, drawn.subject, drawn.seen):
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
    db: aiosqlite.Connection, workflow_id: str, subject: int, seen: Sequence[tuple[int, int]]
) -> bool:
    condition = "subject = ?2" if subject else "subject IS NOT NULL AND ?2 = 0"
    now = await db.execute_fetchall(
        f"SELECT id, attempts, state IN ({_ENDED}) FROM job WHERE workflow_id = ?1 AND {condition} ORDER BY id",
        (workflow_id, subject),
    )
    return [(job, attempt, 1) for job, attempt in seen] == [tuple(row) for row in now]


async def _name(db: aiosqlite.Connection, subject: int) -> str:
    rows = list(await db.execute_fetchall("SELECT name FROM material WHERE id = ?", (subject,)))
    return rows[0][0] if rows else WHOLE


async def _forget(db: aiosqlite.Connection, step_id: int, subject: int) -> None:
    for table in ("result", "conclusion"):
        await db.execute(f"DELETE FROM {table} WHERE step_id = ? AND subject = ?", (step_id, subject))


async def forget_conclusions(db: aiosqlite.Connection, workflow_id: str, jobs: Sequence[int]) -> None:
    """What was derived from jobs that begin anew does not count any more; jobs that were made of it stay."""
    for table in ("result", "conclusion"):
        await db.execute(
            f"DELETE FROM {table} WHERE workflow_id = ?1 AND (subject = 0 OR subject IN "
            "(SELECT j.subject FROM job j JOIN json_each(?2) e ON e.value = j.id))",
            (workflow_id, as_array(jobs)),
        )
    await db.execute(
        "DELETE FROM unfolding WHERE workflow_id = ?1 AND (parent_id = 0 OR parent_id IN "
        "(SELECT value FROM json_each(?2)))",
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
    failed = "" if everything else " AND (trouble IS NOT NULL OR parent_id = 0)"
    freed = await db.execute_fetchall(
        f"DELETE FROM unfolding WHERE workflow_id = ?{failed} RETURNING step_id", (workflow_id,)
    )
    return bool(again or list(freed))


async def _last(db: aiosqlite.Connection, table: str) -> int:
    return int(next(iter(await db.execute_fetchall(f"SELECT coalesce(max(id), 0) FROM {table}")))[0])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
