"""Migrations: forwards only, after a backup, whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from penstock.domain.errors import StoreError
from penstock.store.schema import (
    APPLICATION_ID,
    CATALOGUE_MIGRATIONS,
    WORKFLOW_MIGRATIONS,
    _apply,
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


def test_a_database_that_another_process_locks_can_heal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.db"
    prepare(path, [FIRST], create=True)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **options: connect(file, **{**options, "timeout": 0}))
    with contextlib.closing(connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked") as caught:
            prepare(path, [FIRST, SECOND], create=False)
    assert caught.value.healable


def test_two_who_come_at_the_same_time_do_not_migrate_twice(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    prepare(path, [FIRST], create=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as late:
        prepare(path, [FIRST, SECOND], create=False)  # while the late one believes the schema to be 1
        _apply(late, SECOND, 2)
        assert (ask(path, "PRAGMA user_version"), ask(path, "SELECT x FROM a")) == (2, 2)
        with pytest.raises(sqlite3.Error):
            _apply(late, "nonsense;", 3)
        assert not late.in_transaction
