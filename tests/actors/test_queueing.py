"""The workflow actor at a cluster with a scheduler: arrays, bundles, more of what ran out, refusals and doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.actors.cluster_port import Submit
from penstock.actors.workflow_messages import ChangeBudget, ResolveJobs, ResumeWorkflow, RetryJobs, Touched
from penstock.domain.budget import Queueing
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.errors import ConflictError
from penstock.domain.pause import PauseKind, kind_of_pause
from penstock.domain.spec import BatchTable, CheckpointTable, ResourceTable, RetryTable, SchedulerTable
from penstock.domain.states import Resolution
from penstock.domain.submission import Manifest, Submission
from penstock.domain.views import ClusterInfo, Selection
from penstock.testing.scripted_workers import outcome_of_exit
from penstock.testing.simulated_world import Behaviour

from .campaign import ALL, Campaign

LONG = Behaviour(attempt_s=(100.0, 100.0))
SHORT = Behaviour(attempt_s=(0.5, 0.5))
SHAPES = "SELECT width, size FROM submission ORDER BY ulid"


def running_out(jobs: set[int], until: int, failure: FailureClass = FailureClass.WALLTIME) -> Any:
    """A rule by which these jobs run out of something in all attempts before number `until`."""

    def rule(item: Any) -> Outcome:
        directory = Path(item.directory)
        fails = int(directory.parent.name) in jobs and int(directory.name) < until
        return Outcome(failure, "as agreed") if fails else outcome_of_exit(item)

    return rule


def submitted(run: Campaign) -> list[tuple[Submission, Manifest]]:
    """What reached the world, oldest first."""
    found: list[tuple[Submission, Manifest]] = []
    submit = run.world.submit

    async def spying(submission: Submission, manifest: bytes) -> Any:
        found.append((submission, msgspec.msgpack.decode(manifest, type=Manifest)))
        return await submit(submission, manifest)

    run.world.submit = spying  # type: ignore[method-assign]
    return found


async def test_long_jobs_go_as_arrays_over_the_free_slots(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 25, behaviour=LONG, slots=10, queueing=Queueing()) as run:
        assert await run.until_ended() == "completed"
        assert run.query(SHAPES) == [(10, 10), (10, 10), (5, 5)]
        assert run.world.peak["w"] == run.board.running_most == 10
        assert run.query("SELECT data FROM event WHERE kind = 'submission_intended'")[0][0].endswith('"width":10}')
        run.check_books()


async def test_an_array_is_no_wider_than_the_cluster_allows(tmp_path: Path) -> None:
    limits = Queueing(width_max=4, pending_max=3)
    async with Campaign(tmp_path, 9, behaviour=LONG, slots=9, queueing=limits) as run:
        await run.until_ended()
        assert run.query(SHAPES) == [(3, 3)] * 3
        assert run.world.peak["w"] == 9


async def test_short_jobs_go_as_bundles_once_they_are_known_to_be_short(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 400, behaviour=SHORT, slots=2, queueing=Queueing()) as run:
        assert await run.until_ended() == "completed"
        shapes = run.query(SHAPES)
        assert shapes[0] == (2, 2)
        assert max(size for _, size in shapes) > 100
        assert len(shapes) < 8
        assert run.world.peak["w"] == run.board.running_most == 2
        run.check_books()


async def test_who_asks_for_bundles_gets_all_jobs_dealt_over_the_slots(tmp_path: Path) -> None:
    bundles = BatchTable("bundle")
    async with Campaign(tmp_path, 400, behaviour=SHORT, slots=4, queueing=Queueing(), batch=bundles) as run:
        assert await run.until_ended() == "completed"
        assert run.query(SHAPES) == [(4, 400)]
        assert run.query("SELECT count(DISTINCT started_at) FROM attempt") > [(90,)]
        run.check_books()


async def test_slots_that_become_free_while_a_submission_is_on_its_way_go_together(tmp_path: Path) -> None:
    slow = Behaviour(latency_s=(30.0, 30.0), attempt_s=(100.0, 110.0))
    async with Campaign(tmp_path, 40, behaviour=slow, slots=10, queueing=Queueing()) as run:
        on_the_way = []

        def look() -> bool:
            told = [order for order in run.actor._book.orders.values() if not order.placed]
            on_the_way.append(len(told))
            return not run.supervisor_runs()

        await run.until(look)
        assert max(on_the_way) == 1
        assert run.info.state == "completed"
        assert len(run.query(SHAPES)) <= 12  # not one for every job that ended


async def test_fewer_slots_take_nothing_more_until_tasks_have_ended(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 12, behaviour=LONG, slots=6, queueing=Queueing()) as run:
        await run.until(lambda: run.states()["running"] == 6)
        await run.ask(ChangeBudget(slots=2, priority=None))
        await run.until(lambda: run.states()["completed"] == 6)
        assert await run.until_ended() == "completed"
        assert run.query(SHAPES) == [(6, 6), (2, 2), (2, 2), (2, 2)]


async def test_a_slot_shows_its_next_job_only_once_the_end_of_the_last_is_recorded(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 20, behaviour=LONG, slots=5, queueing=Queueing()) as run:
        run.workers._latency_s = 40.0  # outputs take long to read
        assert await run.until_ended() == "completed"
        assert run.world.peak["w"] == run.board.running_most == 5
        run.check_books()


async def test_the_cluster_is_told_what_the_spec_asks_for(tmp_path: Path) -> None:
    async with Campaign(
        tmp_path,
        3,
        behaviour=LONG,
        slots=3,
        queueing=Queueing(),
        resources=ResourceTable(cores=2, memory="2GB", walltime="10min", nodes=2, tasks=4, gpus=1),
        scheduler=SchedulerTable(queue="long", launcher="srun --mpi=pmix", setup="module load orca\n"),
        checkpoint=CheckpointTable("sh -c 'touch stop'", ["restart.gbw"]),
    ) as run:
        found = submitted(run)
        await run.until_ended()
    [(submission, _)] = found
    assert (submission.options.partition, submission.options.launcher) == ("long", ("srun", "--mpi=pmix"))
    needs = submission.resources
    assert (needs.cores, needs.memory_mb, needs.walltime_s) == (2, 2000, 600)
    assert (needs.nodes, needs.tasks, needs.gpus) == (2, 4, 1)
    assert submission.checkpoint == ("sh", "-c", "touch stop")
    assert submission.directories == ("jobs/0000/1/1", "jobs/0000/2/1", "jobs/0000/3/1")
    assert submission.expected_s is None


async def test_a_job_out_of_walltime_gets_more_up_to_the_cap_and_goes_on_from_its_files(tmp_path: Path) -> None:
    retry = RetryTable(max_attempts=5, walltime_growth=3.0, walltime_max="5h")
    carry = CheckpointTable(carry=["restart"])
    async with Campaign(
        tmp_path, 4, behaviour=LONG, slots=4, queueing=Queueing(), retry=retry, checkpoint=carry
    ) as run:
        found = submitted(run)
        run.workers._rule = running_out({2, 3}, until=3)
        assert await run.until_ended() == "completed"
        run.check_books()
        told = [event["decision"] for event in decisions(run, 2)]
    assert [(one.size, one.resources.walltime_s) for one, _ in found] == [(4, 3600), (2, 10800), (2, 18000)]
    assert [[entry.carry_from for entry in manifest.entries] for _, manifest in found] == [
        [None] * 4,
        ["jobs/0000/2/1", "jobs/0000/3/1"],
        ["jobs/0000/2/2", "jobs/0000/3/2"],
    ]
    carried = [entry.rendered.carry for _, manifest in found[1:] for entry in manifest.entries]
    assert carried == [{"restart": "restart"}] * 4
    assert told == [
        "attempt 1 of 5 failed; walltime 01:00:00 → 03:00:00, the next goes on from its files",
        "attempt 2 of 5 failed; walltime 03:00:00 → 05:00:00, the next goes on from its files",
    ]
    assert found[1][0].expected_s == pytest.approx(100.0, rel=0.1)


async def test_a_job_out_of_memory_at_the_cap_is_given_up_and_keeps_what_it_had_when_tried_again(
    tmp_path: Path,
) -> None:
    retry = RetryTable(max_attempts=9, memory_growth=2.0, memory_max="3GB")
    async with Campaign(tmp_path, 2, behaviour=LONG, slots=2, queueing=Queueing(), retry=retry) as run:
        found = submitted(run)
        run.workers._rule = running_out({1}, until=9, failure=FailureClass.OUT_OF_MEMORY)
        assert await run.until_ended() == "failed"
        assert [event["decision"] for event in decisions(run, 1)] == [
            "attempt 1 of 9 failed; memory 1000 MB → 2000 MB",
            "attempt 2 of 9 failed; memory 2000 MB → 3000 MB",
            "attempt 3 of 9; it had the greatest memory allowed, 3000 MB",
        ]
        run.workers._rule = outcome_of_exit
        run.start()
        await run.ask(RetryJobs(ALL))
        assert await run.until_ended() == "completed"
        run.check_books()
    assert [one.resources.memory_mb for one, _ in found] == [1000, 2000, 3000, 3000]


async def test_the_local_cluster_is_never_asked_for_more_memory_than_it_has(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 1, behaviour=LONG, retry=RetryTable(max_attempts=9, memory_growth=2.0)) as run:
        run.board.clusters["local"] = ClusterInfo("local", "local", "up", None, 2, 0, 1500, 0, 0, 0)
        found = submitted(run)
        run.workers._rule = running_out({1}, until=9, failure=FailureClass.OUT_OF_MEMORY)
        assert await run.until_ended() == "failed"
    assert [one.resources.memory_mb for one, _ in found] == [1000, 1500]


async def test_jobs_that_got_more_survive_a_restart(tmp_path: Path) -> None:
    retry, broken = RetryTable(max_attempts=3, walltime_growth=2.0), [False]

    def breaks() -> bool:
        once, broken[0] = broken[0], False
        return once

    async with Campaign(tmp_path, 3, behaviour=LONG, slots=3, queueing=Queueing(), retry=retry, breaks=breaks) as run:
        run.workers._rule = running_out({1}, until=2)
        await run.until(lambda: run.query("SELECT count(*) FROM submission") == [(2,)])
        await run.until(lambda: run.states()["running"] == 1)
        broken[0] = True
        await run.until(lambda: run.supervisor.restarts == {"w": 1})
        await run.until(lambda: bool(run.actor._book.orders))
        [order] = run.actor._book.orders.values()
        assert (order.submission.resources.walltime_s, order.submission.width, order.placed) == (7200, 1, True)
        assert order.submission.directories == ("jobs/0000/1/2",)
        assert await run.until_ended() == "completed"
        run.check_books()


async def test_a_refusal_pauses_the_workflow_once_and_costs_nothing(tmp_path: Path) -> None:
    async with Campaign(
        tmp_path, 6, behaviour=LONG, slots=3, queueing=Queueing(), retry=RetryTable(max_attempts=1)
    ) as run:
        run.world.refusal = "Invalid account"
        await run.until(lambda: run.states() == {"ready": 6} and run.info.state == "paused")
        await run.clock.advance(10_000.0)
        assert run.info.reason is not None
        assert run.info.reason.startswith("the scheduler of cluster local refuses its jobs: Invalid account; change")
        assert kind_of_pause(run.info.reason) is PauseKind.REFUSED
        assert "'penstockctl resume w'" in run.info.reason
        assert run.query(SHAPES) == [(3, 3)]
        assert run.query("SELECT count(*) FROM event WHERE kind = 'workflow_paused'") == [(1,)]
        run.world.refusal = None
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        assert run.query("SELECT DISTINCT attempts, blamed, blameless FROM job WHERE id <= 3") == [(2, 0, 0)]
        run.check_books()


async def test_doubt_is_recorded_with_its_reason_and_with_what_settled_it(tmp_path: Path) -> None:
    doubtful = Behaviour(attempt_s=(100.0, 100.0), doubts=1.0, doubt_s=(1000.0, 1000.0))
    async with Campaign(tmp_path, 2, behaviour=doubtful, slots=2, queueing=Queueing(), seed=0) as run:
        await run.until(lambda: run.states()["in_doubt"] == 2)
        assert run.query("SELECT DISTINCT state, message FROM attempt") == [
            ("in_doubt", "no answer came to its submission")
        ]
        run.world.behaviour = msgspec.structs.replace(doubtful, doubts=0.0)
        assert await run.until_ended() == "completed"
        events = run.query("SELECT kind, data FROM event WHERE job_id = 1 ORDER BY seq")
        doubts = [(kind, msgspec.json.decode(data)) for kind, data in events if "doubt" in kind]
        assert doubts[0] == ("job_in_doubt", {"attempt": 1, "reason": "no answer came to its submission"})
        assert doubts[1][0] == "job_doubt_settled"
        assert doubts[1][1]["by"] in {"it runs", "it never arrived"}
        assert run.query("SELECT count(*) FROM attempt WHERE message IS NOT NULL AND state = 'completed'") == [(0,)]
        run.check_books()


@pytest.mark.parametrize(
    ("resolution", "ends"),
    [
        (Resolution.NOT_RUN, ("not_run", 0, 0)),
        (Resolution.LOST, ("failed", 0, 1)),
        (Resolution.ENDED, ("failed", 0, 1)),
    ],
)
async def test_a_person_settles_a_doubt(tmp_path: Path, resolution: Resolution, ends: tuple[str, int, int]) -> None:
    doubtful = Behaviour(attempt_s=(100.0, 100.0), doubts=1.0, doubt_s=(1e6, 1e6))
    async with Campaign(tmp_path, 3, behaviour=doubtful, slots=2, queueing=Queueing(), seed=1) as run:
        run.world.chance = lambda probability: probability == 1.0 and run.world.behaviour.doubts == 1.0  # type: ignore[method-assign]
        await run.until(lambda: run.states()["in_doubt"] == 2)
        with pytest.raises(ConflictError, match="none of the selected jobs is in doubt"):
            await run.ask(ResolveJobs(Selection(jobs=(3,)), resolution))
        run.world.behaviour = msgspec.structs.replace(doubtful, doubts=0.0)
        assert await run.ask(ResolveJobs(ALL, resolution)) == Touched(2, 1, "1 were not in doubt")
        assert await run.until_ended() == "completed"
        assert run.query("SELECT state FROM attempt WHERE job_id = 1 AND number = 1") == [(ends[0],)]
        assert run.query("SELECT blamed, blameless FROM job WHERE id = 1") == [ends[1:]]
        run.check_books()


async def test_a_thousand_ends_are_few_transactions(tmp_path: Path) -> None:
    together = Behaviour(attempt_s=(100.0, 100.0))
    async with Campaign(tmp_path, 1000, behaviour=together, slots=1000, queueing=Queueing()) as run:
        await run.until(lambda: run.states()["running"] == 1000)
        recorded: list[int] = []
        store = run.actor._store._store  # type: ignore[attr-defined]
        record = store.record_results

        async def counting(results: Any, *args: Any, **kwargs: Any) -> Any:
            recorded.append(len(results))
            return await record(results, *args, **kwargs)

        store.record_results = counting
        assert await run.until_ended() == "completed"
        assert sum(recorded) == 1000
        assert len(recorded) <= 4
        run.check_books()


async def test_a_cluster_that_breaks_over_a_submission_loses_nothing(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 8, behaviour=LONG, slots=4, queueing=Queueing()) as run:
        run.world.breaks_over.append(Submit)
        assert await run.until_ended() == "completed"
        assert run.world.peak["w"] == 4
        run.check_books()


def decisions(run: Campaign, job: int) -> list[dict[str, Any]]:
    """What was decided after each failure of a job."""
    kinds = "('job_retried', 'job_failed')"
    rows = run.query(f"SELECT data FROM event WHERE job_id = ? AND kind IN {kinds} ORDER BY seq", job)
    return [msgspec.json.decode(data) for (data,) in rows]
