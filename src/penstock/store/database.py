"""One SQLite file behind one aiosqlite connection: opened when needed, closed when idle, checked before each use."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import aiosqlite
from anyio import CancelScope, Lock, to_thread

from penstock.domain.errors import StoreError
from penstock.store.schema import prepare, store_errors

Row = tuple[Any, ...]
BusyGuard = Callable[[], contextlib.AbstractContextManager[None]]

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # intents must survive a power cut: a cluster elsewhere does not stop with us
    "PRAGMA cache_size = -8000",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 10000",
)


class Database:
    """A connection with one owner. `busy` is entered while a thread works for it, so that virtual time stands still."""

    def __init__(self, path: Path, migrations: list[str], busy: BusyGuard) -> None:
        self.path = path
        self._migrations = migrations
        self._busy = busy
        self._connection: aiosqlite.Connection | None = None
        self._inode = 0
        self._writing = Lock()

    @property
    def is_open(self) -> bool:
        """Whether a connection (and its thread) exists now."""
        return self._connection is not None

    async def create(self) -> None:
        """Creates the file with the newest schema; harmless when it exists."""
        await to_thread.run_sync(lambda: prepare(self.path, self._migrations, create=True))

    async def close(self) -> None:
        """Closes the connection; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._busy():
                await connection.close()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """One write transaction: committed on leaving, rolled back on any error. Raises StoreError.

        It is shielded from cancellation: transactions are short, and one that was begun is always ended. Tasks take
        turns, since a connection has no more than one transaction.
        """
        async with self._writing:
            connection = await self._ready()
            with CancelScope(shield=True), store_errors(self.path), self._busy():
                await connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    await connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(Exception):
                        await connection.execute("ROLLBACK")
                    raise

    async def fetch(self, sql: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """All rows of a query. Raises StoreError."""
        connection = await self._ready()
        with store_errors(self.path), self._busy():
            return [tuple(row) for row in await connection.execute_fetchall(sql, tuple(parameters))]

    async def _ready(self) -> aiosqlite.Connection:
        if self._connection is None:
            with self._busy():
                self._connection = await self._open()
        self._check_file()
        return self._connection

    async def _open(self) -> aiosqlite.Connection:
        await to_thread.run_sync(lambda: prepare(self.path, self._migrations, create=False))
        with store_errors(self.path):
            self._inode = self.path.stat().st_ino
            connection = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=256)
            try:
                for pragma in _PRAGMAS:
                    await connection.execute(pragma)
            except BaseException:
                await connection.close()
                raise
            return connection

    def _check_file(self) -> None:
        """SQLite goes on quietly after its file was removed, replaced or cut to nothing; we do not."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != self._inode or found.st_size == 0:
            what = "vanished" if found is None else "was replaced" if found.st_ino != self._inode else "was emptied"
            raise StoreError(f"{self.path} {what} while in use; restore it from a backup", healable=False)
