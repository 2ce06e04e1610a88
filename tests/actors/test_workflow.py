"""The workflow actor on a quiet simulated cluster: what it does with jobs, and what people can make it do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.actors.cluster_port import Cancel
from penstock.actors.supervisor import Policy
from penstock.actors.worker_tasks import Collect, ReadChunk, Render
from penstock.actors.workers import WorkerLostError, WorkerStuckError
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    ChangeBudget,
    MarkJobs,
    PauseWorkflow,
    ResumeWorkflow,
    RetryJobs,
    Touched,
)
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.errors import ConflictError, SpecError, StoreError
from penstock.domain.spec import RetryTable
from penstock.domain.views import Selection
from penstock.testing.scripted_workers import outcome_of_exit
from penstock.testing.simulated_world import Behaviour

from .campaign import ALL, Campaign

STEADY = Behaviour(attempt_s=(10.0, 10.0))


def failing(*jobs: int, failure: FailureClass = FailureClass.EXIT_CODE) -> Any:
    """A rule by which the attempts of these jobs always fail."""

    def rule(item: Any) -> Outcome:
        fails = int(Path(item.directory).parent.name) in jobs
        return Outcome(failure, "as agreed") if fails and item.exit.verdict is None else outcome_of_exit(item)

    return rule


async def test_hundreds_of_jobs_keep_all_slots_busy_and_never_more(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 300, behaviour=Behaviour(attempt_s=(1.0, 9.0)), slots=7) as run:
        assert await run.until_ended() == "completed"
        run.check_books()
        assert run.world.peak["w"] == 7
        assert run.states() == {"completed": 300}
        assert run.clock.monotonic() < 1.6 * 300 * 5.0 / 7


async def test_short_jobs_are_bundled(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 300, behaviour=Behaviour(attempt_s=(0.01, 0.02)), slots=2) as run:
        assert await run.until_ended() == "completed"
        assert run.query("SELECT max(size) > 40, count(*) < 40 FROM submission") == [(1, 1)]


async def test_the_history_is_told_to_watchers_as_it_is_written(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 3) as run:
        with run.board.subscribe("w") as watching:
            await run.until_ended()
            told = [await watching.take() for _ in range(len(watching._queue))]
    written = run.query("SELECT seq, kind, job_id FROM event WHERE seq > 1")
    assert [(event.seq, event.kind, event.job) for event in told] == written
    assert [event.kind for event in told].count("job_completed") == 3
    assert told[-1].text == "workflow is completed"


async def test_a_paused_workflow_starts_nothing_and_finishes_what_runs(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(PauseWorkflow(None))
        await run.clock.advance(500.0)
        assert run.states() == {"completed": 8, "ready": 12}  # two bundles of four were on their way
        assert run.info.state == "paused"
        assert (await run.ask(PauseWorkflow(None))).note == "the workflow is paused already"
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        run.check_books()


async def test_held_jobs_wait_while_others_go_on(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        some = Selection(jobs=(1, 19, 20))
        assert await run.ask(PauseWorkflow(some)) == Touched(2, 1, "1 were not ready")
        await run.until(lambda: run.states() == {"completed": 18, "held": 2})
        await run.clock.advance(1000.0)
        assert run.info.state == "running"
        assert await run.ask(ResumeWorkflow(some)) == Touched(2, 1, "1 were not held")
        assert await run.until_ended() == "completed"


async def test_cancelling_a_workflow_ends_running_and_waiting_jobs(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        touched = await run.ask(CancelWorkflow(None))
        assert touched.changed == 20
        assert await run.until_ended() == "cancelled"
        assert run.states() == {"cancelled": 20}
        assert sum(run.world.executions.values()) == 2
        run.check_books()


async def test_cancelling_jobs_leaves_the_others(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 12, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        running = run.query("SELECT id FROM job WHERE state = 'running'")
        await run.ask(CancelWorkflow(Selection(jobs=(running[0][0], 2, 12))))
        assert await run.until_ended() == "completed"
        assert run.query("SELECT id FROM job WHERE state = 'cancelled'") == [(running[0][0],), (2,), (12,)]
        run.check_books()


async def test_a_job_cancelled_while_its_outputs_are_read_is_not_tried_again(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 1, behaviour=STEADY) as run:
        run.workers._rule = failing(1)
        run.workers._latency_s = 5.0
        await run.until(lambda: run.states()["collecting"] == 1)
        assert (await run.ask(CancelWorkflow(Selection(jobs=(1,))))).changed == 1
        await run.until_ended()
        assert run.states() == {"cancelled": 1}
        assert sum(run.world.executions.values()) == 1


async def test_a_cancellation_survives_the_crash_of_the_cluster(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 1, behaviour=Behaviour(attempt_s=(1e5, 1e5))) as run:
        await run.until(lambda: run.states()["running"] == 1)
        run.world.breaks_over.append(Cancel)
        await run.ask(CancelWorkflow(Selection(jobs=(1,))))
        await run.until_ended()
        assert run.clusters.restarts == {"simulated": 1}
        assert run.states() == {"cancelled": 1}
        assert run.clock.monotonic() < 1e4


async def test_a_failed_job_is_tried_as_often_as_the_spec_says_and_no_sooner(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 3, retry=RetryTable(max_attempts=3, delay="10min")) as run:
        run.workers._rule = failing(2)
        assert await run.until_ended() == "failed"
        assert run.info.reason == "1 job failed"
        assert run.query("SELECT id, state, attempts FROM job") == [
            (1, "completed", 1),
            (2, "failed", 3),
            (3, "completed", 1),
        ]
        gaps = run.query(
            "SELECT b.created_at - a.ended_at FROM attempt a JOIN attempt b "
            "ON b.job_id = a.job_id AND b.number = a.number + 1"
        )
        assert all(600.0 <= gap < 660.0 for (gap,) in gaps)
        assert len(gaps) == 2
        run.check_books()


async def test_hopeless_failures_are_not_tried_again(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 2) as run:
        run.workers._rule = failing(1, failure=FailureClass.INPUT_ERROR)
        assert await run.until_ended() == "failed"
        assert run.query("SELECT state, attempts FROM job WHERE id = 1") == [("failed", 1)]


async def test_lost_runners_cost_no_attempt(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=Behaviour(loses=0.4), retry=RetryTable(max_attempts=1), seed=3) as run:
        assert await run.until_ended() == "completed"
        assert sum(run.world.executions.values()) > 20
        run.check_books()


async def test_failed_jobs_are_reset_by_retry_except_those_marked(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 4, retry=RetryTable(max_attempts=1)) as run:
        run.workers._rule = failing(1, 2)
        await run.until(lambda: run.states()["failed"] == 2)
        await run.until_ended()
        run.workers._rule = outcome_of_exit
        run.start()
        assert await run.ask(MarkJobs(Selection(jobs=(1,)), never_rerun=True)) == Touched(1)
        await run.until_ended()
        run.start()
        assert await run.ask(RetryJobs(ALL)) == Touched(1, 1, "1 are marked never-rerun")
        assert await run.until_ended() == "failed"
        assert run.states() == {"failed": 1, "completed": 3}
        run.check_books()


async def test_a_job_that_waits_for_its_retry_has_failed_once_it_is_marked(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 3, retry=RetryTable(max_attempts=3, delay="10h")) as run:
        run.workers._rule = failing(2)
        await run.until(lambda: run.states() == {"completed": 2, "ready": 1})
        assert await run.ask(MarkJobs(ALL, never_rerun=True)) == Touched(3)
        assert await run.until_ended() == "failed"
        assert run.states() == {"completed": 2, "failed": 1}
        assert run.query("SELECT status, attempts FROM job WHERE id = 2") == [("failed", 1)]
        assert run.clock.monotonic() < 1000.0
        run.check_books()


async def test_a_job_that_never_ran_stays_ready_when_it_is_marked(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(MarkJobs(ALL, never_rerun=True))
        assert await run.until_ended() == "completed"
        assert run.states() == {"completed": 20}


async def test_a_reset_clears_what_the_last_attempt_gave(tmp_path: Path) -> None:
    results = "SELECT final_energy, max_forces, scf_steps, wall_time_s, final_geometry FROM job WHERE id = "
    kept = "SELECT (SELECT count(*) FROM property WHERE job_id = ?1), (SELECT count(*) FROM file WHERE job_id = ?1)"
    good = Outcome(None, None, -1.0, 0.1, 5, "1\n\nH 0 0 0\n", {"dipole": 1.0}, ["stdout"])
    async with Campaign(tmp_path, 2, behaviour=STEADY) as run:
        run.workers._rule = lambda _: good
        await run.until_ended()
        assert None not in run.query(f"{results}1")[0]
        assert run.query(kept, 1) == [(1, 1)]
        run.workers._rule = failing(1, failure=FailureClass.INPUT_ERROR)
        run.start()
        assert await run.ask(RetryJobs(Selection(jobs=(1,)))) == Touched(1)
        assert await run.until_ended() == "failed"
        *cleared, wall_time_s, geometry = run.query(f"{results}1")[0]
        assert [*cleared, geometry] == [None] * 4
        assert wall_time_s > 0.0  # of the attempt that failed
        assert run.query(kept, 1) == [(0, 0)]
        assert None not in run.query(f"{results}2")[0]
        assert run.query(kept, 2) == [(1, 1)]


async def test_a_workflow_whose_jobs_were_all_cancelled_is_cancelled(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 4, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(CancelWorkflow(ALL))
        assert await run.until_ended() == "cancelled"
        assert run.info.reason == "all its jobs were cancelled"


async def test_fewer_slots_start_nothing_until_those_given_up_are_free(tmp_path: Path) -> None:
    submitted = "SELECT count(*) FROM submission"
    async with Campaign(tmp_path, 40, behaviour=Behaviour(attempt_s=(5.0, 15.0)), slots=4) as run:
        await run.until(lambda: run.states()["completed"] >= 16 and run.states()["running"] == 4)
        await run.ask(ChangeBudget(slots=2, priority=None))
        before = run.query(submitted)
        await run.until(lambda: run.query(submitted) != before)
        assert sum(not placed.finished for placed in run.world.placed.values()) <= 1
        assert await run.until_ended() == "completed"


async def test_slots_can_be_changed_while_running(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 60, behaviour=STEADY, slots=1) as run:
        await run.until(lambda: run.states()["completed"] == 5)
        assert run.world.peak["w"] == 1
        await run.ask(ChangeBudget(slots=6, priority=7))
        await run.until(lambda: run.states()["running"] == 6)
        assert (run.info.slots, run.info.priority) == (6, 7)
        assert run.query("SELECT slots, priority FROM workflow") == [(6, 7)]
        await run.until_ended()
        assert run.world.peak["w"] == 6


async def test_a_workflow_at_rest_closes_its_database(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 4, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(PauseWorkflow(None))
        was_open = [run.actor._store.is_open]
        await run.clock.advance(200.0)
        was_open.append(run.actor._store.is_open)
        assert was_open == [True, False]
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"


async def test_a_lost_worker_is_replaced(tmp_path: Path) -> None:
    lost: list[Any] = [Render, Collect, ReadChunk]

    def trouble(task: Any) -> Exception | None:
        if type(task) in lost:
            lost.remove(type(task))
            return WorkerLostError("killed")
        return None

    async with Campaign(tmp_path, 5) as run:
        run.workers._trouble = trouble
        assert await run.until_ended() == "completed"
        assert lost == []
        assert run.supervisor.restarts == {}


async def test_outputs_over_which_a_reader_is_stuck_are_found_one_by_one(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def trouble(task: Any) -> Exception | None:
        if not isinstance(task, Collect):
            return None
        jobs = [int(Path(item.directory).parent.name) for item in task.items]
        asked.append(jobs)
        return WorkerStuckError("not through in 30 s") if 2 in jobs else None

    quick, once = Behaviour(attempt_s=(0.01, 0.01)), RetryTable(max_attempts=1)
    async with Campaign(tmp_path, 8, behaviour=quick, slots=1, retry=once) as run:
        run.workers._trouble = trouble
        assert await run.until_ended() == "failed"
        assert run.states() == {"completed": 7, "failed": 1}
        assert run.query("SELECT failure, error_message FROM job WHERE id = 2") == [
            ("output_invalid", "reading its outputs: not through in 30 s")
        ]
        assert run.supervisor.restarts == {}
    [stuck] = [jobs for jobs in asked if 2 in jobs and len(jobs) > 1]  # nobody else was asked to take as long
    assert asked[asked.index(stuck) + 1 :][: len(stuck)] == [[job] for job in stuck]


async def test_a_source_that_cannot_be_read_on_fails_the_workflow_and_says_why(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 5) as run:
        run.workers._trouble = lambda task: SpecError("gone", file="m.csv") if isinstance(task, ReadChunk) else None
        assert await run.until_ended() == "failed"
        assert run.info.reason == "the source cannot be read on: m.csv: gone"


async def test_an_empty_source_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 0) as run:
        assert await run.until_ended() == "failed"
        assert run.info.reason == "the source gave no usable structure (0 rejected)"


async def test_what_breaks_too_often_is_given_up_and_asks_fail(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 5) as run:
        run.supervisor._policy = Policy(restarts=5, period_s=30.0)
        run.workers._trouble = lambda _: RuntimeError("always")
        await run.until_ended()
        assert str(run.given_up["w"]) == "always"
        assert run.supervisor.restarts == {"w": 5}
        with pytest.raises(ConflictError, match="always"):
            await run.ask(PauseWorkflow(None))


async def test_a_database_that_vanishes_faults_this_workflow_at_once(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] == 2)
        for file in run.directory.glob("workflow.db*"):
            file.unlink()
        await run.until(lambda: "w" in run.given_up)
        error = run.given_up["w"]
        assert isinstance(error, StoreError)
        assert not error.healable
