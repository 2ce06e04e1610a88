"""Every instrument is fed by those who know: workflows and clusters in virtual time, with real databases and actors."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.actors.campaign import BrokenError, Campaign
from tests.actors.test_scheduler_cluster import bench
from tests.daemon.metrics.scraped import read, sources_of

from penstock.actors.task import Task
from penstock.actors.workers import WorkerLostError, WorkerPool
from penstock.actors.workflow_messages import PauseWorkflow, ResumeWorkflow
from penstock.clusters.shell import Completed
from penstock.daemon.metrics.registry import Metrics
from penstock.domain.budget import Queueing
from penstock.domain.calculation import FailureClass
from penstock.domain.errors import PenstockError
from penstock.domain.remedy import Change, RemedyTable, Rule
from penstock.domain.spec import LockNeeds, RetryTable
from penstock.testing.simulated_world import Behaviour

CLUSTER = 'cluster="local"'
OF_W = 'cluster="local",workflow="w"'


def metrics_of(run: Campaign, **others: Any) -> Metrics:
    supervisors = (run.clusters, run.supervisor)
    return Metrics(sources_of(run.board, run.clock, locks=run.locks, supervisors=supervisors, **others))


async def test_attempts_retries_and_latencies(tmp_path: Path) -> None:
    behaviour = Behaviour(fails=0.5, attempt_s=(2.0, 2.0))
    async with Campaign(tmp_path, 20, behaviour=behaviour, retry=RetryTable(max_attempts=2)) as run:
        metrics = metrics_of(run)
        await run.until_ended()
        found = read(metrics)
        ends = dict(run.query("SELECT state, count(*) FROM attempt GROUP BY state"))
        again = run.query("SELECT count(*) FROM event WHERE kind = 'job_retried'")[0][0]
        assert again > 2
        for end, failure in (("completed", ""), ("failed", "exit_code")):
            name = f'attempts_ended_total{{{CLUSTER},end="{end}",failure="{failure}"}}'
            assert found[name] == ends[end] > 2
        assert found[f'retries_total{{{CLUSTER},failure="exit_code"}}'] == again
        told = run.query("SELECT count(*) FROM submission")[0][0]
        assert found[f"submissions_total{{{CLUSTER}}}"] == told
        attempts = sum(ends.values())
        assert found[f"job_record_seconds_count{{{CLUSTER}}}"] == attempts
        assert 0 < found[f"job_record_seconds_sum{{{CLUSTER}}}"] < 5 * attempts
        assert found[f"job_wait_seconds_count{{{CLUSTER}}}"] == attempts
        assert not [name for name in found if 'workflow="w"' in name]  # it has ended


async def test_a_workflow_that_a_scheduler_refuses_is_counted_once(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 6, slots=3, queueing=Queueing()) as run:
        metrics = metrics_of(run)
        run.world.refusal = "Invalid account"
        await run.until(lambda: run.states() == {"ready": 6} and run.info.state == "paused")
        assert read(metrics)[f"refusals_total{{{CLUSTER}}}"] == 1
        run.world.refusal = None
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        assert read(metrics)[f"refusals_total{{{CLUSTER}}}"] == 1


async def test_a_remedy_is_counted_by_its_rule(tmp_path: Path) -> None:
    rule = Rule("louder", FailureClass.EXIT_CODE, change={"keep": Change(append=["log"])})
    behaviour = Behaviour(fails=1.0)
    async with Campaign(tmp_path, 3, behaviour=behaviour, remedies=RemedyTable(rules=[rule])) as run:
        metrics = metrics_of(run)
        await run.until_ended()
        assert read(metrics)['remedies_total{engine="command",rule="louder"}'] == 3


@pytest.mark.parametrize("queueing", [None, Queueing()], ids=["lanes", "slots"])
async def test_a_workflow_that_runs(tmp_path: Path, queueing: Queueing | None) -> None:
    behaviour = Behaviour(attempt_s=(100.0, 100.0))
    async with Campaign(tmp_path, 6, behaviour=behaviour, slots=2, queueing=queueing) as run:
        metrics = metrics_of(run)
        await run.until(lambda: run.states()["running"] == 2)
        moved_at = run.clock.time()
        found = read(metrics)
        assert found[f"workflow_slots{{{OF_W}}}"] == 2
        assert found[f"workflow_slots_used{{{OF_W}}}"] == 2
        assert found['jobs{cluster="local",state="running",workflow="w"}'] == 2
        assert found['workflow_state{cluster="local",state="running",workflow="w"}'] == 1
        progress = f"workflow_progress_timestamp_seconds{{{OF_W}}}"
        assert moved_at - 2.0 <= found[progress] <= moved_at
        await run.ask(PauseWorkflow(None))
        await run.clock.advance(50.0)
        assert moved_at - 2.0 <= read(metrics)[progress] <= moved_at + 1.0  # a pause moves no job
        assert read(metrics)['workflow_state{cluster="local",state="paused",workflow="w"}'] == 1
        await run.until(lambda: not run.actor._book.orders)  # what was out already still ran
        await run.clock.advance(1.0)
        found = read(metrics)
        assert found[progress] > moved_at + 90.0
        assert found[f"workflow_slots_used{{{OF_W}}}"] == 0
        ended = run.states()["completed"]
        assert found['workflow_attempts_ended_total{cluster="local",end="completed",workflow="w"}'] == ended >= 2
        await run.ask(ResumeWorkflow(None))
        await run.until_ended()
        assert progress not in read(metrics)


async def test_progress_is_known_after_a_restart(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 2, behaviour=Behaviour(attempt_s=(9000.0, 9000.0))) as run:
        await run.until(lambda: run.states()["running"] == 2)
        moved_at = run.query("SELECT max(at) FROM event")[0][0]  # by the real clock, as events are
        await run.clock.advance(3600.0)
        await run.supervisor.stop_child("w")
        run.board.figures.standings.clear()  # as a new daemon begins
        run.start()
        await run.clock.advance(10.0)
        known = run.board.figures.standings["w"].progressed_at
        assert known == moved_at


async def test_restarts_are_told_by_supervisor_and_actor(tmp_path: Path) -> None:
    broken: list[bool] = [True, True, True]
    async with Campaign(tmp_path, 4, behaviour=Behaviour(attempt_s=(60.0, 60.0))) as run:

        def trouble(_: Any) -> Exception | None:
            return BrokenError("once more") if broken and broken.pop() else None

        run.workers._trouble = trouble
        metrics = metrics_of(run, clusters=lambda: {"simulated": run.cluster}, workflows=lambda: {"w": run.workflow})
        await run.until(lambda: run.states()["running"] == 2)
        found = read(metrics)
        assert found['actor_restarts_total{actor="w",supervisor="workflows"}'] == 3
        assert found['actor_restarts_total{actor="simulated",supervisor="clusters"}'] == 0
        assert found['supervisor_restarts_total{supervisor="workflows"}'] == 3
        run.board.unpin("w")
        found = read(metrics)
        assert found['supervisor_restarts_total{supervisor="workflows"}'] == 3
        assert not [name for name in found if 'actor="w"' in name]


async def test_locks_are_pinned_by_who_takes_them(tmp_path: Path) -> None:
    needs = LockNeeds(resources={"licence": 2})
    behaviour = Behaviour(attempt_s=(30.0, 30.0))
    async with Campaign(tmp_path, 4, behaviour=behaviour, slots=2, locks=needs) as run:
        run.locks.configure({"licence": 3, "unused": 1})
        metrics = metrics_of(run)
        await run.until(lambda: read(metrics).get('lock_waiters{lock="licence"}') == 1)
        found = read(metrics)
        assert found['lock_capacity{lock="licence"}'] == 3
        assert found['lock_held{lock="licence"}'] == 2
        assert found['lock_held{lock="unused"}'] == 0
        await run.until_ended()
        found = read(metrics)
        assert found['lock_held{lock="licence"}'] == 0
        assert found["lock_wait_seconds_count"] == len(run.query("SELECT * FROM submission"))
        assert found["lock_wait_seconds_sum"] > 20.0


async def test_a_scheduler_is_polled_and_its_budget_waited_for() -> None:
    async with bench(submits_per_min=2.0, queries_active_per_min=2.0) as run:
        metrics = Metrics(sources_of(run.board, run.clock))
        of = 'cluster="hpc"'
        found = read(metrics)
        assert found[f'scheduler_calls_allowed_per_minute{{{of},kind="submit"}}'] == 2
        assert found[f'scheduler_call_budget{{{of},kind="submit"}}'] == 1
        await run.advance(1.0)
        assert read(metrics)[f"cluster_up{{{of}}}"] == 1
        orders = [run.submit() for _ in range(3)]
        await run.placed(orders[0])
        assert read(metrics)[f'scheduler_call_budget{{{of},kind="submit"}}'] < 0.5
        await run.placed(*orders)
        found = read(metrics)
        waited = found[f'scheduler_budget_wait_seconds_total{{{of},kind="submit"}}']
        assert 40.0 < waited < 130.0
        assert found[f"submission_seconds_count{{{of}}}"] == 3
        assert waited < found[f"submission_seconds_sum{{{of}}}"] < 2 * waited
        run.site.start(orders[0])
        await run.until(lambda: run.seen(orders[0])[0].name == "RUNNING")
        run.site.answers["scancel"] = Completed(0, b"", b"")  # it does nothing, so that there is much to ask
        run.cancel(orders[0], 0)
        await run.advance(300.0)
        found = read(metrics)
        assert found[f'scheduler_budget_wait_seconds_total{{{of},kind="query"}}'] > 60.0
        assert found[f'polls_total{{{of},outcome="ok",what="spool"}}'] > 100
        assert found[f'polls_total{{{of},outcome="ok",what="queue"}}'] == run.site.count("squeue")
        assert found[f'poll_seconds_count{{{of},what="queue"}}'] == run.site.count("squeue")
        run.site.answers["squeue"] = Completed(0, b"nonsense\n", b"")
        await run.advance(120.0)
        assert read(metrics)[f'polls_total{{{of},outcome="failed",what="queue"}}'] > 0
        shown = read(metrics)[f'scheduler_call_budget{{{of},kind="submit"}}']
        assert shown == 1  # it fills up while nobody asks, and is shown so
        run.site.end(orders[0], code=None, verdict="cancelled")


async def test_questions_are_open_until_they_are_answered() -> None:
    async with bench(accounts=False) as run:
        metrics = Metrics(sources_of(run.board, run.clock))
        ulid = run.submit()
        await run.placed(ulid)
        run.site.start(ulid)
        run.site.over(ulid, 0, "FAILED", "0:9")
        run.site.forget(ulid)
        await run.until(lambda: run.seen(ulid)[0].name == "IN_DOUBT")
        await run.advance(1.0)
        found = read(metrics)
        assert (found['attempts_in_doubt{cluster="hpc"}'], found['questions_open{cluster="hpc"}']) == (1, 0)
        await run.advance(1200.0)
        assert read(metrics)['questions_open{cluster="hpc"}'] == 1


async def test_a_connection_outlives_its_actor() -> None:
    async with bench() as run:
        metrics = Metrics(sources_of(run.board, run.clock))
        assert read(metrics)['ssh_connected{cluster="hpc"}'] == 1
        first = run.board.connections["hpc"]
        run.site.answers["squeue"] = RuntimeError("a mistake of ours")
        await run.placed(run.submit())
        await run.until(lambda: len(run.actors) == 2)
        del run.site.answers["squeue"]
        assert run.board.connections["hpc"] is not first
        assert read(metrics)['ssh_connects_total{cluster="hpc"}'] == first.connects()


class Pause(Task[int], frozen=True):
    result = int

    def run(self) -> int:
        return 1


async def test_workers_are_counted_while_tasks_wait(tmp_path: Path) -> None:
    from penstock.actors.board import Board
    from penstock.actors.clock import SystemClock

    board = Board()
    pool = WorkerPool(1, SystemClock(), board.figures.observe_task)
    metrics = Metrics(sources_of(board, workers=pool))
    failed: list[BaseException] = []

    async def ask() -> None:
        try:
            await pool.run(Pause())
        except PenstockError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.lowlevel.checkpoint()
        while not pool.busy:
            await anyio.lowlevel.checkpoint()
        found = read(metrics)
        assert (found["workers"], found["workers_busy"], found["workers_waiting"]) == (1, 1, 2)
    pool.close()
    found = read(metrics)
    assert (found["workers_busy"], found["workers_waiting"]) == (0, 0)
    assert found['worker_task_seconds_count{task="Pause"}'] == 3
    assert found["workers_lost_total"] == sum(isinstance(error, WorkerLostError) for error in failed)


async def test_scrapes_beside_a_busy_loop(tmp_path: Path) -> None:
    """A thread scrapes all the time while a campaign changes what it reads. What it reads always fits together."""
    behaviour = Behaviour(fails=0.2, attempt_s=(0.1, 2.0))
    async with Campaign(tmp_path, 150, behaviour=behaviour, slots=8, retry=RetryTable(max_attempts=4)) as run:
        metrics = metrics_of(run, workflows=lambda: {"w": run.workflow}, clusters=lambda: {"simulated": run.cluster})
        stop, troubles, scrapes = threading.Event(), list[str](), list[dict[str, float]]()

        def scrape() -> None:
            while not stop.is_set():
                try:
                    scrapes.append(read(metrics))
                except Exception as error:  # noqa: BLE001 - whatever it is fails the test
                    troubles.append(repr(error))

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            await run.until_ended()
        finally:
            stop.set()
            thread.join()
        assert not troubles
        assert len(scrapes) > 5
        for before, after in itertools.pairwise(scrapes):
            for name, value in after.items():
                if "_total" in name or name.endswith("_count"):
                    assert value >= before.get(name, 0.0), name
        for found in scrapes:
            jobs = sum(value for name, value in found.items() if name.startswith("jobs{"))
            assert jobs in {0, 150}
            for name, count in found.items():
                if name.endswith("_count") or "_count{" in name:
                    bucket = name.replace("_count", "_bucket")
                    inner = bucket[bucket.index("{") + 1 : -1].split(",") if "{" in bucket else []
                    labels = ",".join(sorted([*inner, 'le="+Inf"']))
                    assert found[f"{bucket.partition('{')[0]}{{{labels}}}"] == count
