"""What a crash between two commits, or between two lives of the daemon, must not change."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clusters.spooled import Spool
from tests.daemon.house import House, Life

from penstock.actors import errands
from penstock.actors.board import Board
from penstock.actors.clock import SystemClock
from penstock.actors.cluster_port import Attach, Detach
from penstock.actors.local_cluster import LocalCluster, LocalConfig
from penstock.actors.mailbox import Mailbox, Ref
from penstock.actors.supervisor import Policy, Supervisor
from penstock.actors.worker_tasks import ReadChunk
from penstock.actors.workflow_messages import CancelWorkflow, RetryJobs
from penstock.clusters import spool as spooling
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.errors import BusyError, SpecError
from penstock.domain.process_id import ProcessId
from penstock.domain.spec import RetryTable
from penstock.domain.states import JobState
from penstock.domain.views import Selection
from penstock.store.selection import in_states
from penstock.store.workflow_store import WorkflowStore
from penstock.testing.scripted_workers import outcome_of_exit
from penstock.testing.simulated_world import Behaviour

from .campaign import BrokenError, Campaign

STEADY = Behaviour(attempt_s=(10.0, 10.0))
LONG = Behaviour(attempt_s=(1000.0, 1000.0))


# ---- a cancellation that is broken off -------------------------------------------------------------------------------


class BreakOnce:
    """Once armed, breaks at the n-th of the points at which a store may break, and never again."""

    def __init__(self, point: int) -> None:
        self._left = point
        self._armed = False

    def arm(self) -> None:
        self._armed = True

    def __call__(self) -> bool:
        if self._armed:
            self._left -= 1
        return self._armed and self._left == -1


@pytest.mark.parametrize("behaviour", [STEADY, LONG, Behaviour(attempt_s=(0.5, 0.5))])
@pytest.mark.parametrize("point", range(14))
async def test_a_cancellation_broken_off_at_any_commit_is_carried_out(
    tmp_path: Path, behaviour: Behaviour, point: int
) -> None:
    broken = BreakOnce(point)
    async with Campaign(tmp_path, 20, behaviour=behaviour, slots=3, breaks=broken) as run:
        await run.until(lambda: run.states()["running"] == 3)
        broken.arm()
        try:
            await run.ask(CancelWorkflow(None))
        except BusyError:
            written = run.query("SELECT state FROM workflow")
            assert written == [("running" if point == 0 else "cancelled",)]
            if point == 0:  # nothing was committed, and so nothing is cancelled
                await run.ask(CancelWorkflow(None))
        asked_at = run.clock.monotonic()
        assert await run.until_ended() == "cancelled"
        assert run.supervisor.restarts == {"w": 1}
        assert dict(run.query("SELECT state, count(*) FROM job GROUP BY state")).keys() <= {"cancelled", "completed"}
        assert run.states()["cancelled"] >= 20 - 3 - 4
        assert run.clock.monotonic() - asked_at < 60.0
        run.check_books()


async def test_jobs_cancelled_before_the_crash_are_cancelled_after_it(tmp_path: Path) -> None:
    """The cluster is never told: only the mark in the database knows."""
    async with Campaign(tmp_path, 4, behaviour=LONG) as run:
        await run.until(lambda: run.states()["running"] == 2)
        store: Any = run.actor._store
        await store.request_cancel(in_states(JobState.RUNNING))
        await run.supervisor.stop_child("w")
        run.start()
        await run.until(lambda: run.states()["cancelled"] == 2)
        assert run.clock.monotonic() < 100.0


# ---- a retry that is broken off -------------------------------------------------------------------------------------


def failing(item: Any) -> Outcome:
    return Outcome(FailureClass.EXIT_CODE, "as agreed")


@pytest.mark.parametrize("point", range(14))
async def test_a_retry_broken_off_at_any_commit_leaves_no_ready_jobs_in_an_ended_workflow(
    tmp_path: Path, point: int
) -> None:
    broken = BreakOnce(point)
    async with Campaign(tmp_path, 4, behaviour=STEADY, retry=RetryTable(max_attempts=1), breaks=broken) as run:
        run.workers._rule = failing
        assert await run.until_ended() == "failed"
        run.workers._rule = outcome_of_exit
        run.start()
        broken.arm()
        with contextlib.suppress(BusyError):
            await run.ask(RetryJobs(Selection()))
        assert run.query(READY_BUT_ENDED) == []
        state = await run.until_ended()
        assert run.supervisor.restarts == {"w": 1}
        assert (state, run.states()) in [("failed", {"failed": 4}), ("completed", {"completed": 4})]
        if state == "failed":
            run.start()
            await run.ask(RetryJobs(Selection()))
            assert await run.until_ended() == "completed"
        run.check_books()


READY_BUT_ENDED = (
    "SELECT id FROM job WHERE state = 'ready' AND (SELECT state FROM workflow) NOT IN ('running', 'paused')"
)


@pytest.mark.parametrize("point", range(10))
async def test_a_source_is_tried_again_though_the_first_wish_for_it_was_broken_off(tmp_path: Path, point: int) -> None:
    broken = BreakOnce(point)
    async with Campaign(tmp_path, 4, breaks=broken) as run:
        run.workers._trouble = lambda task: SpecError("gone") if isinstance(task, ReadChunk) else None
        assert await run.until_ended() == "failed"
        run.workers._trouble = lambda _: None
        run.start()
        broken.arm()
        with contextlib.suppress(BusyError):
            await run.ask(RetryJobs(Selection()))
        if await run.until_ended() == "failed":
            run.start()
            await run.ask(RetryJobs(Selection()))
            assert await run.until_ended() == "completed"
        assert run.supervisor.restarts == {"w": 1}
        assert run.states() == {"completed": 4}
        run.check_books()


# ---- chunks read ahead of a crash ------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [10, 12, 40])
@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_chunks_read_ahead_of_a_crash_are_taken_in_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, failing: int, when: str
) -> None:
    monkeypatch.setattr(errands, "_CHUNK", 5)
    add, calls, waited = WorkflowStore.add_chunk, itertools.count(1), []
    async with Campaign(tmp_path, jobs) as run:

        def ahead() -> int:
            return sum(key[0] == "chunk" for key in run.workflow._mailbox._posted if isinstance(key, tuple))

        async def breaking(store: WorkflowStore, *args: Any) -> Any:
            if next(calls) != failing:
                return await add(store, *args)
            chunks_left = -(-jobs // 5) - failing
            while ahead() < min(chunks_left, 2):
                await run.clock.sleep(0.01)
            waited.append(ahead())
            if when == "after":
                await add(store, *args)
            raise BrokenError(f"{when} add_chunk")

        monkeypatch.setattr(WorkflowStore, "add_chunk", breaking)
        assert await run.until_ended() == "completed"
        assert run.supervisor.restarts == {"w": 1}
        assert len(waited) == 1
        taken = [(n + 1, n, f"h{n}", "completed") for n in range(jobs)]
        assert run.query("SELECT id, orig_index, name, status FROM job ORDER BY id") == taken
        assert run.query("SELECT name, source_index FROM material ORDER BY id") == [(f"h{n}", n) for n in range(jobs)]
        assert run.query("SELECT sum(data ->> 'jobs') FROM event WHERE kind = 'jobs_ingested'") == [(jobs,)]
        run.check_books()


# ---- a daemon that is started anew -----------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path, behaviour=LONG) as house:
        yield house


async def until_running(house: House, life: Life) -> None:
    await house.clock.run_until(lambda: life.state()[1].get("running") == 2, 100.0)


@pytest.mark.parametrize("catalogue_is_behind", [False, True])
@pytest.mark.parametrize("cluster_was_told", [False, True])
async def test_a_cancelled_workflow_is_followed_to_its_end_by_the_next_daemon(
    house: House, cluster_was_told: bool, catalogue_is_behind: bool
) -> None:
    async with house.life() as life:
        await life.create(house.request())
        await until_running(house, life)
        await life.workflows.flush()
        if not cluster_was_told:
            await life.clusters.stop_child("local")
        await life.workflows.ask("w", CancelWorkflow(None), 10.0)
        assert life.state() == ("cancelled", {"running": 2, "cancelled": 1})
        if not catalogue_is_behind:
            await life.workflows.flush()
    (house.directory / "structures.db").touch()  # so that it has nothing else to do
    async with house.life() as life:
        await life.find_again()
        assert await life.until_ended() == ("cancelled", {"cancelled": 3})
    assert house.clock.monotonic() < 100.0
    assert house.world.violations == []
    assert sum(house.world.executions.values()) == 2


async def test_what_is_tried_again_goes_on_though_the_catalogue_had_not_heard_of_it(tmp_path: Path) -> None:
    """A workflow at rest is asked for more and the daemon is killed before the catalogue is written."""
    async with House(tmp_path) as house:
        async with house.life() as life:
            await life.create(house.request())
            assert await life.until_ended() == ("completed", {"completed": 3})
            (house.directory / "structures.db").touch()
            await life.workflows.flush()
            everything = RetryJobs(Selection(jobs=(1, 2, 3)))
            await life.workflows.ask("w", everything, 10.0)
            assert life.state()[0] == "running"
        async with house.life() as life:
            await life.find_again()
            assert await life.until_ended() == ("completed", {"completed": 3})
        assert house.world.violations == []
        assert house.world.succeeded == {("w", job): 2 for job in (1, 2, 3)}


async def test_what_was_running_and_cannot_be_read_any_more_is_faulted(house: House) -> None:
    async with house.life() as life:
        await life.create(house.request())
        await until_running(house, life)
        await life.workflows.flush()
    for file in house.directory.glob("workflow.db*"):
        file.unlink()
    async with house.life() as life:
        await life.find_again()
        assert (await life.until_ended())[0] == "faulted"
        assert "is missing" in str(life.board.workflows["w"].reason)


async def test_what_is_at_rest_stays_at_rest(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        async with house.life() as life:
            await life.create(house.request())
            await life.until_ended()
            (house.directory / "structures.db").touch()
            await life.workflows.flush()
        async with house.life() as life:
            await life.find_again()
            assert life.workflows.running() == {}
            assert life.state() == ("completed", {"completed": 3})


# ---- the spool -------------------------------------------------------------------------------------------------------


def token(process: ProcessId | None) -> str:
    assert process is not None
    return f"{process.token()}:runner"


def dead() -> str:
    me = ProcessId.of(os.getpid())
    assert me is not None
    return f"{me.pid}:{me.start_ticks - 1}:{me.boot}:runner"


@pytest.mark.parametrize(
    ("claim", "kept"), [(lambda: token(ProcessId.of(os.getpid())), True), (dead, False), (lambda: None, False)]
)
@pytest.mark.parametrize("message", [lambda me: Attach("w", me, ()), lambda _: Detach("w")])
async def test_files_of_a_submission_whose_runner_lives_are_never_swept(
    tmp_path: Path, claim: Callable[[], str | None], kept: bool, message: Callable[[Ref[Any]], Any]
) -> None:
    spool = Spool(tmp_path)
    ulid = spool.stage(["true"])
    if holder := claim():
        spool.file(ulid, "claim").symlink_to(holder)
    spool.file(ulid, "journal").write_bytes(spooling.encode_line(spooling.Start(0, 1.0)))
    config = LocalConfig("local", 1, 1000, 0, spool.path)

    async def given_up(name: str, error: BaseException) -> None:
        raise error

    async with Supervisor("clusters", SystemClock(), Policy(0, 60.0), given_up) as supervisor:
        ref: Ref[Any] = supervisor.start_child("local", lambda me: LocalCluster(me, config, SystemClock(), Board(), {}))
        await ref.ask(message(Ref(Mailbox("owner"))), 10.0)
    left = {path.name.partition(".")[2] for path in spool.path.glob(f"{ulid}.*")}
    assert left == ({"manifest", "claim", "journal"} if kept else set())
