"""What a review of job directories looks for, and what comes of what it found: each run of jobs in one transaction.

A review reads outputs again beside the workflow's work. What it found counts only where the job's row is still as it
was when the review looked, so that a job which has begun meanwhile is never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.calculation import Outcome
from penstock.domain.ids import new_ulid
from penstock.domain.states import ACTIVE, PUBLIC_STATUS, JobState
from penstock.store.events import Event
from penstock.store.rows import job_directory
from penstock.store.selection import Where, as_array, in_states

Fetch = Callable[[str, Sequence[Any]], Awaitable[list[tuple[Any, ...]]]]

AT_REST: Final = (
    JobState.READY,
    JobState.HELD,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.CANCELLED,
    JobState.SKIPPED,
)
"""Jobs without a result and without an attempt that may live."""
VANISHED: Final = "its outputs vanished"


class ReviewKind(StrEnum):
    """What job directories are looked through for."""

    RESCAN = "rescan"  # successes that the rows do not know
    RECOMPUTE = "recompute_metrics"  # metrics, read again
    RESET_MISSING = "reset_missing"  # completed jobs whose outputs are gone


class Look(msgspec.Struct, frozen=True, array_like=True):
    """A job to look at: its row's number of attempts, and its directory, relative to the workflow's.

    A rescan looks through all attempts in the job's directory, anything else into that of the attempt which counts.
    `exits`: of attempts that were seen to end badly, by number: exit code, signal, when. `aside`: attempts whose
    success was known, and set aside by a person who wanted another. `elsewhere`: of attempts that another tool made in
    directories of its own, by number: the directory (absolute) and the name of the output, where it is known.
    """

    job: int
    attempts: int
    directory: str
    exits: dict[int, tuple[int | None, int | None, float]] = {}
    aside: list[int] = []
    parameters: str | None = None  # the engine's, JSON, where they are not those of the workflow
    elsewhere: dict[int, tuple[str, str | None]] = {}


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What was found of a job: `found`, or why not in a word or two (`reason`, for counting) and in full (`detail`).

    `highest` is the number of the newest attempt's directory on disk, `number` that of the attempt `outcome` is of, and
    `outcome_directory` where that is.
    """

    job: int
    attempts: int
    directory: str
    found: bool
    highest: int = 0
    number: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    detail: str = ""
    outcome_directory: str = ""


class Amendment(msgspec.Struct, frozen=True):
    """What a change of rows comes to: its events, how jobs moved between states, and the jobs it was about."""

    events: list[Event] = []
    shift: Mapping[str, int] = {}
    changed: list[int] = []
    unchanged: list[int] = []
    moved_on: list[int] = []  # their rows are not as they were when the review looked


_PARAMETERS: Final = "coalesce(parameters, (SELECT s.parameters FROM step s WHERE s.id = step_id))"

# ---- which jobs -----------------------------------------------------------------------------------------------------


def where_looked(kind: ReviewKind) -> Where:
    """The jobs that a review of this kind looks at."""
    match kind:
        case ReviewKind.RESCAN:
            return in_states(*AT_REST)
        case ReviewKind.RECOMPUTE:
            return in_states(JobState.COMPLETED) & Where("origin IS NULL")
        case ReviewKind.RESET_MISSING:
            return in_states(JobState.COMPLETED) & Where("never_rerun = 0")


def where_barred(kind: ReviewKind) -> tuple[str, Where | None]:
    """The jobs that a review of this kind would look at, were it not for the reason."""
    match kind:
        case ReviewKind.RESCAN:
            return "active", in_states(*ACTIVE)
        case ReviewKind.RECOMPUTE:
            return "taken over from another workflow", in_states(JobState.COMPLETED) & Where("origin IS NOT NULL")
        case ReviewKind.RESET_MISSING:
            return "marked never-rerun", in_states(JobState.COMPLETED) & Where("never_rerun = 1")


