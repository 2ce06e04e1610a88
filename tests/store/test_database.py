"""One connection to one file: what happens to the file under it, and to a transaction that fails."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from penstock.domain.errors import StoreError
from penstock.store.database import Database

SCHEMA = ["CREATE TABLE t (x INTEGER, filler BLOB);"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "some.db", SCHEMA, contextlib.nullcontext)
    await database.create()
    yield database
    await database.close()


async def insert(database: Database, number: int, filler: int = 0) -> None:
    async with database.transaction() as db:
        await db.execute("INSERT INTO t VALUES (?, zeroblob(?))", (number, filler))


async def insert_many(database: Database, numbers: Iterable[int]) -> None:
    for number in numbers:
        await insert(database, number, 20_000)


async def insert_and(database: Database, number: int, sql: str, error: Exception | None) -> None:
    async with database.transaction() as db:
        await db.execute("INSERT INTO t VALUES (?, NULL)", (number,))
        await db.execute(sql)
        if error:
            raise error


async def numbers(database: Database) -> list[int]:
    return [row[0] for row in await database.fetch("SELECT x FROM t ORDER BY x")]


async def test_it_opens_when_used_and_closes_when_told(database: Database) -> None:
    was_open = [database.is_open]
    await insert(database, 1)
    was_open.append(database.is_open)
    await database.close()
    await database.close()
    was_open.append(database.is_open)
    assert was_open == [False, True, False]
    assert await numbers(database) == [1]


async def test_it_closes_for_a_caller_that_is_cancelled_too(database: Database) -> None:
    await insert(database, 1)
    [thread] = [one for one in threading.enumerate() if "_connection_worker_thread" in one.name]
    with anyio.CancelScope() as scope:
        scope.cancel()
        await database.close()
    thread.join(10.0)
    assert not thread.is_alive()  # and with it the connection has ended
    assert await numbers(database) == [1]


async def test_an_error_inside_a_transaction_undoes_it_all(database: Database) -> None:
    await insert(database, 1)
    with pytest.raises(ZeroDivisionError):
        await insert_and(database, 2, "SELECT 1", ZeroDivisionError())
    with pytest.raises(StoreError, match="no such table"):
        await insert_and(database, 3, "INSERT INTO missing VALUES (1)", None)
    await insert(database, 4)
    assert await numbers(database) == [1, 4]


async def test_a_cancelled_caller_leaves_a_transaction_whole(database: Database) -> None:
    with anyio.CancelScope() as scope:
        async with database.transaction() as db:
            await db.execute("INSERT INTO t VALUES (1, NULL)")
            scope.cancel()
            await db.execute("INSERT INTO t VALUES (2, NULL)")
    assert await numbers(database) == [1, 2]


class Turns:
    """Two tasks at one database, each in the middle of its transaction when it can be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.inside = 0
        self.most = 0

    async def insert(self, number: int) -> None:
        async with self._database.transaction() as db:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await db.execute("INSERT INTO t VALUES (?, NULL)", (number,))
            await anyio.lowlevel.checkpoint()
            await db.execute("INSERT INTO t VALUES (?, NULL)", (number,))
            self.inside -= 1


async def test_tasks_at_one_database_take_turns(database: Database) -> None:
    turns = Turns(database)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(turns.insert, number)
    assert turns.most == 1
    assert await numbers(database) == sorted([*range(10), *range(10)])


async def test_a_task_that_fails_in_its_turn_takes_nothing_of_the_others_with_it(database: Database) -> None:
    async def failing() -> None:
        with pytest.raises(ZeroDivisionError):
            await insert_and(database, 100, "SELECT 1", ZeroDivisionError())

    turns = Turns(database)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(turns.insert, number)
            tasks.start_soon(failing)
    assert await numbers(database) == sorted([*range(5), *range(5)])


