"""The journal follows from the file system: what that means for who has a database open, and for who moves one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from penstock.files.kinds import ENVIRONMENT, NETWORK_FILE_SYSTEMS, UNKNOWN, file_system_of
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.database import Database
from penstock.store.journal import ROLLBACK, WAL, choose_journal, journal_of
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare


def test_the_journal_follows_from_the_file_system() -> None:
    assert choose_journal("ext4", NETWORK_FILE_SYSTEMS).mode == WAL
    assert choose_journal(UNKNOWN, NETWORK_FILE_SYSTEMS).mode == WAL
    assert choose_journal("nfs4", NETWORK_FILE_SYSTEMS).mode == ROLLBACK
    assert choose_journal("nfs4", {"lustre"}).mode == WAL


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is below `tmp_path` counts as a network file system."""
    monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))


def journal_mode(path: Path) -> str:
    """What a program without an opinion finds; a file not in WAL mode is `delete`."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


async def test_on_a_network_file_system_there_is_no_wal(tmp_path: Path, network: None) -> None:
    path = tmp_path / "some.db"
    database = Database(path, ["CREATE TABLE t (x);"], contextlib.nullcontext)
    await database.create()
    async with database.transaction() as db:
        await db.execute("INSERT INTO t VALUES (1)")
        assert os.listdir(tmp_path) in (["some.db", "some.db-journal"], ["some.db-journal", "some.db"])  # noqa: PTH208
    assert await database.fetch("PRAGMA journal_mode") == [(ROLLBACK,)]
    assert await database.fetch("PRAGMA synchronous") == [(2,)]
    assert await database.fetch("PRAGMA locking_mode") == [("normal",)]
    await database.close()
    assert journal_mode(path) == "delete"


def test_a_file_with_a_wal_that_was_moved_there_loses_nothing_but_the_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "workflow.db", tmp_path / "moved" / "workflow.db"
    with open_writer(path, create=True) as db:
        with transaction(db, path):
            db.execute("INSERT INTO tally VALUES ('w', 'ready', 7)")
        moved.parent.mkdir()
        for name in ("workflow.db", "workflow.db-wal"):  # as after a power cut: the newest rows are in the WAL only
            moved.with_name(name).write_bytes(path.with_name(name).read_bytes())
    monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))
    with reading(moved) as db:
        assert db.execute("SELECT jobs FROM tally").fetchone() == (7,)
    assert journal_mode(moved) == "delete"
    assert sorted(file.name for file in moved.parent.iterdir()) == ["workflow.db", "workflow.db-journal"]
    assert not moved.with_name("workflow.db-journal").stat().st_size
    monkeypatch.delenv(ENVIRONMENT)
    with open_writer(moved):  # back on a local disk
        assert journal_of(moved).mode == WAL
    assert journal_mode(moved) == WAL


def test_readers_and_writers_meet_where_there_is_no_wal(tmp_path: Path, network: None) -> None:
    path = tmp_path / "workflow.db"
    with open_writer(path, create=True) as first, open_writer(path) as second, reading(path) as reader:
        with transaction(first, path):
            first.execute("INSERT INTO tally VALUES ('a', 'ready', 1)")
            assert reader.execute("SELECT count(*) FROM tally").fetchone() == (0,)
            reader.execute("ROLLBACK")  # who reads keeps a writer from its end
        with transaction(second, path):
            second.execute("INSERT INTO tally VALUES ('b', 'ready', 1)")
        prepare(path, ["SELECT 1;"] * len(load_migrations(WORKFLOW_MIGRATIONS)), create=False)
    with reading(path) as db:
        assert db.execute("SELECT count(*) FROM tally").fetchone() == (2,)
