"""Sources are read right and never changed, whatever lies beside them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from tests.store.imports.older import make_campaign, make_executions, prints

from penstock.domain.errors import SpecError
from penstock.store.imports.order import ImportOrder, find_kind, try_import
from penstock.store.imports.source import opened
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare


def order(*paths: Path, kind: str | None = None) -> ImportOrder:
    return ImportOrder(tuple(map(str, paths)), kind)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_at_rest_is_read_without_a_trace(tmp_path: Path, mode: str) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{}, {}])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
    before = prints(tmp_path)
    assert try_import(order(path)).counts["jobs"] == 2
    assert prints(tmp_path) == before


def test_what_is_only_in_the_wal_is_read_and_stays_there(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{}, {}])
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE structures SET status = 'completed'")
        writer.commit()
        before = prints(tmp_path)
        assert before.keys() == {"workflow.db", "workflow.db-wal", "workflow.db-shm"}
        assert try_import(order(path)).states == {"completed": 2}
        assert prints(tmp_path) == before


def test_a_journal_that_a_crash_left_is_played_back_in_a_copy(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "live.db", [{"geometry": "x" * 5000}] * 50)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = 2")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE structures SET status = 'failed', geometry = geometry || 'y'")
        (crashed / "w.db").write_bytes(path.read_bytes())
        (crashed / "w.db-journal").write_bytes(Path(f"{path}-journal").read_bytes())
        db.execute("ROLLBACK")
    before = prints(crashed)
    assert try_import(order(crashed / "w.db")).remarks["geometry cannot be read"] == 50
    assert prints(crashed) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_leave_to_write(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{}])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    tmp_path.chmod(0o555)
    try:
        assert try_import(order(path)).counts["jobs"] == 1
    finally:
        tmp_path.chmod(0o755)


def test_a_source_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{}])
    (tmp_path / "scratch").mkdir()
    reading = contextlib.ExitStack()
    reading.enter_context(opened(path, tmp_path / "scratch"))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE structures SET status = 'failed'")
        db.commit()
    with pytest.raises(SpecError, match="was changed while it was read"):
        reading.close()


def test_a_source_that_is_being_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.store.imports.source._WAITS_S", 0)
    path = make_campaign(tmp_path / "workflow.db", [{}])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SpecError, match="is locked by another program"):
            try_import(order(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"id,status\n1,ready\n", "is no SQLite database"), (b"SQLite format 3\0junk", "file is not")],
)
def test_what_is_no_database_is_said_so(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "workflow.db"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=said) as caught:
        try_import(order(path))
    assert caught.value.file == str(path)


def test_a_missing_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("gone.db", "No such file"), (".", "not a regular file"), ("pipe", "not a regular file")):
        with pytest.raises(SpecError, match=said):
            try_import(order(tmp_path / name))


def test_a_damaged_database_says_behind_which_row(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{"error_message": "x" * 300} for _ in range(500)])
    data = bytearray(path.read_bytes())
    page = int.from_bytes(data[16:18])
    for number in range(40, len(data) // page):
        data[number * page : number * page + 100] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(SpecError, match=r"table structures: the row behind row \d+ cannot be read"):
        try_import(order(path))


def test_a_database_that_was_cut_off(tmp_path: Path) -> None:
    path = make_campaign(tmp_path / "workflow.db", [{"error_message": "x" * 300} for _ in range(500)])
    path.write_bytes(path.read_bytes()[:40960])
    with pytest.raises(SpecError, match=r"malformed|cannot be read"):
        try_import(order(path))


def test_databases_of_nobody_known_and_of_our_own(tmp_path: Path) -> None:
    strange = tmp_path / "strange.db"
    with contextlib.closing(sqlite3.connect(strange)) as db:
        db.executescript("CREATE TABLE birds (id); CREATE TABLE systems (id);")
    with pytest.raises(
        SpecError, match="no tool that is known here; it has the tables birds, systems; an ASE database"
    ):
        try_import(order(strange))
    ours = tmp_path / "ours.db"
    prepare(ours, load_migrations(WORKFLOW_MIGRATIONS), create=True)
    with pytest.raises(SpecError, match="a database of Penstock already"):
        try_import(order(ours))


def test_the_kind_is_found_and_may_be_said(tmp_path: Path) -> None:
    campaign = make_campaign(tmp_path / "a.db", [{}], table="jobs")
    history = make_executions(tmp_path / "b.db", [], [])
    assert find_kind(order(campaign)) == "architector"
    assert find_kind(order(campaign, kind="architector")) == "architector"
    assert find_kind(order(history)) == "protocol"
    with pytest.raises(SpecError, match="is no crystal database"):
        find_kind(order(campaign, kind="crystal"))
    with pytest.raises(SpecError, match="did you mean 'crystal'"):
        find_kind(order(campaign, kind="cristal"))
    with pytest.raises(SpecError, match="imported together"):
        find_kind(order(campaign, history))
