"""A cluster's world in virtual time: what really runs there, whatever the actor in front of it knows or forgets."""

from __future__ import annotations

import contextlib
import random
from collections import Counter, defaultdict
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.abc
import msgspec

from penstock.actors.clock import Clock
from penstock.domain.calculation import Exit
from penstock.domain.submission import AttemptSeen, Entry, Manifest, Seen, Submission

Span = tuple[float, float]
"""Least and most, in seconds; what happens is drawn evenly from between."""
Lane = tuple[str, int]

_UNLIMITED: Final = 1_000_000


class Behaviour(msgspec.Struct, frozen=True):
    """How a simulated cluster behaves. What reads as a verb is a chance between 0 and 1."""

    latency_s: Span = (0.1, 0.1)  # from the submission leaving to the cluster having it
    attempt_s: Span = (1.0, 1.0)
    poll_s: float = 1.0  # how often the actor looks
    queueing: bool = False  # a scheduler: no lanes, several tasks in a submission, told of when it is there
    running_max: int = _UNLIMITED  # tasks at once
    pending_max: int = _UNLIMITED  # submissions waiting; one more is refused, and sent again later
    fails: float = 0.0  # an attempt ends with exit code 1
    loses: float = 0.0  # an attempt's runner dies under it, and takes the rest of its task with it
    outgrows: float = 0.0  # an attempt is ended at its walltime
    doubts: float = 0.0  # no answer comes to a submission, which then is or is not there
    doubt_s: Span = (10.0, 60.0)
    delays: float = 0.0  # a look at a submission is left out
    repeats: float = 0.0  # an observation is followed by older ones of the same submission
    crashes: float = 0.0  # the actor breaks over a message, before or after acting on it, and forgets everything


class Fate(Enum):
    """What became of a submission, as far as the sender can tell."""

    ACCEPTED = auto()
    REFUSED = auto()  # too many are waiting
    DENIED = auto()  # it never will be taken
    SILENCE = auto()  # no answer


class Placed:
    """A submission that has reached the world."""

    def __init__(self, submission: Submission, manifest: bytes) -> None:
        decoded = msgspec.msgpack.decode(manifest, type=Manifest)
        self.submission = submission
        self.entries = {entry.index: entry for entry in decoded.entries}
        self.seen: dict[int, AttemptSeen] = {}
        self.finished = False
        self.cancelled: set[int] = set()
        self.stops: dict[int, anyio.Event] = {}  # of what runs

    @property
    def lane(self) -> Lane:
        """The slot it occupies."""
        return (self.submission.workflow_id, self.submission.lane)

    def positions(self, task: int) -> range:
        """What a task works through."""
        return range(task, self.submission.size, self.submission.width)

    def finish(self, task: int, reason: str) -> None:
        """The task does nothing more; what has not been seen of it never started."""
        for position in self.positions(task):
            self.seen.setdefault(position, AttemptSeen(Seen.NOT_RUN, reason=reason))
        self.finished = len(self.seen) == self.submission.size and not self.stops


class _Travelling:
    """A submission on its way: the sender waits for `known`."""

    def __init__(self) -> None:
        self.known = anyio.Event()
        self.fate = Fate.SILENCE


