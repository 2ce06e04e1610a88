"""A catalogue looked at in whatever state it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from tests.store.test_migrations import restore

from penstock.domain.errors import StoreError
from penstock.domain.views import WorkflowInfo
from penstock.store.catalogue import Catalogue
from penstock.store.inspection import inspect_catalogue, inspect_parameters
from penstock.store.schema import CATALOGUE_MIGRATIONS, load_migrations, prepare

NEWEST = len(load_migrations(CATALOGUE_MIGRATIONS))
INFO = WorkflowInfo(
    *("g2", "campaign", "running", "/w/g2", "isolated", "local", "emt", 1, 0, 0, {}, {}, 0, False, None, 5.0),
    updated_at=4e9,
)


@pytest.fixture
async def catalogue(tmp_path: Path) -> Catalogue:
    catalogue = Catalogue(tmp_path / "catalogue.db", contextlib.nullcontext)
    await catalogue.open()
    return catalogue


async def test_it_is_read_beside_its_writer_and_after_it(tmp_path: Path, catalogue: Catalogue) -> None:
    path = tmp_path / "catalogue.db"
    await catalogue.add("g2", "/w/g2")
    await catalogue.update(INFO)
    seen = inspect_catalogue(path, 5.0)
    assert seen is not None
    assert [(w.id, w.directory, w.state, w.operation) for w in seen.workflows] == [("g2", "/w/g2", "running", False)]
    assert (seen.version, seen.known, seen.complaint, seen.finished) == (NEWEST, NEWEST, "", True)
    assert seen.newest_at == 4e9
    await catalogue.close()
    names = sorted(os.listdir(tmp_path))  # noqa: PTH208 - a list of names is what is wanted
    assert inspect_catalogue(path, 5.0) == seen
    assert sorted(os.listdir(tmp_path)) == names  # noqa: PTH208 - SQLite made nothing beside it


def test_old_new_foreign_and_missing_ones(tmp_path: Path) -> None:
    assert inspect_catalogue(tmp_path / "nosuch.db", 1.0) is None
    old = tmp_path / "old.db"
    prepare(old, load_migrations(CATALOGUE_MIGRATIONS)[:1], create=True)
    seen = inspect_catalogue(old, 5.0)
    assert seen is not None
    assert (seen.version, seen.newest_at, seen.workflows) == (1, None, ())
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)  # not brought up to date
        db.execute("PRAGMA user_version = 99")
    seen = inspect_catalogue(old, 5.0)
    assert seen is not None
    assert seen.version == 99
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="another program"):
        inspect_catalogue(foreign, 1.0)
    (tmp_path / "torn.db").write_bytes(old.read_bytes()[:5000])
    with pytest.raises(StoreError, match=r"malformed|not a database"):
        inspect_catalogue(tmp_path / "torn.db", 1.0)


def test_a_damaged_page_is_found_and_a_check_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    prepare(path, load_migrations(CATALOGUE_MIGRATIONS), create=True)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = DELETE")
        rows = ((f"w{n}", f"/w/{'x' * 200}{n}", "completed", 1.0) for n in range(20_000))
        db.executemany("INSERT INTO workflow (id, directory, state, created_at) VALUES (?, ?, ?, ?)", rows)
    seen = inspect_catalogue(path, 0.0)
    assert seen is not None
    assert (seen.finished, seen.complaint) == (False, "")
    assert len(seen.workflows) == 20_000
    with contextlib.closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_sweep_1'").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 8192 : (page - 1) * 8192 + 100] = b"\xff" * 100
    path.write_bytes(data)
    seen = inspect_catalogue(path, 30.0)
    assert seen is not None
    assert seen.complaint


def test_parameters_of_old_releases_are_read_and_left_as_they_are(tmp_path: Path) -> None:
    for version in (1, 2, 3, 4):
        path = restore(f"workflow_v{version}.sql", tmp_path / f"{version}" / "workflow.db")
        with contextlib.closing(sqlite3.connect(path)) as db:
            wanted = dict(db.execute("SELECT workflow_id, parameters FROM workflow"))
        before = path.read_bytes()
        for workflow_id, own in wanted.items():
            found = inspect_parameters(path, workflow_id)
            assert found
            assert own in found or version > 2
        assert path.read_bytes() == before
        with pytest.raises(StoreError, match="knows no workflow nobody"):
            inspect_parameters(path, "nobody")


def test_steps_have_parameters_of_their_own_and_analyses_none(tmp_path: Path) -> None:
    path = restore("workflow_v4.sql", tmp_path / "workflow.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        [workflow_id] = db.execute("SELECT workflow_id FROM workflow LIMIT 1").fetchone()
        db.execute("UPDATE workflow SET parameters = 'w' WHERE workflow_id = ?", (workflow_id,))
        db.execute("DELETE FROM job")
        db.execute("DELETE FROM step")
        assert inspect_parameters(path, workflow_id) == ("w",)
        rows = [("a", "fan", "x"), ("b", "unfold", "y"), ("c", "fan", "x"), ("d", "analysis", "z"), ("e", "fan", None)]
        for key, kind, parameters in rows:
            db.execute(
                "INSERT INTO step (workflow_id, key, kind, state, parameters) VALUES (?, ?, ?, 'running', ?)",
                (workflow_id, key, kind, parameters),
            )
    assert inspect_parameters(path, workflow_id) == ("x", "y", "w")


def test_what_is_no_database_of_a_workflow_has_no_parameters(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    for path in (tmp_path / "text", tmp_path / "missing" / "workflow.db"):
        with pytest.raises(StoreError):
            inspect_parameters(path, "g2")
