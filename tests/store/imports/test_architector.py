"""Campaigns of ORCA calculations become jobs; what cannot be one is told."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.engines.orca import texts
from tests.store.filled import workflow_row
from tests.store.imports.older import make_campaign, prints

from penstock.domain.errors import StoreError
from penstock.store.imports.order import ImportOrder, ImportResult, try_import, write_import

STATUSES = {
    "to_run": "ready",
    "ready": "ready",
    "running": "held",
    "completed": "completed",
    "failed": "failed",
    "timeout": "timeout",
    "cancelled": "cancelled",
    "skipped": "skipped",
}


def write(tmp_path: Path, source: Path, **order: Any) -> tuple[ImportResult, list[dict[str, Any]]]:
    """The import, and its jobs as rows."""
    database = tmp_path / "new" / "workflow.db"
    database.parent.mkdir()
    result = write_import(ImportOrder((str(source),), **order), database, workflow_row())
    return result, rows(database, "SELECT * FROM job ORDER BY id")


def rows(database: Path, sql: str) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


def test_every_status_has_its_state(tmp_path: Path) -> None:
    source = make_campaign(tmp_path / "w.db", [{"status": status} for status in STATUSES])
    result, jobs = write(tmp_path, source)
    assert [job["state"] for job in jobs] == list(STATUSES.values())
    assert result.statuses == {f"{old} -> {new}": 1 for old, new in STATUSES.items()}
    tally = rows(tmp_path / "new/workflow.db", "SELECT state, jobs FROM tally")
    assert {row["state"]: row["jobs"] for row in tally} == result.states
    assert sum(result.states.values()) == result.counts["jobs"] == result.counts["materials"] == 8


def test_running_ones_may_be_made_ready_by_who_knows_better(tmp_path: Path) -> None:
    source = make_campaign(tmp_path / "w.db", [{"status": "running"}])
    result, _ = write(tmp_path, source, running="ready")
    assert result.states == {"ready": 1}
    assert result.remarks == {"was running, made ready": 1, "column kept as a property": 1}


def test_numbers_metrics_and_times_stay_as_they_were(tmp_path: Path) -> None:
    row = {
        "id": 77,
        "orig_index": 5,
        "status": "completed",
        "charge": -1,
        "spin": 2,
        "max_forces": 0.0125,
        "scf_steps": 14,
        "final_energy": -76.5,
        "wall_time": 61.5,
        "n_cores": 4,
        "created_at": "2026-01-02 03:04:05",
        "updated_at": "2026-01-02 04:00:00",
    }
    _, (job,) = write(tmp_path, make_campaign(tmp_path / "w.db", [row]))
    same = ("id", "orig_index", "charge", "spin", "max_forces", "scf_steps", "final_energy", "created_at", "updated_at")
    assert [job[name] for name in same] == [row[name] for name in same]
    assert (job["wall_time_s"], job["natoms"], job["elements"]) == (61.5, 3, "O;H")
    (kept,) = rows(tmp_path / "new/workflow.db", "SELECT name, value FROM property")
    assert kept == {"name": "n_cores", "value": "4"}


def test_directories_are_taken_over_in_place(tmp_path: Path) -> None:
    source = make_campaign(
        tmp_path / "w.db",
        [
            {"status": "completed", "job_dir": "jobs/job_0", "wall_time": 10.0},
            {"status": "failed", "job_dir": str(tmp_path / "jobs/job_1"), "error_message": "no", "fail_count": 3},
            {"status": "completed", "job_dir": "jobs/gone"},
            {"status": "to_run", "job_dir": "jobs/made"},
            {"status": "to_run", "job_dir": "jobs/tried", "fail_count": 1},
        ],
    )
    for name in ("job_0", "job_1", "made", "tried"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
    (tmp_path / "jobs/job_0/orca.out").write_text(texts.single_point())
    before = prints(tmp_path)
    result, jobs = write(tmp_path, source)
    attempts = rows(tmp_path / "new/workflow.db", "SELECT * FROM attempt ORDER BY job_id")
    assert [(a["job_id"], a["number"], a["state"], Path(a["directory"]).name) for a in attempts] == [
        (1, 1, "completed", "job_0"),
        (2, 1, "failed", "job_1"),
        (5, 1, "failed", "tried"),
    ]
    assert attempts[0]["ended_at"] - attempts[0]["started_at"] == 10.0
    assert [job["attempts"] for job in jobs] == [1, 1, 0, 0, 1]
    assert [job["blamed"] for job in jobs] == [0, 3, 0, 0, 1]
    assert jobs[0]["job_dir"] == str(tmp_path / "jobs/job_0")
    assert result.remarks["directory is missing"] == 1
    assert prints(tmp_path, apart="new/") == before


def test_directories_that_moved_are_found_where_a_person_says(tmp_path: Path) -> None:
    (tmp_path / "here/job_9").mkdir(parents=True)
    source = make_campaign(tmp_path / "w.db", [{"status": "failed", "job_dir": "/gone/to/another/machine/job_9"}])
    _, (job,) = write(tmp_path, source, moved=str(tmp_path / "here"))
    assert job["job_dir"] == str(tmp_path / "here/job_9")


def test_odd_rows_are_told_and_none_is_lost_in_silence(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    source = make_campaign(
        tmp_path / "w.db",
        [
            {"geometry": None},
            {"geometry": "O 0 0"},
            {"status": "lost"},
            {"status": None},
            {"charge": None, "spin": None},
            {"spin": 2},
            {"orig_index": None, "natoms": 9},
            {"status": "failed", "job_dir": "same"},
            {"status": "failed", "job_dir": "same"},
            {"max_forces": "much", "scf_steps": 2.5, "final_energy": float("inf")},
            {"id": -4},
        ],
        more="CREATE TABLE notes (text); INSERT INTO notes VALUES ('x');",
    )
    result, jobs = write(tmp_path, source)
    assert result.remarks == {
        "no geometry": 1,
        "geometry cannot be read": 1,
        "unknown status, held": 2,
        "no charge, 0 is taken": 1,
        "no multiplicity, the lowest possible is taken": 1,
        "charge and multiplicity exclude each other": 1,
        "no orig_index": 1,
        "natoms is not that of the geometry": 1,
        "shares its directory with other rows, not taken over": 2,
        "no usable id": 1,
        "column kept as a property": 1,
        "table not taken over": 1,
    }
    assert result.left_out == {"structures": 3}
    assert result.counts["jobs"] == len(jobs) == 8
    rejected = rows(tmp_path / "new/workflow.db", "SELECT reason FROM rejected ORDER BY id")
    assert [row["reason"].partition(":")[0] for row in rejected] == [f"structures, row {n}" for n in (-4, 1, 2)]
    last = jobs[-1]
    assert (last["max_forces"], last["scf_steps"], last["final_energy"]) == (None, None, None)


def test_rows_with_the_same_id(tmp_path: Path) -> None:
    source = tmp_path / "w.db"
    with contextlib.closing(sqlite3.connect(source)) as db:
        db.execute("CREATE TABLE jobs (id, status, geometry)")
        db.executemany("INSERT INTO jobs VALUES (?, 'ready', 'H 0 0 0')", [(1,), (1,), (2,), ("x",)])
        db.commit()
    result, jobs = write(tmp_path, source)
    assert [job["id"] for job in jobs] == [1, 2]
    assert result.remarks["an id that another row has"] == result.remarks["no usable id"] == 1


def test_a_dry_run_comes_to_the_same_and_leaves_nothing(tmp_path: Path) -> None:
    source = make_campaign(tmp_path / "w.db", [{"status": status} for status in STATUSES] + [{"geometry": ""}])
    before = prints(tmp_path)
    tried = try_import(ImportOrder((str(source),)))
    assert prints(tmp_path) == before
    written, _ = write(tmp_path, source)
    assert tried == written


def test_a_workflow_with_work_left_waits_for_a_person(tmp_path: Path) -> None:
    for name, status, state in (("a", "to_run", "paused"), ("b", "failed", "failed"), ("c", "completed", "completed")):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, make_campaign(folder / "w.db", [{"status": status}, {"status": "completed"}]))
        (row,) = rows(folder / "new/workflow.db", "SELECT state FROM workflow")
        assert row["state"] == state


def test_a_database_that_cannot_be_written_is_our_trouble(tmp_path: Path) -> None:
    source = make_campaign(tmp_path / "w.db", [{}])
    target = tmp_path / "full" / "workflow.db"
    target.mkdir(parents=True)
    with pytest.raises(StoreError):
        write_import(ImportOrder((str(source),)), target, workflow_row())