async def page(fetch: Fetch, kind: ReviewKind, where: Where, after: int, limit: int) -> list[Look]:
    """The next jobs that `where` holds, in order of their ids, from beyond `after` on."""
    rows = await fetch(
        f"SELECT id, attempts, job_dir, {_PARAMETERS} FROM job WHERE id > ? AND {where.sql} ORDER BY id LIMIT ?",
        [after, *where.parameters, limit],
    )
    elsewhere = await _elsewhere(fetch, [row[0] for row in rows])
    if kind is not ReviewKind.RESCAN:
        return [
            Look(job, attempts, directory or _attempt(job, attempts), {}, [], parameters, elsewhere.get(job, {}))
            for job, attempts, directory, parameters in rows
        ]
    looks = {
        job: Look(job, attempts, job_directory(job), {}, [], own, elsewhere.get(job, {}))
        for job, attempts, _, own in rows
    }
    known = await fetch(
        "SELECT job_id, number, state, exit_code, exit_signal, ended_at FROM attempt "
        "WHERE job_id IN (SELECT value FROM json_each(?)) "
        "AND (exit_signal IS NOT NULL OR exit_code != 0 OR (state = 'completed' AND message IS NULL))",
        [as_array(looks)],
    )
    for job, number, state, code, signal, ended_at in known:
        if state == "completed":
            looks[job].aside.append(number)
        else:
            looks[job].exits[number] = (code, signal, ended_at or 0.0)
    return list(looks.values())


async def _elsewhere(fetch: Fetch, jobs: Sequence[int]) -> dict[int, dict[int, tuple[str, str | None]]]:
    """By job, its attempts in directories that are not the workflow's."""
    found: dict[int, dict[int, tuple[str, str | None]]] = {}
    rows = await fetch(
        "SELECT job_id, number, directory, output FROM attempt "
        "WHERE job_id IN (SELECT value FROM json_each(?)) AND substr(directory, 1, 1) = '/'",
        [as_array(jobs)],
    )
    for job, number, directory, output in rows:
        found.setdefault(job, {})[number] = (directory, output)
    return found


# ---- what comes of it -----------------------------------------------------------------------------------------------


async def adopt(
    db: aiosqlite.Connection, workflow_id: str, cluster: str, seen: Sequence[Seen], now: float, stamp: str
) -> Amendment:
    """Jobs whose success was found are completed; of all, no later attempt ever uses a directory that exists."""
    states = await _as_they_were(db, seen, AT_REST, directories=False)
    fresh = [s for s in seen if s.job in states]
    found = [(s, s.outcome) for s in fresh if s.found and s.outcome is not None]
    await db.executemany(
        "UPDATE job SET attempts = ? WHERE id = ? AND attempts < ?",
        [(s.highest, s.job, s.highest) for s in fresh if s.highest > s.attempts],
    )
    await _record_attempts(db, workflow_id, cluster, found, now)
    await db.executemany(
        "UPDATE job SET state = 'completed', status = 'completed', job_dir = ?, failure = NULL, error_message = NULL, "
        "not_before = NULL, cancel_requested = 0, wall_time_s = (SELECT a.ended_at - a.started_at FROM attempt a "
        f"WHERE a.job_id = job.id AND a.number = ?), {_METRICS} WHERE id = ?",
        [(_of_outcome(s), s.number, *_metrics(outcome, stamp), s.job) for s, outcome in found],
    )
    await _keep_outputs(db, workflow_id, found)
    shift = Counter[str]()
    shift.subtract(states[s.job] for s, _ in found)
    shift[JobState.COMPLETED] += len(found)
    events = [Event("job_adopted", s.job, _adoption(s, outcome)) for s, outcome in found]
    return Amendment(events, shift, [s.job for s, _ in found], [], [s.job for s in seen if s.job not in states])


async def recompute(db: aiosqlite.Connection, workflow_id: str, seen: Sequence[Seen], stamp: str) -> Amendment:
    """Completed jobs get what their outputs say now; those of which they say the same as before stay untouched."""
    found = [(s, s.outcome) for s in seen if s.found and s.outcome is not None]
    states = await _as_they_were(db, [s for s, _ in found], (JobState.COMPLETED,), directories=True)
    before = await _recorded(db, list(states))
    kept = [(s, outcome) for s, outcome in found if s.job in states]
    changed = [(s, outcome) for s, outcome in kept if before[s.job] != _content(outcome)]
    await db.executemany(
        f"UPDATE job SET {_METRICS} WHERE id = ?", [(*_metrics(outcome, stamp), s.job) for s, outcome in changed]
    )
    await _keep_outputs(db, workflow_id, changed)
    events = [Event("metrics_recomputed", s.job, _news(s, outcome, before[s.job])) for s, outcome in changed]
    altered = {s.job for s, _ in changed}
    return Amendment(
        events,
        {},
        list(altered),
        [s.job for s, _ in kept if s.job not in altered],
        [s.job for s, _ in found if s.job not in states],
    )


