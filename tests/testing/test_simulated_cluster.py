"""The simulated cluster keeps the contract that workflows rely on, and its world notices who breaks it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from penstock.actors.cluster_port import Attach, Cancel, ClusterRestarted, Forget, Resolve, Submit
from penstock.actors.mailbox import Mailbox, Ref
from penstock.actors.supervisor import Policy, Supervisor
from penstock.domain.calculation import Rendered
from penstock.domain.resources import Resources
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Entry, Manifest, Observed, Seen, Submission
from penstock.testing.simulated_cluster import SimulatedCluster
from penstock.testing.simulated_world import Behaviour, SimulatedWorld
from penstock.testing.virtual_clock import VirtualClock


class Bench:
    """A simulated cluster and the owner of its submissions."""

    def __init__(self, behaviour: Behaviour, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.world = SimulatedWorld(self.clock, behaviour, seed)
        self.owner: Mailbox[Any] = Mailbox("owner")
        self.told: dict[str, Observed] = {}
        self.history: list[Observed] = []
        self.restarted = 0
        self.cluster: Ref[Any]

    def attach(self, *submissions: Submission) -> None:
        self.told.clear()
        self.cluster.tell(Attach("w", Ref(self.owner), submissions))

    def submit(self, ulid: str, size: int = 1, *, lane: int = 0, width: int = 1) -> Submission:
        submission = Submission(ulid, "w", "/w", "isolated", "emt", lane, 0, False, size, Resources(), width)
        entries = [Entry(n, f"{ulid}/{n}", hash(ulid) + n, Rendered({})) for n in range(size)]
        manifest = Manifest(ulid, "w", "/w", "isolated", "emt", 1, 60, entries)
        self.cluster.tell(Submit(submission, msgspec.msgpack.encode(manifest)))
        return submission

    async def advance(self, seconds: float) -> None:
        """Moves time on and takes what the owner was told."""
        await self.clock.advance(seconds)
        while len(self.owner):
            message = (await self.owner.get()).message
            if isinstance(message, ClusterRestarted):
                self.restarted += 1
                continue
            self.history.append(message)
            older = self.told.get(message.ulid)
            self.told[message.ulid] = message if older is None else older.merged(message)

    def seen(self, submission: Submission) -> list[Seen]:
        told = self.told[submission.ulid].attempts
        return [told[n].seen for n in range(submission.size)]


@contextlib.asynccontextmanager
async def bench(behaviour: Behaviour = Behaviour(), seed: int = 0) -> AsyncIterator[Bench]:  # noqa: B008 - frozen
    found = Bench(behaviour, seed)

    async def given_up(name: str, error: BaseException) -> None:
        raise error

    async with found.world, Supervisor("clusters", found.clock, Policy(99, 1.0), given_up) as supervisor:
        owners: dict[str, Ref[Any]] = {}
        found.cluster = supervisor.start_child(
            "simulated", lambda me: SimulatedCluster(me, "simulated", found.world, owners)
        )
        found.attach()
        yield found


async def test_attempts_run_one_after_another_and_are_told_of() -> None:
    async with bench(Behaviour(latency_s=(0.5, 0.5), attempt_s=(10.0, 10.0))) as run:
        submission = run.submit("A", 3)
        await run.advance(0.1)
        assert run.seen(submission) == [Seen.QUEUED] * 3
        await run.advance(15.0)
        assert run.seen(submission) == [Seen.ENDED, Seen.RUNNING, Seen.QUEUED]
        await run.advance(20.0)
        assert run.seen(submission) == [Seen.ENDED] * 3
        assert run.told["A"].closed
        assert sum(run.world.executions.values()) == 3
        assert run.world.violations == []


async def test_running_and_pending_have_limits() -> None:
    async with bench(Behaviour(attempt_s=(10.0, 10.0), running_max=2, pending_max=1)) as run:
        submissions = [run.submit(f"S{n}", lane=n) for n in range(5)]
        await run.advance(5.0)
        assert len(run.world.placed) == 3
        assert [run.seen(one) for one in submissions].count([Seen.RUNNING]) == 2
        await run.advance(100.0)
        assert all(run.seen(one) == [Seen.ENDED] for one in submissions)
        assert run.world.peak["w"] == 2


async def test_a_slot_runs_one_submission_at_a_time() -> None:
    async with bench(Behaviour(attempt_s=(10.0, 10.0))) as run:
        submissions = [run.submit(f"S{n}", lane=0) for n in range(3)]
        await run.advance(100.0)
        assert all(run.told[one.ulid].closed for one in submissions)
        assert run.world.peak["w"] == 1


async def test_what_is_in_doubt_is_settled_as_running_or_as_never_run() -> None:
    behaviour = Behaviour(doubts=1.0, doubt_s=(30.0, 30.0), attempt_s=(5.0, 5.0))
    async with bench(behaviour, seed=1) as run:
        submissions = [run.submit(f"S{n}", lane=n) for n in range(20)]
        await run.advance(0.15)
        assert all(run.seen(one) == [Seen.IN_DOUBT] for one in submissions)
        await run.advance(200.0)
        ends = [run.seen(one)[0] for one in submissions]
        assert set(ends) == {Seen.ENDED, Seen.NOT_RUN}
        assert sum(run.world.executions.values()) == ends.count(Seen.ENDED)


async def test_a_tombstone_holds_against_a_submission_that_comes_late() -> None:
    async with bench(Behaviour(latency_s=(60.0, 60.0))) as run:
        submission = run.submit("A")
        await run.advance(1.0)
        run.world.breaks_over.append(Cancel)
        run.cluster.tell(Cancel("nobody", {}))
        await run.advance(1.0)
        assert run.restarted == 1
        run.attach(submission)
        await run.advance(1000.0)
        assert run.seen(submission) == [Seen.NOT_RUN]
        assert not run.world.executions


async def test_a_restarted_cluster_tells_the_whole_story_to_who_attaches() -> None:
    async with bench(Behaviour(attempt_s=(10.0, 10.0))) as run:
        submission = run.submit("A", 3)
        await run.advance(15.0)
        run.world.breaks_over.append(Cancel)
        run.cluster.tell(Cancel("nobody", {}))
        await run.advance(0.5)
        run.attach(submission)
        await run.advance(2.0)
        assert [run.told["A"].attempts[n].seen for n in (0, 1)] == [Seen.ENDED, Seen.RUNNING]
        await run.advance(100.0)
        run.attach(submission)
        await run.advance(2.0)
        assert run.seen(submission) == [Seen.ENDED] * 3
        assert run.told["A"].closed
        assert set(run.world.executions.values()) == {1}


async def test_cancelling_reaches_what_runs_and_what_has_not_arrived() -> None:
    async with bench(Behaviour(latency_s=(5.0, 5.0), attempt_s=(100.0, 100.0))) as run:
        submission = run.submit("A", 3)
        await run.advance(1.0)
        run.cluster.tell(Cancel("A", {1: "/w/A/1"}))
        await run.advance(10.0)
        run.cluster.tell(Cancel("A", {0: "/w/A/0"}))
        await run.advance(10.0)
        first, second, third = (run.told["A"].attempts[n] for n in range(3))
        assert first.exit is not None
        assert (first.exit.verdict, second.seen, third.seen) == ("cancelled", Seen.NOT_RUN, Seen.RUNNING)
        assert run.seen(submission)[1] is Seen.NOT_RUN


async def test_a_lost_runner_takes_the_rest_of_its_submission_along() -> None:
    async with bench(Behaviour(loses=1.0)) as run:
        submission = run.submit("A", 3)
        await run.advance(100.0)
        assert run.seen(submission) == [Seen.ENDED, Seen.NOT_RUN, Seen.NOT_RUN]
        exit_ = run.told["A"].attempts[0].exit
        assert exit_ is not None
        assert exit_.verdict == "lost"


async def test_the_same_seed_tells_the_same_story() -> None:
    rough = Behaviour((0.0, 2.0), (0.0, 9.0), fails=0.3, loses=0.1, doubts=0.2, delays=0.3, repeats=0.3)
    stories: list[list[dict[int, AttemptSeen]]] = []
    for seed in (5, 5, 6):
        async with bench(rough, seed) as run:
            for n in range(10):
                run.submit(f"S{n}", 3, lane=n % 3)
            for _ in range(300):
                await run.advance(1.0)
            stories.append([observed.attempts for observed in run.history])
    assert stories[0] == stories[1] != stories[2]


@pytest.mark.parametrize("early", [True, False])
async def test_forgetting_what_still_runs_is_a_violation(early: bool) -> None:
    async with bench() as run:
        run.submit("A")
        await run.advance(0.5 if early else 50.0)
        run.cluster.tell(Forget("A"))
        await run.advance(1.0)
        assert bool(run.world.violations) == early


async def test_an_attempt_executed_twice_is_a_violation() -> None:
    async with bench(Behaviour(attempt_s=(10.0, 10.0))) as run:
        run.submit("A")
        await run.advance(5.0)
        placed = run.world.placed["A"]
        again = msgspec.structs.replace(placed.submission, ulid="B", lane=1)
        manifest = Manifest("B", "w", "/w", "isolated", "emt", 1, 60, list(placed.entries.values()))
        run.cluster.tell(Submit(again, msgspec.msgpack.encode(manifest)))
        await run.advance(5.0)
        assert [text.partition(" of ")[0] for text in run.world.violations] == [
            "attempt A/0",
            "two attempts",
        ]


QUEUEING = Behaviour(latency_s=(5.0, 5.0), attempt_s=(10.0, 10.0), queueing=True)


async def test_tasks_run_side_by_side_each_through_its_own_attempts() -> None:
    async with bench(QUEUEING) as run:
        submission = run.submit("A", 5, width=2)
        await run.advance(2.0)
        assert run.told == {}
        await run.advance(4.0)
        assert run.seen(submission) == [Seen.RUNNING, Seen.RUNNING, *[Seen.QUEUED] * 3]
        await run.advance(10.0)
        assert run.seen(submission) == [Seen.ENDED, Seen.ENDED, Seen.RUNNING, Seen.RUNNING, Seen.QUEUED]
        await run.advance(30.0)
        assert run.seen(submission) == [Seen.ENDED] * 5
        assert run.told["A"].closed
        assert run.world.peak["w"] == 2
        assert run.world.violations == []


async def test_limits_at_a_scheduler_count_tasks() -> None:
    async with bench(msgspec.structs.replace(QUEUEING, running_max=3)) as run:
        submissions = [run.submit(f"S{n}", 2, width=2) for n in range(3)]
        await run.advance(200.0)
        assert all(run.seen(one) == [Seen.ENDED] * 2 for one in submissions)
        assert run.world.peak["w"] == 3


async def test_what_is_refused_never_runs() -> None:
    async with bench(QUEUEING) as run:
        run.world.refusal = "no such partition"
        submission = run.submit("A", 2, width=2)
        await run.advance(50.0)
        assert run.seen(submission) == [Seen.NOT_RUN] * 2
        assert (run.told["A"].refused, run.told["A"].closed) == ("no such partition", True)
        run.world.refusal = None
        run.attach(submission)
        await run.advance(50.0)
        assert not run.world.executions


async def test_doubt_has_a_reason_and_ends_by_a_persons_word() -> None:
    behaviour = msgspec.structs.replace(QUEUEING, doubts=1.0, doubt_s=(1e6, 1e6))
    async with bench(behaviour, seed=1) as run:
        submissions = [run.submit(f"S{n}", 3, width=3) for n in range(6)]
        await run.advance(6.0)
        assert {run.told[one.ulid].attempts[0].reason for one in submissions} == {"no answer came to its submission"}
        await run.advance(50.0)
        lost = next(one for one in submissions if run.seen(one) == [Seen.IN_DOUBT] * 3)
        run.cluster.tell(Resolve(lost.ulid, {0: Resolution.NOT_RUN, 1: Resolution.LOST}))
        await run.advance(1.0)
        assert run.seen(lost) == [Seen.NOT_RUN, Seen.ENDED, Seen.IN_DOUBT]
        assert not run.told[lost.ulid].closed
        run.cluster.tell(Resolve(lost.ulid, {2: Resolution.ENDED}))
        await run.advance(1.0)
        assert run.told[lost.ulid].closed
        ran = next(one for one in submissions if run.seen(one) == [Seen.ENDED] * 3)
        before = dict(run.told[ran.ulid].attempts)
        run.cluster.tell(Resolve(ran.ulid, {0: Resolution.NOT_RUN}))
        await run.advance(10.0)
        assert run.told[ran.ulid].attempts == before
