"""Databases looked at from outside: read-only, whatever state they are in, and without being brought up to date."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import StoreError
from penstock.store.schema import APPLICATION_ID, CATALOGUE_MIGRATIONS, load_migrations, store_errors

_OPCODES: Final = 10_000
"""How often SQLite lets us look at the clock while it checks."""
_WAIT_S: Final = 1.0
_TIMES: Final = (("sweep", "created_at"), ("archive", "archived_at"))


class CataloguedWorkflow(msgspec.Struct, frozen=True):
    """Where a workflow is; `operation`: whether something is being done to it as a whole.

    What it runs with is empty where nobody has shown it yet.
    """

    id: str
    directory: str
    state: str
    operation: bool
    engine: str = ""
    cluster: str = ""
    database: str = ""


class Inspection(msgspec.Struct, frozen=True):
    """What was found. `complaint` is SQLite's own about the file, `finished` whether it got to its end.

    `newest_at`: the newest moment that is written in it, in seconds since the epoch.
    """

    version: int
    known: int  # the schema that this program knows
    complaint: str
    finished: bool
    newest_at: float | None
    workflows: tuple[CataloguedWorkflow, ...]


def inspect_catalogue(path: Path, limit_s: float) -> Inspection | None:
    """The catalogue at `path`, None where there is none. `limit_s` bounds the check of its pages.

    StoreError when it cannot be read: damaged, foreign, or left in the middle of a write that only a writer can end.
    """
    if not path.exists():
        return None
    with store_errors(path), contextlib.closing(_open(path)) as db:
        ends_at = time.monotonic() + limit_s
        version, application = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in _HEADER)
        if application != APPLICATION_ID:
            raise StoreError(f"{path} is a database of another program, or empty", healable=False)
        known = len(load_migrations(CATALOGUE_MIGRATIONS))
        if version > known:
            return Inspection(version, known, "", finished=True, newest_at=None, workflows=())
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        has_operation = version > 1
        operation = "operation IS NOT NULL" if has_operation else "0"
        rows = db.execute(f"SELECT id, directory, state, {operation}, created_at, snapshot FROM workflow").fetchall()
        shown = [_shown(row[5]) for row in rows]
        moments = [row[4] for row in rows] + [snapshot.updated_at for snapshot in shown]
        for table, column in _TIMES:
            if table in tables:
                moments += [moment for (moment,) in db.execute(f"SELECT max({column}) FROM {table}")]
        workflows = tuple(
            CataloguedWorkflow(row[0], row[1], row[2], bool(row[3]), s.engine, s.cluster, s.database)
            for row, s in zip(rows, shown, strict=True)
        )
        complaint, finished = _check(db, ends_at)
        newest = max((moment for moment in moments if moment is not None), default=None)
        return Inspection(version, known, complaint, finished, newest, workflows)


_HEADER: Final = ("user_version", "application_id")


def _open(path: Path) -> sqlite3.Connection:
    """Beside a file in WAL mode SQLite makes two others, unless it is told that nobody writes: then there is no WAL.

    Nobody writes where nothing lies beside the file; should a daemon start in this moment, it begins with them.
    """
    beside = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal"))
    is_still = not any(other.exists() and other.stat().st_size for other in beside)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)


def _shown(snapshot: str | None) -> _Snapshot:
    if snapshot is None:
        return _Snapshot()
    try:
        return msgspec.json.decode(snapshot, type=_Snapshot)
    except msgspec.MsgspecError:
        return _Snapshot()


class _Snapshot(msgspec.Struct):
    updated_at: float | None = None
    engine: str = ""
    cluster: str = ""
    database: str = ""


def _check(db: sqlite3.Connection, ends_at: float) -> tuple[str, bool]:
    """SQLite's first complaint (or none), and whether there was time to look at everything."""
    db.set_progress_handler(lambda: int(time.monotonic() > ends_at), _OPCODES)
    try:
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "", False
        raise
    finally:
        db.set_progress_handler(None, 0)
    return ("" if said == "ok" else str(said)), True


def inspect_parameters(database: Path, workflow_id: str) -> tuple[str, ...]:
    """The engine's parameters (JSON) of a workflow's steps that calculate; its own before there are any.

    StoreError when the database cannot be read, or knows no such workflow.
    """
    with store_errors(database), contextlib.closing(_open(database)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{database} is a database of another program, or empty", healable=False)
        row = db.execute("SELECT parameters FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
        if row is None:
            raise StoreError(f"{database} knows no workflow {workflow_id}", healable=False)
        columns = {name for _, name, *_ in db.execute("PRAGMA table_info(step)")}
        own = "parameters" if "parameters" in columns else "NULL"  # of an old release
        steps = db.execute(f"SELECT {own} FROM step WHERE workflow_id = ? AND kind != 'analysis'", (workflow_id,))
        return tuple(dict.fromkeys(found or row[0] for (found,) in steps)) or (row[0],)