async def reset_missing(db: aiosqlite.Connection, seen: Sequence[Seen], stamp: str) -> Amendment:
    """Completed jobs whose outputs are gone are ready again; their attempts say why."""
    found = [s for s in seen if s.found]
    states = await _as_they_were(db, found, (JobState.COMPLETED,), directories=True)
    jobs = [s.job for s in found if s.job in states]
    moved_on = [s.job for s in found if s.job not in states]
    if not jobs:
        return Amendment(moved_on=moved_on)
    chosen = "IN (SELECT value FROM json_each(?))"
    for table in ("property", "file"):
        await db.execute(f"DELETE FROM {table} WHERE job_id {chosen}", [as_array(jobs)])
    await db.execute(
        f"UPDATE attempt SET message = ? WHERE state = 'completed' AND job_id {chosen}", [VANISHED, as_array(jobs)]
    )
    await db.execute(
        f"UPDATE job SET state = 'ready', status = 'ready', updated_at = ?{CLEARED} WHERE id {chosen}",
        [stamp, as_array(jobs)],
    )
    shift: dict[str, int] = {JobState.COMPLETED: -len(jobs), JobState.READY: len(jobs)}
    event = Event("jobs_reset", 0, {"jobs": len(jobs), "reason": "their outputs vanished"})
    return Amendment([event], shift, jobs, [], moved_on)


# ---- a person's word ------------------------------------------------------------------------------------------------


async def set_job(
    db: aiosqlite.Connection, job: int, state: JobState | None, columns: Mapping[str, Any], event: Event
) -> Amendment:
    """Sets a job's state and columns; the caller has made sure that it may be done.

    `moved_on` holds the job if it is active now, and nothing was done then.
    """
    rows = list(await db.execute_fetchall("SELECT state FROM job WHERE id = ?", [job]))
    before = JobState(rows[0][0])
    if before not in (*AT_REST, JobState.COMPLETED):
        return Amendment(moved_on=[job])
    values = dict(columns)
    shift: dict[str, int] = {}
    if JobState.COMPLETED in (before, state):  # what a person says is no result that others may take over
        values |= {"calculation": None, "origin": None}
    if state is not None:
        values |= {"state": state, "status": PUBLIC_STATUS[state], "not_before": None, "cancel_requested": 0}
        if state is not before:
            shift = {before: -1, state: 1}
    assignments = ", ".join(f"{name} = ?" for name in values)
    await db.execute(f"UPDATE job SET {assignments} WHERE id = ?", [*values.values(), job])
    return Amendment([event], shift, [job])


# ---- rows -----------------------------------------------------------------------------------------------------------

CLEARED: Final = (
    ", failure = NULL, error_message = NULL, blamed = 0, blameless = 0, not_before = NULL, cancel_requested = 0, "
    "final_energy = NULL, max_forces = NULL, scf_steps = NULL, wall_time_s = NULL, final_geometry = NULL, "
    "final_deck = NULL, checkpoint = NULL, resume = NULL, parameters = NULL, remedies = NULL, origin = NULL, "
    "calculation = CASE WHEN state != 'completed' THEN calculation END"
)
"""A job's columns as for a fresh start. Who wants another result than there is gets one of
his own, which nobody takes over."""
_METRICS: Final = (
    "final_energy = ?, max_forces = ?, scf_steps = ?, final_geometry = ?, final_deck = ?, checkpoint = ?, "
    "updated_at = ?"
)


def _adoption(seen: Seen, outcome: Outcome) -> dict[str, Any]:
    directory = _of_outcome(seen)
    return {"attempt": seen.number, "directory": directory, "energy_hartree": outcome.final_energy_hartree}


def _news(seen: Seen, outcome: Outcome, before: tuple[Any, ...]) -> dict[str, Any]:
    energy = outcome.final_energy_hartree
    return {"attempt": seen.number, "energy_hartree": energy, "energy_before_hartree": before[0]}


