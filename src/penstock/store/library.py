"""Rows of library users: a workflow without a daemon, materials they bring, jobs that they calculate themselves.

All of it inside the caller's transaction. A job of a library user is one that has a `method`; it never becomes
`ready`, so that no daemon ever takes it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.domain.calculation import Structure
from penstock.domain.context import LIBRARY, Context
from penstock.domain.states import PUBLIC_STATUS, JobState
from penstock.store.events import Event
from penstock.store.rows import WORKFLOW_COLUMNS, WorkflowRow
from penstock.store.sharing import SHARED_INDEXES, TAKE_FILES, TAKE_OVER, TAKE_PROPERTIES
from penstock.store.workflow_store import timestamp

STEP: Final = "calculate"
MATERIAL_INDEX: Final = "CREATE INDEX IF NOT EXISTS job_material ON job (material_id)"
_STRUCTURE: Final = (
    "json_array(j.orig_index, j.source_line, m.name, j.elements, j.natoms, j.charge, j.spin, j.geometry, j.deck)"
)
_FROM_JOB: Final = f"(SELECT {_STRUCTURE} FROM job j WHERE j.material_id = m.id ORDER BY j.id LIMIT 1)"
_MATERIALS: Final = f"""
    SELECT m.id, m.workflow_id, m.name, m.key, coalesce(m.structure, {_STRUCTURE})
    FROM material m LEFT JOIN (SELECT material_id, min(id) AS id FROM job GROUP BY material_id) f
    ON f.material_id = m.id AND m.structure IS NULL LEFT JOIN job j ON j.id = f.id
    WHERE m.namespace = ? ORDER BY m.id
"""
_decoder: Final = msgspec.json.Decoder(Structure)


class MaterialRow(NamedTuple):
    """A material: what it is, and the workflow that brought it. `key` where results are shared."""

    id: int
    workflow_id: str
    name: str
    key: str | None
    structure: Structure


# ---- workflows ------------------------------------------------------------------------------------------------------


def insert_workflow(db: sqlite3.Connection, row: WorkflowRow, context: Context) -> bool:
    """Records a library user's workflow with its one step; False, and nothing is done, where it is there already."""
    for index in (MATERIAL_INDEX, *(SHARED_INDEXES if context.shares_database else ())):
        db.execute(index)
    fields = msgspec.structs.astuple(row)
    marks = ",".join("?" * len(fields))
    made = db.execute(f"INSERT OR IGNORE INTO workflow ({WORKFLOW_COLUMNS}) VALUES ({marks})", fields).rowcount == 1
    if made:
        db.execute(
            "INSERT INTO step (workflow_id, key, kind, state) VALUES (?, ?, ?, 'running')",
            (row.workflow_id, STEP, LIBRARY),
        )
        append_events(db, row.workflow_id, [Event("workflow_created", 0, {"recipe": row.recipe})])
    return made


