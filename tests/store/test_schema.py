"""Migrations: forwards only, after a backup, whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.domain.errors import StoreError
from penstock.store import patience
from penstock.store.schema import (
    APPLICATION_ID,
    CATALOGUE_MIGRATIONS,
    WORKFLOW_MIGRATIONS,
    _upgrade,
    load_migrations,
    prepare,
)

FIRST = "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);"
SECOND = "CREATE TABLE b (y INTEGER); UPDATE a SET x = x + 1;"


def ask(path: Path, sql: str) -> object:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: tuple[object, ...] = connection.execute(sql).fetchone()
        return found[0]


@pytest.mark.parametrize("folder", [WORKFLOW_MIGRATIONS, CATALOGUE_MIGRATIONS])
def test_a_fresh_database_gets_the_newest_schema_and_our_mark(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "new.db"
    migrations = load_migrations(folder)
    prepare(path, migrations, create=True)
    assert ask(path, "PRAGMA user_version") == len(migrations)
    assert ask(path, "PRAGMA application_id") == APPLICATION_ID
    assert ask(path, "PRAGMA journal_mode") == "wal"
    prepare(path, migrations, create=False)
    assert [file.name for file in tmp_path.iterdir()] == ["new.db"]


def test_an_older_schema_is_backed_up_and_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    prepare(path, [FIRST], create=True)
    prepare(path, [FIRST, SECOND], create=False)
    assert (ask(path, "PRAGMA user_version"), ask(path, "SELECT x FROM a")) == (2, 2)
    backup = tmp_path / "old.db.v1.bak"
    assert (ask(backup, "PRAGMA user_version"), ask(backup, "SELECT x FROM a")) == (1, 1)
    prepare(backup, [FIRST], create=False)


def test_a_migration_that_breaks_off_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    prepare(path, [FIRST], create=True)
    with pytest.raises(StoreError, match="no such table: missing"):
        prepare(path, [FIRST, f"{SECOND} INSERT INTO missing VALUES (1);"], create=False)
    assert (ask(path, "PRAGMA user_version"), ask(path, "SELECT x FROM a")) == (1, 1)
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'b'") == 0
    prepare(path, [FIRST, SECOND], create=False)
    assert ask(path, "SELECT x FROM a") == 2


def test_a_fresh_database_whose_first_migration_breaks_off_can_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with pytest.raises(StoreError):
        prepare(path, [f"{FIRST} nonsense;"], create=True)
    prepare(path, [FIRST], create=True)
    assert ask(path, "SELECT x FROM a") == 1


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    prepare(path, [FIRST, SECOND], create=True)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"has schema 2, this program knows 1; upgrade Penstock") as caught:
        prepare(path, [FIRST], create=True)
    assert not caught.value.healable
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program") as caught:
        prepare(path, [FIRST], create=True)
    assert not caught.value.healable
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no database at all, but quite long" * 100, "not a database"), (None, "is missing")],
)
def test_a_file_that_cannot_be_what_it_was_needs_a_person(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        prepare(path, [FIRST], create=False)
    assert not caught.value.healable
    assert (path.read_bytes() if path.exists() else None) == content


def test_a_database_that_others_lock_for_too_long_can_heal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.db"
    prepare(path, [FIRST], create=True)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    monkeypatch.setattr("penstock.store.journal.SQLITE_WAITS_MS", 0)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="kept busy by others; it is tried again by itself") as caught:
            prepare(path, [FIRST, SECOND], create=False)
    assert caught.value.healable
    assert "this program itself" in str(caught.value)


def test_who_comes_second_finds_that_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    prepare(path, [FIRST], create=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as late:
        prepare(path, [FIRST, SECOND], create=False)
        _upgrade(late, path, [FIRST, SECOND])  # which it would not do, had it looked after the other
        assert (ask(path, "PRAGMA user_version"), ask(path, "SELECT x FROM a")) == (2, 2)
        assert not late.in_transaction
    assert ask(tmp_path / "old.db.v1.bak", "PRAGMA user_version") == 1


def test_many_who_come_at_the_same_time_make_one_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    prepare(path, [FIRST], create=True)
    with ThreadPoolExecutor(8) as pool:
        for done in [
            pool.submit(prepare, path, [FIRST, SECOND, "UPDATE a SET x = x + 10;"], create=False) for _ in "12345678"
        ]:
            done.result()
    assert (ask(path, "PRAGMA user_version"), ask(path, "SELECT x FROM a")) == (3, 12)
    assert ask(tmp_path / "old.db.v1.bak", "SELECT x FROM a") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old.db", "old.db.v1.bak"]


def test_a_migration_is_split_as_sqlite_would(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    script = """-- a ; in a comment
        CREATE TABLE c (x TEXT DEFAULT ';', y);  -- and behind
        CREATE TRIGGER t AFTER INSERT ON c BEGIN
            UPDATE c SET y = 1; UPDATE c SET y = y + 1; END;
        INSERT INTO c (x) VALUES ('a;b')"""
    prepare(path, [script], create=True)
    assert (ask(path, "SELECT x FROM c"), ask(path, "SELECT y FROM c")) == ("a;b", 2)
