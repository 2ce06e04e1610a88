"""A workflow's rows carried from one database to another: out of a shared one, and into one that others may use."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.context import Mode
from penstock.domain.errors import SpecError, StoreError
from penstock.domain.ids import new_ulid
from penstock.domain.states import ACTIVE, ATTEMPT_ENDED, WorkflowState
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.events import Event
from penstock.store.removal import REMOVE_WORKFLOW
from penstock.store.rows import job_directory
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare, store_errors
from penstock.store.sharing import SHARED_INDEXES

_JOB_PATH: Final = re.compile(r"jobs/\d{4,}/(\d+)(/.*)?", re.DOTALL)
_OWN_ATTEMPT: Final = re.compile(r"([0-9]+)\.([0-9]+)")  # those of others have their workflow before them
_PASSED_ON: Final = (
    "CASE WHEN json_extract({0}, '$.directory') IS NULL THEN {0} "
    "ELSE json_set({0}, '$.directory', moved(json_extract({0}, '$.directory'))) END"
)
_NEW_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "step": {"id": "id + :step"},
    "material": {"id": "id + :material", "step_id": "step_id + :step"},
    "job": {
        "id": "id + :job",
        "step_id": "step_id + :step",
        "material_id": "material_id + :material",
        "parent_id": "parent_id + :job",
        "subject": "iif(subject > 0, subject + :material, subject)",
        "unfolded_from": "unfolded_from + :job",
        "job_dir": "moved(job_dir)",
        "handed": _PASSED_ON.format("handed"),
        "resume": _PASSED_ON.format("resume"),
    },
    "submission": {"ulid": "renamed(ulid)", "step_id": "step_id + :step"},
    "attempt": {"job_id": "job_id + :job", "submission": "renamed(submission)", "directory": "moved(directory)"},
    "property": {"job_id": "job_id + :job"},
    "file": {"id": "NULL", "job_id": "job_id + :job", "path": "moved(path)"},
    "rejected": {"id": "NULL", "step_id": "step_id + :step"},
    "unfolding": {"step_id": "step_id + :step", "parent_id": "iif(parent_id > 0, parent_id + :job, 0)"},
    "conclusion": {"step_id": "step_id + :step", "subject": "iif(subject > 0, subject + :material, 0)"},
    "result": {
        "id": "NULL",
        "step_id": "step_id + :step",
        "subject": "iif(subject > 0, subject + :material, 0)",
        "attempts": "renumbered(attempts)",
    },
    "event": {
        "seq": "NULL",
        "job_id": "CASE WHEN job_id > 0 THEN job_id + :job ELSE job_id END",
        "data": _PASSED_ON.format("data"),
    },
}
_OF_OTHERS: Final = {"id": "NULL", "job_id": "CASE typeof(job_id) WHEN 'integer' THEN job_id + :job ELSE job_id END"}
"""What becomes of the columns that name rows or directories of jobs, when these get other numbers."""


class WorkflowFacts(msgspec.Struct, frozen=True):
    """A workflow's row and its jobs by state, as a database holds them."""

    recipe: str
    state: str
    mode: str
    namespace: str
    spec: dict[str, Any]
    created_at: float
    updated_at: float
    jobs: dict[str, int]
    schema: int
    outside: int  # jobs whose files are in other directories


class Target(msgspec.Struct, frozen=True):
    """What restored rows are to say they are."""

    workflow_id: str
    mode: str
    namespace: str
    daemon: str | None = None  # JSON, a DaemonPlace: who works on it from now on


class Shift(msgspec.Struct, frozen=True):
    """By how much the numbers of rows grew when they came into another database; `jobs` are those there are."""

    job: int = 0
    jobs: list[int] = []


def copy_rows(database: Path, workflow_id: str, target: Path, *, is_shared: bool) -> None:
    """Writes the workflow's rows, as one moment has them, to the new database `target`."""
    with reading(database) as source, store_errors(target):
        if is_shared:
            _copy_own_rows(database, workflow_id, target)
        else:
            with contextlib.closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")


def _copy_own_rows(database: Path, workflow_id: str, target: Path) -> None:
    with open_writer(target, create=True) as db:
        db.execute("ATTACH ? AS source", (str(database),))
        db.execute("BEGIN")
        for table in _tables(db, "main"):
            columns = ", ".join(_columns(db, table))
            db.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table} WHERE workflow_id = ?",
                (workflow_id,),
            )
        db.execute("COMMIT")
        db.execute("DETACH source")
        db.execute("PRAGMA journal_mode = DELETE")


def _tables(db: sqlite3.Connection, schema: str) -> list[str]:
    """Every table whose rows are a workflow's."""
    found = db.execute(
        f"SELECT m.name FROM {schema}.sqlite_master m JOIN pragma_table_info(m.name, ?) c ON c.name = 'workflow_id' "
        "WHERE m.type = 'table' ORDER BY m.name != 'workflow', m.name",
        (schema,),
    )
    return [name for (name,) in found]


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]


