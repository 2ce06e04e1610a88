"""Schemas as numbered migrations: applied together, in one transaction, after a backup."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from penstock.domain.errors import StoreError
from penstock.store.journal import begin_with, journal_of, settle
from penstock.store.layout import sync_directory
from penstock.store.patience import contention_error, is_contention, patiently

_ENDS: Final = re.compile(r"(?<=;)")  # where a statement may end, unless it is text, a comment or within a trigger
APPLICATION_ID: Final = 0x50454E53  # "PENS"
WORKFLOW_MIGRATIONS: Final = "migrations"
CATALOGUE_MIGRATIONS: Final = "catalogue_migrations"
LOCK_MIGRATIONS: Final = "lock_migrations"
_UNHEALABLE: Final = ("malformed", "not a database", "unsupported file format", "no such table", "no such column")


def load_migrations(folder: str) -> list[str]:
    """The SQL of every migration in `folder`, oldest first; the n-th leads to schema version n."""
    files = resources.files("penstock.store").joinpath(folder)
    scripts = sorted(entry.name for entry in files.iterdir() if entry.name.endswith(".sql"))
    return [files.joinpath(name).read_text(encoding="utf-8") for name in scripts]


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into StoreError, saying whether waiting can help."""
    try:
        yield
    except sqlite3.Error as error:
        if is_contention(error):
            raise contention_error(path) from error
        text = str(error)
        healable = not any(word in text for word in _UNHEALABLE) and isinstance(error, sqlite3.OperationalError)
        advice = "it is tried again by itself" if healable else "restore it from a backup"
        raise StoreError(f"{path}: {text}; {advice}", healable=healable) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; it is tried again by itself", healable=True) from error


def prepare(path: Path, migrations: list[str], *, create: bool) -> None:
    """Makes the database at `path` ready for this program, waiting for others where it must.

    It is created, or brought up to date after a backup, and to the journal mode that fits its file system. Raises
    StoreError when the file is missing or empty (and `create` is false), damaged, foreign, or newer than the program.
    """
    with store_errors(path):
        patiently(path, lambda: prepare_once(path, migrations, create=create))


def prepare_once(path: Path, migrations: list[str], *, create: bool) -> None:
    """`prepare` without its patience: raises sqlite3.Error, and may be called again whatever came of it."""
    if not create and not path.is_file():
        raise StoreError(
            f"{path} is missing; if it was moved, move it back, else restore it from a backup", healable=False
        )
    journal = journal_of(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        begin_with(connection, journal)
        version = _checked_version(connection, path, len(migrations))
        if not version and not create:
            raise StoreError(f"{path} is empty; restore it from a backup", healable=False)
        if not version:
            connection.execute("PRAGMA page_size = 8192")  # rows carry geometries
        settle(connection, journal)
        if version < len(migrations):
            _upgrade(connection, path, migrations)


def _checked_version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application != APPLICATION_ID and (version or tables):
        raise StoreError(f"{path} is a database of another program; it was left as it is", healable=False)
    if version > newest:
        raise StoreError(
            f"{path} has schema {version}, this program knows {newest}; upgrade Penstock (nothing was changed)",
            healable=False,
        )
    return version


def _upgrade(connection: sqlite3.Connection, path: Path, migrations: list[str]) -> None:
    """All that is missing, in one transaction: a crash leaves the old schema or the new one, and nothing between.

    The backup is made by whoever has the right to write, before anything is changed. Of several who come at the same
    time one does it all; the others wait, and find that it is done.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _checked_version(connection, path, len(migrations))
        if 0 < version < len(migrations):
            _back_up(path, path.with_name(f"{path.name}.v{version}.bak"))
        for migration in migrations[version:]:
            for statement in _statements(migration):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        patiently(path, lambda: connection.execute("COMMIT"))
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a migration; `executescript` would first commit the transaction that they belong in."""
    statement = ""
    for piece in _ENDS.split(script):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _back_up(path: Path, target: Path) -> None:
    """A copy of what is committed, whole under its name or not there; by a connection of its own, as SQLite asks."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)  # of one who was killed; nobody else is here while we may write
    with (
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(partial)) as copy,
    ):
        source.backup(copy)
    partial.replace(target)
    sync_directory(target.parent)  # before anything is changed
