"""The workflow's supervisor: owns its database, its slots and its plan; decides nothing that a pure function can decide."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import structlog

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.cluster_port import Attach, Cancel, ClusterMessage, ClusterRestarted, Detach, Forget, Submit
from penstock.actors.mailbox import Ref
from penstock.actors.order_book import JOB_STATE, Order, OrderBook, interpret
from penstock.actors.results import conclude_attempt, not_run_result
from penstock.actors.supervisor import Actor
from penstock.actors.worker_tasks import Collect, CollectItem, ExportJobs, ReadChunk, Render, RenderItem
from penstock.actors.workers import WorkerLostError, Workers
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    ChangeBudget,
    ChunkRead,
    Collected,
    CollectingSlowly,
    DrainWorkflow,
    Idle,
    MarkJobs,
    Message,
    PauseWorkflow,
    Projected,
    Pump,
    ReloadSlots,
    ResumeWorkflow,
    RetryJobs,
    Staged,
    Touched,
)
from penstock.domain.budget import Pace, bundle_size
from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome
from penstock.domain.errors import BusyError, ConflictError, PenstockError, SpecError
from penstock.domain.ids import new_ulid
from penstock.domain.resources import parse_walltime_s
from penstock.domain.retry import RetryPolicy
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import (
    ACTIVE,
    ATTEMPT_ENDED,
    PUBLIC_STATUS,
    AttemptState,
    JobState,
    WorkflowState,
    may_follow,
)
from penstock.domain.submission import Manifest, Observed, Submission
from penstock.domain.views import EventInfo, Selection, WorkflowInfo
from penstock.recipes.recipe import StepView, View
from penstock.recipes.registry import get_recipe
from penstock.store.database import BusyGuard
from penstock.store.events import Event
from penstock.store.rows import AttemptResult, OpenSubmission, ReadyJob, StepRow, WorkflowRow
from penstock.store.selection import Where, in_states, where_selected
from penstock.store.workflow_store import WorkflowStore, timestamp

_CHUNK: Final = 2000
_UNREAD_MAX: Final = 5000
_IDLE_S: Final = 5.0
_WORKER_TRIES: Final = 5
_RETRY_S: Final = 1.0
_SLOW_S: Final = 2.0
_PROJECTED_MAX: Final = 20_000
_ROUTINE: Final = frozenset({"job_started", "job_completed", "submission_intended"})
LOG_NAME: Final = "workflow.log"
STRUCTURES_NAME: Final = "structures.db"


class Surroundings(msgspec.Struct, frozen=True):
    """What a workflow actor needs of the rest of the daemon."""

    clock: Clock
    workers: Workers
    board: Board
    cluster: Ref[Any]
    loading: anyio.Semaphore  # how many workflows may open their databases at the same time at start
    database: BusyGuard  # held while a database thread works


class WorkflowActor(Actor[Message]):
    """One workflow."""

    def __init__(self, me: Ref[Any], workflow_id: str, directory: Path, around: Surroundings) -> None:
        self.workflow_id = workflow_id
        self.directory = directory
        self._me = me
        self._around = around
        self._clock = around.clock
        self._store = WorkflowStore(directory, workflow_id, around.database)
        self._book = OrderBook()
        self._pace = Pace()
        self._reading = False
        self._draining = False
        self._results_changed = False
        self._projecting = False
        self._wake_at: float | None = None
        self._idle_armed = False
        self._last_activity = 0.0
        self._told = 0
        self._log = structlog.get_logger().bind(workflow=workflow_id)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Loads what is known and asks the cluster about everything that was open."""
        async with self._around.loading:
            row, steps, open_submissions = await self._store.load()
        self._row = row
        self._spec = msgspec.json.decode(row.spec, type=WorkflowSpec)
        self._needs = self._spec.needs()
        self._policy = retry_policy(self._spec)
        self._step = await self._plan(steps)
        for opened in open_submissions:
            order = Order(self._submission(opened.ulid, opened.lane, len(opened.attempts)), opened.attempts)
            order.told = True
            self._book.add(order)
        self._attach()
        await self._cancel_again(open_submissions)
        self._pump_soon()
        self._pin()

    async def _plan(self, steps: list[StepRow]) -> StepRow:
        """Inserts the steps that the recipe wants and that do not exist; returns the fan that is worked on."""
        recipe = get_recipe(self._row.recipe)
        view = View(self._spec, tuple(StepView(step.key, step.state, dict(self._store.tally)) for step in steps))
        wanted = recipe.steps(view)
        if {step.key for step in wanted} - {step.key for step in steps}:
            steps = await self._store.add_steps([(step.key, step.kind) for step in wanted])
        return next(step for step in steps if step.kind == "fan")

    async def stopped(self) -> None:
        """Closes the database."""
        await self._store.close()

    async def handle(self, message: Message) -> object:
        """One message, then whatever has become possible by it."""
        if not isinstance(message, Idle):
            self._last_activity = self._clock.monotonic()
        answer: object = None
        match message:
            case Observed():
                await self._observed(message)
            case Staged():
                await self._staged(message)
            case Collected():
                await self._collected(message.ulid, message.ends)
            case CollectingSlowly(ulid, positions):
                if (order := self._book.orders.get(ulid)) is not None:
                    await self._mark(order, {n: AttemptState.COLLECTING for n in positions & order.collecting}, {})
            case ChunkRead():
                await self._chunk_read(message)
            case ClusterRestarted():
                self._attach()
                for order in self._book.orders.values():
                    self._tell_cancel(order)
            case PauseWorkflow() | ResumeWorkflow() | CancelWorkflow() | RetryJobs() | MarkJobs() | ChangeBudget():
                try:
                    answer = await self._command(message)
                except PenstockError:
                    self._pump_soon()  # a workflow at rest was woken for nothing: it looks again whether it may end
                    raise
            case Idle():
                self._idle_armed = False
                if self._store_is_needed():
                    self._arm_idle()
                else:
                    await self._store.close()
                return None
            case ReloadSlots(slots, origins):
                if self._row.slots_origin in origins and slots != self._row.slots:
                    await self._set_budget({"slots": slots})
            case DrainWorkflow():
                self._draining = True
                answer = self._book.unread()
            case Projected():
                self._projecting = False
            case Pump():
                self._wake_at = None
        await self._pump()
        self._pin()
        self._arm_idle()
        return answer

    # ---- doing what can be done -------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        if self._row.state == WorkflowState.RUNNING and not self._draining:
            self._read_on()
            await self._submit_ready()
        await self._finish_if_done()

    def _read_on(self) -> None:
        if self._step.state == "expanding" and not self._reading:
            self._reading = True
            self.tasks.start_soon(self._read_chunk, self._step.cursor)

    async def _submit_ready(self) -> None:
        if not self._store.tally[JobState.READY] or self._book.unread() > _UNREAD_MAX:
            return
        for lane, prefetch in self._book.free_lanes(self._row.slots, self._pace):
            ready = self._store.tally[JobState.READY]
            if not ready:
                return
            now = self._clock.time()
            jobs = await self._store.take_ready(bundle_size(self._pace, ready, self._row.slots), now)
            if not jobs:
                await self._wake_when_due()
                return
            await self._submit(jobs, lane, prefetch=prefetch, now=now)

    async def _submit(self, jobs: list[ReadyJob], lane: int, *, prefetch: bool, now: float) -> None:
        """Commits the intent; only then does anything leave."""
        submission = self._submission(new_ulid(now), lane, len(jobs), prefetch=prefetch)
        attempts, events = await self._store.begin_submission(submission, self._spec.cluster, jobs, now)
        order = Order(submission, attempts)
        self._book.add(order)
        self._emit(events)
        self.tasks.start_soon(self._stage, order, jobs)

    def _submission(self, ulid: str, lane: int, size: int, *, prefetch: bool = False) -> Submission:
        return Submission(
            ulid=ulid,
            workflow_id=self.workflow_id,
            workflow_dir=str(self.directory),
            mode=self._row.mode,
            engine=self._spec.engine_name,
            lane=lane,
            priority=self._row.priority,
            prefetch=prefetch,
            size=size,
            resources=self._needs,
        )

    async def _wake_when_due(self) -> None:
        due = await self._store.next_due()
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._wake_at = due
            self.tasks.start_soon(self._wake, due)

    async def _wake(self, due: float) -> None:
        await self._clock.sleep(max(due - self._clock.time(), 0.01))
        self._pump_soon()

    async def _finish_if_done(self) -> None:
        if self._book.orders or self._reading or self._projecting or self._row.state == WorkflowState.PAUSED:
            return
        if self._row.state == WorkflowState.RUNNING:
            waiting = self._store.tally[JobState.READY] + self._store.tally[JobState.HELD]
            if waiting or self._step.state == "expanding":
                return
            state, reason = self._verdict()
            await self._store.set_step(self._step, str(state))
            await self._set_state(state, reason)
        if self._results_changed:
            self._results_changed = False
            self._projecting = True
            self.tasks.start_soon(self._project)
            return
        self._tell_cluster("detach", Detach(self.workflow_id))
        self.finished = True

    def _verdict(self) -> tuple[WorkflowState, str | None]:
        bad = self._store.tally[JobState.FAILED] + self._store.tally[JobState.TIMEOUT]
        if self._step.state == "failed":
            return WorkflowState.FAILED, self._row.reason
        if not sum(self._store.tally.values()):
            return WorkflowState.FAILED, f"the source gave no usable structure ({self._store.rejected} rejected)"
        if bad:
            return WorkflowState.FAILED, f"{bad} jobs failed"
        return WorkflowState.COMPLETED, None

    # ---- slow work, in tasks of its own -----------------------------------------------------------------------------

    async def _read_chunk(self, cursor: str) -> None:
        path = str(self.directory / self._spec.structures.source)
        task = ReadChunk(self._spec.structures, path, cursor, _CHUNK)
        try:
            self._me.post("chunk", ChunkRead(await self._work(task), None))
        except (SpecError, BusyError) as error:
            self._me.post("chunk", ChunkRead(None, str(error)))

    async def _stage(self, order: Order, jobs: list[ReadyJob]) -> None:
        manifest = Manifest(
            ulid=order.submission.ulid,
            workflow_id=self.workflow_id,
            workflow_dir=str(self.directory),
            mode=self._row.mode,
            engine=self._spec.engine_name,
            cores=self._needs.cores,
            walltime_s=self._needs.walltime_s,
            entries=[],
        )
        items = [
            RenderItem(
                position,
                order.attempts[position].directory,
                job.id,
                Calculation(
                    job.name, job.geometry, job.charge, job.multiplicity, self._needs.cores, self._needs.memory_mb
                ),
            )
            for position, job in enumerate(jobs)
        ]
        rendered = await self._work(Render(manifest, self._row.parameters.encode(), items))
        staged = Staged(order.submission.ulid, rendered.manifest, rendered.errors)
        self._me.post(("staged", staged.ulid), staged)

    async def _collect(self, order: Order, ended: dict[int, Exit]) -> None:
        items = [
            CollectItem(position, str(self.directory / order.attempts[position].directory), exit_)
            for position, exit_ in ended.items()
        ]
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._say_when_slow, order, ended)
            outcomes = await self._work(Collect(self._spec.engine_name, self._row.parameters.encode(), items))
            beside.cancel_scope.cancel()
        ends = {position: (ended[position], outcome) for position, outcome in outcomes}
        ulid = order.submission.ulid
        self._me.post(("collected", ulid), Collected(ulid, ends), _both_collected)

    async def _project(self) -> None:
        """Writes `structures.db`: a view of the results for ASE users, never a second truth. Large campaigns export theirs
        when they want it, since ASE's database takes about a millisecond a structure."""
        if sum(self._store.tally.values()) <= _PROJECTED_MAX:
            path = str(self.directory / STRUCTURES_NAME)
            task = ExportJobs(str(self.directory), self.workflow_id, "ase", path, Selection(), overwrite=True)
            try:
                await self._work(task)
            except (SpecError, BusyError) as error:
                self._log.warning("structures.db not written", error=str(error))
        self._me.post("projected", Projected())

    async def _say_when_slow(self, order: Order, ended: dict[int, Exit]) -> None:
        """Reading outputs is mostly done before anybody could look; only where it is not, it is recorded as a state."""
        await self._clock.sleep(_SLOW_S)
        self._me.post(
            ("slow", order.submission.ulid, *ended), CollectingSlowly(order.submission.ulid, frozenset(ended))
        )

    async def _work(self, task: Any) -> Any:
        """A worker's answer; a worker that died is replaced a few times before it counts as our own failure."""
        for _ in range(_WORKER_TRIES - 1):
            try:
                return await self._around.workers.run(task)
            except WorkerLostError as error:
                self._log.warning("worker lost, asking another", task=type(task).__name__, error=str(error))
                await self._clock.sleep(_RETRY_S)
        return await self._around.workers.run(task)

    # ---- news -------------------------------------------------------------------------------------------------------

    async def _chunk_read(self, message: ChunkRead) -> None:
        self._reading = False
        if self._row.state == WorkflowState.CANCELLED:
            return
        if message.chunk is None:
            self._step = msgspec.structs.replace(self._step, state="failed")
            await self._store.set_step(self._step, "failed")
            await self._set_state(WorkflowState(self._row.state), f"the source cannot be read on: {message.trouble}")
            return
        chunk, step = message.chunk, self._step
        self._step = msgspec.structs.replace(step, cursor=chunk.cursor, state="running" if chunk.done else "expanding")
        if self._row.state == WorkflowState.RUNNING and not self._draining:
            self._read_on()  # the next run is read while this one is being written
        self._emit(await self._store.add_chunk(step, self._row.namespace, chunk))

    async def _staged(self, message: Staged) -> None:
        order = self._book.orders.get(message.ulid)
        if order is None or order.told:
            return
        order.told = True
        self._around.board.counts["submission", self._spec.cluster] += 1
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
        if news.ended:
            order.collecting |= news.ended.keys()
            self.tasks.start_soon(self._collect, order, news.ended)
            self._pace = self._pace.with_sample(
                len(news.ended), sum(exit_.ended_at - exit_.started_at for exit_ in news.ended.values())
            )
        if news.moved:
            await self._mark(order, news.moved, {})
        order.started |= news.started
        await self._mark_started(order.submission.lane)
        if news.not_run:
            await self._not_run(order, news.not_run)
        await self._settle(order)

    async def _mark_started(self, lane: int) -> None:
        for order in self._book.startable(lane):
            started, order.started = order.started, {}
            running = {n: AttemptState.RUNNING for n in started if may_follow(order.states[n], AttemptState.RUNNING)}
            if running:
                await self._mark(order, running, started)

    async def _mark(self, order: Order, states: dict[int, AttemptState], started: dict[int, float | None]) -> None:
        """Commits that attempts have moved on."""
        updates = [(order.attempts[n], state, JOB_STATE[state], started.get(n)) for n, state in states.items()]
        self._emit(await self._store.mark_seen(order.submission.ulid, updates, order.job_states(states)))
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
        results = [
            conclude_attempt(
                ulid,
                order.attempts[position],
                exit_,
                outcome,
                facts.get(order.attempts[position].job_id, (0, 0, False)),
                self._policy,
                now=self._clock.time(),
                cancelled=self._is_cancelled(order, position),
            )
            for position, (exit_, outcome) in fresh.items()
        ]
        await self._record(order, results, before)
        order.collecting -= ends.keys()
        await self._mark_started(order.submission.lane)
        await self._settle(order)

    async def _record(self, order: Order, results: list[AttemptResult], before: Counter[str]) -> None:
        events = await self._store.record_results(results, before, [])
        order.states.update({result.attempt.position: result.attempt_state for result in results})
        self._results_changed = True
        self._around.board.counts.update(("attempt", self._spec.cluster, str(r.attempt_state)) for r in results)
        self._emit(events)

    async def _settle(self, order: Order) -> None:
        """When every end is committed, the submission is closed and the cluster may forget it."""
        ulid = order.submission.ulid
        if order.settled and ulid in self._book.orders:
            await self._store.record_results([], {}, [ulid])
            del self._book.orders[ulid]
            self._tell_cluster("forget", Forget(ulid))

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def _command(
        self, message: PauseWorkflow | ResumeWorkflow | CancelWorkflow | RetryJobs | MarkJobs | ChangeBudget
    ) -> Touched:
        match message:
            case PauseWorkflow(None):
                return await self._switch(WorkflowState.RUNNING, WorkflowState.PAUSED, "paused by request")
            case ResumeWorkflow(None):
                return await self._switch(WorkflowState.PAUSED, WorkflowState.RUNNING, None)
            case PauseWorkflow(Selection() as selection):
                return await self._move(selection, JobState.READY, JobState.HELD, "jobs_held")
            case ResumeWorkflow(Selection() as selection):
                return await self._move(selection, JobState.HELD, JobState.READY, "jobs_released")
            case CancelWorkflow(selection):
                return await self._cancel(selection)
            case RetryJobs(selection):
                return await self._retry(selection)
            case MarkJobs(selection, never_rerun):
                where = where_selected(self.workflow_id, selection)
                return Touched(await self._store.mark_never_rerun(where, marked=never_rerun))
            case ChangeBudget(slots, priority):
                return await self._change_budget(slots, priority)
        raise AssertionError(message)

    async def _switch(self, before: WorkflowState, after: WorkflowState, reason: str | None) -> Touched:
        if self._row.state == after:
            return Touched(0, note=f"the workflow is {after} already")
        if self._row.state != before:
            raise ConflictError(f"workflow {self.workflow_id} is {self._row.state}, not {before}")
        await self._set_state(after, reason)
        return Touched(sum(self._store.tally[state] for state in (JobState.READY, JobState.HELD)))

    async def _move(self, selection: Selection, before: JobState, after: JobState, kind: str) -> Touched:
        where = where_selected(self.workflow_id, selection)
        total = await self._store.count(where)
        moved, events = await self._store.move_jobs(where & in_states(before), after, Event(kind, 0))
        self._emit(events)
        left = total - moved
        return Touched(moved, left, f"{left} were not {before}" if left else None)

    async def _cancel(self, selection: Selection | None) -> Touched:
        where = where_selected(self.workflow_id, selection or Selection())
        if selection is None:
            await self._set_state(WorkflowState.CANCELLED, "cancelled by request")
        waiting, events = await self._store.move_jobs(
            where & in_states(JobState.READY, JobState.HELD), JobState.CANCELLED, Event("jobs_cancelled", 0)
        )
        self._emit(events)
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
        if not opened:
            return
        wanted = set(await self._store.job_ids(Where("cancel_requested = 1") & in_states(*ACTIVE)))
        for order in self._book.orders.values():
            self._cancel_attempts(order, wanted)

    def _is_cancelled(self, order: Order, position: int) -> bool:
        return position in order.cancelling or self._row.state == WorkflowState.CANCELLED

    async def _retry(self, selection: Selection) -> Touched:
        where = where_selected(self.workflow_id, selection)
        ended = [JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.SKIPPED]
        if selection.jobs or JobState.COMPLETED in selection.statuses:
            ended.append(JobState.COMPLETED)
        again = where & in_states(*ended)
        marked = await self._store.count(again & Where("never_rerun = 1"))
        total = await self._store.count(where) if selection.jobs else await self._store.count(again)
        moved, events = await self._store.move_jobs(
            again & Where("never_rerun = 0"), JobState.READY, Event("jobs_reset", 0), reset=True
        )
        self._emit(events)
        if moved and self._row.state != WorkflowState.RUNNING and self._row.state != WorkflowState.PAUSED:
            await self._set_state(WorkflowState.RUNNING, None)
        left = total - moved
        notes = [f"{marked} are marked never-rerun"] if marked else []
        if left > marked:
            notes.append(f"{left - marked} have not ended")
        return Touched(moved, left, "; ".join(notes) or None)

    async def _change_budget(self, slots: int | None, priority: int | None) -> Touched:
        changes: dict[str, Any] = {
            name: value for name, value in (("slots", slots), ("priority", priority)) if value is not None
        }
        if slots is not None:
            changes["slots_origin"] = "set"
        if changes:
            await self._set_budget(changes)
        return Touched(0)

    async def _set_budget(self, changes: dict[str, Any]) -> None:
        events = await self._store.set_workflow(Event("workflow_changed", 0, changes), **changes)
        self._row = msgspec.structs.replace(self._row, **changes)
        self._emit(events)

    async def _set_state(self, state: WorkflowState, reason: str | None) -> None:
        event = Event("workflow_state", 0, {"state": state, "reason": reason})
        self._emit(await self._store.set_workflow(event, state=state, reason=reason))
        self._row = msgspec.structs.replace(self._row, state=state, reason=reason, updated_at=self._clock.time())

    # ---- the rest of the house --------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Every order that the cluster was told of is named until its end is committed: what is not named is swept."""
        told = tuple(order.submission for order in self._book.orders.values() if order.told)
        self._tell_cluster("attach", Attach(self.workflow_id, self._me, told))

    def _tell_cluster(self, what: str, message: ClusterMessage) -> None:
        """In order, and never refused: what can wait at the cluster is bounded by our own slots."""
        self._told += 1
        self._around.cluster.post((what, self.workflow_id, self._told), message)

    def _emit(self, events: list[EventInfo]) -> None:
        """Tells watchers, and writes what is not routine to the workflow's own log."""
        self._around.board.emit(events)
        lines = [
            f"{timestamp(e.at)} {e.kind} {f'job {e.job}: ' if e.job else ''}{e.text}\n"
            for e in events
            if e.kind not in _ROUTINE
        ]
        if lines:
            with contextlib.suppress(OSError), (self.directory / LOG_NAME).open("a", encoding="utf-8") as log:
                log.writelines(lines)

    def _pump_soon(self) -> None:
        self._me.post("pump", Pump())

    def _pin(self) -> None:
        self._around.board.pin(describe_workflow(self._row, self._spec, self.directory, self._store, self._step))

    def _store_is_needed(self) -> bool:
        return self._clock.monotonic() - self._last_activity < _IDLE_S or self._reading

    def _arm_idle(self) -> None:
        if self._store.is_open and not self._idle_armed and not self.finished:
            self._idle_armed = True
            self.tasks.start_soon(self._idle)

    async def _idle(self) -> None:
        """Waits for quiet: a workflow at rest holds no connection and so no thread."""
        while self._store_is_needed():
            await self._clock.sleep(_IDLE_S)
        self._me.post("idle", Idle())


def describe_workflow(
    row: WorkflowRow, spec: WorkflowSpec, directory: Path, store: WorkflowStore, step: StepRow
) -> WorkflowInfo:
    """What people see of a workflow."""
    statuses = Counter[str]()
    for state, jobs in store.tally.items():
        statuses[PUBLIC_STATUS[JobState(state)]] += jobs
    return WorkflowInfo(
        id=row.workflow_id,
        recipe=row.recipe,
        state=row.state,
        directory=str(directory),
        mode=row.mode,
        cluster=spec.cluster,
        engine=spec.engine_name,
        slots=row.slots,
        priority=row.priority,
        jobs=sum(store.tally.values()),
        statuses=dict(statuses),
        states=dict(store.tally),
        rejected=store.rejected,
        ingesting=step.state == "expanding" and row.state in (WorkflowState.RUNNING, WorkflowState.PAUSED),
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def retry_policy(spec: WorkflowSpec) -> RetryPolicy:
    """`[retry]` in machine units."""
    delay = spec.retry.delay
    return RetryPolicy(spec.retry.max_attempts, parse_walltime_s(delay, "retry.delay") if delay else 0.0)


def _both_collected(older: Any, newer: Any) -> Collected:
    return Collected(older.ulid, older.ends | newer.ends)