def check_copy(database: Path, workflow_id: str) -> WorkflowFacts:
    """What the copy holds, once every page and index of it has been found in order. StoreError when it is not."""
    with store_errors(database), contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        problem = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreError(f"{database} is damaged: {problem}; restore it from a backup", healable=False)
        row = db.execute(
            "SELECT recipe, state, mode, namespace, spec, created_at, updated_at FROM workflow WHERE workflow_id = ?",
            (workflow_id,),
        ).fetchone()
        if row is None:
            raise StoreError(f"{database} holds no workflow {workflow_id!r}", healable=False)
        others = db.execute("SELECT count(*) FROM workflow WHERE workflow_id != ?", (workflow_id,)).fetchone()[0]
        tally = dict(
            db.execute("SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs", (workflow_id,)).fetchall()
        )
        jobs = dict(db.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())
        if others or jobs != tally:
            raise StoreError(f"{database} holds {jobs or 'no jobs'}, but counts {tally}", healable=False)
        recipe, state, mode, namespace, spec, created_at, updated_at = row
        outside = db.execute("SELECT count(*) FROM job WHERE job_dir LIKE '/%' OR job_dir LIKE '../%'").fetchone()[0]
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        return WorkflowFacts(
            *(recipe, state, mode, namespace, msgspec.json.decode(spec), created_at, updated_at, jobs, version),
            outside=outside,
        )


def is_at_rest(database: Path, workflow_id: str) -> str | None:
    """None when nothing of the workflow is under way anywhere, else what is. Without a database nothing is."""
    if not database.is_file():
        return None
    with reading(database) as db:
        states = dict(
            db.execute("SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs", (workflow_id,)).fetchall()
        )
        if active := sum(states.get(state, 0) for state in ACTIVE):
            return f"{active} of its jobs {'is' if active == 1 else 'are'} active"
        ended = ", ".join(f"'{state}'" for state in sorted(ATTEMPT_ENDED))
        alive = db.execute(
            "SELECT count(*) FROM submission s JOIN attempt a ON a.submission = s.ulid "
            f"WHERE s.workflow_id = ? AND s.state = 'open' AND a.state NOT IN ({ended})",
            (workflow_id,),
        ).fetchone()[0]
        return f"{alive} attempts have not ended" if alive else None


# ---- into another database ------------------------------------------------------------------------------------------


def retarget(copy: Path, was: str, target: Target, origin: Mapping[str, Any]) -> None:
    """Makes the rows of the workflow `was`, alone in `copy`, those of `target`; its history says where they came from.

    Unfinished ones are paused. StoreError when this program cannot read the database.
    """
    prepare(copy, load_migrations(WORKFLOW_MIGRATIONS), create=False)
    with open_writer(copy) as db, transaction(db, copy):
        old_namespace = db.execute("SELECT namespace FROM workflow WHERE workflow_id = ?", (was,)).fetchone()[0]
        if was != target.workflow_id:
            for table in _tables(db, "main"):
                db.execute(f"UPDATE {table} SET workflow_id = ? WHERE workflow_id = ?", (target.workflow_id, was))
        if old_namespace != target.namespace:
            db.execute("UPDATE material SET namespace = ? WHERE namespace = ?", (target.namespace, old_namespace))
        if target.mode != Mode.SHARED:  # nobody may take its results for the same as theirs
            db.execute("UPDATE material SET key = NULL")
            db.execute("UPDATE job SET calculation = NULL")
        own = (target.workflow_id,)
        db.execute(
            "UPDATE workflow SET mode = ?, namespace = ?, daemon = ?, "
            "spec = json_set(spec, '$.id', ?, '$.isolation', ?) WHERE workflow_id = ?",
            (target.mode, target.namespace, target.daemon, target.workflow_id, target.mode, *own),
        )
        db.execute(
            "UPDATE workflow SET state = ?, reason = 'restored from an archive' WHERE workflow_id = ? AND state = ?",
            (WorkflowState.PAUSED, *own, WorkflowState.RUNNING),
        )
        _forget_others(db, target.workflow_id)
        # What was to be done at its end was to be done where it was; its own archiving was one of these, maybe.
        db.execute(
            "UPDATE completion SET state = 'dropped' WHERE workflow_id = ? AND state IN ('pending', 'begun', 'held')",
            own,
        )
        db.execute("UPDATE submission SET state = 'closed' WHERE workflow_id = ?", own)
        event = Event("workflow_restored", 0, {"workflow": was, **origin})
        db.execute(
            "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, ?, ?, ?, ?)",
            (*own, time.time(), event.kind, event.job_id, msgspec.json.encode(event.data).decode()),
        )


