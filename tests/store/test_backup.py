"""Backups of a database in use: of one moment, checked, whole or not there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from tests.store.test_journal import journal_mode

from penstock.domain.errors import NotFoundError, SpecError, StoreError
from penstock.store import backup
from penstock.store.backup import BackedUp, back_up, default_path
from penstock.store.connection import open_writer, transaction

WORKFLOW = (
    "INSERT INTO workflow (workflow_id, recipe, recipe_version, spec, parameters, mode, namespace, state, slots, "
    "slots_origin, priority, created_at, updated_at) VALUES (?, 'campaign', 1, '{}', '{}', 'shared', 'shared', "
    "'running', 1, 'spec', 0, ?, 0)"
)
EVENT = "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, 0, 'jobs_ingested', 0, ?)"
TALLY = "INSERT OR REPLACE INTO tally SELECT 'w', 'ready', count(*) FROM event WHERE workflow_id = 'w'"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "workflow.db"
    path.parent.mkdir()
    with open_writer(path, create=True) as db, transaction(db, path):
        db.executemany(WORKFLOW, [("w", 1.0), ("other", 2.0)])
        db.executemany(EVENT, [("w", "x" * 1000)] * 3000)
        db.execute(TALLY)
    return path


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_a_backup_holds_the_whole_file_in_one(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "b.db"
    assert back_up(database, "w", target, overwrite=False) == BackedUp(target.stat().st_size, ("w", "other"), 0)
    assert ask(target, "SELECT count(*) FROM event") == [(3000,)]
    assert journal_mode(target) == "delete"
    assert os.listdir(target.parent) == ["b.db"]  # noqa: PTH208


def test_a_backup_in_a_storm_of_writes_is_of_one_moment(database: Path, tmp_path: Path) -> None:
    ended, written = threading.Event(), []

    def storm() -> None:
        with open_writer(database) as db:
            while not ended.is_set():
                with transaction(db, database):
                    db.execute(EVENT, ("w", "y" * 1000))
                    db.execute(TALLY)
                written.append(1)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        before = len(written)
        for number in range(3):
            target = tmp_path / f"{number}.db"
            back_up(database, "w", target, overwrite=False)
            counted = ask(target, "SELECT (SELECT count(*) FROM event), jobs FROM tally")
            assert counted[0][0] == counted[0][1]
        assert len(written) > before + 10  # who wrote was not kept waiting
    finally:
        ended.set()
        thread.join()


def test_a_file_that_is_there_is_kept_unless_it_may_go(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.db"
    target.write_text("precious", encoding="utf-8")
    with pytest.raises(SpecError, match="exists; choose another path, or overwrite it with --overwrite"):
        back_up(database, "w", target, overwrite=False)
    assert target.read_text(encoding="utf-8") == "precious"
    assert back_up(database, "w", target, overwrite=True).workflows == ("w", "other")
    with pytest.raises(SpecError, match="is the database itself"):
        back_up(database, "w", database, overwrite=True)
    with pytest.raises(SpecError, match="not a regular file"):
        back_up(database, "w", tmp_path, overwrite=True)
    with pytest.raises(SpecError, match="cannot be written"):
        back_up(database, "w", target / "below.db", overwrite=False)
    with pytest.raises(NotFoundError, match="holds no workflow 'nobody'"):
        back_up(database, "nobody", tmp_path / "c.db", overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.db", "work"]


def damage(database: Path, at: int, data: bytes) -> None:
    with database.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    ("at", "data"), [(0, b"not a database at all"), (8192 * 40, b"\xff" * 8192), (8192 * 100 + 1, b"\x00\x07")]
)
def test_no_backup_of_a_damaged_database_is_kept(database: Path, tmp_path: Path, at: int, data: bytes) -> None:
    damage(database, at, data)
    with pytest.raises(StoreError, match=r"malformed|not a database|is damaged, and no backup of it was kept") as error:
        back_up(database, "w", tmp_path / "b.db", overwrite=False)
    assert not error.value.healable
    assert "earlier backup" in str(error.value) or "restore it from a backup" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_a_copy_that_lacks_rows_gets_no_name(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([{"job": 1}, {"job": 0}])
    monkeypatch.setattr(backup, "_count", lambda *_: next(counts))
    with pytest.raises(StoreError, match="try again"):
        back_up(database, "w", tmp_path / "b.db", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_the_default_name_is_a_new_one_each_second() -> None:
    assert default_path(Path("/w/.penstock/a"), "a", 0.0) == Path("/w/.penstock/a/exports/a-19700101T000000Z.backup.db")