@pytest.mark.parametrize("turns_before", range(12))
async def test_a_task_cancelled_at_any_moment_leaves_the_database_usable(database: Database, turns_before: int) -> None:
    turns = Turns(database)
    await insert(database, 100)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.insert, 1)
        tasks.start_soon(turns.insert, 2)
        for _ in range(turns_before):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    found = await numbers(database)
    assert found in ([100], [1, 1, 100], [2, 2, 100], [1, 1, 2, 2, 100])
    await insert(database, 3)
    assert await numbers(database) == sorted([*found, 3])
    with contextlib.closing(sqlite3.connect(database.path, timeout=0)) as other, other:
        other.execute("INSERT INTO t VALUES (4, NULL)")  # and no lock is left behind


async def test_a_task_that_is_cancelled_inside_commits_all_or_nothing(database: Database) -> None:
    """By asyncio's own cancellation, which knows of no shield."""
    inside, go_on = anyio.Event(), anyio.Event()

    async def waiting() -> None:
        async with database.transaction() as db:
            await db.execute("INSERT INTO t VALUES (1, NULL)")
            inside.set()
            await go_on.wait()

    task = asyncio.create_task(waiting())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await insert(database, 2)
    assert await numbers(database) == [2]


@pytest.mark.parametrize("what", ["vanished", "was replaced", "was emptied"])
async def test_a_file_that_goes_while_in_use_is_noticed_before_anything_is_lost(database: Database, what: str) -> None:
    await insert(database, 1)
    if what == "vanished":
        database.path.unlink()
    elif what == "was replaced":
        copy = database.path.with_name("copy.db")
        shutil.copy(database.path, copy)
        copy.replace(database.path)
    else:
        database.path.write_bytes(b"")
    with pytest.raises(StoreError, match=what) as caught:
        await insert(database, 2)
    assert not caught.value.healable
    with pytest.raises(StoreError, match=what):
        await numbers(database)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000])
async def test_a_file_that_is_spoiled_while_closed_is_noticed_when_opened(database: Database, content: bytes) -> None:
    await insert(database, 1)
    await database.close()
    database.path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        await insert(database, 2)
    assert not caught.value.healable
    assert database.path.read_bytes() == content


async def test_a_damaged_page_is_damage_and_not_a_passing_trouble(database: Database) -> None:
    for number in range(200):
        await insert(database, number, 1000)
    await database.close()
    with database.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(StoreError, match="malformed") as caught:
        await numbers(database)
    assert not caught.value.healable


async def test_a_full_database_fails_one_transaction_and_goes_on_when_there_is_room(database: Database) -> None:
    await insert(database, 1)
    await database.fetch("PRAGMA max_page_count = 10")
    with pytest.raises(StoreError, match="full") as caught:
        await insert(database, 2, 1_000_000)
    assert caught.value.healable
    assert await numbers(database) == [1]
    await database.fetch("PRAGMA max_page_count = 100000")
    await insert(database, 3, 1_000_000)
    assert await numbers(database) == [1, 3]


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_loses_nothing_and_heals(database: Database) -> None:
    await insert(database, 1)
    with file_size_limit(200_000):
        with pytest.raises(StoreError) as caught:
            await insert_many(database, range(2, 100))
        assert caught.value.healable
        stored = await numbers(database)
    assert stored == list(range(1, len(stored) + 1))
    await insert(database, 100, 20_000)
    assert await numbers(database) == [*stored, 100]
    assert await database.fetch("PRAGMA integrity_check") == [("ok",)]


async def test_busy_is_held_while_a_thread_works(tmp_path: Path) -> None:
    depth: list[int] = [0]
    seen: list[int] = []

    @contextlib.contextmanager
    def busy() -> Iterator[None]:
        depth[0] += 1
        try:
            yield
        finally:
            depth[0] -= 1

    database = Database(tmp_path / "some.db", SCHEMA, busy)
    await database.create()
    async with database.transaction() as db:
        seen.append(depth[0])
        await db.execute("SELECT 1")
    await database.close()
    assert (seen, depth) == ([1], [0])
