"""Questions people ask of a workflow's database, each on a short read-only connection of its own."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import NotFoundError, StoreError
from penstock.domain.views import AttemptInfo, EventInfo, JobInfo, RejectedInfo, Selection, Statistic
from penstock.store.connection import reading
from penstock.store.events import describe
from penstock.store.selection import order_by, where_selected

_JOB_COLUMNS: Final = ", ".join(field.name for field in msgspec.structs.fields(JobInfo))
_ATTEMPT_COLUMNS: Final = ", ".join(field.name for field in msgspec.structs.fields(AttemptInfo))
_FAILED: Final = "status IN ('failed', 'timeout')"
PAGE_MAX: Final = 10_000


class JobRecord(msgspec.Struct, frozen=True):
    """Everything the database holds on one job."""

    job: JobInfo
    geometry: str
    final_geometry: str | None
    not_before: float | None
    blamed: int
    blameless: int
    attempts: tuple[AttemptInfo, ...]
    properties: dict[str, Any]
    files: tuple[str, ...]
    events: tuple[EventInfo, ...]
    parent: JobInfo | None = None  # the job that it goes on from
    awaited: tuple[str, int] | None = None  # workflow and number of the job that calculates the same
    units: dict[str, str] = {}  # of properties whose names do not say it
    made_from: int | None = None  # the job whose result it was made from
    label: dict[str, Any] = {}  # what its recipe made it with


class CampaignSummary(msgspec.Struct, frozen=True):
    """Failure classes and statistics of the completed jobs."""

    failures: dict[str, int]
    energy_hartree: Statistic
    max_force_hartree_per_bohr: Statistic
    scf_cycles: Statistic
    wall_time_s: Statistic


def list_jobs(
    database: Path, workflow_id: str, selection: Selection, *, limit: int, offset: int, order: str
) -> tuple[list[JobInfo], int]:
    """A page of jobs, and how many the selection holds in all."""
    where = where_selected(workflow_id, selection)
    sorting = order_by(order)
    with reading(database) as db:
        if selection == Selection():  # a million rows are not counted for one page of them
            count = db.execute("SELECT coalesce(sum(jobs), 0) FROM tally WHERE workflow_id = ?", (workflow_id,))
        else:
            count = db.execute(f"SELECT count(*) FROM job WHERE {where.sql}", where.parameters)
        total = count.fetchone()[0]
        rows = db.execute(
            f"SELECT {_JOB_COLUMNS} FROM job WHERE {where.sql} {sorting} LIMIT ? OFFSET ?",
            (*where.parameters, max(0, min(limit, PAGE_MAX)), max(0, offset)),
        ).fetchall()
    return [_job(row) for row in rows], total


def recent_failures(database: Path, workflow_id: str, limit: int) -> list[JobInfo]:
    """The jobs that failed last."""
    with reading(database) as db:
        rows = db.execute(
            f"SELECT {_JOB_COLUMNS} FROM job WHERE workflow_id = ? AND {_FAILED} "
            "ORDER BY updated_at DESC, id DESC LIMIT ?",
            (workflow_id, limit),
        ).fetchall()
    return [_job(row) for row in rows]


def list_rejected(database: Path, workflow_id: str, limit: int) -> list[RejectedInfo]:
    """Records of the source that could not be taken in."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT orig_index, line, reason FROM rejected WHERE workflow_id = ? ORDER BY id LIMIT ?",
            (workflow_id, limit),
        ).fetchall()
    return [RejectedInfo(*row) for row in rows]


def load_job(database: Path, directory: Path, workflow_id: str, job_id: int) -> JobRecord:
    """Everything on one job; NotFoundError when there is none. `directory` is the workflow's."""
    with reading(database) as db:
        row = db.execute(
            f"SELECT {_JOB_COLUMNS}, geometry, final_geometry, not_before, blamed, blameless, parent_id, "
            "unfolded_from, label FROM job WHERE id = ? AND workflow_id = ?",
            (job_id, workflow_id),
        ).fetchone()
        if row is None:
            raise NotFoundError(f"workflow {workflow_id} has no job {job_id}; see 'penstockctl jobs {workflow_id}'")
        *job, geometry, final_geometry, not_before, blamed, blameless, parent_id, made_from, label = row
        parent = db.execute(f"SELECT {_JOB_COLUMNS} FROM job WHERE id = ?", (parent_id,)).fetchone()
        awaited = db.execute(_AWAITED, (job_id,)).fetchone()
        attempts = db.execute(
            f"SELECT {_ATTEMPT_COLUMNS} FROM attempt WHERE job_id = ? ORDER BY number",
            (job_id,),
        ).fetchall()
        properties = db.execute(
            "SELECT name, value, unit FROM property WHERE job_id = ? ORDER BY name", (job_id,)
        ).fetchall()
        files = db.execute("SELECT path FROM file WHERE job_id = ? ORDER BY id", (job_id,)).fetchall()
        events = db.execute(f"{_EVENTS} WHERE job_id = ? AND job_id > 0 ORDER BY seq", (job_id,)).fetchall()
    return JobRecord(
        _job(job),
        geometry,
        final_geometry,
        not_before,
        blamed,
        blameless,
        tuple(_attempt(row, directory) for row in attempts),
        {name: msgspec.json.decode(value) for name, value, _ in properties},
        tuple(os.path.normpath(directory / path) for (path,) in files),
        tuple(map(_event, events)),
        _job(parent) if parent else None,
        awaited,
        {name: unit for name, _, unit in properties if unit},
        made_from,
        msgspec.json.decode(label) if label else {},
    )


