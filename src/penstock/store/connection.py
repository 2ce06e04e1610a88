"""Short connections of plain SQLite to a workflow's database: for a question, and for a write from outside an actor."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from penstock.domain.errors import StoreError
from penstock.store.journal import WAL, journal_of
from penstock.store.patience import SQLITE_WAITS_MS, patiently
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare, store_errors


@contextlib.contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection in a transaction: all that is asked is answered from one moment.

    A database of an older schema is brought up to date before. StoreError when it is missing, damaged, or newer than
    the program.
    """
    if not database.is_file():
        raise StoreError(
            f"{database} is missing; if it was moved, move it back, else restore it from a backup", healable=False
        )
    with store_errors(database), contextlib.ExitStack() as stack:
        connection = _up_to_date(database, stack)
        if connection is None:
            prepare(database, load_migrations(WORKFLOW_MIGRATIONS), create=False)
            connection = stack.enter_context(_read_only(database))
            _begin_reading(connection, database)
        yield connection


def _up_to_date(database: Path, stack: contextlib.ExitStack) -> sqlite3.Connection | None:
    """A connection in a transaction, if the file can be read as it is."""
    if journal_of(database).mode != WAL:
        return None  # it may have been in WAL mode where it was before
    with contextlib.ExitStack() as own:
        connection = own.enter_context(_read_only(database))
        try:
            version = _begin_reading(connection, database)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
            return None  # somebody was killed while writing, and only a writer may tidy up
        if version != len(load_migrations(WORKFLOW_MIGRATIONS)):
            return None
        stack.push(own.pop_all())
        return connection


def _read_only(database: Path) -> contextlib.closing[sqlite3.Connection]:
    # Beside a file in WAL mode SQLite wants to write, unless it is told that nobody else will.
    is_still = not os.access(database.parent, os.W_OK) and not database.with_name(f"{database.name}-wal").exists()
    uri = f"{database.as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"
    return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=SQLITE_WAITS_MS / 1000, isolation_level=None))


def _begin_reading(connection: sqlite3.Connection, database: Path) -> int:
    """Takes the moment that answers are from; returns the schema's version. From here on no lock is waited for."""
    connection.execute("BEGIN")
    (version,) = patiently(database, lambda: connection.execute("PRAGMA user_version").fetchone())
    return int(version)


@contextlib.contextmanager
def open_writer(database: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for `transaction`, to the newest schema; closed at the end. Raises StoreError."""
    prepare(database, load_migrations(WORKFLOW_MIGRATIONS), create=create)
    with contextlib.ExitStack() as stack:
        with store_errors(database):
            connection = stack.enter_context(
                contextlib.closing(sqlite3.connect(database.absolute().as_uri(), uri=True, isolation_level=None))
            )
            for pragma in journal_of(database).pragmas:
                patiently(database, partial(connection.execute, pragma))
        yield connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, database: Path) -> Iterator[sqlite3.Connection]:
    """One write transaction: committed on leaving, rolled back on any error. Raises StoreError."""
    with store_errors(database):
        patiently(database, lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            yield connection
            patiently(database, lambda: connection.execute("COMMIT"))
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
