"""How a workflow submits: which of its jobs go next, together and how many, with the locks that they need.

Beside slots a submission needs what `[locks]` names, keeps within `[limits]`, and takes no job that others calculate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

import msgspec
from anyio.abc import TaskGroup

from penstock.actors.clock import Clock
from penstock.actors.errands import Errands
from penstock.actors.ledger import Ledger, PlannedStep, raised_needs
from penstock.actors.locks import Grant, Locks, WorkflowLocks
from penstock.actors.mailbox import Ref
from penstock.actors.order_book import Order, OrderBook
from penstock.actors.sharing import LOOK_EVERY_S, LOOKED_AT_ONCE, SHOWS_LIFE_EVERY_S, Sharing
from penstock.actors.workflow_messages import Pump
from penstock.domain.budget import Cycle, Pace, Queueing, Shape, bundle_size, shape
from penstock.domain.ids import new_ulid
from penstock.domain.locks import decode_tokens
from penstock.domain.resources import Resources, parse_walltime_s
from penstock.domain.states import JobState, WorkflowState
from penstock.domain.submission import Submission
from penstock.store.rows import OpenAttempt, OpenSubmission, ReadyJob

_UNREAD_MAX: Final = 5000


class Submitting:
    """Everything is done in the workflow actor's own turn. Says `Pump` to `me` when there may be more to do."""

    def __init__(
        self, me: Ref[Any], ledger: Ledger, book: OrderBook, errands: Errands, locks: Locks, clock: Clock
    ) -> None:
        self._me = me
        self._ledger = ledger
        self._store = ledger.store
        self._clock = clock
        self._book = book
        self._errands = errands
        self._sharing = Sharing(ledger, clock)
        self._locks = WorkflowLocks(ledger.workflow_id, locks, self._pump_soon)
        self._paces: dict[int, Pace] = defaultdict(Pace)  # by step
        self._cycle = Cycle()
        self._took_over = False
        self._wake_at: float | None = None
        self._tasks: TaskGroup

    async def take_up(self, opened: list[OpenSubmission], tasks: TaskGroup) -> None:
        """After a start: what was open is again, with what it holds. Slow work runs in `tasks`."""
        self._tasks = tasks
        for each in opened:
            step = self._ledger.step_of(each.step_id)
            submission = self._submission(
                each.ulid,
                step,
                raised_needs(step.needs, each.memory_mb, each.walltime_s),
                Shape(each.width, len(each.attempts)),
                each.lane,
            )
            order = Order(_with_directories(submission, each.attempts), each.attempts, step.id)
            order.told = True
            self._book.add(order)
        await self._find_locks_again(opened)
        await self._go_on_with_cycle()

    async def _find_locks_again(self, opened: list[OpenSubmission]) -> None:
        """What open submissions need is held, and nothing else; only then may anything be submitted."""
        orders = self._book.orders
        held = {each.ulid: (orders[each.ulid].tasks_unended, decode_tokens(each.locks)) for each in opened}
        await self._locks.find_again(self._ledger.spec.locks, self._ledger.context.locks, held)
        for ulid, (tasks, tokens) in held.items():
            orders[ulid].tokens, orders[ulid].tasks_leased = tokens, tasks

    async def _go_on_with_cycle(self) -> None:
        """What was begun before a restart counts: `per_cycle` protects a cluster from us, however often we restart."""
        limits = self._ledger.spec.limits
        if limits.per_cycle is not None:
            length_s = parse_walltime_s(limits.cycle)
            begun, first = await self._store.begun_since(self._clock.time() - length_s)
            self._cycle = Cycle(first + length_s, begun) if first is not None else Cycle()

    async def go_on(self, *, wanted: bool) -> None:
        """Submits what can be submitted, where that is wanted; else leaves the line for locks."""
        if self._ledger.shares_results and self._book.orders:
            await self._sharing.show_life()
            self._wake_at_time(self._clock.time() + SHOWS_LIFE_EVERY_S)
        if wanted:
            await self._locks.need(self._ledger.spec.locks, self._ledger.context.locks)
            await self._sharing.look_again()
            await self._submit_ready()
            if self._sharing.awaits:
                self._wake_at_time(self._clock.time() + LOOK_EVERY_S)
        if self._ledger.state is not WorkflowState.RUNNING or not self._store.tally[JobState.READY]:
            await self._locks.withdraw()

    @property
    def awaiting(self) -> int:
        """How many jobs wait for calculations of other workflows."""
        return self._sharing.awaiting

    def woken(self) -> None:
        """The alarm has gone off."""
        self._wake_at = None

    def has_taken_over(self) -> bool:
        """Whether results of others have become the workflow's since this was asked."""
        took_over, self._took_over = self._took_over, False
        return took_over

    def observe_ends(self, step_id: int, count: int, total_s: float) -> None:
        """So many attempts of a step have ended, after so many seconds in all."""
        self._paces[step_id] = self._paces[step_id].with_sample(count, total_s)

    async def rest(self) -> None:
        """Holds no file until there is more to do."""
        await self._locks.rest()

    async def close(self) -> None:
        """The actor has ended; what its submissions hold they hold on."""
        await self._locks.close()

    def _pump_soon(self) -> None:
        self._me.post("pump", Pump())

    async def give_back(self, order: Order) -> None:
        """Locks and resources of tasks that will run nothing more: all that they had to run is committed as ended."""
        if order.tokens.any and order.tasks_unended < order.tasks_leased:
            order.tasks_leased = order.tasks_unended
            await self._locks.keep(order.submission.ulid, order.tokens, order.tasks_leased)

    async def _submit_ready(self) -> None:
        if not self._store.tally[JobState.READY] or self._book.unread() > _UNREAD_MAX:
            return
        if self._clock.time() < (ask_at := self._locks.next_ask_at()):
            self._wake_at_time(ask_at)
            return
        queueing = self._ledger.queueing
        if queueing is None:
            await self._fill_lanes()
        else:
            await self._fill_slots(queueing)

    async def _fill_lanes(self) -> None:
        """The local cluster: a small submission for every free lane."""
        pace = self._slowest()
        for lane, prefetch in self._book.free_lanes(self._ledger.slots, pace):
            ready = self._store.tally[JobState.READY]
            if not ready or (prefetch and self._locks.needed):
                return
            jobs = await self._take_ready(bundle_size(pace, ready, self._ledger.slots))
            ulid = new_ulid(self._clock.time())
            if not jobs or (grant := await self._take_locks(ulid, 1)) is None:
                return
            await self._submit(ulid, jobs, Shape(1, len(jobs)), grant, lane=lane, prefetch=prefetch)

    async def _fill_slots(self, queueing: Queueing) -> None:
        """A cluster with a scheduler: one submission for all free slots."""
        slots = self._ledger.slots
        free = self._book.free_slots(slots)
        if not free or not queueing.is_open:
            return
        wanted = self._shape(free, queueing)
        jobs = await self._take_ready(wanted.size)
        ulid = new_ulid(self._clock.time())
        if not jobs or (grant := await self._take_locks(ulid, wanted.fitted(len(jobs)).width)) is None:
            return
        if grant.tasks < wanted.fitted(len(jobs)).width:
            wanted = self._shape(grant.tasks, queueing)
            jobs = jobs[: wanted.size]
        await self._submit(ulid, jobs, wanted.fitted(len(jobs)), grant)

    def _shape(self, free: int, queueing: Queueing) -> Shape:
        """What the next submission to a scheduler looks like with so many free slots."""
        ready = self._store.tally[JobState.READY]
        wanted = shape(self._ledger.spec.batching(), self._slowest(), ready, free, self._ledger.slots, queueing)
        return wanted.warmed() if self._ledger.runs_in_python else wanted

    async def _take_locks(self, ulid: str, most: int) -> Grant | None:
        """What a submission of up to `most` tasks needs beside slots; None while there is none of it to be had."""
        if not self._locks.needed:
            return Grant(most)
        grant = await self._locks.take(ulid, most, self._ledger.row.priority)
        if grant is None:
            self._wake_at_time(self._locks.next_ask_at())
        return grant

    def _slowest(self) -> Pace:
        """The pace of the step whose attempts take longest: what is put together for it is never too much."""
        if any(step.id not in self._paces for step in self._ledger.steps.values()):
            return Pace()
        return max(self._paces.values(), key=lambda pace: pace.mean_s or 0.0)

    async def _take_ready(self, limit: int) -> list[ReadyJob]:
        """Jobs of one kind that may be submitted now; where there are none, the pump is set for when there are."""
        limits, now = self._ledger.spec.limits, self._clock.time()
        if limits.per_cycle is not None:
            self._cycle = self._cycle.at(now, parse_walltime_s(limits.cycle))
            limit = min(limit, limits.per_cycle - self._cycle.begun)
        if limit <= 0:
            self._wake_at_time(self._cycle.ends_at)
            return []
        jobs = await self._next_ready(limit, now)
        if not jobs:
            await self._wake_when_due()
        return jobs

    async def _next_ready(self, limit: int, now: float) -> list[ReadyJob]:
        """The next jobs that may be submitted now; where results are shared, those that are to be calculated here."""
        if not self._ledger.shares_results:
            return await self._store.take_ready(limit, now)
        jobs = await self._store.take_ready(max(limit, LOOKED_AT_ONCE), now)
        own = await self._sharing.keep_own(jobs) if jobs else []
        if jobs and not own:  # there may be many more of them: others have their turn in between
            self._pump_soon()
        self._took_over |= len(own) < len(jobs)
        return own[:limit]

    async def _submit(
        self, ulid: str, jobs: list[ReadyJob], shape_: Shape, grant: Grant, *, lane: int = 0, prefetch: bool = False
    ) -> None:
        """Commits the intent; only then does anything leave."""
        now = self._clock.time()
        step = self._ledger.step_of(jobs[0].step_id)
        needs = raised_needs(step.needs, jobs[0].memory_mb, jobs[0].walltime_s)
        submission = self._submission(ulid, step, needs, shape_, lane, prefetch=prefetch)
        tried = [job.id for job in jobs if job.number > 1] if self._ledger.spec.checkpoint.carry else []
        carried = await self._store.timed_out_directories(tried) if tried else {}
        shares, locks = self._ledger.shares_results, grant.tokens.encoded()
        begun = await self._store.begin_submission(
            submission, self._ledger.spec.cluster, jobs, now, shares=shares, locks=locks
        )
        if begun is None:  # somebody was quicker with one of them: it is looked again
            await self._locks.keep(ulid, grant.tokens, 0)
            self._pump_soon()
            return
        self._cycle = self._cycle.with_begun(len(jobs))
        for ready_at, count in Counter(job.ready_at for job in jobs if job.ready_at is not None).items():
            self._ledger.figures.waiting_s.observe((self._ledger.spec.cluster,), now - ready_at, count)
        attempts, events = begun
        order = Order(_with_directories(submission, attempts), attempts, step.id)
        order.tokens, order.tasks_leased = grant.tokens, grant.tasks
        self._book.add(order)
        self._ledger.emit(events)
        await self.give_back(order)
        self._tasks.start_soon(self._errands.stage, order, jobs, carried)

    def _submission(
        self, ulid: str, step: PlannedStep, needs: Resources, shape_: Shape, lane: int, *, prefetch: bool = False
    ) -> Submission:
        return Submission(
            ulid=ulid,
            workflow_id=self._ledger.workflow_id,
            workflow_dir=str(self._ledger.directory),
            mode=self._ledger.row.mode,
            engine=self._ledger.spec.engine_name,
            lane=lane,
            priority=self._ledger.row.priority,
            prefetch=prefetch,
            size=shape_.size,
            resources=needs,
            width=shape_.width,
            options=self._ledger.options,
            expected_s=shape_.expected_s(self._paces[step.id]),
            checkpoint=self._ledger.spec.checkpoint_argv(),
            outputs=step.outputs,
        )

    async def _wake_when_due(self) -> None:
        due = await self._store.next_due()
        if due is not None:
            self._wake_at_time(due)

    def _wake_at_time(self, due: float) -> None:
        if self._wake_at is None or due < self._wake_at:
            self._wake_at = due
            self._tasks.start_soon(self._wake, due)

    async def _wake(self, due: float) -> None:
        await self._clock.sleep(max(due - self._clock.time(), 0.01))
        self._pump_soon()


def _with_directories(submission: Submission, attempts: list[OpenAttempt]) -> Submission:
    return msgspec.structs.replace(submission, directories=tuple(attempt.directory for attempt in attempts))