def _forget_others(db: sqlite3.Connection, workflow_id: str) -> None:
    """Jobs that waited for another workflow's result have nobody to wait for here."""
    freed = db.execute(
        "UPDATE job SET awaits = NULL, state = 'ready', status = 'ready' WHERE awaits IS NOT NULL AND state = 'waiting'"
    ).rowcount
    db.execute("UPDATE job SET awaits = NULL WHERE awaits IS NOT NULL")
    if freed > 0:
        db.execute("UPDATE tally SET jobs = jobs - ? WHERE workflow_id = ? AND state = 'waiting'", (freed, workflow_id))
        db.execute(
            "INSERT INTO tally VALUES (?, 'ready', ?) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
            (workflow_id, freed),
        )


def insert_rows(copy: Path, database: Path, workflow_id: str, *, among_others: bool) -> Shift:
    """Brings all rows of `copy` into `database`, which others use, in one transaction; ids that are taken grow.

    SpecError when a workflow of that id is there already.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with open_writer(database, create=True) as db:
        db.execute("ATTACH ? AS copy", (str(copy),))
        with transaction(db, database):
            if db.execute("SELECT 1 FROM main.workflow WHERE workflow_id = ?", (workflow_id,)).fetchone():
                raise SpecError(f"{database} holds a workflow {workflow_id!r} already; choose another id", key="id")
            if among_others:
                for index in SHARED_INDEXES:
                    db.execute(index)
            shift = {name: _shift(db, name) for name in ("step", "material", "job")}
            _name_things(db, shift["job"])
            for table in _tables(db, "copy"):
                _insert_table(db, table, shift)
            jobs = [row[0] for row in db.execute("SELECT id FROM copy.job ORDER BY id")] if shift["job"] else []
    return Shift(shift["job"], jobs)


def _shift(db: sqlite3.Connection, table: str) -> int:
    """What is added to the ids of a table: nothing, unless one of them is taken."""
    taken = db.execute(f"SELECT 1 FROM main.{table} WHERE id IN (SELECT id FROM copy.{table}) LIMIT 1").fetchone()
    if not taken:
        return 0
    last = db.execute(f"SELECT max(id) FROM main.{table}").fetchone()[0]
    return int(last - db.execute(f"SELECT min(id) FROM copy.{table}").fetchone()[0] + 1)


def _name_things(db: sqlite3.Connection, job_shift: int) -> None:
    """SQL functions that give directories of jobs and submissions the names that they have here."""
    taken = db.execute("SELECT 1 FROM main.submission WHERE ulid IN (SELECT ulid FROM copy.submission)").fetchone()
    names: dict[str, str] = {}

    def renamed(ulid: str) -> str:
        return names.setdefault(ulid, new_ulid()) if taken else ulid

    db.create_function("renamed", 1, renamed)
    db.create_function("moved", 1, lambda path: moved(path, job_shift), deterministic=True)
    db.create_function("renumbered", 1, lambda attempts: renumbered(attempts, job_shift), deterministic=True)


def moved(path: str | None, job_shift: int) -> str | None:
    """A path in a job's directory, after the job's number grew."""
    found = _JOB_PATH.fullmatch(path) if path and job_shift else None
    return path if found is None else job_directory(int(found[1]) + job_shift) + (found[2] or "")


def renumbered(attempts: str, job_shift: int) -> str:
    """The attempts that a property rests on (JSON, `job.number` each), after the jobs' numbers grew."""
    found = [(name, _OWN_ATTEMPT.fullmatch(name)) for name in msgspec.json.decode(attempts, type=list[str])]
    ours = [f"{int(own[1]) + job_shift}.{own[2]}" if own else name for name, own in found]
    return msgspec.json.encode(ours).decode()


def _insert_table(db: sqlite3.Connection, table: str, shift: Mapping[str, int]) -> None:
    columns = _columns(db, table)
    new = _NEW_VALUES.get(table, _OF_OTHERS)
    values = ", ".join(new.get(column, column) for column in columns)
    order = " ORDER BY seq" if table == "event" else ""
    db.execute(f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {values} FROM copy.{table}{order}", shift)


def move_job_directories(directory: Path, shift: Shift) -> None:
    """Gives the directories of jobs the numbers that `insert_rows` gave the jobs."""
    if not shift.job:
        return
    before = directory / ".jobs-before"
    (directory / "jobs").rename(before)
    (directory / "jobs").mkdir()
    for job in shift.jobs:
        old = before / Path(job_directory(job)).relative_to("jobs")
        if old.is_dir():
            new = directory / job_directory(job + shift.job)
            new.parent.mkdir(exist_ok=True)
            old.rename(new)
    for shard in before.iterdir():
        shard.rmdir()
    before.rmdir()


def remove_restored(database: Path, workflow_id: str, token: str) -> None:
    """Removes the rows that the restoration `token` brought in; nothing when there are none of it."""
    if not database.is_file():
        return
    with open_writer(database) as db, transaction(db, database):
        ours = db.execute(
            "SELECT 1 FROM event WHERE workflow_id = ? AND kind = 'workflow_restored' "
            "AND json_extract(data, '$.operation') = ?",
            (workflow_id, token),
        ).fetchone()
        if ours:
            for statement in REMOVE_WORKFLOW:
                db.execute(statement, {"id": workflow_id})
