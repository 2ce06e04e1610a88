"""Schemas as numbered migrations: applied in order, each in one transaction, after a backup."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from penstock.domain.errors import StoreError

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
        text = str(error)
        healable = not any(word in text for word in _UNHEALABLE) and isinstance(error, sqlite3.OperationalError)
        advice = "it is tried again by itself" if healable else "restore it from a backup"
        raise StoreError(f"{path}: {text}; {advice}", healable=healable) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; it is tried again by itself", healable=True) from error


def prepare(path: Path, migrations: list[str], *, create: bool) -> None:
    """Makes the database at `path` ready for this program: creates it, or brings it up to date after a backup.

    Raises StoreError when the file is missing or empty (and `create` is false), damaged, foreign, or newer than the
    program.
    """
    if not create and not path.is_file():
        raise StoreError(
            f"{path} is missing; if it was moved, move it back, else restore it from a backup", healable=False
        )
    with store_errors(path), contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        version = _checked_version(connection, path, len(migrations))
        if not version and not create:
            raise StoreError(f"{path} is empty; restore it from a backup", healable=False)
        if version == len(migrations):
            return
        if not version:
            connection.execute("PRAGMA page_size = 8192")  # rows carry geometries
        connection.execute("PRAGMA journal_mode = WAL")
        if version:
            _back_up(connection, path.with_name(f"{path.name}.v{version}.bak"))
        for number in range(version, len(migrations)):
            _apply(connection, migrations[number], number + 1)


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


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    with contextlib.closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
    partial.replace(target)


def _apply(connection: sqlite3.Connection, script: str, version: int) -> None:
    """One migration in one transaction: a crash leaves the old schema or the new one, never half of it.

    Of several who come at the same time one applies it; the others find that it is done.
    """
    guard = f"CREATE TEMP TABLE guard (version INTEGER CHECK (version = {version - 1}));"
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{guard}\nINSERT INTO guard SELECT user_version FROM pragma_user_version;\n{script}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};\nDROP TABLE guard;\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if int(connection.execute("PRAGMA user_version").fetchone()[0]) < version:
            raise