def load_spec(database: Path, workflow_id: str) -> str:
    """The workflow's resolved spec, JSON."""
    with reading(database) as db:
        return str(_row_of(db, database, workflow_id, "spec"))


def load_state(database: Path, workflow_id: str) -> tuple[str, dict[str, int]]:
    """The workflow's state, and its jobs counted by theirs."""
    with reading(database) as db:
        state = _row_of(db, database, workflow_id, "state")
        tally = db.execute("SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs", (workflow_id,)).fetchall()
    return str(state), dict(tally)


def _row_of(db: sqlite3.Connection, database: Path, workflow_id: str, column: str) -> Any:
    row = db.execute(f"SELECT {column} FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    if row is None:
        raise StoreError(f"{database} holds no workflow {workflow_id!r}; restore it from a backup", healable=False)
    return row[0]


def list_states(database: Path) -> dict[str, str]:
    """The state of every workflow in a database, by its name."""
    with reading(database) as db:
        return dict(db.execute("SELECT workflow_id, state FROM workflow").fetchall())


def is_submission_open(database: Path, workflow_id: str, ulid: str) -> bool:
    """Whether the end of some attempt of a submission is not recorded yet."""
    with reading(database) as db:
        row = db.execute("SELECT state FROM submission WHERE workflow_id = ? AND ulid = ?", (workflow_id, ulid))
        return any(state == "open" for (state,) in row)


def events_since(database: Path, workflow_id: str, seq: int, limit: int) -> list[EventInfo]:
    """The history after event number `seq`, oldest first."""
    with reading(database) as db:
        rows = db.execute(
            f"{_EVENTS} WHERE seq > ? AND workflow_id = ? ORDER BY seq LIMIT ?", (seq, workflow_id, limit)
        ).fetchall()
    return [_event(row) for row in rows]


def summarize(database: Path, workflow_id: str) -> CampaignSummary:
    """Failure classes, and mean, median, least and greatest of what completed jobs measured."""
    with reading(database) as db:
        failures = db.execute(
            "SELECT coalesce(failure, 'unknown'), count(*) FROM job WHERE workflow_id = ? "
            f"AND {_FAILED} GROUP BY 1 ORDER BY 2 DESC, 1",
            (workflow_id,),
        ).fetchall()
        return CampaignSummary(
            dict(failures),
            _statistic(db, workflow_id, "final_energy"),
            _statistic(db, workflow_id, "max_forces"),
            _statistic(db, workflow_id, "scf_steps"),
            _statistic(db, workflow_id, "wall_time_s"),
        )


def _statistic(db: sqlite3.Connection, workflow_id: str, column: str) -> Statistic:
    completed = f"FROM job WHERE workflow_id = ? AND status = 'completed' AND {column} IS NOT NULL"
    count, mean, least, greatest = db.execute(
        f"SELECT count(*), avg({column}), min({column}), max({column}) {completed}", (workflow_id,)
    ).fetchone()
    middle = db.execute(
        f"SELECT avg({column}) FROM (SELECT {column} {completed} ORDER BY {column} LIMIT ? OFFSET ?)",
        (workflow_id, 2 - count % 2, max((count - 1) // 2, 0)),
    ).fetchone()[0]
    return Statistic(count, mean, middle, least, greatest)


_AWAITED: Final = """
    SELECT o.workflow_id, o.id FROM job j JOIN job o ON o.id = j.awaits WHERE j.id = ? AND j.state = 'waiting'
"""
_EVENTS: Final = "SELECT workflow_id, seq, at, kind, job_id, data FROM event"


def _event(row: tuple[Any, ...]) -> EventInfo:
    workflow_id, seq, at, kind, job_id, data = row
    decoded = msgspec.json.decode(data)
    return EventInfo(workflow_id, seq, at, kind, job_id, describe(kind, decoded), decoded)


def _job(row: Any) -> JobInfo:
    values = dict(zip(JobInfo.__struct_fields__, row, strict=True))
    values["never_rerun"] = bool(values["never_rerun"])
    values["origin"] = msgspec.json.decode(values["origin"]) if values["origin"] else None
    return JobInfo(**values)


def _attempt(row: Any, directory: Path) -> AttemptInfo:
    values = dict(zip(AttemptInfo.__struct_fields__, row, strict=True))
    values["directory"] = str(directory / values["directory"])
    for name in ("remedy", "evidence"):
        values[name] = msgspec.json.decode(values[name]) if values[name] else None
    return AttemptInfo(**values)
