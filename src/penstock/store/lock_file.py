"""The SQLite file of a lock table: one connection that threads share, and that no child of a fork takes for its own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.domain.errors import StoreError
from penstock.store.schema import LOCK_MIGRATIONS, load_migrations, prepare, store_errors

_OPEN_S: Final = 10.0
_PAUSE_LEAST_S: Final = 0.002
_PAUSE_MOST_S: Final = 0.05
_PRAGMAS: Final = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA synchronous = FULL",  # a token that was given must not be given again after a power cut
    "PRAGMA temp_store = MEMORY",
)
_INHERITED: Final[list[sqlite3.Connection]] = []
"""Connections that came over a fork: they are the parent's, and not even closed here."""


class LockFile:
    """The file, made when it is first used. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def close(self) -> None:
        """Closes the connection until the next use."""
        with self._own_turn():
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """All that is read inside is of one moment."""
        with self._own_turn(), self._begun("BEGIN") as db:
            yield db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed on leaving, rolled back on any error."""
        with self._own_turn(), self._begun("BEGIN IMMEDIATE") as db:
            yield db

    @contextlib.contextmanager
    def _own_turn(self) -> Iterator[None]:
        """One thread at a time; a child of a fork begins anew, with a lock and a connection of its own."""
        if self._pid != os.getpid():
            if self._connection is not None:
                _INHERITED.append(self._connection)
            self._turn, self._connection, self._pid = threading.RLock(), None, os.getpid()
        with self._turn:
            yield

    @contextlib.contextmanager
    def _begun(self, begin: str) -> Iterator[sqlite3.Connection]:
        db = self._ready()
        with store_errors(self.path):
            db.execute(begin)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_same_file():
            connection, self._connection = self._connection, None
            connection.close()
            raise StoreError(f"{self.path} vanished or was replaced while in use; it is made anew", healable=True)
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _is_same_file(self) -> bool:
        """SQLite goes on quietly after its file was removed, and would share it with nobody."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _open(self) -> sqlite3.Connection:
        with store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with store_errors(self.path):
            self._inode = self.path.stat().st_ino
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                for pragma in _PRAGMAS:
                    connection.execute(pragma)
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self) -> None:
        """Many may come at once to a file that is only being made: who is turned away tries again."""
        give_up, pause_s = time.monotonic() + _OPEN_S, _PAUSE_LEAST_S
        while True:
            try:
                prepare(self.path, load_migrations(LOCK_MIGRATIONS), create=True)
            except StoreError as error:
                if not error.healable or time.monotonic() > give_up:
                    raise
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MOST_S)
            else:
                return
