"""One SQLite file behind one aiosqlite connection: opened when needed, closed when idle, checked before each use."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from anyio import CancelScope, Lock

from penstock.domain.errors import StoreError
from penstock.files.threads import in_thread
from penstock.store.journal import journal_of
from penstock.store.patience import patiently_async
from penstock.store.schema import prepare_once, store_errors

Row = tuple[Any, ...]
BusyGuard = Callable[[], contextlib.AbstractContextManager[None]]


class Database:
    """A connection with one owner. `busy` is entered while a thread works for it, so that virtual time stands still.

    It is held while others are waited for, too: they work in real time.
    """

    def __init__(self, path: Path, migrations: list[str], busy: BusyGuard) -> None:
        self.path = path
        self._migrations = migrations
        self._busy = busy
        self._connection: aiosqlite.Connection | None = None
        self._writing = Lock()

    @property
    def is_open(self) -> bool:
        """Whether a connection (and its thread) exists now."""
        return self._connection is not None

    async def create(self) -> None:
        """Creates the file with the newest schema; harmless when it exists."""
        with store_errors(self.path), self._busy():
            await self._prepare(create=True)

    async def close(self) -> None:
        """Closes the connection; the next use opens it again. Cancelled or not: it would keep its thread and files."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._busy(), CancelScope(shield=True):
                await connection.close()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """One write transaction: committed on leaving, rolled back on any error. Raises StoreError.

        It is shielded from cancellation: transactions are short, and one that was begun is always ended. Tasks take
        turns, since a connection has no more than one transaction. Waiting for the right to write can be cancelled.
        """
        async with self._writing:
            connection = await self._ready()
            with store_errors(self.path), self._busy():
                await patiently_async(self.path, lambda: _begin(connection))
                with CancelScope(shield=True):
                    try:
                        yield connection
                        await patiently_async(self.path, lambda: connection.execute("COMMIT"))
                    except BaseException:
                        with contextlib.suppress(Exception):
                            await connection.execute("ROLLBACK")
                        raise

    async def fetch(self, sql: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """All rows of a query. Raises StoreError."""
        connection = await self._ready()
        values = tuple(parameters)
        with store_errors(self.path), self._busy():
            rows = await patiently_async(self.path, lambda: connection.execute_fetchall(sql, values))
            return [tuple(row) for row in rows]

    async def _ready(self) -> aiosqlite.Connection:
        if self._connection is None:
            with self._busy():
                self._connection = await self._open()
        return self._connection

    async def _open(self) -> aiosqlite.Connection:
        with store_errors(self.path):
            await self._prepare(create=False)
            journal, inode = await in_thread(self.path, lambda: (journal_of(self.path), self.path.stat().st_ino))
            watched = partial(_Watched, check=partial(_check_file, self.path, inode))
            connection = await aiosqlite.connect(
                self.path, isolation_level=None, cached_statements=256, factory=watched
            )
            try:
                for pragma in journal.pragmas:
                    await patiently_async(self.path, partial(connection.execute, pragma))
            except BaseException:
                await connection.close()
                raise
            return connection

    async def _prepare(self, *, create: bool) -> None:
        once = partial(prepare_once, self.path, self._migrations, create=create)
        await patiently_async(self.path, lambda: in_thread(self.path, once))


class _Watched(sqlite3.Connection):
    """Calls `check` before each use, in the connection's own thread: a file server that hangs holds up that alone."""

    def __init__(self, *arguments: Any, check: Callable[[], None], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._check = check

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """See `sqlite3.Connection`."""
        if not self.in_transaction:
            self._check()
        return super().execute(sql, parameters)


def _check_file(path: Path, inode: int) -> None:
    """SQLite goes on quietly after its file was removed, replaced or cut to nothing; we do not."""
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is None or found.st_ino != inode or found.st_size == 0:
        what = "vanished" if found is None else "was replaced" if found.st_ino != inode else "was emptied"
        raise StoreError(f"{path} {what} while in use; restore it from a backup", healable=False)


async def _begin(connection: aiosqlite.Connection) -> None:
    """Shielded, since a transaction that began while nobody listened would never end."""
    with CancelScope(shield=True):
        await connection.execute("BEGIN IMMEDIATE")
