"""A catalogue looked at from outside: read-only, whatever state it is in, and without being brought up to date."""

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
    """Where a workflow is; `operation`: whether something is being done to it as a whole."""

    id: str
    directory: str
    state: str
    operation: bool


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
        moments = [row[4] for row in rows] + [_updated_at(row[5]) for row in rows]
        for table, column in _TIMES:
            if table in tables:
                moments += [moment for (moment,) in db.execute(f"SELECT max({column}) FROM {table}")]
        workflows = tuple(CataloguedWorkflow(row[0], row[1], row[2], bool(row[3])) for row in rows)
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


def _updated_at(snapshot: str | None) -> float | None:
    if snapshot is None:
        return None
    try:
        return msgspec.json.decode(snapshot, type=_Snapshot).updated_at
    except msgspec.MsgspecError:
        return None


class _Snapshot(msgspec.Struct):
    updated_at: float


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