class SimulatedWorld:
    """Runs submissions in virtual time and keeps count. Enter it with `async with`, outside the actors.

    `executions` counts how often each (workflow, job, attempt directory) was begun, `succeeded` how often each job
    (workflow, job) ended well, `peak` the most attempts of a workflow that ran at once, and `violations` says what was
    done that never may be. The actor breaks once over each kind of message in `breaks_over`. While `refusal` is set
    every submission is refused for that reason.
    """

    def __init__(self, clock: Clock, behaviour: Behaviour, seed: int) -> None:
        self.clock = clock
        self.behaviour = behaviour
        self.random = random.Random(seed)  # noqa: S311 - dice, not secrets
        self.executions: Counter[tuple[str, int, str]] = Counter()
        self.succeeded: Counter[tuple[str, int]] = Counter()
        self.peak: Counter[str] = Counter()
        self.violations: list[str] = []
        self.breaks_over: list[type] = []
        self.refusal: str | None = None
        self.placed: dict[str, Placed] = {}
        self._barred: set[str] = set()
        self._cancelled_ahead: defaultdict[str, set[int]] = defaultdict(set)
        self._running: Counter[tuple[str, int]] = Counter()
        self._pending = 0
        self._lanes: defaultdict[Lane, anyio.Lock] = defaultdict(anyio.Lock)
        self._slots = anyio.Semaphore(behaviour.running_max)
        self._group: anyio.abc.TaskGroup

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens now."""
        return self.random.random() < probability

    def draw(self, span: Span) -> float:
        """A duration."""
        return self.random.uniform(*span)

    # ---- what the actor can do --------------------------------------------------------------------------------------

    async def submit(self, submission: Submission, manifest: bytes) -> Fate:
        """Sends a submission on its way. What is on its way arrives even if the sender is gone by then."""
        travelling = _Travelling()
        self._group.start_soon(self._travel, submission, manifest, travelling)
        await travelling.known.wait()
        return travelling.fate

    def bar(self, ulid: str) -> bool:
        """A tombstone: False when the submission is there, else it never will be."""
        if ulid in self.placed:
            return False
        self._barred.add(ulid)
        return True

    def cancel(self, ulid: str, positions: set[int]) -> None:
        """Ends attempts, now or when they arrive."""
        placed = self.placed.get(ulid)
        if placed is None:
            self._cancelled_ahead[ulid] |= positions
            return
        placed.cancelled |= positions
        for position in positions - placed.seen.keys():
            placed.seen[position] = AttemptSeen(Seen.NOT_RUN, reason="cancelled before it started")
        for position in positions & placed.stops.keys():
            placed.stops[position].set()

    def forget(self, ulid: str) -> None:
        """Nobody will ask for this submission again."""
        placed = self.placed.pop(ulid, None)
        if placed is not None and not placed.finished:
            self.violations.append(f"submission {ulid} was to be forgotten before it had ended")
        self._barred.add(ulid)

    # ---- what happens by itself -------------------------------------------------------------------------------------

    async def _travel(self, submission: Submission, manifest: bytes, travelling: _Travelling) -> None:
        silent = self.chance(self.behaviour.doubts)
        await self.clock.sleep(self.draw(self.behaviour.latency_s))
        if not silent:
            travelling.fate = self._land(submission, manifest)
        travelling.known.set()
        if silent and self.chance(0.5):
            await self.clock.sleep(self.draw(self.behaviour.latency_s))
            self._land(submission, manifest)

    def _land(self, submission: Submission, manifest: bytes) -> Fate:
        ulid = submission.ulid
        if ulid in self._barred or ulid in self.placed:
            return Fate.ACCEPTED  # it finds its claim taken and stops by itself
        if self.refusal is not None:
            self._barred.add(ulid)
            return Fate.DENIED
        if self._pending >= self.behaviour.pending_max:
            return Fate.REFUSED
        self._pending += 1
        self.placed[ulid] = placed = Placed(submission, manifest)
        self.cancel(ulid, self._cancelled_ahead.pop(ulid, set()))
        self._group.start_soon(self._work_through, placed)
        return Fate.ACCEPTED

    async def _work_through(self, placed: Placed) -> None:
        lane = contextlib.nullcontext() if self.behaviour.queueing else self._lanes[placed.lane]
        started = anyio.Event()
        async with lane, anyio.create_task_group() as tasks:
            for task in range(placed.submission.width):
                tasks.start_soon(self._run_task, placed, task, started)
            await started.wait()
            self._pending -= 1

    async def _run_task(self, placed: Placed, task: int, started: anyio.Event) -> None:
        async with self._slots:
            started.set()
            for position in placed.positions(task):
                if position in placed.entries and position not in placed.seen:
                    ended = await self._run(placed, placed.entries[position])
                    if ended.verdict == "lost":
                        placed.finish(task, "its runner ended before it")
                        return
            placed.finish(task, "it was not in the manifest")

    async def _run(self, placed: Placed, entry: Entry) -> Exit:
        job = (placed.submission.workflow_id, entry.job_id)
        self._begin(job, entry.directory)
        started_at = self.clock.time()
        placed.seen[entry.index] = AttemptSeen(Seen.RUNNING, started_at)
        stop = placed.stops[entry.index] = anyio.Event()
        lost, failed = self.chance(self.behaviour.loses), self.chance(self.behaviour.fails)
        outgrown = self.behaviour.outgrows > 0.0 and self.chance(self.behaviour.outgrows)
        duration_s = self.draw(self.behaviour.attempt_s)
        stopped = await self._pass(duration_s * self.random.random() if lost else duration_s, stop)
        del placed.stops[entry.index]
        self._running[job] -= 1
        verdict = "cancelled" if stopped else "lost" if lost else "timeout" if outgrown else None
        code = None if verdict else int(failed)
        self.succeeded[job] += code == 0
        ended = Exit(code, None, started_at, self.clock.time(), verdict)
        placed.seen[entry.index] = AttemptSeen(Seen.ENDED, started_at, ended)
        return ended

    def _begin(self, job: tuple[str, int], directory: str) -> None:
        workflow_id = job[0]
        self.executions[*job, directory] += 1
        self._running[job] += 1
        if self.executions[*job, directory] > 1:
            self.violations.append(f"attempt {directory} of {workflow_id} was executed twice")
        if self._running[job] > 1:
            self.violations.append(f"two attempts of job {job[1]} of {workflow_id} ran at once")
        now_running = sum(count for (owner, _), count in self._running.items() if owner == workflow_id)
        self.peak[workflow_id] = max(self.peak[workflow_id], now_running)

    async def _pass(self, seconds: float, stop: anyio.Event) -> bool:
        """Lets time pass; True when it was stopped before."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await stop.wait()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self.clock.sleep(seconds)
            group.cancel_scope.cancel()
        return stop.is_set()
