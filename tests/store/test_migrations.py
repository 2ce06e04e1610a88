"""Databases of every released schema, as its own release wrote them, brought to the newest.

`schemas/*.sql` are dumps of databases that the stores of those releases have filled: jobs and attempts in every state,
retries, results, history; from schema 3 on a chain. A new migration brings a dump of the schema before it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.domain.errors import StoreError
from penstock.domain.states import JobState
from penstock.files.kinds import ENVIRONMENT, file_system_of
from penstock.store import schema
from penstock.store.catalogue import Catalogue
from penstock.store.connection import reading
from penstock.store.schema import CATALOGUE_MIGRATIONS, WORKFLOW_MIGRATIONS, load_migrations, prepare
from penstock.store.workflow_store import WorkflowStore

SCHEMAS = Path(__file__).parent / "schemas"
MIGRATIONS = load_migrations(WORKFLOW_MIGRATIONS)
OLD = list(range(1, len(MIGRATIONS)))
Rows = dict[str, list[tuple[Any, ...]]]


def restore(dump: str, path: Path) -> Path:
    """The database of a dump, as its release left it."""
    path.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((SCHEMAS / dump).read_text(encoding="utf-8"))
        db.execute("PRAGMA journal_mode = WAL")
    return path


def columns_of(path: Path) -> dict[str, list[str]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        return {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}


def rows_of(path: Path, columns: dict[str, list[str]]) -> Rows:
    """What stands in these columns of every table."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {
            table: sorted(db.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall(), key=repr)
            for table, names in columns.items()
        }


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_every_released_schema_has_a_database_here() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == ["catalogue_v1.sql", *(f"workflow_v{n}.sql" for n in OLD)]


@pytest.mark.parametrize("version", OLD)
async def test_a_released_schema_becomes_the_newest_and_keeps_every_row(tmp_path: Path, version: int) -> None:
    path = restore(f"workflow_v{version}.sql", tmp_path / "workflow.db")
    columns = columns_of(path)
    before = rows_of(path, columns)
    states = {row[0] for row in rows_of(path, {"job": ["state"]})["job"]}
    assert states == {*JobState} - ({JobState.WAITING} if version < 3 else set())
    with reading(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert rows_of(path, columns) == before
    fresh = tmp_path / "fresh.db"
    prepare(fresh, MIGRATIONS, create=True)
    assert columns_of(path) == columns_of(fresh)
    backup = tmp_path / f"workflow.db.v{version}.bak"
    assert version_of(backup) == version
    assert rows_of(backup, columns) == before
    store = WorkflowStore(path, "w", contextlib.nullcontext)
    row, steps, submissions = await store.load()
    await store.close()
    assert (row.state, len(steps), sum(store.tally.values())) == (
        "running",
        3 if version >= 3 else 1,
        len(before["job"]),
    )
    assert {attempt.state for submission in submissions for attempt in submission.attempts} >= {"running", "in_doubt"}


@pytest.fixture(params=["wal", "truncate"])
def journal(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "truncate":
        monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))
    return str(request.param)


def test_killed_at_any_statement_it_is_the_old_schema_or_the_new(
    tmp_path: Path, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = restore("workflow_v1.sql", tmp_path / "workflow.db")
    columns = columns_of(path)
    before = rows_of(path, columns)
    images: list[Path] = []

    def split(script: str) -> Iterator[str]:
        """Before each statement, what a power cut would leave on the disk."""
        for statement in statements(script):
            image = tmp_path / f"{len(images)}"
            image.mkdir()
            for file in tmp_path.glob("workflow.db*"):
                if not file.name.endswith("-shm"):
                    shutil.copy(file, image)
            images.append(image / "workflow.db")
            yield statement

    statements = schema._statements
    monkeypatch.setattr(schema, "_statements", split)
    prepare(path, MIGRATIONS, create=False)
    assert len(images) > 25
    for image in images:
        assert version_of(image) == 1
        assert rows_of(image, columns) == before
        assert version_of(image.with_name("workflow.db.v1.bak")) == 1
    monkeypatch.undo()
    prepare(images[-1], MIGRATIONS, create=False)
    for newest in (images[-1], path):
        assert version_of(newest) == len(MIGRATIONS)
        assert rows_of(newest, columns) == before


def test_broken_off_at_any_statement_it_is_the_old_schema(
    tmp_path: Path, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenOffError(Exception):
        pass

    path = restore("workflow_v1.sql", tmp_path / "workflow.db")
    columns = columns_of(path)
    before = rows_of(path, columns)
    total = sum(1 for script in MIGRATIONS[1:] for _ in schema._statements(script))
    statements, left = schema._statements, 0

    def split(script: str) -> Iterator[str]:
        nonlocal left
        for statement in statements(script):
            if not left:
                raise BrokenOffError
            left -= 1
            yield statement

    monkeypatch.setattr(schema, "_statements", split)
    for number in range(total):
        left = number
        with pytest.raises(BrokenOffError):
            prepare(path, MIGRATIONS, create=False)
        assert version_of(path) == 1
    assert rows_of(path, columns) == before
    left = total
    prepare(path, MIGRATIONS, create=False)
    assert rows_of(path, columns) == before


@pytest.mark.parametrize("version", OLD)
def test_an_older_program_leaves_a_newer_database_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "workflow.db"
    prepare(path, MIGRATIONS, create=True)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"has schema {len(MIGRATIONS)}, this program knows {version}; upgrade"):
        prepare(path, MIGRATIONS[:version], create=False)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["workflow.db"]  # noqa: PTH208


async def test_the_catalogue_of_the_first_release_is_read(tmp_path: Path) -> None:
    catalogue = Catalogue(restore("catalogue_v1.sql", tmp_path / "catalogue.db"), contextlib.nullcontext)
    await catalogue.open()
    found = {row.id: (row.state, row.snapshot.jobs if row.snapshot else None) for row in await catalogue.rows()}
    await catalogue.close()
    assert found == {"g2": ("running", 162), "old": ("completed", 162), "half": ("creating", None)}


async def test_a_catalogue_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = restore("catalogue_v1.sql", tmp_path / "catalogue.db")
    known = load_migrations(CATALOGUE_MIGRATIONS)
    newer = [*known, "ALTER TABLE workflow ADD COLUMN later TEXT;"]
    prepare(path, newer, create=False)
    assert version_of(tmp_path / "catalogue.db.v1.bak") == 1
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"has schema {len(newer)}, this program knows {len(known)}; upgrade Penstock"):
        await Catalogue(path, contextlib.nullcontext).open()
    assert path.read_bytes() == before
