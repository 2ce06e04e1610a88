"""A cluster with a scheduler before a site that answers late, wrongly or not at all: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import structlog.testing
from tests.actors.simulated_site import SPOOL, Site, SiteShell

from penstock.actors.board import Board
from penstock.actors.cluster_port import Attach, Cancel, ClusterRestarted, Forget, Resolve, Submit
from penstock.actors.mailbox import Mailbox, Ref
from penstock.actors.scheduler_cluster import SchedulerCluster
from penstock.actors.scheduler_messages import Report, SchedulerConfig
from penstock.actors.supervisor import Policy, Supervisor
from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.shell import Completed
from penstock.clusters.slurm import Slurm
from penstock.domain.calculation import Rendered
from penstock.domain.errors import ClusterError
from penstock.domain.ids import new_ulid
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Entry, Manifest, Observed, Seen, Submission
from penstock.domain.views import ClusterReport
from penstock.testing.virtual_clock import VirtualClock

CONFIG = SchedulerConfig(
    name="hpc",
    kind="slurm",
    host="login",
    spool="spool",
    work=None,
    python="",
    options=SchedulerOptions(),
    width_max=0,
    jobs_max=0,
    queries_idle_per_min=2.0,
    queries_active_per_min=12.0,
    submits_per_min=60.0,
    listing_s=0.5,
    grace_s=180.0,
    lag_s=60.0,
    question_after_s=900.0,
    command_timeout_s=60.0,
)
LASTING = Completed(1, b"", b"sbatch: error: Batch job submission failed: Invalid partition name specified\n")
FOR_NOW = Completed(1, b"", b"sbatch: error: Batch job submission failed: Unable to create job record, try again\n")
FOREIGN = Completed(1, b"", "sbatch: Fehler: Übertragung fehlgeschlagen\n".encode())
LIMIT_S = 3600.0


class Bench:
    """The actor, the site behind it, and workflows that hear of their submissions."""

    def __init__(self, site: Site) -> None:
        self.site, self.clock = site, site.clock
        self.board = Board()
        self.owners = {name: Mailbox[Any](name) for name in ("w", "v")}
        self.submissions: dict[str, Submission] = {}
        self.told: dict[str, Observed] = {}
        self.restarts = 0
        self.cluster: Ref[Any]
        self.actors: list[SchedulerCluster] = []

    @property
    def actor(self) -> SchedulerCluster:
        return self.actors[-1]

    def submit(
        self, size: int = 1, width: int | None = None, *, workflow: str = "w", priority: int = 0, **fields: Any
    ) -> str:
        """Hands over a submission of the command engine; an array unless it is given a width."""
        ulid = new_ulid(self.clock.time() + 0.001 * len(self.submissions))  # the first is the oldest
        submission = Submission(
            ulid=ulid,
            workflow_id=workflow,
            workflow_dir=f"/{workflow}",
            mode="isolated",
            engine="command",
            lane=0,
            priority=priority,
            prefetch=False,
            size=size,
            width=width or size,
            resources=Resources(),
            directories=tuple(f"{ulid}/{n}" for n in range(size)),
            outputs=("stdout",),
            **fields,
        )
        entries = [Entry(n, f"{ulid}/{n}", n + 1, Rendered({}, ["true"])) for n in range(size)]
        manifest = Manifest(ulid, workflow, f"/{workflow}", "isolated", "command", 1, 60, entries)
        self.cluster.tell(Submit(submission, msgspec.msgpack.encode(manifest)))
        self.submissions[ulid] = submission
        return ulid

    def cancel(self, ulid: str, *positions: int) -> None:
        self.cluster.tell(Cancel(ulid, {n: f"/w/{ulid}/{n}" for n in positions}))

    def resolve(self, ulid: str, position: int, verdict: Resolution) -> None:
        self.cluster.tell(Resolve(ulid, {position: verdict}))

    def attach(self, *ulids: str) -> None:
        """As workflows do at their start, and when the cluster asks them to."""
        for name, owner in self.owners.items():
            mine = tuple(s for u in ulids if (s := self.submissions[u]).workflow_id == name)
            self.cluster.tell(Attach(name, Ref(owner), mine))

    def hear(self) -> None:
        """Takes what the workflows were told."""
        for owner in self.owners.values():
            while len(owner):
                message = owner._queue.popleft().message
                owner._posted.clear()
                match message:
                    case ClusterRestarted():
                        self.restarts += 1
                    case Observed(ulid):
                        older = self.told.get(ulid)
                        self.told[ulid] = message if older is None else older.merged(message)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        self.hear()

    async def until(self, predicate: Any, limit_s: float = LIMIT_S) -> None:
        def holds() -> bool:
            self.hear()
            return bool(predicate())

        await self.clock.run_until(holds, limit_s)

    async def placed(self, *ulids: str) -> None:
        """Until the scheduler has them, and the actor knows."""
        await self.until(lambda: all(ulid in self.site.jobs and ulid in self.told for ulid in ulids))

    async def closed(self, *ulids: str, limit_s: float = LIMIT_S) -> None:
        await self.until(lambda: all((told := self.told.get(u)) is not None and told.closed for u in ulids), limit_s)

    def seen(self, ulid: str) -> list[Seen]:
        return [self.attempt(ulid, n).seen for n in range(self.submissions[ulid].size)]

    def attempt(self, ulid: str, n: int = 0) -> AttemptSeen:
        return self.told[ulid].attempts[n]

    def verdict(self, ulid: str, n: int = 0) -> tuple[int | None, str | None]:
        """Exit code and verdict of an attempt that ended."""
        exit_ = self.attempt(ulid, n).exit
        assert exit_ is not None
        return exit_.code, exit_.verdict


@contextlib.asynccontextmanager
async def bench(*, accounts: bool = True, **config: Any) -> AsyncIterator[Bench]:
    """A bench whose cluster has connected."""
    run = Bench(Site(VirtualClock(), accounts=accounts))
    refs: dict[str, Ref[Any]] = {}
    settings = msgspec.structs.replace(CONFIG, **config)

    def make(me: Ref[Any]) -> SchedulerCluster:
        way = (lambda: SiteShell(run.site), Slurm())
        run.actors.append(SchedulerCluster(me, settings, way, run.clock, run.board, refs))
        return run.actor

    async def given_up(name: str, error: BaseException) -> None:
        raise error

    async with Supervisor("clusters", run.clock, Policy(99, 1.0), given_up) as supervisor:
        run.cluster = supervisor.start_child("hpc", make)
        run.attach()
        await run.until(lambda: run.actor.loops.place is not None and run.board.queueing, 30.0)
        yield run


# ---- the plain way --------------------------------------------------------------------------------------------------


async def test_an_array_goes_all_the_way_and_leaves_nothing() -> None:
    async with bench() as run:
        ulid = run.submit(3)
        await run.placed(ulid)
        assert run.seen(ulid) == [Seen.QUEUED] * 3
        run.site.start(ulid, 0)
        run.site.start(ulid, 2)
        await run.advance(1.0)
        assert run.seen(ulid) == [Seen.RUNNING, Seen.QUEUED, Seen.RUNNING]
        run.site.end(ulid, 2, code=3)
        run.site.end(ulid, 0)
        await run.advance(1.0)
        assert not run.told[ulid].closed
        run.site.start(ulid, 1)
        run.site.end(ulid, 1)
        await run.closed(ulid)
        assert [run.verdict(ulid, n) for n in range(3)] == [(0, None), (0, None), (3, None)]
        run.cluster.tell(Forget(ulid))
        await run.advance(5.0)
        assert run.site.names(ulid) == []
        assert run.actor.book.tracked == {}
        assert run.site.count("sbatch") == 1


async def test_a_bundle_is_told_of_attempt_by_attempt() -> None:
    async with bench() as run:
        ulid = run.submit(3, 1)
        await run.placed(ulid)
        run.site.start(ulid)
        run.site.end(ulid, last=False)
        run.site.begin(ulid, 0, 1)
        await run.advance(1.0)
        assert run.seen(ulid) == [Seen.ENDED, Seen.RUNNING, Seen.QUEUED]
        run.site.end(ulid, code=1)
        await run.closed(ulid)
        assert run.seen(ulid) == [Seen.ENDED, Seen.ENDED, Seen.NOT_RUN]


async def test_ends_are_told_when_their_outputs_are_here() -> None:
    async with bench(work="/home/a/work") as run:
        ulid = run.submit(2)
        await run.placed(ulid)
        for k in range(2):
            run.site.start(ulid, k)
        await run.until(lambda: run.seen(ulid) == [Seen.RUNNING] * 2)
        run.site.end(ulid, 1)
        run.site.unreachable = "the connection broke"
        await run.advance(30.0)
        assert run.seen(ulid) == [Seen.RUNNING] * 2
        run.site.unreachable = ""
        await run.until(lambda: run.seen(ulid) == [Seen.RUNNING, Seen.ENDED])
        assert run.site.fetched == [f"/home/a/work/w/{ulid}/1/stdout /w"]
        run.site.over(ulid, 0, "CANCELLED")  # it began, so it may have left something too
        await run.closed(ulid)
        assert run.site.fetched[1:] == [f"/home/a/work/w/{ulid}/0/stdout /w"]


# ---- submitting -----------------------------------------------------------------------------------------------------


async def test_a_lost_answer_is_found_in_the_spool() -> None:
    async with bench() as run:
        run.site.way = ["lost"]
        ulid = run.submit()
        await run.placed(ulid)
        assert run.seen(ulid) == [Seen.QUEUED]
        assert run.site.count("sbatch") == 1


@pytest.mark.parametrize("evidence", ["spool", "queue", "accounts"])
async def test_a_doubt_ends_with_evidence(evidence: str) -> None:
    async with bench() as run:
        run.site.way = ["hung"]
        if evidence != "queue":
            run.site.answers["squeue"] = Completed(0, b"", b"")
        ulid = run.submit()
        await run.until(lambda: ulid in run.told)
        assert run.seen(ulid) == [Seen.IN_DOUBT]
        match evidence:
            case "spool":
                run.site.start(ulid)
                await run.until(lambda: run.seen(ulid) == [Seen.RUNNING])
                run.site.end(ulid)
            case "queue":
                await run.until(lambda: run.seen(ulid) == [Seen.QUEUED])
                run.site.start(ulid)
                run.site.end(ulid)
            case "accounts":
                run.site.over(ulid, 0, "NODE_FAIL")
        await run.closed(ulid)
        assert run.verdict(ulid) == ((None, "lost") if evidence == "accounts" else (0, None))
        assert ulid not in run.board.doubts
        assert run.site.count("sbatch") == 1


@pytest.mark.parametrize("accounts", [True, False])
async def test_what_nobody_knows_is_buried_after_the_grace(accounts: bool) -> None:
    async with bench(accounts=accounts) as run:
        run.site.way = ["nothing"]
        ulid = run.submit(2)
        await run.until(lambda: ulid in run.told)
        doubted_at = run.clock.monotonic()
        assert run.seen(ulid) == [Seen.IN_DOUBT] * 2
        await run.until(lambda: ulid in run.board.doubts)
        assert run.board.doubts[ulid].positions == (0, 1)
        assert run.board.clusters["hpc"].jobs_in_doubt == 2
        await run.closed(ulid)
        assert run.clock.monotonic() - doubted_at >= CONFIG.grace_s
        assert run.seen(ulid) == [Seen.NOT_RUN] * 2
        assert {run.site.links[f"{ulid}/claim.{k}"] for k in range(2)} == {TOMBSTONE}
        run.site._make(ulid, ["--array=0-1"])  # should it come after all, it does nothing
        assert not run.site.start(ulid, 1)


async def test_a_lasting_refusal_is_told_and_nothing_else_is_held_up() -> None:
    async with bench() as run:
        run.site.way = [LASTING]
        ulid, other = run.submit(2), run.submit()
        await run.closed(ulid)
        assert run.seen(ulid) == [Seen.NOT_RUN] * 2
        assert "Invalid partition name" in (run.told[ulid].refused or "")
        await run.placed(other)
        await run.advance(2.0)
        await run.placed(run.submit())
        assert run.clock.monotonic() < 30.0


async def test_a_scheduler_that_is_full_is_left_alone_for_a_while() -> None:
    async with bench() as run:
        run.site.way = [FOR_NOW, FOR_NOW]
        first = run.submit()
        await run.closed(first)
        assert (run.seen(first), run.told[first].refused) == ([Seen.NOT_RUN], None)
        await run.until(lambda: "takes no more for now" in (run.board.clusters["hpc"].reason or ""), 1.0)
        began = run.clock.monotonic()
        second = run.submit()
        await run.closed(second)
        assert 29.0 < run.clock.monotonic() - began < 35.0
        third = run.submit()
        await run.placed(third)
        assert 85.0 < run.clock.monotonic() - began < 105.0
        await run.advance(1.0)
        assert run.board.clusters["hpc"].reason is None
        assert run.site.count("sbatch") == 3


async def test_a_refusal_in_other_words_is_a_doubt() -> None:
    async with bench() as run:
        run.site.way = [FOREIGN]
        ulid = run.submit()
        await run.until(lambda: ulid in run.told)
        assert run.seen(ulid) == [Seen.IN_DOUBT]
        await run.closed(ulid)
        assert run.seen(ulid) == [Seen.NOT_RUN]


# ---- the queue and the accounts -------------------------------------------------------------------------------------


async def test_accounts_tell_of_what_the_queue_forgot() -> None:
    async with bench() as run:
        ulid = run.submit(2)
        await run.placed(ulid)
        run.site.start(ulid, 0)
        run.site.over(ulid, 0, "OUT_OF_MEMORY", "0:125")
        run.site.over(ulid, 1, "CANCELLED")
        run.site.forget(ulid)
        await run.closed(ulid)
        assert [run.verdict(ulid, n)[1] for n in range(2)] == ["oom", "lost"]
        assert "before it started" in (run.attempt(ulid, 1).exit.message or "")  # type: ignore[union-attr]


async def test_without_accounts_a_person_is_asked_and_answers() -> None:
    async with bench(accounts=False) as run:
        ulid = run.submit(2)
        await run.placed(ulid)
        run.site.start(ulid, 0, "n3")
        for k in range(2):
            run.site.over(ulid, k, "FAILED", "0:9")
        run.site.forget(ulid)
        await run.until(lambda: run.seen(ulid)[0] is Seen.IN_DOUBT)
        assert "n3" in (run.attempt(ulid).reason or "")
        await run.advance(1200.0)
        assert run.seen(ulid)[0] is Seen.IN_DOUBT  # never guessed
        assert run.verdict(ulid, 1) == (None, "lost")  # nobody had claimed it
        question_at = run.board.doubts[ulid].question_at
        assert question_at is not None
        assert question_at <= run.clock.time()
        run.resolve(ulid, 0, Resolution.LOST)
        await run.closed(ulid, limit_s=5.0)
        assert run.verdict(ulid) == (None, "lost")
        assert ulid not in run.board.doubts


async def test_a_journal_that_comes_late_counts_more_than_the_state() -> None:
    async with bench(lag_s=60.0) as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.start(ulid)
        run.site.over(ulid, 0, "FAILED", "1:0")
        await run.until(lambda: run.actor.book.tracked[ulid].tasks[0].end is not None)
        await run.advance(50.0)
        assert run.seen(ulid) == [Seen.RUNNING]
        run.site.end(ulid, code=0)
        await run.closed(ulid)
        assert run.verdict(ulid) == (0, None)


def _unknown(site: Site) -> Completed:
    return Completed(0, site.queue().replace(b"RUNNING", b"TELEPORTING"), b"")


def _cut(site: Site) -> Completed:
    return Completed(0, site.queue()[:-9], b"")


def _half(site: Site) -> Completed:
    return Completed(0, b"1000|RUNNING\n", b"")


def _silent(_: Site) -> Completed:
    return Completed(0, b"", b"slurm_load_jobs error: Unable to contact slurm controller\n")


def _broken(_: Site) -> Completed:
    return Completed(1, b"", "squeue: Fehler: Zeitüberschreitung\n".encode("latin-1"))


def _reused(site: Site) -> Completed:
    others = b"1000|COMPLETED|1|1|1|n1|None|\xff\xfe by somebody\n1000_0|FAILED|1|1|1|n1|None|penstock-\n"
    return Completed(0, others + site.queue(), b"")


@pytest.mark.parametrize("answer", [_unknown, _cut, _half, _silent, _broken, _reused])
async def test_an_odd_answer_ends_nothing(answer: Any) -> None:
    async with bench(grace_s=1.0, lag_s=0.0) as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.start(ulid)
        await run.until(lambda: run.seen(ulid) == [Seen.RUNNING])
        run.site.answers["squeue"] = answer(run.site)
        before = run.site.count("squeue")
        await run.until(lambda: run.site.count("squeue") >= before + 3)
        await run.advance(10.0)
        assert run.seen(ulid) == [Seen.RUNNING]
        wrong = answer in (_cut, _half, _silent, _broken)
        assert ("squeue" in (run.board.clusters["hpc"].reason or "")) == wrong
        del run.site.answers["squeue"]
        run.site.over(ulid, 0, "TIMEOUT")
        await run.closed(ulid)
        assert run.verdict(ulid) == (None, "timeout")
        assert len(run.actors) == 1
        await run.until(lambda: run.board.clusters["hpc"].reason is None, 1.0)


async def test_a_job_that_can_never_start_is_refused_and_ended() -> None:
    async with bench() as run:
        ulid = run.submit(2)
        await run.placed(ulid)
        for task in run.site.job(ulid).tasks.values():
            task.reason = "PartitionTimeLimit"
        await run.closed(ulid)
        assert "PartitionTimeLimit" in (run.told[ulid].refused or "")
        run.cluster.tell(Forget(ulid))
        await run.until(lambda: all(task.is_over for task in run.site.job(ulid).tasks.values()))
        await run.until(lambda: not run.actor.book.tracked)


async def test_a_node_that_fails_twice_is_left_out() -> None:
    async with bench(lag_s=0.0) as run:
        for _ in range(2):
            ulid = run.submit()
            await run.placed(ulid)
            run.site.start(ulid, node="n2")
            run.site.over(ulid, 0, "NODE_FAIL")
            await run.closed(ulid)
            assert run.verdict(ulid) == (None, "lost")
        ulid = run.submit()
        await run.placed(ulid)
        assert "--exclude=n2" in run.site.job(ulid).options
        assert run.board.clusters["hpc"].excluded_nodes == ("n2",)


async def test_a_spool_out_of_reach_is_read_again() -> None:
    async with bench() as run:
        ulid = run.submit(2)
        await run.placed(ulid)
        run.site.unreachable = "No route to host"
        for k in range(2):
            run.site.start(ulid, k)
        run.site.end(ulid, 0)
        run.site._take_news()  # an answer that was lost on the way: its hints are gone
        await run.advance(600.0)
        assert run.seen(ulid) == [Seen.QUEUED] * 2
        assert "No route to host" in (run.board.clusters["hpc"].reason or "")
        run.site.unreachable = ""
        await run.until(lambda: run.seen(ulid) == [Seen.ENDED, Seen.RUNNING], 60.0)
        run.site.end(ulid, 1)
        await run.closed(ulid)
        await run.until(lambda: run.board.clusters["hpc"].reason is None)


# ---- cancelling -----------------------------------------------------------------------------------------------------


async def test_what_has_not_left_is_dropped() -> None:
    async with bench() as run:
        run.site.latency_s = 5.0
        ulids = [run.submit(2) for _ in range(6)]  # only some may leave at the same time
        run.cancel(ulids[-1], 0, 1)
        await run.closed(ulids[-1])
        assert run.attempt(ulids[-1]).reason == "cancelled before it started"
        run.site.latency_s = 0.05
        await run.placed(*ulids[:-1])
        assert run.site.count("sbatch") == 5


async def test_what_is_on_its_way_is_ended_when_it_arrives() -> None:
    async with bench() as run:
        run.site.latency_s = 2.0
        ulid = run.submit(2)
        await run.advance(3.0)
        assert ulid not in run.site.jobs
        run.cancel(ulid, 0, 1)
        await run.closed(ulid)
        assert run.seen(ulid) == [Seen.NOT_RUN] * 2
        run.cluster.tell(Forget(ulid))
        await run.until(lambda: all(task.is_over for job in run.site.jobs.get(ulid, []) for task in job.tasks.values()))
        await run.until(lambda: not run.actor.book.tracked)


async def test_a_queued_and_a_running_task_are_cancelled_and_others_go_on() -> None:
    async with bench() as run:
        ulid = run.submit(3)
        await run.placed(ulid)
        run.site.start(ulid, 0)
        run.site.start(ulid, 1)
        await run.until(lambda: run.seen(ulid)[:2] == [Seen.RUNNING] * 2)
        run.cancel(ulid, 0, 2)
        await run.until(lambda: run.seen(ulid) == [Seen.ENDED, Seen.RUNNING, Seen.NOT_RUN])
        assert run.verdict(ulid) == (None, "cancelled")
        run.site.end(ulid, 1)
        await run.closed(ulid)
        job = run.site.job(ulid)
        assert [job.tasks[k].state for k in range(3)] == ["CANCELLED", "COMPLETED", "CANCELLED"]
        assert run.site.signals[:2] == [f"TERM {job.id}_0", f"TERM {job.id}_2"]


async def test_one_of_a_bundle_is_cancelled_by_word_and_signal() -> None:
    async with bench() as run:
        ulid = run.submit(3, 1)
        await run.placed(ulid)
        run.site.start(ulid)
        await run.until(lambda: run.seen(ulid)[0] is Seen.RUNNING)
        run.cancel(ulid, 0, 2)
        await run.until(lambda: run.seen(ulid)[0] is Seen.ENDED)
        assert run.site.signals == [f"USR2 {run.site.job(ulid).id}"]
        run.site.begin(ulid, 0, 1)
        run.site.end(ulid)
        await run.closed(ulid)
        assert run.seen(ulid) == [Seen.ENDED, Seen.ENDED, Seen.NOT_RUN]
        assert run.attempt(ulid, 2).reason == "cancelled before it started"


async def test_an_end_that_was_faster_than_its_cancel_counts() -> None:
    async with bench() as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.start(ulid)
        run.site.end(ulid)
        run.cancel(ulid, 0)
        await run.closed(ulid)
        assert run.verdict(ulid) == (0, None)


async def test_what_is_forgotten_is_ended_all_the_same() -> None:
    async with bench() as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.answers["scancel"] = ClusterError("slurmctld does not answer", transient=True)
        run.cancel(ulid, 0)
        await run.closed(ulid)
        run.cluster.tell(Forget(ulid))
        await run.advance(120.0)
        assert run.site.job(ulid).tasks[0].state == "PENDING"
        assert run.site.names(ulid) == []  # were it to start now, it would find nothing to do
        del run.site.answers["scancel"]
        await run.until(lambda: run.site.job(ulid).tasks[0].state == "CANCELLED")
        await run.until(lambda: not run.actor.book.tracked)
        assert len(run.actors) == 1


# ---- lives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [True, False])
async def test_a_restart_tells_nothing_wrong(accounts: bool) -> None:
    async with bench(accounts=accounts) as run:
        running, queued, ended = run.submit(), run.submit(), run.submit()
        await run.placed(running, queued, ended)
        run.site.start(running)
        run.site.start(ended)
        await run.until(lambda: run.seen(ended) == [Seen.RUNNING])
        run.site.answers["squeue"] = RuntimeError("a mistake of ours")
        await run.until(lambda: len(run.actors) == 2)
        del run.site.answers["squeue"]
        run.site.end(ended)
        run.told.clear()
        lost = run.submit()  # it was in the mailbox, and comes again with those that are open
        await run.until(lambda: run.restarts > 1)
        run.attach(running, queued, ended, lost)
        await run.until(lambda: {running, queued, ended} <= run.told.keys())
        await run.closed(ended)
        await run.advance(300.0)
        assert [run.seen(ulid) for ulid in (running, queued, ended)] == [[Seen.RUNNING], [Seen.QUEUED], [Seen.ENDED]]
        run.site.end(running)
        run.site.start(queued)
        run.site.end(queued)
        await run.closed(running, queued)
        assert {run.verdict(ulid) for ulid in (running, queued, ended)} == {(0, None)}
        assert all(len(jobs) == 1 for jobs in run.site.jobs.values())


async def test_what_never_left_an_earlier_life_is_buried_there() -> None:
    async with bench() as run:
        ulid = run.submit()
        await run.placed(ulid)
        intent = new_ulid(run.clock.time())
        run.submissions[intent] = msgspec.structs.replace(run.submissions[ulid], ulid=intent)
        run.attach(ulid, intent)
        await run.closed(intent)
        assert run.seen(intent) == [Seen.NOT_RUN]
        assert run.site.links[f"{intent}/claim.0"] == TOMBSTONE
        assert run.seen(ulid) == [Seen.QUEUED]


# ---- budgets --------------------------------------------------------------------------------------------------------


def _busiest(run: Bench, begin_s: float, end_s: float) -> int:
    """The most questions to the scheduler in any minute that lies between."""
    asked = [at for at, name in run.site.calls if name in ("squeue", "sacct") and begin_s <= at < end_s]
    return max((sum(at <= other < at + 60.0 for other in asked) for at in asked), default=0)


async def test_questions_keep_within_their_budget() -> None:
    async with bench() as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.start(ulid)
        await run.until(lambda: run.seen(ulid) == [Seen.RUNNING])
        began = run.clock.monotonic()
        await run.advance(1200.0)
        assert 1 <= _busiest(run, began + 60.0, began + 1200.0) <= 2
        report = await _report(run)
        assert sum(count.calls for count in report.calls if count.command == "squeue") == run.site.count("squeue")
        began = run.clock.monotonic()
        run.site.answers["scancel"] = Completed(0, b"", b"")  # it does nothing, so that there is much to ask
        run.cancel(run.submit(2), 0, 1)
        run.cancel(ulid, 0)
        await run.advance(1200.0)
        assert 8 <= _busiest(run, began, began + 1200.0) <= 12
        run.site.end(ulid, code=None, verdict="cancelled")


async def _report(run: Bench) -> ClusterReport:
    found: list[Any] = []

    async def ask() -> None:
        found.append(await run.cluster.ask(Report(), 1000.0))

    run.actor.tasks.start_soon(ask)
    await run.until(lambda: bool(found))
    assert isinstance(found[0], ClusterReport)
    assert found[0].spool == SPOOL
    return found[0]


async def test_a_scheduler_that_complains_is_asked_less() -> None:
    async with bench() as run:
        ulid = run.submit()
        await run.placed(ulid)
        run.site.answers["squeue"] = Completed(1, b"", b"slurm_load_jobs error: Rate limit exceeded, please retry\n")
        began = run.clock.monotonic()
        await run.advance(1200.0)
        asked = run.site.count("squeue", since_s=began)
        assert 1 <= asked < 20
        assert (await _report(run)).rate_limited == run.site.count("squeue", since_s=began)


async def test_two_workflows_share_one_poll_and_neither_starves() -> None:
    async with bench(jobs_max=4) as run:
        greedy = [run.submit(workflow="w") for _ in range(10)]
        modest = [run.submit(workflow="v") for _ in range(2)]
        everything = [*greedy, *modest]
        order: list[str] = []
        while len(order) < len(everything):
            await run.until(lambda: set(run.site.jobs) - set(order))
            here = [ulid for ulid in run.site.jobs if ulid not in order]
            assert sum(not run.site.job(ulid).tasks[0].is_over for ulid in run.site.jobs) <= 4
            await run.placed(*here)
            run.site.start(here[0])
            run.site.end(here[0])
            order.append(here[0])
            await run.closed(here[0])
            run.cluster.tell(Forget(here[0]))
        assert all(order.index(ulid) < 6 for ulid in modest)
        assert _busiest(run, 0.0, run.clock.monotonic()) <= 12
        again = [run.submit(workflow="w"), run.submit(workflow="v")]
        await run.placed(*again)
        began = run.clock.monotonic() + 60.0
        await run.advance(660.0)
        assert run.site.count("squeue", since_s=began) <= 2 * 10 + 1


async def test_priority_goes_first_and_wide_orders_wait_for_room() -> None:
    async with bench(jobs_max=3, width_max=2) as run:
        assert run.board.queueing["hpc"].width_max == 2
        first = run.submit(2)
        await run.placed(first)
        wide, urgent = run.submit(2), run.submit(2, priority=5)
        await run.advance(10.0)
        assert run.site.jobs.keys() == {first}
        for k in range(2):
            run.site.start(first, k)
            run.site.end(first, k)
        await run.placed(urgent)
        await run.advance(10.0)
        assert wide not in run.site.jobs


async def test_the_site_says_how_wide_an_array_may_be() -> None:
    async with bench() as run:
        queueing = run.board.queueing["hpc"]
        assert (queueing.width_max, queueing.pending_max) == (1000, 5000)  # shared by two workflows


# ---- the log --------------------------------------------------------------------------------------------------------


async def test_the_log_tells_of_the_cluster_of_submissions_and_of_troubles_and_their_end() -> None:
    with structlog.testing.capture_logs() as logs:
        async with bench() as run:
            ulid = run.submit(3)
            await run.placed(ulid)
            run.site.way = ["lost"]
            lost = run.submit()
            await run.until(lambda: lost in run.site.jobs)
            await run.advance(10.0)
            run.site.unreachable = "No route to host"
            run.site.start(ulid, 0)
            await run.advance(600.0)
            run.site.unreachable = ""
            await run.until(lambda: run.board.clusters["hpc"].reason is None, 60.0)
            run.site.answers["squeue"] = RuntimeError("a mistake of ours")
            await run.until(lambda: len(run.actors) == 2)
            del run.site.answers["squeue"]
            run.attach(ulid, lost)
            await run.advance(30.0)
    told = [(line["event"], line.get("submission"), line.get("scheduler_job")) for line in logs]
    jobs = {u: str(run.site.jobs[u][-1].id) for u in (ulid, lost)}
    assert told.count(("submission placed", ulid, jobs[ulid])) == 1
    assert told.count(("submission placed", lost, jobs[lost])) == 1
    assert told.count(("submission found again", ulid, jobs[ulid])) == 1
    assert all(line["cluster"] == "hpc" for line in logs if "supervisor" not in line)
    ups = [line for line in logs if line["event"] in ("cluster up", "cluster down")]
    assert [line["event"] for line in ups] == ["cluster up", "cluster down", "cluster up", "cluster up"]
    assert ups[0]["version"]
    assert "No route to host" in ups[1]["reason"]
    troubles = [line for line in logs if line["event"] == "trouble with a cluster"]
    assert {line["log_level"] for line in troubles} == {"warning"}
    assert any(line["reason"] == "No route to host" for line in troubles)
    assert len(troubles) < 20  # ten minutes of it: what is known is not said again
    over = [line["errand"] for line in logs if line["event"] == "trouble is over"]
    assert sorted(over) == sorted(line["errand"] for line in troubles)
