"""The local cluster: this machine's cores and memory, shared out among detached runners.

Runners outlive the daemon. A new daemon finds them again by their claims: pid and start time, and the journals they
keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.cluster_port import Attach, Cancel, ClusterMessage, ClusterRestarted, Detach, Forget, Submit
from penstock.actors.local_runner import Order, Runner, last_words, let_go, reap, spawn_runner
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Actor
from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.process import ProcessId, fence
from penstock.clusters.runner import MARKER
from penstock.clusters.runner_worker import ORDER_BYTES
from penstock.domain.calculation import Exit
from penstock.domain.resources import Resources
from penstock.domain.submission import AttemptSeen, Observed, Seen, Submission
from penstock.domain.views import ClusterInfo

_TICK_S: Final = 1.0
_LINGER_S: Final = 10.0
_LOG_TAIL_BYTES: Final = 2000
_BELL_BYTES: Final = 64


class LocalConfig(msgspec.Struct, frozen=True):
    """What the daemon may use of this machine."""

    name: str
    cores: int
    memory_mb: int
    nice: int
    spool: Path


class Reconfigure(msgspec.Struct, frozen=True):
    """New limits; what runs is left alone. The spool stays where it is."""

    config: LocalConfig


class _News(msgspec.Struct, frozen=True):
    """Runners rang for these submissions; None = look at all."""

    ulids: frozenset[str] | None


class _RunnerEnded(msgspec.Struct, frozen=True):
    """A runner's process is gone."""

    runner: str


LocalMessage = ClusterMessage | Reconfigure | _News | _RunnerEnded
Owners = dict[str, Ref[Any]]


