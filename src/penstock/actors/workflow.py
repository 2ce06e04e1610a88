"""The workflow's supervisor.

Owns its database, its slots and its plan; decides nothing that a pure function can decide.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.cluster_port import (
    Attach,
    Cancel,
    ClusterMessage,
    ClusterRestarted,
    Detach,
    Forget,
    Resolve,
    Submit,
)
from penstock.actors.deriving import Deriving
from penstock.actors.errands import Errands, Reading
from penstock.actors.ledger import Ledger
from penstock.actors.locks import Locks
from penstock.actors.mailbox import Ref
from penstock.actors.order_book import JOB_STATE, Order, OrderBook, interpret
from penstock.actors.results import conclude_attempt, not_run_result
from penstock.actors.reviews import Reviews
from penstock.actors.submitting import Submitting
from penstock.actors.supervisor import Actor
from penstock.actors.workers import Workers
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    ChangeBudget,
    ChunkRead,
    Collected,
    CollectingSlowly,
    Command,
    Derived,
    DrainWorkflow,
    Idle,
    JobCommand,
    JobsSeen,
    MarkJobs,
    Message,
    News,
    PauseWorkflow,
    Projected,
    Pump,
    ReadingEnded,
    ReloadSlots,
    ResolveJobs,
    ResumeWorkflow,
    RetryJobs,
    ReviewJobs,
    SetJob,
    Staged,
    Touched,
)
from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.domain.context import Context
from penstock.domain.errors import ConflictError, PenstockError
from penstock.domain.states import (
    ACTIVE,
    ATTEMPT_ENDED,
    AttemptState,
    JobState,
    Resolution,
    WorkflowState,
    may_follow,
)
from penstock.domain.submission import Observed
from penstock.domain.views import Selection
from penstock.files.room import Room
from penstock.files.threads import in_thread
from penstock.store.database import BusyGuard
from penstock.store.events import Event
from penstock.store.rows import AttemptResult, JobFacts, OpenSubmission
from penstock.store.selection import RUN_HERE, Where, in_states, where_selected
from penstock.store.workflow_store import WorkflowStore

_TOLD: Final = itertools.count()
"""Numbers what clusters are told, across workflows and their restarts: nothing is ever taken for an older word."""
_IDLE_S: Final = 5.0
_COUNTED_AT_ONCE: Final = 500  # attempts; with more of them out, slots in use are counted now and then only
_COUNT_EVERY_S: Final = 1.0
_NOT_BEGUN: Final = (JobState.READY, JobState.HELD, JobState.WAITING)


class Surroundings(msgspec.Struct, frozen=True):
    """What a workflow actor needs of the rest of the daemon."""

    clock: Clock
    workers: Workers
    board: Board
    cluster: Ref[Any]
    loading: Room  # how many workflows may open their databases at the same time at start
    database: BusyGuard  # held while a database thread works
    locks: Locks
    claim: str | None = None  # JSON: the daemon, for the rows of its workflows


class WorkflowActor(Actor[Message]):
    """One workflow."""

    def __init__(self, me: Ref[Any], context: Context, around: Surroundings) -> None:
        self.workflow_id = workflow_id = context.workflow_id
        self.directory = Path(context.directory)
        self._me = me
        self._around = around
        self._clock = around.clock
        self._store = WorkflowStore(Path(context.database), workflow_id, around.database)
        self._ledger = Ledger(context, self._store, around.board, around.clock)
        self._errands = Errands(me, self._ledger, around.workers, around.clock)
        self._reviews = Reviews(me, self._ledger, around.workers, around.clock)
        self._book = OrderBook()
        self._submitting = Submitting(me, self._ledger, self._book, self._errands, around.locks, around.clock)
        self._deriving = Deriving(me, self._ledger, self._errands, around.clock)
        self._reading: Reading | None = None
        self._draining = False
        self._results_changed = False
        self._viewed = False
        self._projecting = False
        self._idle_armed = False
        self._last_activity = 0.0
        self._slots_held = 0
        self._slots_counted_at = 0.0

    # ---- life -------------------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Loads what is known and asks the cluster about everything that was open."""
        async with self._around.loading.at(self._ledger.context.database):
            open_submissions = await self._ledger.load()
            await self._ledger.claim(self._around.claim)
        structlog.contextvars.bind_contextvars(cluster=self._ledger.spec.cluster)
        self._tell_beginning(len(open_submissions))
        await self._submitting.take_up(open_submissions, self.tasks)
        self._attach()
        await self._cancel_again(open_submissions)
        self._pump_soon()
        self._pin()

    def _tell_beginning(self, submissions: int) -> None:
        """One that has ended was only woken for a question; nobody need hear of that."""
        row, jobs = self._ledger.row, sum(self._store.tally.values())
        log = structlog.get_logger()
        say = log.info if self._ledger.state in (WorkflowState.RUNNING, WorkflowState.PAUSED) else log.debug
        say("workflow taken up", state=str(row.state), jobs=jobs, slots=row.slots, submissions=submissions)

    async def stopped(self) -> None:
        """Closes the database and the log."""
        self._reviews.break_off()
        await self._submitting.close()
        await self._store.close()
        with self._clock.busy():
            await self._ledger.log.settle()

    async def handle(self, message: Message) -> object:
        """One message, then whatever has become possible by it."""
        if isinstance(message, Idle):
            await self._close_if_idle()
            return None
        self._last_activity = self._clock.monotonic()
        answer = await self._obey(message) if isinstance(message, Command) else await self._hear(message)
        await self._pump()
        self._pin()
        self._arm_idle()
        return answer

    async def _hear(self, message: News) -> object:
        """What the cluster saw, and what became of submissions."""
        match message:
            case Observed():
                await self._observed(message)
            case Staged():
                await self._staged(message)
            case Collected():
                await self._collected(message.ulid, message.ends)
            case CollectingSlowly(ulid, positions):
                if (order := self._book.orders.get(ulid)) is not None:
                    await self._mark(order, dict.fromkeys(positions & order.collecting, AttemptState.COLLECTING), {})
            case ClusterRestarted():
                self._attach()
                for order in self._book.orders.values():
                    self._tell_cancel(order)
            case _:
                await self._brought_back(message)
        return None

    async def _brought_back(self, message: ChunkRead | ReadingEnded | JobsSeen | Projected | Derived | Pump) -> None:
        """What our own tasks have done."""
        match message:
            case ChunkRead():
                await self._chunk_read(message)
            case ReadingEnded():
                self._reading = None
            case JobsSeen():
                self._results_changed |= await self._reviews.take(message, self.tasks)
            case Projected():
                self._projecting = False
            case Derived():
                self._results_changed |= await self._deriving.take(message)
            case Pump():
                self._submitting.woken()

    # ---- doing what can be done -------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        wanted = self._ledger.row.state == WorkflowState.RUNNING and not self._draining
        self._read_on(wanted=wanted)
        await self._submitting.go_on(wanted=wanted)
        if wanted:
            await self._deriving.go_on(self.tasks)
        self._results_changed |= self._submitting.has_taken_over()
        await self._finish_if_done()

    def _read_on(self, *, wanted: bool) -> None:
        """Keeps the source being read for as long as that is wanted."""
        if self._reading is not None:
            self._reading.wanted = wanted
        elif wanted and self._ledger.step.state == "expanding":
            self._reading = Reading()
            self.tasks.start_soon(self._errands.read_source, self._reading, self._ledger.step.cursor)

    async def _finish_if_done(self) -> None:
        if (
            self._book.orders
            or self._reading is not None
            or self._reviews.under_way
            or self._deriving.under_way
            or self._projecting
            or self._ledger.row.state == WorkflowState.PAUSED
        ):
            return
        if self._ledger.row.state == WorkflowState.RUNNING:
            if any(self._store.tally[state] for state in _NOT_BEGUN) or self._ledger.step.state == "expanding":
                return
            if not self._deriving.is_done:  # a daemon that drains begins nothing, and leaves it to the next
                return
            await self._ledger.end()
        if await self._view_is_due():
            self._results_changed = False
            self._projecting = True
            self.tasks.start_soon(self._errands.project)
            return
        self._tell_cluster("detach", Detach(self.workflow_id))
        self.finished = True

    async def _view_is_due(self) -> bool:
        """Whether `structures.db` is behind the results. What was tried once and failed is not tried for ever."""
        missing = False
        if not self._viewed and sum(self._store.tally.values()) > 0:
            with self._clock.busy():  # in a thread: the work directory's file server may not answer
                missing = not await in_thread(self.directory, self._errands.view.exists)
        self._viewed = True
        return self._results_changed or missing

    # ---- news -------------------------------------------------------------------------------------------------------

    async def _chunk_read(self, message: ChunkRead) -> None:
        if self._reading is not None:
            self._reading.room.release()
        if self._ledger.state is WorkflowState.CANCELLED or message.after != self._ledger.step.cursor:
            return  # what was read before a restart may still be in the mailbox; it is read again in its turn
        if message.chunk is None:
            await self._ledger.set_step("failed")
            await self._ledger.set_state(self._ledger.state, f"the source cannot be read on: {message.trouble}")
        else:
            await self._ledger.take_in(message.chunk)

    async def _staged(self, message: Staged) -> None:
        order = self._book.orders.get(message.ulid)
        if order is None or order.told:
            return
        order.told = True
        self._around.board.figures.submissions[self._ledger.spec.cluster] += 1
        self._tell_cluster("submit", Submit(order.submission, message.manifest))
        self._tell_cancel(order)
        now = self._clock.time()
        if message.errors:
            bad = {
                position: (Exit(None, None, now, now), Outcome(FailureClass.INPUT_ERROR, text))
                for position, text in message.errors
            }
            await self._collected(message.ulid, bad)

    async def _observed(self, observed: Observed) -> None:
        order = self._book.orders.get(observed.ulid)
        if order is None:
            if observed.closed:
                self._tell_cluster("forget", Forget(observed.ulid))
            return
        news = interpret(order, observed, self._clock.time())
        order.closed = order.closed or observed.closed
        order.placed = True
        order.settled_by |= news.settled
        if news.ended:
            order.collecting |= news.ended.keys()
            self.tasks.start_soon(self._errands.collect, order, news.ended, await self._changed(order, news.ended))
            step_id = self._ledger.step_of(order.step_id).id
            total_s = sum(exit_.ended_at - exit_.started_at for exit_ in news.ended.values())
            self._submitting.observe_ends(step_id, len(news.ended), total_s)
        if news.moved:
            await self._mark(order, news.moved, {}, news.doubts)
        order.started |= news.started
        await self._mark_started(order)
        if news.not_run:
            if observed.refused is not None:
                await self._ledger.pause_refused(observed.refused)
            await self._not_run(order, news.not_run)
        await self._settle(order)

    async def _changed(self, order: Order, positions: Iterable[int]) -> dict[int, str]:
        """By job, the engine's parameters where they are not those of its step."""
        if not self._ledger.rules and not self._ledger.derived:
            return {}
        changed = await self._store.changed_parameters([order.attempts[n].job_id for n in positions])
        step = self._ledger.step_of(order.step_id)
        return {job: parameters for job, own in changed.items() if (parameters := step.parameters_of(*own))}

    async def _mark_started(self, changed: Order) -> None:
        """Commits that attempts run, as far as that shows no more of them than there are slots."""
        if self._ledger.queueing is None:
            for order in self._book.startable(changed.submission.lane):
                await self._mark_running(order, list(order.started))
        else:
            for order, positions in self._book.startable_within(self._ledger.slots):
                await self._mark_running(order, positions)

    async def _mark_running(self, order: Order, positions: list[int]) -> None:
        started = {n: order.started.pop(n) for n in positions}
        running = {n: AttemptState.RUNNING for n in started if may_follow(order.states[n], AttemptState.RUNNING)}
        if running:
            await self._mark(order, running, started)

    async def _mark(
        self,
        order: Order,
        states: dict[int, AttemptState],
        started: dict[int, float | None],
        doubts: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """Commits that attempts have moved on."""
        updates = [(order.attempts[n], state, JOB_STATE[state], started.get(n)) for n, state in states.items()]
        before, settled = order.job_states(states), order.settled_events(states)
        events = await self._store.mark_seen(order.submission.ulid, updates, before, doubts=doubts, settled=settled)
        self._ledger.emit(events)
        order.states.update(states)

    async def _not_run(self, order: Order, not_run: dict[int, str]) -> None:
        """Attempts that never started: their jobs are ready again, at no cost, or cancelled if that was wanted."""
        before = order.job_states(not_run)
        results = [
            not_run_result(
                order.submission.ulid, order.attempts[position], reason, cancelled=self._is_cancelled(order, position)
            )
            for position, reason in not_run.items()
        ]
        await self._record(order, results, before)

    async def _collected(self, ulid: str, ends: dict[int, tuple[Exit, Outcome]]) -> None:
        order = self._book.orders.get(ulid)
        if order is None:
            return
        fresh = {n: end for n, end in ends.items() if order.states[n] not in ATTEMPT_ENDED}
        before = order.job_states(fresh)
        failed = [order.attempts[n].job_id for n, (_, outcome) in fresh.items() if outcome.failure is not None]
        facts = await self._store.retry_facts(failed) if failed else {}
        response = self._ledger.response(order.step_id)
        results = [
            conclude_attempt(
                ulid,
                order.attempts[position],
                exit_,
                outcome,
                facts.get(order.attempts[position].job_id, JobFacts()),
                response,
                had=order.submission.resources,
                now=self._clock.time(),
                cancelled=self._is_cancelled(order, position),
            )
            for position, (exit_, outcome) in fresh.items()
        ]
        await self._record(order, results, before)
        order.collecting -= ends.keys()
        await self._mark_started(order)
        await self._settle(order)

    async def _record(self, order: Order, results: list[AttemptResult], before: Counter[str]) -> None:
        settled = order.settled_events(result.attempt.position for result in results)
        events = await self._store.record_results(results, before, [], settled=settled)
        for result in results:
            order.states[result.attempt.position] = result.attempt_state
            order.started.pop(result.attempt.position, None)
        self._results_changed = True
        self._count(results)
        self._ledger.emit(events)
        await self._submitting.give_back(order)

    def _count(self, results: list[AttemptResult]) -> None:
        spec = self._ledger.spec
        figures = self._around.board.figures
        figures.count_ends(self.workflow_id, spec.cluster, spec.engine_name, results, self._clock.time())

    async def _settle(self, order: Order) -> None:
        """When every end is committed, the submission is closed and the cluster may forget it."""
        ulid = order.submission.ulid
        if order.settled and ulid in self._book.orders:
            await self._store.record_results([], {}, [ulid])
            del self._book.orders[ulid]
            self._tell_cluster("forget", Forget(ulid))

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def _obey(self, message: Command) -> object:
        """What people, or the daemon for them, want."""
        match message:
            case ReloadSlots(slots, origins):
                if self._ledger.row.slots_origin in origins and slots != self._ledger.row.slots:
                    await self._ledger.set_budget({"slots": slots})
                return None
            case DrainWorkflow():
                self._draining = True
                return self._book.unread()
        try:
            if isinstance(message, ReviewJobs):
                return await self._reviews.begin(message.kind, message.selection, self.tasks)
            return await self._touch(message)
        except PenstockError:
            self._pump_soon()  # a workflow at rest was woken for nothing: it looks again whether it may end
            raise

    async def _touch(self, message: JobCommand) -> Touched:  # noqa: PLR0911 - one line a command
        match message:
            case PauseWorkflow(selection):
                return await self._ledger.pause(selection)
            case ResumeWorkflow(selection, revision):
                return await self._ledger.resume(selection, revision)
            case CancelWorkflow(selection):
                return await self._cancel(selection)
            case RetryJobs(selection):
                return await self._ledger.retry(selection)
            case MarkJobs(selection, never_rerun):
                return await self._ledger.mark(selection, never_rerun=never_rerun)
            case ResolveJobs(selection, resolution):
                return await self._resolve(selection, resolution)
            case SetJob():
                self._results_changed = True
                return await self._reviews.set_job(message)
            case ChangeBudget(slots, priority):
                return await self._ledger.change_budget(slots, priority)

    async def _resolve(self, selection: Selection, resolution: Resolution) -> Touched:
        """Passes a person's word on to the cluster, which makes sure of it; what it then says is recorded as ever."""
        where = where_selected(self.workflow_id, selection)
        doubtful = set(await self._store.job_ids(where & in_states(JobState.IN_DOUBT)))
        told = 0
        for ulid, order in self._book.orders.items():
            positions = dict.fromkeys((n for n in order.live() if order.attempts[n].job_id in doubtful), resolution)
            if positions:
                self._tell_cluster("resolve", Resolve(ulid, positions))
                told += len(positions)
        if not told:
            raise ConflictError(
                f"none of the selected jobs is in doubt; see 'penstockctl jobs {self.workflow_id} --state in_doubt'"
            )
        left = await self._store.count(where) - told
        return Touched(told, left, f"{left} were not in doubt" if left else None)

    async def _cancel(self, selection: Selection | None) -> Touched:
        if selection is None:
            if self._ledger.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
                raise ConflictError(f"workflow {self.workflow_id} is {self._ledger.state}; nothing is left to cancel")
            await self._ledger.set_state(WorkflowState.CANCELLED, "cancelled by request")
        return await self._cancel_jobs(selection or Selection())

    async def _cancel_jobs(self, selection: Selection) -> Touched:
        where = where_selected(self.workflow_id, selection)
        waiting, events = await self._store.move_jobs(
            where & in_states(*_NOT_BEGUN) & RUN_HERE, JobState.CANCELLED, Event("jobs_cancelled", 0)
        )
        self._ledger.emit(events)
        active = set(await self._store.request_cancel(where & in_states(*ACTIVE)))
        for order in self._book.orders.values():
            self._cancel_attempts(order, active)
        return Touched(waiting + len(active))

    def _cancel_attempts(self, order: Order, jobs: set[int]) -> None:
        """Ends the attempts of these jobs; one whose outputs are being read at least is not followed by another."""
        order.cancelling |= {
            n for n, state in order.states.items() if state not in ATTEMPT_ENDED and order.attempts[n].job_id in jobs
        }
        self._tell_cancel(order)

    def _tell_cancel(self, order: Order) -> None:
        directories = {
            n: str(self.directory / order.attempts[n].directory) for n in order.live() if n in order.cancelling
        }
        if directories and order.told:
            self._tell_cluster("cancel", Cancel(order.submission.ulid, directories))

    async def _cancel_again(self, opened: list[OpenSubmission]) -> None:
        """A cancellation that was committed is carried out, even if we died in between."""
        if self._ledger.row.state == WorkflowState.CANCELLED:
            await self._cancel_jobs(Selection())
        if not opened:
            return
        wanted = set(await self._store.job_ids(self._store.own & Where("cancel_requested = 1") & in_states(*ACTIVE)))
        for order in self._book.orders.values():
            self._cancel_attempts(order, wanted)

    def _is_cancelled(self, order: Order, position: int) -> bool:
        return position in order.cancelling or self._ledger.row.state == WorkflowState.CANCELLED

    def _pin(self) -> None:
        """Shows everybody where it stands."""
        now = self._clock.monotonic()
        if self._book.attempts() <= _COUNTED_AT_ONCE or now - self._slots_counted_at >= _COUNT_EVERY_S:
            self._slots_counted_at = now
            self._slots_held = self._book.slots_held(queueing=self._ledger.queueing is not None)
        self._ledger.pin(self._slots_held, self._submitting.awaiting)

    # ---- the rest of the house --------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Every order that the cluster was told of is named until its end is committed: what is not named is swept."""
        told = [order for order in self._book.orders.values() if order.told]
        known = frozenset(order.submission.ulid for order in told if order.is_acknowledged)
        self._tell_cluster("attach", Attach(self.workflow_id, self._me, tuple(o.submission for o in told), known))

    def _tell_cluster(self, what: str, message: ClusterMessage) -> None:
        """In order, and never refused: what can wait at the cluster is bounded by our own slots."""
        self._around.cluster.post((what, self.workflow_id, next(_TOLD)), message)

    def _pump_soon(self) -> None:
        self._me.post("pump", Pump())

    def _store_is_needed(self) -> bool:
        busy = self._reading is not None or self._reviews.under_way or self._deriving.under_way
        return busy or self._clock.monotonic() - self._last_activity < _IDLE_S

    def _arm_idle(self) -> None:
        if self._store.is_open and not self._idle_armed and not self.finished:
            self._idle_armed = True
            self.tasks.start_soon(self._idle)

    async def _close_if_idle(self) -> None:
        self._idle_armed = False
        if self._store_is_needed():
            self._arm_idle()
        else:
            await self._submitting.rest()
            await self._store.close()

    async def _idle(self) -> None:
        """Waits for quiet: a workflow at rest holds no connection and so no thread."""
        while self._store_is_needed():
            await self._clock.sleep(_IDLE_S)
        self._me.post("idle", Idle())
