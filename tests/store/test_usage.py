"""Cleaning takes nothing that lies outside the workflow, and nothing that a result of others is in."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tests.store.filled import chunk, create, result, submit, workflow_row

from penstock.store.usage import Cleaning, clean, measure
from penstock.store.workflow_store import WorkflowStore


async def filled(directory: Path) -> Path:
    """A workflow `w` of which one job was completed by its first attempt; its database."""
    store, step = await create(directory)
    await store.add_chunk(step, "w", chunk(2, done=True))
    ulid, [attempt] = await submit(store, 1)
    await store.record_results([result(ulid, attempt)], {"submitting": 1}, [ulid])
    await store.close()
    return directory / "workflow.db"


def alter(database: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


async def test_what_was_imported_from_outside_is_left_alone(tmp_path: Path) -> None:
    directory, outside = tmp_path / "w", tmp_path / "outside"
    for place in (directory, outside, tmp_path / "beside"):
        place.mkdir()
    (outside / "precious").write_text("years of work")
    database = await filled(directory)
    for name in (outside, "../outside"):  # the job was tried once more since, and completed elsewhere
        alter(database, f"UPDATE attempt SET directory = '{name}'", "UPDATE job SET job_dir = 'jobs/0000/1/2'")
        cleaned = clean("w", directory, database, Cleaning(failed=True, exports=True), dry_run=False)
        assert (cleaned.attempts, cleaned.files) == (0, 0)
    assert (outside / "precious").read_text() == "years of work"
    assert measure("w", directory, database).bytes < 1_000_000


async def test_an_attempt_that_a_result_of_others_is_from_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / "w"
    directory.mkdir()
    database = await filled(directory)
    for number in (1, 2):
        (directory / "jobs" / "0000" / "1" / str(number)).mkdir(parents=True)
    other = WorkflowStore(database, "o", contextlib.nullcontext)
    await other.create(workflow_row("o"), [])
    await other.close()
    alter(
        database,
        "UPDATE attempt SET directory = 'jobs/0000/1/1'",
        "UPDATE job SET job_dir = 'jobs/0000/1/2' WHERE id = 1",
        "UPDATE job SET workflow_id = 'o', origin = '{}', job_dir = '../w/jobs/0000/1/1' WHERE id = 2",
    )
    assert clean("w", directory, database, Cleaning(), dry_run=True).attempts == 0
    alter(database, "UPDATE job SET job_dir = '../v/jobs/0000/1/1' WHERE id = 2")
    assert clean("w", directory, database, Cleaning(), dry_run=False).attempts == 1
    assert not (directory / "jobs" / "0000" / "1" / "1").exists()
