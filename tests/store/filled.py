"""A workflow's store with something in it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from penstock.domain.calculation import (
    Exit,
    FailureClass,
    Outcome,
    PackedChunk,
    Rejected,
    Structure,
    StructureChunk,
    pack_chunk,
)
from penstock.domain.ids import new_ulid
from penstock.domain.resources import Resources
from penstock.domain.states import AttemptState, JobState
from penstock.domain.submission import Submission
from penstock.store.events import Event
from penstock.store.rows import AttemptResult, NewStep, OpenAttempt, StepRow, WorkflowRow
from penstock.store.workflow_store import WorkflowStore

NOW = 1_800_000_000.0
EXIT = Exit(0, None, NOW, NOW + 2.0)
GOOD = Outcome(
    None,
    final_energy_hartree=-5.25,
    max_force_hartree_per_bohr=0.125,
    scf_cycles=7,
    properties={"dipole": [0.0, 0.0, 1.5]},
    files=["stdout"],
)
BAD = Outcome(FailureClass.EXIT_CODE, "ended with exit code 1")


def workflow_row(workflow_id: str = "w") -> WorkflowRow:
    """A running campaign."""
    return WorkflowRow(
        workflow_id=workflow_id,
        recipe="campaign",
        recipe_version=1,
        spec="{}",
        parameters="{}",
        mode="isolated",
        namespace=workflow_id,
        state="running",
        reason=None,
        slots=1,
        slots_origin="spec",
        priority=0,
        created_at=NOW,
        updated_at=NOW,
    )


def make_store(directory: Path) -> WorkflowStore:
    """A store whose database may or may not exist."""
    return WorkflowStore(directory / "workflow.db", "w", contextlib.nullcontext)


async def create(directory: Path) -> tuple[WorkflowStore, StepRow]:
    """A new store with its one step."""
    store = make_store(directory)
    await store.create(workflow_row(), [("source/m.csv", 10, "0" * 64)])
    [step] = await store.add_steps([NewStep("calculate", "fan")])
    return store, step


def chunk(count: int, *, first: int = 0, rejected: int = 0, done: bool = False) -> PackedChunk:
    """Hydrogen atoms."""
    structures = [Structure(n, n + 2, f"h{n}", "H", 1, 0, 2, "1\n\nH 0 0 0\n") for n in range(first, first + count)]
    bad = [Rejected(n, n + 2, "no atoms") for n in range(first + count, first + count + rejected)]
    return pack_chunk(StructureChunk(structures, bad, str(first + count + rejected), done))


async def submit(store: WorkflowStore, limit: int) -> tuple[str, list[OpenAttempt]]:
    """Commits the intent to run up to `limit` ready jobs."""
    jobs = await store.take_ready(limit, NOW)
    ulid = new_ulid(NOW)
    submission = Submission(ulid, "w", "/w", "isolated", "emt", 0, 0, False, len(jobs), Resources())
    begun = await store.begin_submission(submission, "local", jobs, NOW)
    assert begun is not None
    return ulid, begun[0]


def result(ulid: str, attempt: OpenAttempt, *, good: bool = True, again: bool = False) -> AttemptResult:
    """The end of an attempt."""
    if good:
        event = Event("job_completed", attempt.job_id, {"attempt": attempt.number, "energy_hartree": -5.25})
        return AttemptResult(ulid, attempt, AttemptState.COMPLETED, JobState.COMPLETED, EXIT, GOOD, event=event)
    after = JobState.READY if again else JobState.FAILED
    return AttemptResult(
        ulid, attempt, AttemptState.FAILED, after, EXIT, BAD, BAD.failure, BAD.message, NOW + 60.0 if again else None, 1
    )


def query(directory: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What plain SQLite says."""
    with contextlib.closing(sqlite3.connect(directory / "workflow.db")) as connection:
        return connection.execute(sql, parameters).fetchall()