class LocalCluster(Actor[LocalMessage]):
    """The actor. `owners` outlives it, so that a restart can ask every workflow to attach again."""

    def __init__(self, me: Ref[Any], config: LocalConfig, clock: Clock, board: Board, owners: Owners) -> None:
        self.config = config
        self._board = board
        self._me = me
        self._clock = clock
        self._owners = owners
        self._orders: dict[str, Order] = {}
        self._unstaged: dict[str, bytes] = {}  # manifests that could not be written yet
        self._waiting: list[Order] = []
        self._runners: dict[str, Runner] = {}
        self._bell: socket.socket | None = None
        self._log = structlog.get_logger().bind(cluster=config.name)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Listens for runners and asks known workflows to attach."""
        self.config.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._bell = _listen(self.config.spool)
        asyncio.get_running_loop().add_reader(self._bell, self._rung)
        for owner in self._owners.values():
            owner.post(("restarted", self.config.name), ClusterRestarted(self.config.name))
        self.tasks.start_soon(self._tick)
        self._board.clusters[self.config.name] = self.info()

    async def stopped(self) -> None:
        """Lets go of everything; runners finish what they have."""
        loop = asyncio.get_running_loop()
        if self._bell is not None:
            loop.remove_reader(self._bell)
            self._bell.close()
        for runner in self._runners.values():
            let_go(runner)

    async def handle(self, message: LocalMessage) -> None:
        """One message."""
        match message:
            case Submit():
                await self._submit(message)
            case Attach():
                await self._attach(message)
            case Detach(workflow_id):
                self._owners.pop(workflow_id, None)
                self._sweep(workflow_id, frozenset())
            case Cancel(ulid, attempts):
                await anyio.to_thread.run_sync(self._cancel, ulid, attempts)
                self._tell(
                    ulid, {position: _not_run("cancelled before it started") for position in self._just_barred(ulid)}
                )
            case Forget(ulid):
                self._orders.pop(ulid, None)
                self._unstaged.pop(ulid, None)
                await anyio.to_thread.run_sync(spooling.forget, self.config.spool, ulid)
            case _News(ulids):
                await self._stage()
                for ulid in list(self._orders) if ulids is None else ulids:
                    self._read(ulid)
            case _RunnerEnded(name):
                await self._runner_ended(name)
            case Reconfigure(config):
                self.config = config
        self._dispatch()
        self._board.clusters[self.config.name] = self.info()

    def info(self) -> ClusterInfo:
        """What people see."""
        cores, memory = self._used()
        running = sum(len(runner.orders) for runner in self._runners.values())
        return ClusterInfo(
            self.config.name,
            "local",
            "up",
            None,
            self.config.cores,
            cores,
            self.config.memory_mb,
            memory,
            running,
            len(self._waiting),
        )

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def _submit(self, message: Submit) -> None:
        submission = message.submission
        if submission.ulid in self._orders:
            return
        self._orders[submission.ulid] = Order(submission, self.config.spool)
        self._unstaged[submission.ulid] = message.manifest
        await self._stage()
        self._tell(submission.ulid, {n: AttemptSeen(Seen.QUEUED) for n in range(submission.size)})

    async def _stage(self) -> None:
        """Writes the manifests that are not written yet. While the disk is full they wait for the next tick."""
        for ulid, manifest in list(self._unstaged.items()):
            try:
                with self._clock.busy():
                    await anyio.to_thread.run_sync(spooling.write_manifest, self.config.spool, ulid, manifest)
            except OSError as error:
                self._log.warning("cannot stage, trying again", submission=ulid, error=str(error))
                return
            del self._unstaged[ulid]
            self._waiting.append(self._orders[ulid])

    def _dispatch(self) -> None:
        """Hands waiting orders to runners.

        Highest priority first, then the workflow that runs least, then the oldest. An order that does not fit holds
        back those behind it, so that large ones are not starved by small ones.
        """
        if not self._waiting:
            return
        running = Counter(runner.workflow_id for runner in self._runners.values() if runner.orders)
        blocked = False
        for order in sorted(
            self._waiting, key=lambda o: (-o.submission.priority, running[o.submission.workflow_id], o.submission.ulid)
        ):
            lanes = {other.lane: runner for runner in self._runners.values() for other in runner.orders}
            runner = lanes.get(order.lane)
            if runner is not None:
                others_wait = blocked or any(other.lane not in lanes for other in self._waiting)
                if order.submission.prefetch and len(runner.orders) == 1 and not others_wait:
                    self._hand(order, runner)
            elif blocked or not self._fits(order.submission.resources):
                blocked = True
            else:
                self._hand(order, self._idle_runner(order) or self._start(order))

    def _idle_runner(self, order: Order) -> Runner | None:
        """A warm runner of the same workflow: it has imported what the order needs."""
        workflow_id = order.submission.workflow_id
        idle = (r for r in self._runners.values() if r.workflow_id == workflow_id and not r.orders)
        return next((runner for runner in idle if runner.stdin is not None), None)

    def _hand(self, order: Order, runner: Runner) -> None:
        if runner.stdin is None:
            return  # found again after a restart: it takes no more orders
        self._waiting.remove(order)
        runner.orders.append(order)
        with contextlib.suppress(BrokenPipeError):  # it is ending; its end will bring the order back
            os.write(runner.stdin, order.submission.ulid.encode().ljust(ORDER_BYTES, b"\n"))

    def _fits(self, needs: Resources) -> bool:
        """Whether there is room; what is larger than the whole cluster (lowered since) runs when it has it alone."""
        cores, memory = self._used()
        fits = cores + needs.cores <= self.config.cores and memory + needs.memory_mb <= self.config.memory_mb
        return fits or not cores

    def _used(self) -> tuple[int, int]:
        held = [needs for runner in self._runners.values() if (needs := runner.resources())]
        return sum(needs.cores for needs in held), sum(needs.memory_mb for needs in held)

    # ---- runners ----------------------------------------------------------------------------------------------------

    def _start(self, order: Order) -> Runner:
        runner = spawn_runner(order, self.config.spool, self.config.nice)
        self._watch(runner)
        return runner

    def _watch(self, runner: Runner) -> None:
        self._runners[runner.name] = runner
        loop = asyncio.get_running_loop()
        loop.add_reader(runner.pidfd, self._gone, runner)

    def _gone(self, runner: Runner) -> None:
        asyncio.get_running_loop().remove_reader(runner.pidfd)
        self._me.post(("ended", runner.name), _RunnerEnded(runner.name))

    async def _runner_ended(self, name: str) -> None:
        runner = self._runners.pop(name, None)
        if runner is None:
            return
        let_go(runner)
        status = reap(runner.process.pid)
        words = last_words(runner)
        trouble = None if status in (0, None) else words
        if runner.orders:
            await anyio.to_thread.run_sync(fence, runner.process, f"{MARKER}={runner.name}")
        claimed = {
            order: read_claim(spooling.spool_path(self.config.spool, order.submission.ulid, "claim")) is not None
            for order in runner.orders
        }
        could_start = runner.has_served or status == 0 or any(claimed.values())
        for order in runner.orders:
            if not claimed[order] and could_start:
                self._waiting.append(order)  # it never reached the dead runner, and nobody else was told of it
            else:
                self._conclude(order, trouble)

    def _conclude(self, order: Order, trouble: str | None) -> None:
        """No runner works on the order any more, and none can: what has no end by now is lost or never ran."""
        news = order.journal.read()
        claimed = take_claim(spooling.spool_path(self.config.spool, order.submission.ulid, "claim"), TOMBSTONE)
        now = self._clock.time()
        for position in range(order.submission.size):
            if position in order.journal.ended or position in order.barred:
                continue
            started = order.journal.running.get(position)
            if started is not None:
                lost = Exit(None, None, started, now, "lost", trouble or "its runner was killed")
                news[position] = AttemptSeen(Seen.ENDED, started, lost)
            elif claimed and trouble:
                lost = Exit(None, None, now, now, "lost", f"its runner could not start: {trouble}")
                news[position] = AttemptSeen(Seen.ENDED, now, lost)
            else:
                news[position] = _not_run("its runner ended before it")
        order.closed = True
        self._tell(order.submission.ulid, news, closed=True)

    # ---- news -------------------------------------------------------------------------------------------------------

    def _rung(self) -> None:
        assert self._bell is not None
        heard = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.add(self._bell.recv(_BELL_BYTES).decode(errors="replace"))
        self._me.post("news", _News(frozenset(heard)), _both_news)

    async def _tick(self) -> None:
        """A lost bell costs a second, no more."""
        while True:
            await self._clock.sleep(_TICK_S)
            if self._unstaged or any(runner.orders for runner in self._runners.values()):
                self._me.post("news", _News(None), _both_news)

    def _read(self, ulid: str) -> None:
        """Reads what is new in a journal. Small reads of a local file: no thread is worth it."""
        order = self._orders.get(ulid)
        if order is None or order.closed:
            return
        news = {n: seen for n, seen in order.journal.read().items() if n not in order.barred}
        if order.journal.finished:
            order.closed = True
            for runner in self._runners.values():
                if order in runner.orders:
                    runner.orders.remove(order)
                    runner.has_served = True
            for position in set(range(order.submission.size)) - order.journal.ended - order.barred:
                news[position] = _not_run("it was not in the manifest")
        if news or order.closed:
            self._tell(ulid, news, closed=order.closed)

    def _tell(self, ulid: str, news: dict[int, AttemptSeen], *, closed: bool = False) -> None:
        order = self._orders.get(ulid)
        owner = self._owners.get(order.submission.workflow_id) if order else None
        if owner is not None and (news or closed):
            owner.post(("observed", ulid), Observed(ulid, news, closed), Observed.merged)

    # ---- cancelling -------------------------------------------------------------------------------------------------

    def _cancel(self, ulid: str, attempts: dict[int, str]) -> None:
        """Takes the claims of what has not started, and asks the runner to end the rest. Runs in a thread."""
        order = self._orders.get(ulid)
        if order is None:
            return
        running = []
        for position, directory in attempts.items():
            Path(directory).mkdir(parents=True, exist_ok=True)
            if take_claim(Path(directory, spooling.ATTEMPT_CLAIM), TOMBSTONE):
                order.barred.add(position)
            else:
                running.append(position)
        if running:
            spooling.request_cancel(self.config.spool, ulid, running)

    def _just_barred(self, ulid: str) -> set[int]:
        order = self._orders.get(ulid)
        return set(order.barred) if order else set()

    # ---- finding again ----------------------------------------------------------------------------------------------

    async def _attach(self, message: Attach) -> None:
        self._owners[message.workflow_id] = message.owner
        self._sweep(message.workflow_id, frozenset(submission.ulid for submission in message.open))
        for submission in message.open:
            known = self._orders.get(submission.ulid)
            if known is None:
                await self._find(submission)
            else:
                self._retell(known)

    def _retell(self, order: Order) -> None:
        """The whole story again, for an owner that lost its memory."""
        ulid = order.submission.ulid
        order.journal = spooling.JournalReader(spooling.spool_path(self.config.spool, ulid, "journal"))
        self._tell(ulid, {n: _not_run("cancelled before it started") for n in order.barred})
        if order.closed:
            self._conclude(order, None)
            return
        self._tell(ulid, {n: AttemptSeen(Seen.QUEUED) for n in set(range(order.submission.size)) - order.barred})
        self._read(ulid)

    async def _find(self, submission: Submission) -> None:
        """A submission of an earlier life: its claim says whether anybody runs it."""
        order = self._orders[submission.ulid] = Order(submission, self.config.spool)
        claim = spooling.spool_path(self.config.spool, submission.ulid, "claim")
        if take_claim(claim, TOMBSTONE):
            self._conclude(order, None)
            return
        token, _, runner = (read_claim(claim) or "").rpartition(":")
        process = ProcessId.from_token(token)
        if process is not None and self._adopt(order, process, runner):
            self._retell(order)
            return
        if process is not None:
            await anyio.to_thread.run_sync(fence, process, f"{MARKER}={runner}")
        self._conclude(order, None)

    def _adopt(self, order: Order, process: ProcessId, name: str) -> bool:
        """Takes a living runner of an earlier life as ours; False when it is dead."""
        if name not in self._runners:
            try:
                runner = Runner(name, process, order.submission.workflow_id, None, self.config.spool)
            except ProcessLookupError:
                return False
            if not process.alive():  # asked after the handle is open, so the answer stays true for this handle
                os.close(runner.pidfd)
                return False
            self._watch(runner)
        self._runners[name].orders.append(order)
        return True

    def _sweep(self, workflow_id: str, keep: frozenset[str]) -> None:
        """Removes what an earlier life left in the spool after its end was recorded."""
        for ulid in spooling.submissions(self.config.spool) - keep - self._orders.keys():
            manifest = spooling.read_manifest(self.config.spool, ulid)
            if manifest is not None and manifest.workflow_id == workflow_id and not self._lives(ulid):
                spooling.forget(self.config.spool, ulid)

    def _lives(self, ulid: str) -> bool:
        """Whether a runner may still be working on a submission."""
        token = read_claim(spooling.spool_path(self.config.spool, ulid, "claim")) or ""
        process = ProcessId.from_token(token.rpartition(":")[0])
        return process is not None and process.alive()


def _listen(spool: Path) -> socket.socket:
    """The bell. It is only a doorbell: what counts is in the journals."""
    (spool / spooling.BELL).unlink(missing_ok=True)
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    directory = os.open(spool, os.O_PATH | os.O_CLOEXEC)
    try:
        bell.bind(spooling.bell_address(directory))
    finally:
        os.close(directory)
    return bell


def _not_run(reason: str) -> AttemptSeen:
    return AttemptSeen(Seen.NOT_RUN, reason=reason)


def _both_news(older: Any, newer: Any) -> _News:
    if older.ulids is None or newer.ulids is None:
        return _News(None)
    return _News(older.ulids | newer.ulids)
