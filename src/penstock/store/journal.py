"""How SQLite keeps a database whole, chosen from the file system it is on: the only place where that is decided."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from penstock.files.kinds import file_system_of, network_types
from penstock.store.patience import SQLITE_WAITS_MS

WAL: Final = "wal"
ROLLBACK: Final = "truncate"


class Journal(msgspec.Struct, frozen=True):
    """The journal mode for a file, and the type of the file system that it was chosen for."""

    mode: str
    file_system: str

    @property
    def pragmas(self) -> tuple[str, ...]:
        """What every connection that may write says first, in this order."""
        return (
            f"PRAGMA busy_timeout = {SQLITE_WAITS_MS}",
            f"PRAGMA journal_mode = {self.mode}",
            "PRAGMA synchronous = FULL",  # intents must survive a power cut: a cluster elsewhere does not stop with us
            "PRAGMA cache_size = -8000",
            "PRAGMA wal_autocheckpoint = 4000",
            "PRAGMA temp_store = MEMORY",
        )


def choose_journal(file_system: str, network: Collection[str]) -> Journal:
    """WAL needs memory that all who have the file open share, so all of them on one machine; else a rollback journal.

    Of the rollback journals it is the one that is cut to nothing: its name is always there, so that no machine's memory
    of a name that was not there hides a journal that must be rolled back.
    """
    return Journal(ROLLBACK if file_system in network else WAL, file_system)


def journal_of(path: Path) -> Journal:
    """The journal for the database at `path`, by where it is. Raises OSError when its file system does not answer."""
    return choose_journal(file_system_of(path.parent), network_types())


def begin_with(connection: sqlite3.Connection, journal: Journal) -> None:
    """Has a new connection wait for locks, and, where WAL is unsafe, open a file that is in WAL mode all the same.

    In exclusive mode SQLite keeps the index of a WAL in its own memory and lets nobody else in, so that a file that
    was moved to a network file system is read without the memory that machines do not share. A file in rollback mode
    is only locked as by any reader. `settle` ends it.
    """
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_WAITS_MS}")
    if journal.mode != WAL:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")


def settle(connection: sqlite3.Connection, journal: Journal) -> None:
    """Brings the file to the journal mode it should have. sqlite3.OperationalError (busy) while others have it open."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if WAL in (mode, journal.mode):  # rollback modes are a matter of each connection, WAL is one of the file
        connection.execute(f"PRAGMA journal_mode = {journal.mode}")
    if journal.mode != WAL:
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # only now the lock is given back