def _metrics(outcome: Outcome, stamp: str) -> tuple[Any, ...]:
    checkpoint = msgspec.json.encode(outcome.checkpoint).decode() if outcome.checkpoint else None
    return (*_numbers(outcome), outcome.geometry, outcome.deck, checkpoint, stamp)


def _numbers(outcome: Outcome) -> tuple[float | None, float | None, int | None]:
    return outcome.final_energy_hartree, outcome.max_force_hartree_per_bohr, outcome.scf_cycles


def _content(outcome: Outcome) -> tuple[Any, ...]:
    """All that is recorded of a success, as `_recorded` finds it."""
    return (*_numbers(outcome), outcome.geometry, _properties(outcome))


def _properties(outcome: Outcome) -> dict[str, str]:
    return {name: msgspec.json.encode(value).decode() for name, value in outcome.properties.items()}


async def _recorded(db: aiosqlite.Connection, jobs: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """By job: energy, largest force, SCF cycles, final geometry, and the properties by name as JSON."""
    properties: dict[int, dict[str, str]] = {job: {} for job in jobs}
    chosen = "IN (SELECT value FROM json_each(?))"
    for job, name, value in await db.execute_fetchall(
        f"SELECT job_id, name, value FROM property WHERE job_id {chosen}", [as_array(jobs)]
    ):
        properties[job][name] = value
    rows = await db.execute_fetchall(
        f"SELECT id, final_energy, max_forces, scf_steps, final_geometry FROM job WHERE id {chosen}", [as_array(jobs)]
    )
    return {job: (*values, properties[job]) for job, *values in rows}


async def _as_they_were(
    db: aiosqlite.Connection, seen: Sequence[Seen], states: Sequence[JobState], *, directories: bool
) -> dict[int, JobState]:
    """Those of the jobs whose rows are as they were when they were looked at, with their states."""
    looked = {s.job: s for s in seen}
    rows = await db.execute_fetchall(
        "SELECT id, state, attempts, job_dir FROM job WHERE id IN (SELECT value FROM json_each(?))", [as_array(looked)]
    )
    return {
        job: JobState(state)
        for job, state, attempts, directory in rows
        if state in states
        and attempts == looked[job].attempts
        and (not directories or directory in (None, looked[job].directory))
    }


async def _record_attempts(
    db: aiosqlite.Connection, workflow_id: str, cluster: str, found: Sequence[tuple[Seen, Outcome]], now: float
) -> None:
    """Attempts that the database has never heard of become rows, of a submission that is closed from its beginning."""
    if not found:
        return
    ulid = new_ulid(now)
    cursor = await db.executemany(
        "INSERT OR IGNORE INTO attempt (workflow_id, job_id, number, submission, position, directory, state, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, 'completed', ?)",
        [(workflow_id, s.job, s.number, ulid, position, _of_outcome(s), now) for position, (s, _) in enumerate(found)],
    )
    if cursor.rowcount > 0:
        await db.execute(
            "INSERT INTO submission (ulid, workflow_id, cluster, lane, size, state, created_at, closed_at) "
            "VALUES (?, ?, ?, 0, ?, 'closed', ?, ?)",
            [ulid, workflow_id, cluster, cursor.rowcount, now, now],
        )


async def _keep_outputs(db: aiosqlite.Connection, workflow_id: str, found: Sequence[tuple[Seen, Outcome]]) -> None:
    """Properties and files of these results take the place of those there were."""
    if not found:
        return
    jobs = as_array([s.job for s, _ in found])
    for table in ("property", "file"):
        await db.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT value FROM json_each(?))", [jobs])
    await db.executemany(
        "INSERT INTO property (job_id, name, workflow_id, attempt, value) VALUES (?, ?, ?, ?, ?)",
        [
            (s.job, name, workflow_id, s.number, value)
            for s, outcome in found
            for name, value in _properties(outcome).items()
        ],
    )
    await db.executemany(
        "INSERT INTO file (workflow_id, job_id, attempt, role, path) VALUES (?, ?, ?, 'output', ?)",
        [(workflow_id, s.job, s.number, f"{_of_outcome(s)}/{name}") for s, outcome in found for name in outcome.files],
    )


def _of_outcome(seen: Seen) -> str:
    return seen.outcome_directory or _attempt(seen.job, seen.number)


def _attempt(job: int, number: int) -> str:
    return f"{job_directory(job)}/{number}"
