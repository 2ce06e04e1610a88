"""Locks of others: waited for, in threads and in the event loop, and told of when that takes too long."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from penstock.domain.errors import StoreError
from penstock.store import patience
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.database import Database
from penstock.store.lock_holders import parse_locks
from penstock.store.patience import Patience, is_contention, patiently, patiently_async
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, store_errors

SCHEMA = ["CREATE TABLE t (x INTEGER);"]
INSERT = "INSERT INTO t VALUES (1)"


def contention(code: int = sqlite3.SQLITE_BUSY) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


class Refusals:
    """A step that is refused some times before it succeeds."""

    def __init__(self, times: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.left = times
        self.code = code

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise contention(self.code)
        return "done"

    async def awaited(self) -> str:
        return self()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    monkeypatch.setattr("penstock.store.journal.SQLITE_WAITS_MS", 0)
    monkeypatch.setattr("penstock.store.connection.SQLITE_WAITS_MS", 0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else in the middle of writing."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, True),
        (sqlite3.SQLITE_PROTOCOL, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_LOCK, False),
    ],
)
def test_what_counts_as_others_at_work(code: int, expected: bool) -> None:
    assert is_contention(contention(code)) is expected
    assert not is_contention(ValueError("database is locked"))


async def test_a_step_is_called_until_it_is_let_in(tmp_path: Path) -> None:
    assert patiently(tmp_path, Refusals(5)) == "done"
    assert await patiently_async(tmp_path, Refusals(5, sqlite3.SQLITE_PROTOCOL).awaited) == "done"


def test_another_trouble_is_not_waited_for(tmp_path: Path) -> None:
    refusals = Refusals(5, sqlite3.SQLITE_FULL)
    with pytest.raises(sqlite3.OperationalError):
        patiently(tmp_path, refusals)
    assert refusals.left == 4


def test_pauses_grow_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    waiting = Patience(tmp_path / "x.db")
    pauses: list[float] = []

    def wait() -> None:
        while len(pauses) < 100_000:
            pauses.append(waiting.pause_after(contention()))
            now[0] += pauses[-1] + patience.SQLITE_WAITS_MS / 1000

    with pytest.raises(StoreError, match="kept busy by others for 120 s; it is tried again by itself") as caught:
        wait()
    assert caught.value.healable
    assert pauses[0] <= 0.004
    assert 0.016 <= max(pauses) <= 0.064
    assert len(set(pauses)) > 100  # no two wait in step
    assert 380 < len(pauses) < 480


async def test_the_event_loop_goes_on_while_a_lock_is_waited_for(tmp_path: Path) -> None:
    database = Database(tmp_path / "some.db", SCHEMA, contextlib.nullcontext)
    await database.create()
    turns = 0

    async def insert() -> None:
        async with database.transaction() as db:
            await db.execute(INSERT)

    with locked(database.path) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(insert)
            for _ in range(20):
                await anyio.sleep(0.02)
                turns += 1
            other.execute("ROLLBACK")
    assert turns == 20
    assert await database.fetch("SELECT count(*) FROM t") == [(1,)]
    await database.close()


async def test_waiting_for_the_right_to_write_can_be_cancelled(tmp_path: Path) -> None:
    database = Database(tmp_path / "some.db", SCHEMA, contextlib.nullcontext)
    await database.create()
    with locked(database.path), anyio.move_on_after(0.3) as scope:
        async with database.transaction():
            pytest.fail("two are writing")
    assert scope.cancelled_caught
    async with database.transaction() as db:
        await db.execute(INSERT)
    await database.close()


async def test_who_waited_too_long_is_told_who_has_it(tmp_path: Path, impatient: None) -> None:
    database = Database(tmp_path / "some.db", SCHEMA, contextlib.nullcontext)
    await database.create()
    with locked(database.path), pytest.raises(StoreError, match="It is locked by process") as caught:
        async with database.transaction():
            pytest.fail("two are writing")
    assert caught.value.healable
    assert f"{os.getpid()} (this program itself)" in str(caught.value)
    assert "database is locked" not in str(caught.value)
    await database.close()


def test_what_was_never_waited_for_is_told_in_the_same_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="kept busy by others; it is tried again") as caught, store_errors(tmp_path):
        raise contention()
    assert caught.value.healable


def test_holders_are_found_by_device_and_inode() -> None:
    text = (
        "1: POSIX  ADVISORY  WRITE 77 08:01:123 1073741826 1073742335\n"
        "1: -> POSIX  ADVISORY  WRITE 78 08:01:123 120 120\n"
        "2: POSIX  ADVISORY  READ 79 08:01:123 123 123\n"
        "3: FLOCK  ADVISORY  WRITE 80 08:01:999 0 EOF\n"
        "4: OFDLCK ADVISORY  WRITE -1 08:01:123 0 EOF\n"
        "broken\n"
    )
    assert parse_locks(text, ["08:01:123"]) == [77]
    assert parse_locks(text.replace("WRITE 77", "READ 77"), ["08:01:123"]) == [77, 79]
    assert parse_locks(text, ["08:02:123"]) == []


def make_workflow_database(path: Path) -> None:
    with open_writer(path, create=True):
        pass


def test_a_question_is_answered_from_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "workflow.db"
    make_workflow_database(path)
    count = "SELECT count(*) FROM tally"
    with reading(path) as db, open_writer(path) as writer:
        before = db.execute(count).fetchone()
        with transaction(writer, path):
            writer.execute("INSERT INTO tally VALUES ('w', 'ready', 1)")
        assert db.execute(count).fetchone() == before == (0,)
    with reading(path) as db:
        assert db.execute(count).fetchone() == (1,)


def test_a_writer_from_outside_waits_too_and_undoes_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "workflow.db"
    make_workflow_database(path)
    insert = "INSERT INTO tally VALUES ('w', ?, 1)"
    with locked(path) as other, open_writer(path) as writer:
        later = threading.Timer(0.5, other.execute, ["COMMIT"])
        later.start()
        with transaction(writer, path):
            writer.execute(insert, ["ready"])
        later.join()
        with pytest.raises(StoreError, match="UNIQUE"), transaction(writer, path):
            writer.executemany(insert, [["running"], ["ready"]])
    with reading(path) as db:
        assert db.execute("SELECT state FROM tally").fetchall() == [("ready",)]


def test_a_reader_finds_what_a_killed_writer_left(tmp_path: Path) -> None:
    """A rollback journal that is still hot cannot be dealt with by a connection that only reads."""
    path, image = tmp_path / "workflow.db", tmp_path / "image" / "workflow.db"
    make_workflow_database(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA cache_size = 1")  # so that pages go to the file before the end
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO tally VALUES (?, 'ready', 1)", ((f"w{n}",) for n in range(5000)))
        image.parent.mkdir()
        for name in ("workflow.db", "workflow.db-journal"):
            image.with_name(name).write_bytes(path.with_name(name).read_bytes())
        db.execute("ROLLBACK")
    assert image.stat().st_size > 100_000
    with reading(image) as db:
        assert db.execute("SELECT count(*) FROM tally").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (len(load_migrations(WORKFLOW_MIGRATIONS)),)
