"""Questions of a workflow's database: order, pages, figures, and what is said when it cannot be read."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.domain.context import DATABASE_NAME as DB
from penstock.domain.errors import NotFoundError, SpecError, StoreError
from penstock.domain.states import JobState
from penstock.domain.views import EventInfo, Selection, Statistic
from penstock.store import queries
from penstock.store.events import Event
from penstock.store.queries import (
    events_since,
    list_jobs,
    list_rejected,
    load_job,
    load_spec,
    load_state,
    recent_failures,
    summarize,
)
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare
from penstock.store.selection import COLUMNS, in_states

from .filled import NOW, chunk, create, result, submit

ALL = Selection()


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Six jobs: 1 and 3 completed, 2 failed, 4 submitted, 5 and 6 ready; two records rejected."""
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(6, rejected=2, done=True))
    ulid, attempts = await submit(store, 4)
    ends = [result(ulid, attempts[n], good=n != 1) for n in range(3)]
    await store.record_results(ends, {"submitting": 3}, [])
    await store.close()
    change(tmp_path, "UPDATE job SET final_energy = -7.5 WHERE id = 3")
    return tmp_path


def change(directory: Path, sql: str, *parameters: Any) -> None:
    with contextlib.closing(sqlite3.connect(directory / "workflow.db")) as db, db:
        db.execute(sql, parameters)


def page(directory: Path, order: str = "id", limit: int = 100, offset: int = 0) -> list[int]:
    jobs, total = list_jobs(directory / DB, "w", ALL, limit=limit, offset=offset, order=order)
    assert total == 6
    return [job.id for job in jobs]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("id", [1, 2, 3, 4, 5, 6]),
        ("-id", [6, 5, 4, 3, 2, 1]),
        ("final_energy", [3, 1, 2, 4, 5, 6]),
        ("-final_energy", [1, 3, 2, 4, 5, 6]),
        ("status", [1, 3, 2, 4, 5, 6]),
        ("-name", [6, 5, 4, 3, 2, 1]),
    ],
)
async def test_order(directory: Path, order: str, expected: list[int]) -> None:
    assert page(directory, order) == expected


@pytest.mark.parametrize("column", COLUMNS)
async def test_every_public_column_orders(directory: Path, column: str) -> None:
    assert sorted(page(directory, column)) == sorted(page(directory, f"-{column}")) == [1, 2, 3, 4, 5, 6]


