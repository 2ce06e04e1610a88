"""How the store finds what is to be derived, and what it is derived from."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.store.filled import chunk, create, result, submit

from penstock.domain.calculation import FailureClass, Resume
from penstock.domain.states import AttemptState
from penstock.store import deriving
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare
from penstock.store.sharing import SHARED_INDEXES
from penstock.store.subjects import SubjectReader, read_subjects


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_subject_is_found_among_ten_thousand_without_passing_by_them(
    tmp_path: Path, *, is_shared: bool
) -> None:
    path = tmp_path / "workflow.db"
    prepare(path, load_migrations(WORKFLOW_MIGRATIONS), create=True)
    asked: list[str] = []
    with contextlib.closing(sqlite3.connect(path)) as db:
        for index in SHARED_INDEXES if is_shared else ():
            db.execute(index)
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("INSERT INTO material VALUES (7, 'w', 'w', 'Cu', 1, 0, NULL, NULL)")
        db.set_trace_callback(asked.append)
        reader = SubjectReader(db, "w", tmp_path)
        assert reader.subject(7).name == "Cu"
        assert (reader.seen(7), reader.trouble(7), reader.changed_between(7)) == ([], None, [])
        db.set_trace_callback(None)
        looks = [
            (deriving._SUBJECT_NOW, ("w", 7)),
            (deriving._UNFOLDABLE, ("w", 1, 2, 16)),
            (deriving._CONCLUDABLE, ("w", 3, 16)),
        ]
        plans = [plan for sql in asked for plan in plan_of(db, sql)]
        plans += [plan for sql, values in looks for plan in plan_of(db, sql, values)]
    assert len(asked) == 8
    of_jobs = [plan for plan in plans if plan.split()[1] in {"job", "j", "o"}]
    assert of_jobs
    assert [plan for plan in of_jobs if "job_subject (subject" not in plan and "job_of_step" not in plan] == []
    assert [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan] == []


LEFT = Resume("1/1", (), "1\n\nH 0 0 1\n")


@pytest.mark.parametrize(
    ("first", "went_on"),
    [
        ({"attempt_state": AttemptState.NOT_RUN, "failure": None}, False),
        ({"failure": FailureClass.RUNNER_LOST}, False),
        ({"failure": FailureClass.WALLTIME}, True),  # its files may have been carried
        ({"failure": FailureClass.SCF_NOT_CONVERGED, "resume": LEFT}, True),
    ],
)
async def test_a_second_attempt_went_on_only_where_the_first_left_something(
    tmp_path: Path, first: dict[str, Any], *, went_on: bool
) -> None:
    store, step = await create(tmp_path)
    try:
        await store.add_chunk(step, "w", chunk(1, done=True))
        ulid, (attempt,) = await submit(store, 1)
        end = msgspec.structs.replace(result(ulid, attempt, good=False, again=True), not_before=None, **first)
        await store.record_results([end], {"submitting": 1}, [ulid])
        ulid, (attempt,) = await submit(store, 1)
        assert attempt.number == 2
        await store.record_results([result(ulid, attempt)], {"submitting": 1}, [ulid])
    finally:
        await store.close()
    with read_subjects(tmp_path / "workflow.db", "w", tmp_path) as reader:
        (job,) = reader._jobs("j.workflow_id = ?")
    assert (job.attempt, job.went_on) == (2, went_on)


def plan_of(db: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