def find_daemon(db: sqlite3.Connection, workflow_id: str) -> str | None:
    """Who works on it, JSON; None where nobody ever did. KeyError when there is no such workflow."""
    row = db.execute("SELECT daemon FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    if row is None:
        raise KeyError(workflow_id)
    return None if row[0] is None else str(row[0])


# ---- materials ------------------------------------------------------------------------------------------------------


def list_materials(db: sqlite3.Connection, namespace: str) -> list[MaterialRow]:
    """All materials of a namespace, the oldest first."""
    return [_material(row) for row in db.execute(_MATERIALS, (namespace,))]


def count_materials(db: sqlite3.Connection, namespace: str) -> int:
    """How many materials a namespace has."""
    return int(db.execute("SELECT count(*) FROM material WHERE namespace = ?", (namespace,)).fetchone()[0])


def find_materials(db: sqlite3.Connection, namespace: str, name: str) -> list[MaterialRow]:
    """Those of that name, the oldest first: several where several workflows brought it, or a source repeats it."""
    rows = db.execute(
        f"SELECT m.id, m.workflow_id, m.name, m.key, coalesce(m.structure, {_FROM_JOB}) "
        "FROM material m WHERE m.namespace = ? AND m.name = ? ORDER BY m.id",
        (namespace, name),
    )
    return [_material(row) for row in rows]


def insert_material(db: sqlite3.Connection, context: Context, structure: Structure, key: str | None) -> int:
    """A material of this workflow, brought by hand; returns its number."""
    cursor = db.execute(
        "INSERT INTO material (workflow_id, namespace, name, step_id, source_index, key, structure) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            context.workflow_id,
            context.namespace,
            structure.name,
            _step_id(db, context.workflow_id),
            structure.orig_index,
            key,
            msgspec.json.encode(structure).decode(),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def next_index(db: sqlite3.Connection, workflow_id: str) -> int:
    """The number that the workflow's next structure has in its source."""
    found = db.execute(
        "SELECT coalesce(max(source_index), -1) + 1 FROM material WHERE workflow_id = ?", (workflow_id,)
    ).fetchone()
    return int(found[0])


def _material(row: tuple[Any, ...]) -> MaterialRow:
    id_, workflow_id, name, key, structure = row
    return MaterialRow(id_, workflow_id, name, key, _decoder.decode(structure))


def _step_id(db: sqlite3.Connection, workflow_id: str) -> int:
    """The step that begins from structures."""
    found = db.execute(
        "SELECT id FROM step WHERE workflow_id = ? AND after IS NULL ORDER BY id LIMIT 1", (workflow_id,)
    ).fetchone()
    if found is None:
        found = (
            db.execute(
                "INSERT INTO step (workflow_id, key, kind, state) VALUES (?, ?, ?, 'running')",
                (workflow_id, STEP, LIBRARY),
            ).lastrowid,
        )
    return int(found[0])


# ---- jobs -----------------------------------------------------------------------------------------------------------


def find_jobs(db: sqlite3.Connection, workflow_id: str, material_id: int, method: str) -> list[int]:
    """The workflow's jobs that calculate a material in that way."""
    rows = db.execute(
        "SELECT id FROM job WHERE material_id = ? AND workflow_id = ? AND method = ? ORDER BY id",
        (material_id, workflow_id, method),
    )
    return [job for (job,) in rows]


def insert_job(
    db: sqlite3.Connection, context: Context, material: MaterialRow, method: str, calculation: str | None
) -> int:
    """A job for a material of this workflow, which waits for whoever made it; returns its number."""
    structure, stamp = material.structure, timestamp()
    cursor = db.execute(
        "INSERT INTO job (orig_index, source_line, name, elements, natoms, charge, spin, geometry, deck, status, "
        "state, created_at, updated_at, workflow_id, step_id, material_id, method, calculation) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready', 'held', ?, ?, ?, ?, ?, ?, ?)",
        (
            *msgspec.structs.astuple(structure),
            *(stamp, stamp, context.workflow_id, _step_id(db, context.workflow_id), material.id, method, calculation),
        ),
    )
    assert cursor.lastrowid is not None
    if _counts_waiting(db, context.workflow_id):
        shift_tally(db, context.workflow_id, {JobState.HELD: 1})
    engine = json.loads(method)["engine"]
    append_events(db, context.workflow_id, [Event("job_added", cursor.lastrowid, {"engine": engine})])
    return cursor.lastrowid


def end_job(
    db: sqlite3.Connection, context: Context, job_id: int, state: JobState, columns: Mapping[str, Any], event: Event
) -> None:
    """Sets state and columns of a job, the tally and its history with it."""
    (before,) = db.execute("SELECT state FROM job WHERE id = ?", (job_id,)).fetchone()
    values = {"state": state, "status": PUBLIC_STATUS[state], "updated_at": timestamp(), **columns}
    assignments = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE job SET {assignments} WHERE id = ?", (*values.values(), job_id))
    if before != state:
        _count(db, context.workflow_id, JobState(before), state)
    append_events(db, context.workflow_id, [event])


def find_result(db: sqlite3.Connection, key: str, except_for: int = 0) -> int | None:
    """A completed job of any workflow with that key, and by the parameters that the key is of.

    One that was calculated goes before a copy.
    """
    found = db.execute(
        "SELECT id FROM job WHERE calculation = ? AND id != ? AND state = 'completed' AND parameters IS NULL "
        "ORDER BY origin IS NOT NULL, id",
        (key, except_for),
    ).fetchone()
    return None if found is None else int(found[0])


def is_completed(db: sqlite3.Connection, job_id: int) -> bool:
    """Whether a job has a good result."""
    return bool(db.execute("SELECT 1 FROM job WHERE id = ? AND state = 'completed'", (job_id,)).fetchone())


def take_over(db: sqlite3.Connection, context: Context, job_id: int, other: int) -> None:
    """Another workflow's result becomes this job's too; `origin` says whose it is, its files stay where they are."""
    db.execute(TAKE_OVER, (timestamp(), job_id, other))
    for sql in (TAKE_PROPERTIES, TAKE_FILES):
        db.execute(sql, (job_id, context.workflow_id, other))
    _count(db, context.workflow_id, JobState.HELD, JobState.COMPLETED)
    workflow, energy = db.execute("SELECT workflow_id, final_energy FROM job WHERE id = ?", (other,)).fetchone()
    data = {"workflow": workflow, "of_job": other, "energy_hartree": energy}
    append_events(db, context.workflow_id, [Event("job_reused", job_id, data)])


def set_properties(db: sqlite3.Connection, context: Context, job_id: int, properties: Mapping[str, str]) -> None:
    """Properties of a job by name (JSON), in the place of those of the same names."""
    db.executemany(
        "INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value) VALUES (?, ?, ?, 0, ?)",
        [(job_id, name, context.workflow_id, value) for name, value in properties.items()],
    )


def add_files(db: sqlite3.Connection, context: Context, job_id: int, paths: Sequence[tuple[str, int]]) -> None:
    """Files of a job (path relative to the workflow's directory, bytes), those that are known already updated."""
    for path, size in paths:
        known = db.execute("UPDATE file SET bytes = ? WHERE job_id = ? AND path = ?", (size, job_id, path)).rowcount
        if not known:
            db.execute(
                "INSERT INTO file (workflow_id, job_id, attempt, role, path, bytes) VALUES (?, ?, 0, 'output', ?, ?)",
                (context.workflow_id, job_id, path, size),
            )


# ---- what goes with every change ------------------------------------------------------------------------------------


def _counts_waiting(db: sqlite3.Connection, workflow_id: str) -> bool:
    """Whether jobs without a result count: in a daemon's workflow they do not, since it would wait for them."""
    (recipe,) = db.execute("SELECT recipe FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    return bool(recipe == LIBRARY)


def _count(db: sqlite3.Connection, workflow_id: str, before: JobState, after: JobState) -> None:
    shift = {after: 1}
    if before is not JobState.HELD or _counts_waiting(db, workflow_id):
        shift[before] = -1
    shift_tally(db, workflow_id, shift)


def shift_tally(db: sqlite3.Connection, workflow_id: str, shift: Mapping[JobState, int]) -> None:
    """Jobs counted by state, changed by `shift`."""
    db.executemany(
        "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
        [(workflow_id, state, change) for state, change in shift.items()],
    )


def append_events(db: sqlite3.Connection, workflow_id: str, events: Sequence[Event]) -> None:
    """Adds to the history."""
    now = time.time()
    db.executemany(
        "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, ?, ?, ?, ?)",
        [(workflow_id, now, event.kind, event.job_id, msgspec.json.encode(event.data).decode()) for event in events],
    )
