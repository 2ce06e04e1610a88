"""How the store finds what is to be derived, and what it is derived from."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from penstock.store import deriving
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare
from penstock.store.sharing import SHARED_INDEXES
from penstock.store.subjects import SubjectReader


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


def plan_of(db: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
