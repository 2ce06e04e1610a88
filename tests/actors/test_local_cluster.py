"""The local cluster with real processes: runners that outlive it, die under it, and are found again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest
from tests.clusters.spooled import SLEEP, Spool, wait_for_end, wait_for_file

from penstock.actors import local_cluster as module
from penstock.actors.board import Board
from penstock.actors.clock import SystemClock
from penstock.actors.cluster_port import Attach, Cancel, ClusterRestarted, Detach, Forget, Submit
from penstock.actors.local_cluster import LocalCluster, LocalConfig
from penstock.actors.mailbox import Mailbox, Ref
from penstock.actors.supervisor import Policy, Supervisor
from penstock.clusters import claim
from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim
from penstock.clusters.process import fence
from penstock.clusters.runner import MARKER
from penstock.domain.calculation import Exit
from penstock.domain.ids import new_ulid
from penstock.domain.process_id import ProcessId
from penstock.domain.submission import Observed, Seen, Submission
from penstock.domain.views import ClusterInfo


def children() -> set[int]:
    """Our child processes, dead ones included."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            pids |= set(map(int, (task / "children").read_text().split()))
    return pids


def marker(pid: int) -> str | None:
    """What a living runner's processes can be known by."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return next((word for word in words if word.startswith(f"{MARKER}=")), None)
    return None


def runners() -> list[int]:
    """Our living runners."""
    return [pid for pid in children() if marker(pid)]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool whose runners end with the test, and whatever they started."""
    before = children()
    yield Spool(tmp_path)
    for pid in children() - before:
        mark = marker(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if mark:
            fence(ProcessId(pid, 0, ""), mark)


class Gate:
    """A command that waits in the attempt until it is let through."""

    def __init__(self, spool: Spool, name: str = "gate") -> None:
        self.path = spool.workflow / name
        os.mkfifo(self.path)
        self.command = ["sh", "-c", f"echo here; read line < '{self.path}'; echo through"]

    async def open(self) -> None:
        """Lets it through."""
        await anyio.to_thread.run_sync(lambda: self.path.write_text("go\n"))


class Machine:
    """A local cluster and the owner of its submissions."""

    def __init__(
        self, spool: Spool, ref: Ref[Any], supervisor: Supervisor, cluster: Callable[[], LocalCluster]
    ) -> None:
        self.spool = spool
        self.ref = ref
        self.supervisor = supervisor
        self.cluster = cluster
        self.owner: Mailbox[Any] = Mailbox("owner")
        self.told: dict[str, Observed] = {}
        self.restarted = 0

    async def done(self) -> ClusterInfo:
        """What people see once everything told so far is done."""
        await self.ref.ask(Detach("nobody"), 10.0)
        return self.cluster().info()

    def attach(self, *submissions: Submission) -> None:
        self.told.clear()
        self.ref.tell(Attach("w", Ref(self.owner), submissions))

    def submit(self, *commands: list[str], **options: Any) -> Submission:
        submission = self.spool.submission(len(commands), **options)
        self.ref.tell(Submit(submission, self.spool.manifest(submission.ulid, *commands)))
        return submission

    def cancel(self, submission: Submission, *positions: int) -> None:
        directories = {n: str(self.spool.attempt(submission.ulid, n)) for n in positions}
        self.ref.tell(Cancel(submission.ulid, directories))

    async def hear(self) -> None:
        """Takes the next message to the owner."""
        message = (await self.owner.get()).message
        if isinstance(message, ClusterRestarted):
            self.restarted += 1
        else:
            older = self.told.get(message.ulid)
            self.told[message.ulid] = message if older is None else older.merged(message)

    async def until(self, submission: Submission, *wanted: Seen | None, closed: bool = False) -> Observed:
        """What has been told of `submission`, once that is `wanted` (None: anything) for each position."""
        with anyio.fail_after(20.0):
            while True:
                told = self.told.get(submission.ulid)
                if told and told.closed >= closed:
                    seen = {n: one.seen for n, one in told.attempts.items()}
                    if all(want in (None, seen.get(n)) for n, want in enumerate(wanted)):
                        return told
                await self.hear()

    async def until_closed(self, submission: Submission) -> list[tuple[Seen, int | None, str | None]]:
        """What became of each attempt, once the cluster is through with it: seen, exit code, verdict."""
        told = await self.until(submission, closed=True)
        attempts = [told.attempts[n] for n in range(submission.size)]
        exits = [one.exit or Exit(None, None, 0.0, 0.0) for one in attempts]
        return [(one.seen, end.code, end.verdict) for one, end in zip(attempts, exits, strict=True)]


@contextlib.asynccontextmanager
async def machine(spool: Spool, *, cores: int = 2, attach: bool = True) -> AsyncIterator[Machine]:
    """A local cluster for as long as the context lasts; its runners may outlast it."""
    owners: dict[str, Ref[Any]] = {}
    made: list[LocalCluster] = []
    config = LocalConfig("local", cores, 4000, 0, spool.path)

    async def given_up(name: str, error: BaseException) -> None:
        raise error

    def make(me: Ref[Any]) -> LocalCluster:
        made.append(LocalCluster(me, config, SystemClock(), Board(), owners))
        return made[-1]

    async with Supervisor("clusters", SystemClock(), Policy(3, 60.0), given_up) as supervisor:
        found = Machine(spool, supervisor.start_child("local", make), supervisor, lambda: made[-1])
        if attach:
            found.attach()
        yield found


DONE = (Seen.ENDED, 0, None)
FAILED = (Seen.ENDED, 1, None)
LOST = (Seen.ENDED, None, "lost")
CANCELLED = (Seen.ENDED, None, "cancelled")
NOT_RUN = (Seen.NOT_RUN, None, None)


async def test_a_submission_runs_is_told_of_and_forgotten(spool: Spool) -> None:
    async with machine(spool) as local:
        submission = local.submit(["true"], ["false"])
        assert await local.until_closed(submission) == [DONE, FAILED]
        local.ref.tell(Forget(submission.ulid))
        other = local.submit(["true"])
        await local.until_closed(other)
        assert spooling.submissions(spool.path) == {other.ulid}


async def test_cores_are_shared_out_and_runners_stay_warm(spool: Spool) -> None:
    async with machine(spool) as local:
        gates = [Gate(spool, f"gate {lane}") for lane in range(2)]
        running = [local.submit(gate.command, lane=lane) for lane, gate in enumerate(gates)]
        for submission in running:
            await local.until(submission, Seen.RUNNING)
        third = local.submit(["true"], lane=2)
        await local.until(third, Seen.QUEUED)
        info = local.cluster().info()
        assert (info.cores_used, info.submissions_running, info.submissions_waiting) == (2, 2, 1)
        assert not spool.file(third.ulid, "claim").is_symlink()
        for gate in gates:
            await gate.open()
        for submission in (*running, third):
            assert await local.until_closed(submission) == [DONE]
        again = local.submit(["true"], lane=2)
        await local.until_closed(again)
        holders = [read_claim(spool.file(one.ulid, "claim")) for one in (*running, third, again)]
        assert set(holders[2:]) <= set(holders[:2])
        assert len(runners()) == 2


async def test_one_slot_never_runs_two_submissions_at_once(spool: Spool) -> None:
    async with machine(spool) as local:
        gate = Gate(spool)
        first = local.submit(gate.command)
        await local.until(first, Seen.RUNNING)
        behind = [local.submit(["true"], prefetch=True), local.submit(["true"])]
        for submission in behind:
            await local.until(submission, Seen.QUEUED)
        await gate.open()
        spans = []
        for submission in (first, *behind):
            exit_ = (await local.until(submission, Seen.ENDED, closed=True)).attempts[0].exit
            assert exit_ is not None
            spans.append((exit_.started_at, exit_.ended_at))
        spans.sort()
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
        assert len(runners()) == 1


async def test_cancelling_ends_what_runs_and_bars_what_waits(spool: Spool) -> None:
    async with machine(spool, cores=1) as local:
        running = local.submit(["sh", "-c", "echo here; exec sleep 1000"], ["true"], SLEEP)
        waiting = local.submit(["true"], ["true"], lane=1)
        await local.until(running, Seen.RUNNING)
        wait_for_file(spool.attempt(running.ulid) / "stdout", "here")
        local.cancel(running, 0, 2)
        local.cancel(waiting, 0)
        assert await local.until_closed(running) == [CANCELLED, DONE, NOT_RUN]
        assert await local.until_closed(waiting) == [NOT_RUN, DONE]
        assert not (spool.attempt(waiting.ulid, 0) / "stdout").exists()


async def test_a_work_directory_that_does_not_answer_holds_up_nobody_else(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, really_take = threading.Event(), claim.take_claim

    def take_claim(path: Path, token: str) -> bool:
        answers.wait()
        return really_take(path, token)

    monkeypatch.setattr(module, "take_claim", take_claim)
    async with machine(spool, cores=1) as local:
        gate = Gate(spool)
        running = local.submit(gate.command)
        await local.until(running, Seen.RUNNING)
        waiting = [local.submit(["true"], lane=1) for _ in range(7)]
        try:
            for submission in waiting:
                local.cancel(submission, 0)
            await gate.open()
            assert await local.until_closed(running) == [DONE]  # while nobody answers
            await until_true(lambda: "does not answer" in (local.cluster().info().reason or ""))
        finally:
            answers.set()
        for submission in waiting:
            [end] = await local.until_closed(submission)
            assert end in {NOT_RUN, DONE, CANCELLED}
        await until_true(lambda: local.cluster().info().reason is None)
    assert local.supervisor.restarts == {}


async def test_a_killed_runner_loses_what_ran_and_its_children_are_fenced(spool: Spool) -> None:
    async with machine(spool) as local:
        command = ["sh", "-c", "setsid sleep 1000 & echo $!; exec sleep 1000"]
        submission = local.submit(["true"], command, ["true"])
        behind = local.submit(["true"], prefetch=True)
        await local.until(submission, Seen.ENDED, Seen.RUNNING)
        stray = int(wait_for_file(spool.attempt(submission.ulid, 1) / "stdout", "\n"))
        [runner] = runners()
        os.kill(runner, signal.SIGKILL)
        assert await local.until_closed(submission) == [DONE, LOST, NOT_RUN]
        wait_for_end(stray)
        assert await local.until_closed(behind) == [DONE]  # the dead runner had not begun it: another one did
        after = local.submit(["true"])
        assert await local.until_closed(after) == [DONE]


async def test_a_new_cluster_finds_running_submissions_again(spool: Spool) -> None:
    gate = Gate(spool)
    async with machine(spool) as local:
        submission = local.submit(["true"], gate.command, ["true"])
        await local.until(submission, Seen.ENDED, Seen.RUNNING)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        await local.until(submission, Seen.ENDED, Seen.RUNNING, Seen.QUEUED)
        assert local.cluster().info().cores_used == 1
        await gate.open()
        assert await local.until_closed(submission) == [DONE, DONE, DONE]
        assert (spool.attempt(submission.ulid, 1) / "stdout").read_text() == "here\nthrough\n"
        local.ref.tell(Forget(submission.ulid))
        local.ref.tell(Detach("w"))
        after = local.submit(["true"])
        await anyio.to_thread.run_sync(wait_for_claim, spool, after)
    assert not spool.file(submission.ulid, "claim").is_symlink()


def wait_for_claim(spool: Spool, submission: Submission) -> None:
    wait_for_file(spool.file(submission.ulid, "journal"), "finish")


async def test_running_submissions_that_were_found_again_can_be_cancelled(spool: Spool) -> None:
    async with machine(spool) as local:
        submission = local.submit(SLEEP, ["true"])
        await local.until(submission, Seen.RUNNING)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        local.cancel(submission, 0, 1)
        assert await local.until_closed(submission) == [CANCELLED, NOT_RUN]


async def test_what_ended_while_nobody_looked_is_told(spool: Spool) -> None:
    gate = Gate(spool)
    async with machine(spool) as local:
        submission = local.submit(gate.command, ["false"])
        await local.until(submission, Seen.RUNNING)
    await gate.open()
    [runner] = runners()
    await anyio.to_thread.run_sync(os.waitpid, runner, 0)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        assert await local.until_closed(submission) == [DONE, FAILED]
        local.attach(submission)
        assert await local.until_closed(submission) == [DONE, FAILED]


async def test_what_was_killed_while_nobody_looked_is_lost_and_fenced(spool: Spool) -> None:
    async with machine(spool) as local:
        submission = local.submit(["sh", "-c", "setsid sleep 1000 & echo $!; exec sleep 1000"], ["true"])
        await local.until(submission, Seen.RUNNING)
        stray = int(wait_for_file(spool.attempt(submission.ulid) / "stdout", "\n"))
    [runner] = runners()
    os.kill(runner, signal.SIGKILL)
    await anyio.to_thread.run_sync(os.waitpid, runner, 0)
    os.kill(stray, 0)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        assert await local.until_closed(submission) == [LOST, NOT_RUN]
        wait_for_end(stray)


async def test_a_submission_that_never_arrived_is_settled_for_ever(spool: Spool) -> None:
    submission = spool.submission(2)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        assert await local.until_closed(submission) == [NOT_RUN, NOT_RUN]
        assert read_claim(spool.file(submission.ulid, "claim")) == TOMBSTONE
        local.ref.tell(Submit(submission, spool.manifest(submission.ulid, ["true"], ["true"])))
        after = local.submit(["true"])
        await local.until_closed(after)
        assert not spool.attempt(submission.ulid).exists()
        local.attach(submission)
        assert await local.until_closed(submission) == [NOT_RUN, NOT_RUN]


async def test_a_journal_torn_by_a_power_cut_loses_only_what_was_not_written(spool: Spool) -> None:
    submission = spool.submission(3)
    manifest = spool.manifest(submission.ulid, ["true"], ["true"], ["true"])
    spooling.write_manifest(spool.path, submission.ulid, manifest)
    spool.file(submission.ulid, "claim").symlink_to("1:2:another-boot:runner")
    whole = [spooling.Start(0, 1.0), spooling.Start(1, 2.0)]
    torn = b'["end",1,[0,null,2.0,'
    spool.file(submission.ulid, "journal").write_bytes(b"".join(map(spooling.encode_line, whole)) + torn)
    async with machine(spool, attach=False) as local:
        local.attach(submission)
        assert await local.until_closed(submission) == [LOST, LOST, NOT_RUN]


async def test_leftovers_of_the_workflow_are_swept_and_nobody_elses(spool: Spool) -> None:
    mine, kept = spool.stage(["true"]), spool.submission(1)
    spooling.write_manifest(spool.path, kept.ulid, spool.manifest(kept.ulid, ["true"]))
    other = Spool(spool.path.parent, "other").stage(["true"])
    async with machine(spool, attach=False) as local:
        local.attach(kept)
        assert await local.until_closed(kept) == [NOT_RUN]
        assert spooling.submissions(spool.path) == {kept.ulid, other}
    assert mine not in spooling.submissions(spool.path)


async def test_a_runner_that_cannot_start_costs_no_attempt_and_says_why(spool: Spool) -> None:
    async with machine(spool) as local:
        broken = msgspec.structs.replace(spool.submission(2), engine="no")
        local.ref.tell(Submit(broken, spool.manifest(broken.ulid, ["true"], ["true"])))
        assert await local.until_closed(broken) == [LOST, LOST]
        exit_ = local.told[broken.ulid].attempts[0].exit
        assert exit_ is not None
        assert "unknown engine 'no'" in str(exit_.message)


async def test_a_cluster_that_breaks_asks_its_workflows_to_attach_and_finds_everything(spool: Spool) -> None:
    gate = Gate(spool)
    async with machine(spool) as local:
        submission = local.submit(gate.command)
        await local.until(submission, Seen.RUNNING)
        local.cluster().tasks.start_soon(_break)
        with anyio.fail_after(10.0):
            while not local.restarted:
                await local.hear()
        local.attach(submission)
        await local.until(submission, Seen.RUNNING)
        await gate.open()
        assert await local.until_closed(submission) == [DONE]
        assert local.supervisor.restarts == {"local": 1}


async def _break() -> None:
    raise RuntimeError("made to break")


async def test_a_full_disk_delays_a_submission_and_no_more(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    write, failed = spooling.write_manifest, asyncio.Event()

    def full(*args: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(spooling, "write_manifest", full)
    async with machine(spool) as local:
        submission = local.submit(["true"])
        assert await local.until_closed(submission) == [DONE]
        assert failed.is_set()


# ---- what an earlier life left ---------------------------------------------------------------------------------------


async def test_runners_of_an_earlier_life_hold_their_cores_before_anybody_attaches(spool: Spool) -> None:
    gate = Gate(spool)
    async with machine(spool, cores=1) as local:
        submission = local.submit(["true"], gate.command)
        await local.until(submission, Seen.ENDED, Seen.RUNNING)
    other = Spool(spool.path.parent, "other")
    async with machine(spool, cores=1, attach=False) as local:
        info = await local.done()
        assert (info.cores_used, info.memory_used_mb, info.submissions_running) == (1, 100, 1)
        behind = other.submission(1)
        local.ref.tell(Submit(behind, other.manifest(behind.ulid, ["true"])))
        info = await local.done()
        assert (info.submissions_running, info.submissions_waiting, len(runners())) == (1, 1, 1)
        local.attach(submission)
        told = await local.until(submission, Seen.ENDED, Seen.RUNNING)
        assert told.attempts[1].started_at is not None
        await gate.open()
        assert await local.until_closed(submission) == [DONE, DONE]
        await anyio.to_thread.run_sync(wait_for_claim, other, behind)


async def test_what_ended_before_anybody_attached_is_told_in_full(spool: Spool) -> None:
    gate = Gate(spool)
    async with machine(spool) as local:
        submission = local.submit(["false"], gate.command)
        await local.until(submission, Seen.ENDED, Seen.RUNNING)
    async with machine(spool, attach=False) as local:
        await local.done()
        await gate.open()
        with anyio.fail_after(20.0):
            while not local.cluster()._orders[submission.ulid].closed:
                await anyio.lowlevel.checkpoint()
        assert (await local.done()).cores_used == 0
        local.attach(submission)
        assert await local.until_closed(submission) == [FAILED, DONE]


async def test_a_manifest_that_cannot_be_read_is_swept_and_never_run(spool: Spool) -> None:
    stray, mine = new_ulid(), spool.submission(2)
    for ulid in (stray, mine.ulid):
        spooling.write_manifest(spool.path, ulid, b"\xc1 rubbish")
    async with machine(spool, attach=False) as local:
        local.attach(mine)
        assert await local.until_closed(mine) == [NOT_RUN, NOT_RUN]
        assert spooling.submissions(spool.path) == {mine.ulid}
        after = local.submit(["true"])
        assert await local.until_closed(after) == [DONE]


# ---- what the machine refuses ----------------------------------------------------------------------------------------


class Refusal:
    """Stands before a function and raises OSError until it is lifted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.refused = 0
        self.lifted = False
        self._function = getattr(owner, name)
        monkeypatch.setattr(owner, name, self)
        monkeypatch.setattr(module, "_TICK_S", 0.02)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not self.lifted:
            self.refused += 1
            raise OSError(28, "No space left on device")
        return self._function(*args, **options)


async def until_true(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds."""
    with anyio.fail_after(20.0):
        while not condition():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("name", ["write_manifest", "forget"])
async def test_a_chore_that_is_refused_holds_up_nothing_and_is_done_later(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind = {"write_manifest": "stage", "forget": "forget"}[name]
    async with machine(spool) as local:
        gate = Gate(spool)
        running = local.submit(gate.command)
        ended = local.submit(["true"], lane=1)
        await local.until(running, Seen.RUNNING)
        await local.until_closed(ended)
        refusal = Refusal(monkeypatch, spooling, name)
        if name == "forget":
            local.ref.tell(Forget(ended.ulid))
            held_up, others = ended, [local.submit(["true"], lane=1)]
        else:
            held_up, others = local.submit(["true"], lane=1), []
        info = await local.done()
        assert info.state == "up"
        assert str(info.reason).startswith(f"cannot {kind} {held_up.ulid}, trying again: [Errno 28] No space left")
        await until_true(lambda: refusal.refused > 2)
        await gate.open()
        for submission in (running, *others):
            assert await local.until_closed(submission) == [DONE]
        refusal.lifted = True
        if name == "forget":
            await until_true(lambda: held_up.ulid not in spooling.submissions(spool.path))
        else:
            assert await local.until_closed(held_up) == [DONE]
        assert (await local.done()).reason is None
        assert local.supervisor.restarts == {}


async def test_an_order_waits_until_the_machine_lets_a_runner_start(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Refusal(monkeypatch, module, "spawn_runner")
    async with machine(spool) as local:
        submission = local.submit(["true"])
        await until_true(lambda: refusal.refused > 2)
        info = await local.done()
        assert (info.cores_used, info.submissions_running, info.submissions_waiting) == (0, 0, 1)
        refusal.lifted = True
        assert await local.until_closed(submission) == [DONE]
        assert local.supervisor.restarts == {}


async def test_a_waiting_order_that_is_cancelled_whole_needs_no_runner(spool: Spool) -> None:
    async with machine(spool, cores=1) as local:
        gate = Gate(spool)
        running = local.submit(gate.command)
        await local.until(running, Seen.RUNNING)
        waiting = local.submit(["true"], ["true"], lane=1)
        local.cancel(waiting, 0, 1)
        assert await local.until_closed(waiting) == [NOT_RUN, NOT_RUN]
        assert read_claim(spool.file(waiting.ulid, "claim")) == TOMBSTONE
        assert (await local.done()).submissions_waiting == 0
        assert len(runners()) == 1
        await gate.open()
        assert await local.until_closed(running) == [DONE]


async def test_a_runner_that_breaks_over_an_order_itself_ends_it_as_lost(spool: Spool) -> None:
    async with machine(spool) as local:
        await local.done()  # what is in the spool by now is not taken for a leftover any more
        broken = spool.submission(2)
        spool.file(broken.ulid, "journal").symlink_to(spool.path / "missing" / "journal")
        local.ref.tell(Submit(broken, spool.manifest(broken.ulid, ["true"], ["true"])))
        assert await local.until_closed(broken) == [LOST, LOST]
        exit_ = local.told[broken.ulid].attempts[0].exit
        assert exit_ is not None
        assert str(exit_.message).startswith("its runner could not go on: FileNotFoundError")
        after = local.submit(["true"])
        assert await local.until_closed(after) == [DONE]
