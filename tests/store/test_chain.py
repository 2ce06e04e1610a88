"""Chains of jobs in the database: what goes on from what, in one transaction with its cause."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.store.filled import NOW, chunk, make_store, workflow_row

from penstock.domain.calculation import Exit, FailureClass, Outcome, Resume
from penstock.domain.ids import new_ulid
from penstock.domain.resources import Resources
from penstock.domain.states import AttemptState, JobState
from penstock.domain.submission import Submission
from penstock.store.events import Event
from penstock.store.reviews import set_job
from penstock.store.rows import AttemptResult, NewStep, ReadyJob
from penstock.store.selection import Where, in_states
from penstock.store.workflow_store import WorkflowStore

STEPS = [
    NewStep("OPT", "fan"),
    NewStep("OPT2", "fan", after="OPT", optional=True),
    NewStep("SP", "fan", after="OPT2", parameters='{"task": "sp"}', resources='{"cores": 4}'),
    NewStep("BAND", "fan", after="SP", optional=True),
    NewStep("DOSS", "fan", after="SP"),
]
MOVED = "1\n\nH 0 0 1\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WorkflowStore]:
    store = make_store(tmp_path)
    await store.create(workflow_row(), [])
    first, *links = await store.add_steps(STEPS)
    await store.add_chunk(first, "w", chunk(2), links)
    await store.add_chunk(first, "w", chunk(1, first=2, done=True), links)
    yield store
    await store.close()


def rows(store: WorkflowStore, columns: str, order: str = "id") -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(store._db.path)) as db:
        return db.execute(f"SELECT {columns} FROM job ORDER BY {order}").fetchall()


def states(store: WorkflowStore, material: int = 1) -> dict[str, str]:
    """The state of each step for a material; the tally agrees with the rows."""
    counted: dict[str, int] = {}
    for (state,) in rows(store, "state"):
        counted[str(state)] = counted.get(str(state), 0) + 1
    assert dict(store.tally) == counted
    return {str(step): str(state) for step, state, mine in rows(store, "step, state, material_id") if mine == material}


async def end(store: WorkflowStore, job: int, outcome: Outcome) -> None:
    """Runs the job, which is ready, to this outcome."""
    with contextlib.closing(sqlite3.connect(store._db.path)) as db:
        attempts, geometry = db.execute(
            "SELECT attempts, geometry FROM job WHERE id = ? AND state = 'ready'", (job,)
        ).fetchone()
    row = ReadyJob(job, "h", geometry, 0, 1, attempts + 1, 1)
    submission = Submission(new_ulid(), "w", "/w", "isolated", "command", 0, 0, False, 1, Resources())
    begun = await store.begin_submission(submission, "local", [row], NOW)
    assert begun is not None
    [attempt] = begun[0]
    failed = JobState.TIMEOUT if outcome.failure is FailureClass.WALLTIME else JobState.FAILED
    result = AttemptResult(
        submission.ulid,
        attempt,
        AttemptState.FAILED if outcome.failure else AttemptState.COMPLETED,
        failed if outcome.failure else JobState.COMPLETED,
        Exit(0, None, NOW, NOW + 1),
        outcome,
        outcome.failure,
        outcome.message,
    )
    await store.record_results([result], {JobState.SUBMITTING: 1}, [submission.ulid])


def job_of(store: WorkflowStore, step: str, material: int = 1) -> int:
    return next(int(str(n)) for n, key, mine in rows(store, "id, step, material_id") if (key, mine) == (step, material))


GOOD = Outcome(None, final_energy_hartree=-1.0, geometry=MOVED, deck="moved", checkpoint=["fort.9"])


async def test_every_material_has_a_job_a_step_and_only_the_first_is_ready(store: WorkflowStore) -> None:
    assert len(rows(store, "id")) == 15
    for material in (1, 2, 3):
        assert states(store, material) == {"OPT": "ready"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "waiting")
    parents = {str(step): parent for step, parent, mine in rows(store, "step, parent_id, material_id") if mine == 3}
    expected = {"OPT": None} | {
        child: job_of(store, parent, 3)
        for child, parent in (("OPT2", "OPT"), ("SP", "OPT2"), ("BAND", "SP"), ("DOSS", "SP"))
    }
    assert parents == expected
    assert {(str(a), b) for a, b in rows(store, "name, material_id")} == {("h0", 1), ("h1", 2), ("h2", 3)}


async def test_geometry_deck_files_and_results_are_handed_on(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), GOOD)
    assert states(store)["OPT2"] == "ready"
    assert states(store, 2)["OPT2"] == "waiting"
    ready = [job for job in await store.take_ready(9, NOW) if job.id == job_of(store, "OPT2")]
    assert ready == []  # the oldest ready jobs are the OPT of others: one step at a time
    await end(store, job_of(store, "OPT", 2), GOOD)
    await end(store, job_of(store, "OPT", 3), GOOD)
    ready = await store.take_ready(9, NOW)
    assert {job.step_id for job in ready} == {2}
    [job] = [job for job in ready if job.id == job_of(store, "OPT2")]
    assert (job.geometry, job.deck) == (MOVED, "moved")
    assert job.goes_on_from == Resume(f"jobs/0000/{job_of(store, 'OPT')}/1", ("fort.9",))


async def test_a_failure_skips_all_that_needs_it_and_no_more(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    assert states(store) == {"OPT": "failed"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "skipped")
    assert states(store, 2)["OPT2"] == "waiting"
    messages = {str(step): text for step, text, mine in rows(store, "step, error_message, material_id") if mine == 1}
    assert messages["OPT2"] == "its step OPT failed"
    assert messages["DOSS"] == "its step SP was skipped"


async def test_an_optional_step_that_fails_is_passed_over(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), GOOD)
    await end(store, job_of(store, "OPT2"), Outcome(FailureClass.WALLTIME, geometry="1\n\nH 9 9 9\n", deck="wrong"))
    assert states(store) == {"OPT": "completed", "OPT2": "timeout", "SP": "ready", "BAND": "waiting", "DOSS": "waiting"}
    handed, geometry, deck = next(
        row[1:] for row in rows(store, "id, handed, geometry, deck") if row[0] == job_of(store, "SP")
    )
    assert (geometry, deck) == (MOVED, "moved")
    assert json.loads(str(handed)) == {"directory": f"jobs/0000/{job_of(store, 'OPT')}/1", "files": ["fort.9"]}


async def test_a_retry_brings_back_what_was_skipped_behind_it(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    again = in_states(JobState.FAILED, JobState.SKIPPED)
    moved, _ = await store.move_jobs(again, JobState.READY, Event("jobs_reset", 0), reset=True)
    assert moved == 5
    assert states(store) == {"OPT": "ready"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "waiting")


async def test_what_is_reset_alone_stays_skipped_while_what_it_needs_has_failed(
    store: WorkflowStore,
) -> None:
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    await store.move_jobs(Where("id = ?", (job_of(store, "OPT2"),)), JobState.READY, Event("jobs_reset", 0), reset=True)
    assert states(store)["OPT2"] == "skipped"
    await store.move_jobs(Where("id = ?", (job_of(store, "OPT"),)), JobState.READY, Event("jobs_reset", 0), reset=True)
    assert states(store) == {"OPT": "ready"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "waiting")


async def test_a_step_that_is_done_again_leaves_finished_ones_alone(store: WorkflowStore) -> None:
    for step in ("OPT", "OPT2", "SP", "DOSS"):
        await end(store, job_of(store, step), GOOD)
    await store.move_jobs(Where("id = ?", (job_of(store, "SP"),)), JobState.READY, Event("jobs_reset", 0), reset=True)
    assert states(store) == {
        "OPT": "completed",
        "OPT2": "completed",
        "SP": "ready",
        "BAND": "waiting",
        "DOSS": "completed",
    }
    await end(store, job_of(store, "SP"), GOOD)
    assert states(store)["BAND"] == "ready"


async def test_cancelling_a_step_skips_what_needs_it(store: WorkflowStore) -> None:
    where = Where("material_id = 1") & in_states(JobState.READY)
    await store.move_jobs(where, JobState.CANCELLED, Event("jobs_cancelled", 0))
    assert states(store) == {"OPT": "cancelled"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "skipped")


async def test_steps_keep_what_they_have_of_their_own(store: WorkflowStore) -> None:
    _, steps, _ = await store.load()
    assert [(step.key, step.after, bool(step.optional)) for step in steps] == [
        ("OPT", None, False),
        ("OPT2", "OPT", True),
        ("SP", "OPT2", False),
        ("BAND", "SP", True),
        ("DOSS", "SP", False),
    ]
    sp = steps[2]
    assert (sp.parameters, msgspec.json.decode(sp.resources or "")) == ('{"task": "sp"}', {"cores": 4})
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    assert await store.count_by_step(JobState.FAILED, JobState.TIMEOUT) == {1: 1}


async def test_what_is_reset_behind_a_failed_step_is_skipped_to_the_end_of_the_chain(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    moved, _ = await store.move_jobs(in_states(JobState.SKIPPED), JobState.READY, Event("jobs_reset", 0), reset=True)
    assert moved == 4
    assert states(store) == {"OPT": "failed"} | dict.fromkeys(["OPT2", "SP", "BAND", "DOSS"], "skipped")


async def test_a_job_that_is_tried_again_goes_on_from_the_newest_result_of_its_parent(store: WorkflowStore) -> None:
    for step in ("OPT", "OPT2"):
        await end(store, job_of(store, step), GOOD)
    again = Where("id = ?", (job_of(store, "OPT2"),))
    await end(store, job_of(store, "SP"), GOOD)
    await store.move_jobs(again, JobState.READY, Event("jobs_reset", 0), reset=True)
    newer = Outcome(None, geometry="1\n\nH 5 5 5\n", deck="newer", checkpoint=["fort.9"])
    await end(store, job_of(store, "OPT2"), newer)
    assert states(store)["SP"] == "completed"
    where = Where("id = ?", (job_of(store, "SP"),))
    await store.move_jobs(where, JobState.READY, Event("jobs_reset", 0), reset=True)
    found = [row[1:] for row in rows(store, "id, state, geometry, deck, handed") if row[0] == job_of(store, "SP")]
    [(state, geometry, deck, handed)] = found
    assert (state, geometry, deck) == ("ready", newer.geometry, "newer")
    assert json.loads(str(handed))["directory"] == f"jobs/0000/{job_of(store, 'OPT2')}/2"


async def test_what_is_released_from_a_hold_waits_for_a_step_that_is_done_again(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), GOOD)
    held = Where("id = ?", (job_of(store, "OPT2"),))
    await store.move_jobs(held, JobState.HELD, Event("jobs_held", 0))
    first = Where("id = ?", (job_of(store, "OPT"),))
    await store.move_jobs(first, JobState.READY, Event("jobs_reset", 0), reset=True)
    assert states(store)["OPT2"] == "held"
    await store.move_jobs(held, JobState.READY, Event("jobs_released", 0))
    assert states(store)["OPT2"] == "waiting"
    await end(store, job_of(store, "OPT"), GOOD)
    assert states(store)["OPT2"] == "ready"


async def test_a_running_job_whose_step_before_is_reset_is_not_tried_again_before_that(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), GOOD)
    child = job_of(store, "OPT2")
    submission = Submission(new_ulid(), "w", "/w", "isolated", "command", 0, 0, False, 1, Resources())
    begun = await store.begin_submission(submission, "local", [ReadyJob(child, "h", MOVED, 0, 1, 1, 2)], NOW)
    assert begun is not None
    [attempt] = begun[0]
    first = Where("id = ?", (job_of(store, "OPT"),))
    await store.move_jobs(first, JobState.READY, Event("jobs_reset", 0), reset=True)
    lost = AttemptResult(submission.ulid, attempt, AttemptState.NOT_RUN, JobState.READY, None, None)
    await store.record_results([lost], {JobState.SUBMITTING: 1}, [submission.ulid])
    assert states(store)["OPT2"] == "waiting"
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    assert states(store)["OPT2"] == "skipped"


async def test_what_somebody_completes_brings_back_what_was_skipped_behind_it(store: WorkflowStore) -> None:
    await end(store, job_of(store, "OPT"), Outcome(FailureClass.SCF_NOT_CONVERGED))
    done = {"error_message": None, "failure": None}
    event = Event("job_set", job_of(store, "OPT"), {})
    await store.amend(lambda db: set_job(db, job_of(store, "OPT"), JobState.COMPLETED, done, event))
    assert states(store) == {"OPT": "completed", "OPT2": "ready"} | dict.fromkeys(["SP", "BAND", "DOSS"], "waiting")
