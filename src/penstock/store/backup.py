"""A checked copy of a database that is in use: SQLite's backup of one moment, while others go on writing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import NotFoundError, SpecError, StoreError
from penstock.store import patience
from penstock.store.connection import reading
from penstock.store.layout import sync_directory
from penstock.store.schema import store_errors

_PAGES: Final = 256  # of one step; in between others have their turn at the disk
_PAUSE_S: Final = 0.001
_COUNTED: Final = ("job", "attempt", "submission", "material", "step", "property", "event")
_COMPLAINTS_SHOWN: Final = 3


class BackedUp(msgspec.Struct, frozen=True):
    """What a backup holds: all workflows of the file, oldest first, and how many jobs the asked one has."""

    bytes: int
    workflows: tuple[str, ...]
    jobs: int


def default_path(directory: Path, workflow_id: str, now: float) -> Path:
    """Where a backup goes when nobody says otherwise: a name of its own, by the time in UTC."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    return directory / "exports" / f"{workflow_id}-{stamp}.backup.db"


def back_up(database: Path, workflow_id: str, target: Path, *, overwrite: bool) -> BackedUp:
    """Copies the whole file to `target`, which appears when the copy was found whole, or not at all.

    SpecError for a target that cannot be, StoreError when the database is damaged, or the copy is not what it should.
    """
    if "\0" in str(target):
        raise SpecError(f"{str(target)!r} cannot be a path", key="path")
    with _writing(target):
        _refuse(target, database, overwrite=overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        workflows, counts = _copy(database, workflow_id, partial, target)
        _check(partial, database, workflow_id, counts)
        with _writing(target):
            _give_name(partial, target, database, overwrite=overwrite)
            return BackedUp(target.stat().st_size, workflows, counts["job"])
    finally:
        for ending in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                partial.with_name(f"{partial.name}{ending}").unlink()


def _refuse(target: Path, database: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if not stat.S_ISREG(target.lstat().st_mode):
        raise SpecError(f"{target} exists and is not a regular file; choose another path", key="path")
    if database.exists() and target.samefile(database):
        raise SpecError(f"{target} is the database itself; choose another path", key="path")
    if not overwrite:
        raise SpecError(f"{target} exists; choose another path, or overwrite it with --overwrite", key="path")


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """What goes wrong with the copy is said of the copy."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{target} cannot be written: {reason}; choose another path", key="path") from error


def _copy(database: Path, workflow_id: str, partial: Path, target: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """The workflows in the file, and how many rows `workflow_id` has, of the moment that is copied."""
    with reading(database) as source:
        workflows = tuple(
            row[0] for row in source.execute("SELECT workflow_id FROM workflow ORDER BY created_at, workflow_id")
        )
        if workflow_id not in workflows:
            raise NotFoundError(f"{database} holds no workflow {workflow_id!r}")
        counts = _count(source, workflow_id)
        with _writing(target), contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            source.backup(copy, pages=_PAGES, progress=_progress(database), sleep=_PAUSE_S)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be copied anywhere
    return workflows, counts


def _progress(database: Path) -> Callable[[int, int, int], None]:
    """The source's transaction keeps its moment, so that no writer makes the copy begin anew; locks end sometime."""
    began = time.monotonic()
    refused = 0.0

    def step(status: int, remaining: int, pages: int) -> None:  # noqa: ARG001 - as SQLite calls it
        nonlocal refused
        if status == sqlite3.SQLITE_OK:
            refused = 0.0
            time.sleep(_PAUSE_S)
        elif status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            refused = refused or time.monotonic()
            if time.monotonic() - refused > patience.PATIENCE_S:
                raise patience.contention_error(database, time.monotonic() - began)

    return step


def _count(db: sqlite3.Connection, workflow_id: str) -> dict[str, int]:
    return {
        table: db.execute(f"SELECT count(*) FROM {table} WHERE workflow_id = ?", [workflow_id]).fetchone()[0]
        for table in _COUNTED
    }


def _check(partial: Path, database: Path, workflow_id: str, counts: dict[str, int]) -> None:
    """StoreError when the copy is damaged, and with it the database that it was made of, or is not all."""
    with store_errors(partial), contextlib.closing(sqlite3.connect(partial)) as copy:
        complaints = [row[0] for row in copy.execute(f"PRAGMA integrity_check({_COMPLAINTS_SHOWN})")]
        if complaints != ["ok"]:
            said = "; ".join(line for text in complaints for line in text.splitlines())
            raise StoreError(
                f"{database} is damaged, and no backup of it was kept: {said}; restore it from an earlier backup",
                healable=False,
            )
        found = _count(copy, workflow_id)
    if found != counts:
        raise StoreError(f"the copy of {database} holds {found} rows instead of {counts}; try again", healable=True)


def _give_name(partial: Path, target: Path, database: Path, *, overwrite: bool) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    _refuse(target, database, overwrite=overwrite)  # it may have come up meanwhile
    partial.replace(target)
    sync_directory(target.parent)
