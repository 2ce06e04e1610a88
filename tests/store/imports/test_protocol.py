"""Executions, their steps and their queue are kept as they were: real ones, and odd ones."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from tests.store.filled import workflow_row
from tests.store.imports.older import make_executions, prints

from penstock.store.imports.order import ImportOrder, try_import, write_import

SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent")) / "cell_os"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory with real executions")
def test_the_real_executions_and_their_queue(tmp_path: Path) -> None:
    before = prints(SAMPLES)
    names = ("executions.db", "job_queue.db")
    database = tmp_path / "workflow.db"
    result = write_import(ImportOrder(tuple(str(SAMPLES / name) for name in names)), database, workflow_row())
    assert result.counts == {"executions": 42, "execution_steps": 210, "queued_jobs": 42}
    assert (result.remarks, result.left_out) == ({}, {})
    assert prints(SAMPLES) == before
    for name, tables in zip(names, (("executions", "execution_steps"), ("queued_jobs",)), strict=True):
        with contextlib.closing(sqlite3.connect(f"{(SAMPLES / name).as_uri()}?mode=ro", uri=True)) as theirs:
            for table in tables:
                with contextlib.closing(sqlite3.connect(database)) as ours:
                    columns = [column[1] for column in ours.execute(f"PRAGMA table_info({table})")]
                    sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1"
                    assert ours.execute(sql).fetchall() == theirs.execute(sql).fetchall()


def test_odd_rows_are_kept_and_told(tmp_path: Path) -> None:
    source = make_executions(
        tmp_path / "executions.db",
        [
            {"execution_id": "a", "metadata": '{"dose": 0.5}'},
            {"execution_id": "b", "status": "running", "metadata": "{half"},
            {"execution_id": "", "status": "failed"},
            {"execution_id": "c", "status": "lost", "current_step_index": "two"},
        ],
        [{"step_id": "a1", "execution_id": "a"}, {"step_id": "x1", "execution_id": "gone", "result": b"\0\1"}],
        [{"job_id": "q", "execution_id": "gone", "status": "queued"}],
    )
    result = try_import(ImportOrder((str(source),)))
    assert result.counts == {"executions": 3, "execution_steps": 2, "queued_jobs": 1}
    assert result.left_out == {"executions": 1}
    assert result.remarks == {
        "had not ended; nothing here goes on with it": 2,
        "metadata is not valid JSON, kept as text": 1,
        "no execution_id": 1,
        "unknown status, kept as it is": 1,
        "current_step_index is no whole number, left out": 1,
        "result is no text, left out": 1,
        "its execution is in none of the databases": 2,
    }
    assert result.statuses["executions: running"] == 1