async def test_an_unknown_order_names_the_nearest(directory: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'final_energy'"):
        page(directory, "-final_enrgy; DROP TABLE job")
    assert len(page(directory)) == 6


@pytest.mark.parametrize(
    ("limit", "offset", "expected"),
    [(2, 0, [1, 2]), (2, 5, [6]), (2, 6, []), (0, 0, []), (-1, 0, []), (3, -4, [1, 2, 3]), (10**9, 4, [5, 6])],
)
async def test_pages(directory: Path, limit: int, offset: int, expected: list[int]) -> None:
    assert page(directory, limit=limit, offset=offset) == expected


async def test_a_page_has_its_bound(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_MAX", 4)
    assert page(directory, limit=5) == [1, 2, 3, 4]


async def test_a_selection_is_counted_whole(directory: Path) -> None:
    jobs, total = list_jobs(directory / DB, "w", Selection(statuses=("ready",)), limit=1, offset=1, order="-id")
    assert ([job.id for job in jobs], total) == ([5], 3)
    assert list_jobs(directory / DB, "other", ALL, limit=9, offset=0, order="id") == ([], 0)


async def test_a_job_with_all_that_is_known_of_it(directory: Path) -> None:
    record = load_job(directory / DB, directory, "w", 1)
    assert (record.job.name, record.job.status, record.job.final_energy) == ("h0", "completed", -5.25)
    assert record.job.never_rerun is False
    assert record.geometry == "1\n\nH 0 0 0\n"
    [attempt] = record.attempts
    assert (attempt.number, attempt.state, attempt.exit_code, attempt.ended_at) == (1, "completed", 0, NOW + 2.0)
    assert attempt.directory == record.files[0].removesuffix("/stdout") == str(directory / "jobs/0000/1/1")
    assert record.properties == {"dipole": [0.0, 0.0, 1.5]}
    assert [event.text for event in record.events] == ["attempt 1 completed, energy -5.25000000 Eh"]
    failed = load_job(directory / DB, directory, "w", 2)
    assert (failed.job.failure, failed.blamed, failed.properties, failed.events) == ("exit_code", 1, {}, ())


@pytest.mark.parametrize(("workflow", "job"), [("w", 7), ("w", 0), ("w", -1), ("w", 2**63 - 1), ("other", 1)])
async def test_a_job_that_is_not_there(directory: Path, workflow: str, job: int) -> None:
    with pytest.raises(NotFoundError, match=f"workflow {workflow} has no job {job}; see 'penstockctl jobs {workflow}'"):
        load_job(directory / DB, directory, workflow, job)


async def test_failures_and_rejected_records(directory: Path) -> None:
    change(directory, "UPDATE job SET status = 'timeout', updated_at = '2999' WHERE id = 5")
    assert [job.id for job in recent_failures(directory / DB, "w", 9)] == [5, 2]
    assert [job.id for job in recent_failures(directory / DB, "w", 1)] == [5]
    assert [(one.orig_index, one.line, one.reason) for one in list_rejected(directory / DB, "w", 1)] == [
        (6, 8, "no atoms")
    ]
    assert len(list_rejected(directory / DB, "w", 9)) == 2


async def test_spec_and_state(directory: Path) -> None:
    assert load_spec(directory / DB, "w") == "{}"
    assert load_state(directory / DB, "w") == (
        "running",
        {"completed": 2, "failed": 1, "submitting": 1, "ready": 2},
    )


async def test_the_history_page_by_page(directory: Path) -> None:
    everything = events_since(directory / DB, "w", 0, 1000)
    assert [event.seq for event in everything] == list(range(1, len(everything) + 1))
    assert everything[0].text == "created from recipe campaign"
    paged: list[EventInfo] = []
    for _ in everything[::2]:
        found = events_since(directory / DB, "w", paged[-1].seq if paged else 0, 2)
        assert 0 < len(found) <= 2
        paged += found
    assert paged == everything
    assert events_since(directory / DB, "w", everything[-1].seq, 2) == []
    assert events_since(directory / DB, "other", 0, 1000) == []


async def test_moved_jobs_change_the_counts(directory: Path) -> None:
    store, _ = await create(directory)
    await store.load()
    await store.move_jobs(in_states(JobState.READY), JobState.HELD, Event("jobs_held", 0))
    await store.close()
    assert load_state(directory / DB, "w")[1] == {"completed": 2, "failed": 1, "submitting": 1, "held": 2}


# ---- figures ---------------------------------------------------------------------------------------------------------


async def test_nothing_has_no_figures(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    summary = summarize(tmp_path / DB, "w")
    assert summary.failures == {}
    assert summary.energy_hartree == summary.scf_cycles == Statistic(0, None, None, None, None)


async def test_only_completed_jobs_count(directory: Path) -> None:
    change(directory, "UPDATE job SET final_energy = 1e6, wall_time_s = 1e6 WHERE status != 'completed'")
    summary = summarize(directory / DB, "w")
    assert summary.energy_hartree == Statistic(2, -6.375, -6.375, -7.5, -5.25)
    assert summary.wall_time_s.max == 2.0
    assert summary.failures == {"exit_code": 1}


numbers = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=9)


@settings(max_examples=60)
@given(numbers)
def test_median_mean_and_extremes(tmp_path_factory: pytest.TempPathFactory, values: list[float | None]) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE job (workflow_id, status, final_energy REAL)")
        db.executemany("INSERT INTO job VALUES (?, 'completed', ?)", [("w", value) for value in values])
        db.executemany("INSERT INTO job VALUES (?, ?, 0.5)", [("w", "failed"), ("other", "completed")])
        found = queries._statistic(db, "w", "final_energy")
    there = [value for value in values if value is not None]
    assert found.count == len(there)
    if there:
        assert found.median == pytest.approx(statistics.median(there))
        assert found.mean == pytest.approx(statistics.fmean(there), abs=1e-6)
        assert (found.min, found.max) == (min(there), max(there))
    else:
        assert found == Statistic(0, None, None, None, None)


# ---- databases that cannot be read -----------------------------------------------------------------------------------

QUESTIONS: list[Callable[[Path], Any]] = [
    lambda d: list_jobs(d, "w", ALL, limit=1, offset=0, order="id"),
    lambda d: recent_failures(d, "w", 1),
    lambda d: list_rejected(d, "w", 1),
    lambda d: load_job(d, d.parent, "w", 1),
    lambda d: load_spec(d, "w"),
    lambda d: load_state(d, "w"),
    lambda d: events_since(d, "w", 0, 1),
    lambda d: summarize(d, "w"),
]


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_database_that_cannot_be_read(directory: Path, question: Callable[[Path], Any]) -> None:
    database = directory / "workflow.db"

    def said() -> str:
        with pytest.raises(StoreError, match=r"workflow\.db") as caught:
            question(database)
        assert not caught.value.healable
        return str(caught.value)

    change(directory, "PRAGMA user_version = 99")
    assert "has schema 99, this program knows" in said()
    change(directory, f"PRAGMA user_version = {len(load_migrations(WORKFLOW_MIGRATIONS))}")
    question(database)
    whole = database.read_bytes()
    database.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert "restore it from a backup" in said()
    database.write_bytes(b"no database at all" * 100)
    assert "not a database" in said()
    database.write_bytes(b"")
    assert "is empty" in said()
    database.unlink()
    assert "is missing" in said()
    assert not database.exists()


def test_a_database_of_the_release_before_is_brought_up_to_date_by_whoever_asks_first(tmp_path: Path) -> None:
    prepare(tmp_path / "workflow.db", load_migrations(WORKFLOW_MIGRATIONS)[:1], create=True)
    job = (
        "INSERT INTO job (orig_index, elements, natoms, status, charge, spin, geometry, created_at, updated_at, "
        "workflow_id, step_id, material_id, name, source_line, state) "
        "VALUES (0, 'H', 1, 'ready', 0, 2, '', '', '', 'w', 1, 1, 'h', 1, 'ready')"
    )
    change(tmp_path, job)
    change(tmp_path, "INSERT INTO tally (workflow_id, state, jobs) VALUES ('w', 'ready', 1)")
    jobs, total = list_jobs(tmp_path / DB, "w", ALL, limit=1, offset=0, order="id")
    assert (total, jobs[0].name) == (1, "h")
    assert (tmp_path / "workflow.db.v1.bak").exists()
