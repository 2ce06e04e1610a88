"""The local cluster: this machine's cores and memory, shared out among detached runners.

Runners outlive the daemon. A new daemon finds them again by their claims: pid and start time, and the journals they
keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import structlog

from penstock.actors.board import Board
from penstock.actors.chores import Chores
from penstock.actors.clock import Clock
from penstock.actors.cluster_port import Attach, Cancel, ClusterMessage, ClusterRestarted, Detach, Forget, Submit
from penstock.actors.local_runner import Order, Runner, claimant, is_held, last_words, let_go, reap, spawn_runner
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Actor
from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.process import fence
from penstock.clusters.runner import MARKER
from penstock.clusters.runner_worker import ORDER_BYTES
from penstock.domain.calculation import Exit
from penstock.domain.resources import Resources
from penstock.domain.submission import AttemptSeen, Manifest, Observed, Seen, Submission
from penstock.domain.views import ClusterInfo
from penstock.files.threads import in_thread, look_in_thread, where_is

_TICK_S: Final = 1.0
_BELL_BYTES: Final = 64
_PATIENCE_S: Final = 1.0  # with a work directory, before what is to be done there is put off


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
        self._chores = Chores(config.name)
        self._leftovers: dict[str, set[str]] = {}  # by workflow: what was in the spool before our time
        self._waiting: list[Order] = []
        self._runners: dict[str, Runner] = {}
        self._barring: dict[str, str] = {}  # submissions whose claims a thread is taking, and in which file system
        self._bell: socket.socket | None = None
        self._log = structlog.get_logger().bind(cluster=config.name)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Listens for runners and asks known workflows to attach."""
        self.config.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._bell = _listen(self.config.spool)
        asyncio.get_running_loop().add_reader(self._bell, self._rung)
        self._take_stock()
        for owner in self._owners.values():
            owner.post(("restarted", self.config.name), ClusterRestarted(self.config.name))
        self.tasks.start_soon(self._tick)
        self._board.clusters[self.config.name] = self.info()
        self._log.info("cluster up", cores=self.config.cores, memory_mb=self.config.memory_mb)

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
            case Submit(submission, manifest):
                await self._submit(submission, manifest)
            case Attach():
                await self._attach(message)
            case Detach(workflow_id):
                self._owners.pop(workflow_id, None)
                await self._sweep(workflow_id, frozenset())
            case Cancel(ulid, attempts):
                await self._chores.do("cancel", ulid, partial(self._cancel, ulid, attempts))
            case Forget(ulid):
                self._orders.pop(ulid, None)
                await self._chores.do("forget", ulid, partial(self._forget, ulid))
            case _News(ulids):
                await self._chores.again()
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
            self._chores.trouble,
            self.config.cores,
            cores,
            self.config.memory_mb,
            memory,
            running,
            len(self._waiting),
        )

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def _submit(self, submission: Submission, manifest: bytes) -> None:
        ulid = submission.ulid
        if ulid in self._orders:
            return
        self._orders[ulid] = Order(submission, self.config.spool, self._clock.time())
        await self._chores.do("stage", ulid, partial(self._stage, ulid, manifest))
        self._tell(ulid, {n: AttemptSeen(Seen.QUEUED) for n in range(submission.size)})

    async def _stage(self, ulid: str, manifest: bytes) -> None:
        with self._clock.busy():
            await in_thread(self.config.spool, spooling.write_manifest, self.config.spool, ulid, manifest)
        self._waiting.append(self._orders[ulid])

    async def _forget(self, ulid: str) -> None:
        self._chores.drop("stage", ulid)
        await in_thread(self.config.spool, spooling.forget, self.config.spool, ulid)

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
            elif (runner := self._idle_runner(order) or self._start(order)) is None:
                return
            else:
                self._hand(order, runner)

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
        if order.handed_at is not None:
            took_s, order.handed_at = self._clock.time() - order.handed_at, None
            self._board.figures.placing_s.observe((self.config.name,), took_s)
        with contextlib.suppress(BrokenPipeError):  # it is ending; its end will bring the order back
            os.write(runner.stdin, order.submission.ulid.encode().ljust(ORDER_BYTES, b"\n"))
        submission = order.submission
        self._log.info(
            "submission placed",
            workflow=submission.workflow_id,
            submission=submission.ulid,
            runner=runner.process.pid,
            jobs=submission.size,
        )

    def _fits(self, needs: Resources) -> bool:
        """Whether there is room; what is larger than the whole cluster (lowered since) runs when it has it alone."""
        cores, memory = self._used()
        fits = cores + needs.cores_in_all <= self.config.cores and memory + needs.memory_mb <= self.config.memory_mb
        return fits or not cores

    def _used(self) -> tuple[int, int]:
        held = [needs for runner in self._runners.values() if (needs := runner.resources())]
        return sum(needs.cores_in_all for needs in held), sum(needs.memory_mb for needs in held)

    # ---- runners ----------------------------------------------------------------------------------------------------

    def _start(self, order: Order) -> Runner | None:
        """A new runner; None when the machine refuses, and the order waits on."""
        try:
            runner = spawn_runner(order, self.config.spool, self.config.nice)
        except OSError as error:
            self._log.warning("no runner can be started, trying again", error=str(error))
            return None
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
        await self._chores.do("settle", name, partial(self._settle, runner, trouble, ended_well=status == 0))

    async def _settle(self, runner: Runner, trouble: str | None, *, ended_well: bool) -> None:
        """What becomes of a dead runner's orders, once nothing that it started lives."""
        if runner.orders:
            await in_thread(self.config.spool, fence, runner.process, f"{MARKER}={runner.name}")
        claimed = {
            order: read_claim(spooling.spool_path(self.config.spool, order.submission.ulid, "claim")) is not None
            for order in runner.orders
        }
        could_start = runner.has_served or ended_well or any(claimed.values())
        for order in list(runner.orders):
            if not claimed[order] and could_start:
                self._waiting.append(order)  # it never reached the dead runner, and nobody else was told of it
            else:
                self._conclude(order, trouble)
            runner.orders.remove(order)

    def _conclude(self, order: Order, trouble: str | None) -> None:
        """No runner works on the order any more, and none can: what has no end by now is lost or never ran."""
        news = order.journal.read()
        take_claim(spooling.spool_path(self.config.spool, order.submission.ulid, "claim"), TOMBSTONE)
        now = self._clock.time()
        own_trouble = trouble is not None and not order.journal.running  # it did not die over an attempt
        for position in range(order.submission.size):
            if position in order.journal.ended or position in order.barred:
                continue
            started = order.journal.running.get(position)
            if started is not None:
                lost = Exit(None, None, started, now, "lost", trouble or "its runner was killed")
                news[position] = AttemptSeen(Seen.ENDED, started, lost)
            elif own_trouble:  # lost, not unrun: trying again at once could go on for ever
                lost = Exit(None, None, now, now, "lost", f"its runner could not go on: {trouble}")
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
            if self._chores or self._waiting or any(runner.orders for runner in self._runners.values()):
                self._me.post("news", _News(None), _both_news)

    def _read(self, ulid: str) -> None:
        """Reads what is new in a journal. Small reads of a local file: no thread is worth it."""
        order = self._orders.get(ulid)
        if order is None or order.closed:
            return
        try:
            read = order.journal.read()
        except OSError as error:
            self._log.warning("journal not read, trying again", submission=ulid, error=str(error))
            return
        news = {n: seen for n, seen in read.items() if n not in order.barred}
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

    async def _cancel(self, ulid: str, attempts: dict[int, str]) -> None:
        """Takes the claims of what has not started, and asks the runner to end the rest."""
        order = self._orders.get(ulid)
        if order is None or order.closed:
            return
        order.barred |= await self._bar_in_time(order, attempts)
        self._tell(ulid, {position: _not_run("cancelled before it started") for position in order.barred})
        if order in self._waiting and len(order.barred) == order.submission.size:
            self._waiting.remove(order)
            self._conclude(order, None)

    async def _bar_in_time(self, order: Order, attempts: dict[int, str]) -> set[int]:
        """As `_bar`. TimeoutError where the work directory does not answer: this actor waits for no file server.

        The thread that hangs there is left to it. Until it comes back nobody else is sent to that file system, so that
        it is waited for once.
        """
        ulid, directory = order.submission.ulid, order.submission.workflow_dir
        place = where_is(directory)
        if place in self._barring.values():
            raise TimeoutError(f"{directory} does not answer")
        self._barring[ulid] = place
        begun = threading.Event()

        def bar() -> set[int]:
            begun.set()
            try:
                return self._bar(order, attempts)
            finally:
                self._barring.pop(ulid, None)

        with anyio.move_on_after(_PATIENCE_S):
            return await look_in_thread(directory, bar)
        if not begun.is_set():  # there was no thread for it
            self._barring.pop(ulid, None)
        raise TimeoutError(f"{directory} does not answer")

    def _bar(self, order: Order, attempts: dict[int, str]) -> set[int]:
        """Positions that now can never start; of what may be running, its runner is asked. Runs in a thread."""
        barred = set()
        for position, directory in attempts.items():
            with contextlib.suppress(OSError):
                if Path(order.submission.workflow_dir).is_dir():
                    Path(directory).mkdir(parents=True, exist_ok=True)
                if take_claim(Path(directory, spooling.ATTEMPT_CLAIM), TOMBSTONE):
                    barred.add(position)
        if rest := sorted(attempts.keys() - barred):
            spooling.request_cancel(self.config.spool, order.submission.ulid, rest)
        return barred

    # ---- finding again ----------------------------------------------------------------------------------------------

    def _take_stock(self) -> None:
        """What an earlier life left in the spool: whose it is, and which runners live and hold cores."""
        for ulid in spooling.submissions(self.config.spool):
            owner = spooling.read_owner(self.config.spool, ulid)
            self._leftovers.setdefault(owner or "", set()).add(ulid)
            if (
                owner is not None
                and is_held(self.config.spool, ulid)
                and (manifest := spooling.read_manifest(self.config.spool, ulid))
            ):
                self._orders[ulid] = order = Order(_as_found(manifest), self.config.spool)
                if not self._adopt(order):
                    del self._orders[ulid]
        for stale in (*self.config.spool.glob("*.log"), *self.config.spool.glob("*.partial")):
            if stale.stem not in self._runners:
                stale.unlink(missing_ok=True)

    async def _attach(self, message: Attach) -> None:
        self._owners[message.workflow_id] = message.owner
        await self._sweep(message.workflow_id, frozenset(submission.ulid for submission in message.open))
        for submission in message.open:
            order = self._orders.get(submission.ulid)
            if order is None:
                self._orders[submission.ulid] = order = Order(submission, self.config.spool)
                await self._chores.do("find", submission.ulid, partial(self._find, order))
            else:
                order.submission = submission
                self._retell(order)

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

    async def _find(self, order: Order) -> None:
        """A submission of an earlier life: its claim says whether anybody runs it."""
        claim = spooling.spool_path(self.config.spool, order.submission.ulid, "claim")
        if take_claim(claim, TOMBSTONE):
            self._conclude(order, None)
        elif self._adopt(order):
            self._retell(order)
        else:
            process, runner = claimant(self.config.spool, order.submission.ulid)
            if process is not None:
                await in_thread(self.config.spool, fence, process, f"{MARKER}={runner}")
            self._conclude(order, None)

    def _adopt(self, order: Order) -> bool:
        """Takes a living runner of an earlier life as ours; False when it is dead."""
        process, name = claimant(self.config.spool, order.submission.ulid)
        if name not in self._runners:
            if process is None or not process.alive():
                return False
            runner = Runner(name, process, order.submission.workflow_id, None, self.config.spool)
            if not process.alive():  # asked again now that the handle is open: the answer stays true for this handle
                os.close(runner.pidfd)
                return False
            self._watch(runner)
        self._runners[name].orders.append(order)
        return True

    async def _sweep(self, workflow_id: str, keep: frozenset[str]) -> None:
        """Removes what an earlier life left in the spool after its end was recorded, or what nobody can run."""
        left = self._leftovers.pop(workflow_id, set()) | self._leftovers.pop("", set())
        for ulid in left - keep - self._orders.keys():
            if not is_held(self.config.spool, ulid):
                await self._chores.do("forget", ulid, partial(self._forget, ulid))


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


def _as_found(manifest: Manifest) -> Submission:
    """What a manifest tells of its submission; the rest (its slot, its priority) its workflow knows."""
    return Submission(
        ulid=manifest.ulid,
        workflow_id=manifest.workflow_id,
        workflow_dir=manifest.workflow_dir,
        mode=manifest.mode,
        engine=manifest.engine,
        lane=-1,
        priority=0,
        prefetch=False,
        size=len(manifest.entries),
        resources=Resources(manifest.cores, manifest.memory_mb, manifest.walltime_s),
    )


def _not_run(reason: str) -> AttemptSeen:
    return AttemptSeen(Seen.NOT_RUN, reason=reason)


def _both_news(older: Any, newer: Any) -> _News:
    if older.ulids is None or newer.ulids is None:
        return _News(None)
    return _News(older.ulids | newer.ulids)
