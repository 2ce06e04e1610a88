"""Reviews of job directories in virtual time: beside a workflow's work, one at a time, broken off without harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from penstock.actors.mailbox import Answer
from penstock.actors.reviews import Reviewed
from penstock.actors.worker_tasks import LookAtJobs
from penstock.actors.workers import WorkerLostError
from penstock.actors.workflow_messages import CancelWorkflow, PauseWorkflow, ResumeWorkflow, ReviewJobs, SetJob, Touched
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, PenstockError, SpecError
from penstock.domain.spec import RetryTable
from penstock.domain.states import JobState
from penstock.domain.views import Selection
from penstock.store.reviews import Look, ReviewKind, Seen
from penstock.testing.simulated_world import Behaviour

from .campaign import ALL, Campaign
from .test_workflow import STEADY, failing

GOOD = Outcome(None, final_energy_hartree=-2.0)


def successes(look: Look) -> Seen:
    """A success in a first attempt."""
    return Seen(look.job, look.attempts, look.directory, found=True, highest=1, number=1, outcome=GOOD)


async def outcome_of(run: Campaign, answer: Answer) -> Any:
    """What a review came to, moving time on until it is there: `Reviewed`, or the error."""
    found: list[Any] = []

    async def wait() -> None:
        try:
            found.append(await answer.wait())
        except PenstockError as error:
            found.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await run.until(lambda: bool(found), 600.0)
    return found[0]


async def review(run: Campaign, kind: ReviewKind, selection: Selection = ALL) -> Any:
    """A review from its beginning to its end."""
    return await outcome_of(run, await run.ask(ReviewJobs(kind, selection)))


async def paused(run: Campaign) -> None:
    """Waits until all structures are jobs, pauses, and waits until nothing is active."""
    await run.until(lambda: run.states()["running"] > 0)
    await run.ask(PauseWorkflow(None))
    await run.until(lambda: set(run.states()) <= {"ready", "completed"})


async def test_waiting_jobs_are_completed_by_what_is_found_and_not_run(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 900, behaviour=STEADY) as run:
        await paused(run)
        run.workers.look = successes
        ran = run.states()["completed"]
        reviewed = await review(run, ReviewKind.RESCAN)
        assert reviewed == Reviewed(900 - ran, 900 - ran, 0, {}, ())
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        assert sum(run.world.executions.values()) == ran
        run.check_books()


async def test_a_workflow_works_on_while_it_is_rescanned(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 600, behaviour=Behaviour(attempt_s=(5.0, 5.0)), slots=4) as run:
        await run.until(lambda: run.states()["running"] == 4)
        run.workers._latency_s = 8.0
        run.workers.look = successes
        reviewed = await review(run, ReviewKind.RESCAN)
        assert reviewed.left["active"] >= 4
        assert reviewed.changed + reviewed.left.get("began meanwhile", 0) == reviewed.looked_at
        assert await run.until_ended() == "completed"
        run.check_books()


async def test_one_review_at_a_time(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 10, behaviour=STEADY) as run:
        await paused(run)
        answer = await run.ask(ReviewJobs(ReviewKind.RESCAN, ALL))
        with pytest.raises(ConflictError, match="a rescan of workflow w is under way"):
            await run.ask(ReviewJobs(ReviewKind.RECOMPUTE, ALL))
        assert isinstance(await outcome_of(run, answer), Reviewed)
        assert isinstance(await review(run, ReviewKind.RECOMPUTE), Reviewed)


async def test_a_bad_selection_is_refused_and_leaves_a_workflow_at_rest(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 1) as run:
        assert await run.until_ended() == "completed"
        run.start()
        with pytest.raises(SpecError, match="unknown key 'nonsense'"):
            await run.ask(ReviewJobs(ReviewKind.RESCAN, Selection(statuses=("nonsense",))))
        assert await run.until_ended() == "completed"


async def test_a_failed_workflow_completes_when_no_failure_is_left(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 3, retry=RetryTable(max_attempts=1)) as run:
        run.workers._rule = failing(1, 3)
        assert await run.until_ended() == "failed"
        run.workers.look = successes
        run.start()
        assert (await review(run, ReviewKind.RESCAN, Selection(jobs=(1,)))).changed == 1
        assert await run.until_ended() == "failed"
        assert run.info.reason == "1 job failed"
        run.start()
        assert (await review(run, ReviewKind.RESCAN)).looked_at == 1
        assert await run.until_ended() == "completed"
        assert run.info.reason is None


async def test_a_reading_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 2, retry=RetryTable(max_attempts=1)) as run:
        run.workers._rule = failing(1, 2, failure=FailureClass.SIGNAL)
        await run.until_ended()
        before = run.query("SELECT * FROM job")
        run.workers.look = lambda look: Seen(look.job, look.attempts, look.directory, found=False, reason="truncated")
        run.start()
        reviewed = await review(run, ReviewKind.RESCAN)
        assert reviewed.left == {"truncated": 2}
        assert [left.job for left in reviewed.shown] == [1, 2]
        assert await run.until_ended() == "failed"
        assert run.query("SELECT * FROM job") == before


async def test_outputs_that_take_a_worker_down_are_found_and_left(tmp_path: Path) -> None:
    def trouble(task: Any) -> Exception | None:
        deadly = isinstance(task, LookAtJobs) and any(look.job == 7 for look in task.items)
        return WorkerLostError("it died") if deadly else None

    async with Campaign(tmp_path, 20, behaviour=STEADY, retry=RetryTable(max_attempts=1)) as run:
        run.workers._rule = failing(*range(1, 21))
        await run.until_ended()
        run.workers.look, run.workers._trouble = successes, trouble
        run.start()
        reviewed = await review(run, ReviewKind.RESCAN)
        assert (reviewed.changed, reviewed.left) == (19, {"unreadable": 1})
        assert reviewed.shown[0].job == 7


async def test_workers_that_refuse_end_the_review_with_their_reason(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 3) as run:
        await run.until_ended()
        run.workers._trouble = lambda _: BusyError("upgraded")
        run.start()
        error = await review(run, ReviewKind.RECOMPUTE)
        assert isinstance(error, BusyError)
        assert str(error) == "upgraded"


async def test_a_review_is_broken_off_by_the_crash_of_its_workflow_and_completed_by_another(tmp_path: Path) -> None:
    crash = False
    async with Campaign(tmp_path, 1200, behaviour=STEADY, breaks=lambda: crash) as run:
        await paused(run)
        run.workers.look = successes
        answer = await run.ask(ReviewJobs(ReviewKind.RESCAN, ALL))
        await run.until(lambda: run.states()["completed"] > 200)
        crash = True
        error = await outcome_of(run, answer)
        crash = False
        assert isinstance(error, BusyError)
        assert "say 'penstockctl rescan w' again" in str(error)
        await run.until(lambda: "w" in run.owners and run.info.state == "paused")
        assert (await review(run, ReviewKind.RESCAN)).changed > 0
        assert run.states() == {"completed": 1200}
        assert run.query("SELECT count(*), count(DISTINCT job_id) FROM event WHERE kind = 'job_adopted'")[0][0] <= 1200
        run.check_books()


async def test_jobs_whose_outputs_are_gone_run_again(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 5) as run:
        assert await run.until_ended() == "completed"
        run.workers.look = lambda look: Seen(look.job, look.attempts, look.directory, found=look.job in {2, 4})
        run.start()
        assert await review(run, ReviewKind.RESET_MISSING) == Reviewed(5, 2, 3, {}, ())
        assert await run.until_ended() == "completed"
        assert run.query("SELECT id FROM job WHERE attempts = 2") == [(2,), (4,)]


async def test_a_person_sets_a_job_and_the_workflow_is_judged_anew(tmp_path: Path) -> None:
    def word(job: int, state: JobState | None) -> SetJob:
        return SetJob(job, state, {"final_energy": -3.0}, "uid 7", "by hand")

    async with Campaign(tmp_path, 2, retry=RetryTable(max_attempts=1)) as run:
        run.workers._rule = failing(1)
        await run.until(lambda: run.states()["running"] > 0)
        with pytest.raises(ConflictError, match="job 1 is active"):
            await run.ask(word(1, JobState.COMPLETED))
        assert await run.until_ended() == "failed"
        run.start()
        with pytest.raises(NotFoundError, match="no job 3"):
            await run.ask(word(3, None))
        await run.until_ended()
        run.start()
        assert await run.ask(word(1, JobState.COMPLETED)) == Touched(1)
        assert await run.until_ended() == "completed"
        run.start()
        await run.ask(word(2, JobState.FAILED))
        assert await run.until_ended() == "failed"
        assert run.query("SELECT state, final_energy FROM job") == [("completed", -3.0), ("failed", -3.0)]


async def test_a_cancelled_workflow_stays_cancelled(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 10, behaviour=STEADY) as run:
        await run.until(lambda: run.states()["running"] > 0)
        await run.ask(CancelWorkflow(None))
        assert await run.until_ended() == "cancelled"
        run.workers.look = successes
        run.start()
        assert (await review(run, ReviewKind.RESCAN)).changed == 10
        assert await run.until_ended() == "cancelled"
        assert run.states() == {"completed": 10}
