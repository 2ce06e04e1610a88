"""A workflow's ledger: its row, step and store, and every change of them, committed first and told afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import engines
from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.figures import Figures, Standing
from penstock.actors.results import Response
from penstock.actors.story import tell_all
from penstock.actors.workflow_log import WorkflowLog
from penstock.actors.workflow_messages import Touched
from penstock.clusters.feasibility import largest
from penstock.domain.budget import Queueing
from penstock.domain.calculation import PackedChunk
from penstock.domain.completion import CompletionAction
from penstock.domain.context import LIBRARY, Context, Mode
from penstock.domain.errors import ConflictError
from penstock.domain.pause import PAUSED_BY_REQUEST, refused_reason
from penstock.domain.remedy import effective_rules
from penstock.domain.resources import Resources, parse_memory_mb, parse_walltime_s
from penstock.domain.retry import MEMORY_MAX_MB, WALLTIME_MAX_S, RetryPolicy
from penstock.domain.revision import Revision
from penstock.domain.sameness import method_key
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import ACTIVE, ENDED, JobState, WorkflowState, public_counts
from penstock.domain.subject import overlaid
from penstock.domain.views import EventInfo, Selection, WorkflowInfo
from penstock.recipes.recipe import ANALYSIS, UNFOLD, Step, StepView, View
from penstock.recipes.record import RECORD
from penstock.recipes.registry import get_recipe
from penstock.store.deriving import FAILED_CONCLUSIONS, NOT_UNFOLDED, DerivedStep, Due, look_for_due
from penstock.store.events import Event, counted
from penstock.store.resuming import go_on
from penstock.store.rows import NewStep, OpenSubmission, StepRow, WorkflowRow
from penstock.store.selection import RUN_HERE, Where, in_states, where_selected
from penstock.store.workflow_store import WorkflowStore, timestamp

_ROUTINE: Final = frozenset(
    {
        *("job_started", "job_completed", "submission_intended", "job_adopted", "metrics_recomputed"),
        *("job_reused", "job_awaits"),
    }
)
_MOVES: Final = frozenset({"jobs_ingested", "submission_intended", "jobs_unfolded", "subject_concluded"})
_NO_JOB: Final = "the selection holds no job"
LOG_NAME: Final = "workflow.log"


class PlannedStep(msgspec.Struct, frozen=True):
    """A step as its jobs are run: what they ask for, the engine's parameters (JSON), the outputs that are read."""

    id: int
    key: str
    needs: Resources
    parameters: str
    outputs: tuple[str, ...]
    optional: bool = False

    def parameters_of(self, changed: str | None, own: str | None) -> str | None:
        """The engine's parameters of one of its jobs, where they are others: as remedies changed them, or its own."""
        return changed or (overlaid(self.parameters, own) if own else None)


class Ledger:
    """What is recorded of a workflow. `row`, `spec` (and what is read from it) and `step` are there once loaded.

    `step` is the fan over the source; `steps` are all that have jobs by id, those that go on from it included.
    `derived` are those that make jobs, or conclusions, of results.
    """

    row: WorkflowRow
    spec: WorkflowSpec
    step: StepRow
    steps: dict[int, PlannedStep]
    derived: list[DerivedStep]

    def __init__(self, context: Context, store: WorkflowStore, board: Board, clock: Clock) -> None:
        self.context = context
        self.workflow_id = context.workflow_id
        self.directory = Path(context.directory)
        self.store = store
        self.log = WorkflowLog(self.directory / LOG_NAME)
        self._board = board
        self._clock = clock
        self._moved = False  # since it was pinned
        self._states: dict[str, int] = {}

    async def load(self) -> list[OpenSubmission]:
        """Reads everything and plans what is missing; returns the submissions that are open."""
        self.row, steps, open_submissions = await self.store.load()
        await self._find_progress()
        self.spec = msgspec.json.decode(self.row.spec, type=WorkflowSpec)
        self.options = self.spec.scheduler.options()
        self.policy = retry_policy(self.spec)
        self.engine = engines.get(self.spec.engine_name)
        wanted = self._wanted(steps)
        rows = await self._plan(steps, wanted)
        fans = [row for row in rows if row.kind not in (UNFOLD, ANALYSIS)]
        self.step = next(row for row in fans if row.after is None)
        self._links = [row for row in fans if row.after is not None]
        planned = {step.key for step in wanted}  # another spec may want less to be derived
        self.derived = [step for step in _derived_steps(rows) if step.key in planned]
        self.rules = effective_rules(self.spec.remedies, self.engine.rules, compares=bool(self.derived))
        self.steps = {row.id: self._planned(row) for row in rows if row.kind != ANALYSIS}
        self._methods = self._name_methods(rows) if self.shares_results else {}
        return open_submissions

    async def _find_progress(self) -> None:
        """When a job of it last moved, as far as is known: what an earlier daemon saw counts, too."""
        known = self._board.figures.standings.get(self.workflow_id)
        self._progressed_at = known.progressed_at if known else await self.store.last_told() or self.row.created_at
        self._states = dict(self.store.tally)

    async def look_for_due(self, at_once: int) -> Due | None:
        """What can be derived from results now, so many at most of a step."""
        all_ended = self.step.state != "expanding" and all(JobState(state) in ENDED for state in self.store.tally)
        return await look_for_due(
            self.store.fetch, self.workflow_id, self.derived, all_ended=all_ended, at_once=at_once
        )

    async def claim(self, daemon: str | None) -> None:
        """Writes down whose the workflow is, where something else is written: it was moved, or is of an old release."""
        if daemon is not None and self.row.daemon != daemon:
            await self.store.claim(daemon)
            self.row = msgspec.structs.replace(self.row, daemon=daemon)

    @property
    def shares_results(self) -> bool:
        """Whether what other workflows have calculated is not calculated again."""
        return self.context.mode is Mode.SHARED

    def _name_methods(self, rows: Sequence[StepRow]) -> dict[int, str]:
        """By step, the key of how its jobs are calculated, the steps before it included."""
        methods: dict[str | None, str] = {None: ""}
        for row in rows:
            if row.kind in (UNFOLD, ANALYSIS):
                continue
            parameters = self.steps[row.id].parameters
            methods[row.key] = method_key(self.spec.engine_name, parameters, methods[row.after])
        return {row.id: methods[row.key] for row in rows if row.key in methods}

    def _wanted(self, steps: list[StepRow]) -> list[Step]:
        """The steps that the recipe wants."""
        view = View(self.spec, tuple(StepView(step.key, step.state, dict(self.store.tally)) for step in steps))
        return get_recipe(self.row.recipe).steps(view)

    async def _plan(self, steps: list[StepRow], wanted: list[Step]) -> list[StepRow]:
        """Inserts the steps that are wanted and do not exist; returns all."""
        if {step.key for step in wanted} - {step.key for step in steps}:
            steps = await self.store.add_steps([new_step(step, self.row.parameters) for step in wanted])
        return steps

    def _planned(self, row: StepRow) -> PlannedStep:
        needs = msgspec.json.decode(row.resources, type=Resources) if row.resources else self.spec.needs()
        parameters = row.parameters or self.row.parameters
        outputs = self.engine.outputs(msgspec.json.decode(parameters, type=self.engine.parameters_type))
        return PlannedStep(row.id, row.key, needs, parameters, outputs, row.optional)

    def step_of(self, step_id: int | None) -> PlannedStep:
        """The step of that id; None: of the time when a workflow had one step only."""
        return self.steps[self.step.id if step_id is None else step_id]

    @property
    def figures(self) -> Figures:
        """What is counted of all workflows."""
        return self._board.figures

    @property
    def runs_in_python(self) -> bool:
        """Whether a warm runner works through its jobs."""
        return self.engine.kind == "python"

    @property
    def slots(self) -> int:
        """How many slots it may use."""
        return self.spec.limits.slots(self.row.slots)

    def response(self, step_id: int | None) -> Response:
        """How failures of a step's attempts are answered."""
        step = self.step_of(step_id)
        return Response(
            self.policy_here(step.needs),
            step.parameters,
            self.engine.parameters_type,
            self.rules,
            self.spec.remedies.total,
        )

    def policy_here(self, asked: Resources) -> RetryPolicy:
        """How failures of what `asked` for so much are answered; no cluster can give more than it has."""
        memory_mb, walltime_s = self._most_there()
        policy = self.policy
        if memory_mb is not None:
            most = min(policy.memory_max_mb, max(memory_mb, asked.memory_mb))
            policy = msgspec.structs.replace(policy, memory_max_mb=most)
        if walltime_s is not None:
            longest = min(policy.walltime_max_s, max(walltime_s, asked.walltime_s))
            policy = msgspec.structs.replace(policy, walltime_max_s=longest)
        return policy

    def _most_there(self) -> tuple[int | None, int | None]:
        """The most memory and walltime that the workflow's cluster gives to one job, None where nobody knows."""
        name, queueing = self.spec.cluster, self.queueing
        if queueing is None:
            local = self._board.clusters.get(name)
            return (local.memory_mb if local else None), None
        limits = self._board.limits.get(name)
        most = largest(self.options.over(queueing.defaults), limits) if limits else None
        return (most.memory_mb_per_node, most.walltime_s) if most else (None, None)

    @property
    def queueing(self) -> Queueing | None:
        """What the workflow's cluster takes, if it has a scheduler."""
        return self._board.queueing.get(self.spec.cluster)

    @property
    def state(self) -> WorkflowState:
        """Where the workflow stands."""
        return WorkflowState(self.row.state)

    def pin(self, slots_held: int, awaiting: int = 0) -> None:
        """Shows everybody where it stands; `slots_held`: how many of its slots hold submitted work.

        `awaiting`: how many of its jobs wait for calculations of other workflows.
        """
        info = describe_workflow(self)
        if self._moved or info.states != self._states:
            self._moved, self._states, self._progressed_at = False, info.states, self._clock.time()
        standing = Standing(self.slots, slots_held, self._progressed_at, awaiting if self.shares_results else None)
        self._board.figures.standings[self.workflow_id] = standing
        self._board.pin(info)

    def emit(self, events: list[EventInfo]) -> None:
        """Tells watchers, the daemon's log, and, of what is not routine, the workflow's own."""
        self._board.emit(events)
        tell_all(events, self.spec.cluster, self.store.tally)
        self._moved = self._moved or any(e.job or e.kind in _MOVES for e in events)
        self.log.put(
            f"{timestamp(e.at)} {e.kind} {f'job {e.job}: ' if e.job else ''}{e.text}\n"
            for e in events
            if e.kind not in _ROUTINE
        )

    async def pause(self, selection: Selection | None) -> Touched:
        """Starts nothing more; with a selection, holds those jobs."""
        if selection is None:
            return await self._switch(WorkflowState.RUNNING, WorkflowState.PAUSED, PAUSED_BY_REQUEST)
        return await self._move(selection, JobState.READY, JobState.HELD, "jobs_held")

    def refuse_record(self) -> None:
        """ConflictError where nothing says how jobs are to be run."""
        if self.row.recipe == LIBRARY:
            raise ConflictError(
                f"workflow {self.workflow_id} was made through the library (penstock.open_context): only the program "
                "that made it can calculate its jobs"
            )
        if self.row.recipe == RECORD and not self.store.tally:
            raise ConflictError(
                f"workflow {self.workflow_id} is a record of executions, and nothing runs those; look at them with "
                f"'penstockctl executions {self.workflow_id}'"
            )
        if self.row.recipe == RECORD:
            raise ConflictError(
                f"workflow {self.workflow_id} is a record of what another tool did, imported without a spec; nothing "
                "says how to run its jobs. Import the same file again, as another workflow: "
                f"penstockctl import {self.spec.structures.source} --spec FILE --id ID"
            )

    @property
    def is_settled_record(self) -> bool:
        """Whether it is a record in which nothing is open any more."""
        return self.row.recipe == RECORD and all(JobState(state) in ENDED for state in self.store.tally)

    async def resume(self, selection: Selection | None, revision: Revision | None = None) -> Touched:
        """Undoes a pause, or goes on with a workflow that failed or was cancelled; `revision`: with another spec."""
        self.refuse_record()
        if selection is not None:
            return await self._move(selection, JobState.HELD, JobState.READY, "jobs_released")
        if revision is None and self.state in (WorkflowState.RUNNING, WorkflowState.PAUSED):
            return await self._switch(WorkflowState.PAUSED, WorkflowState.RUNNING, None)
        self._refuse_revision(revision)
        steps = () if revision is None else self._revised_steps(revision)
        is_due = await self.look_for_due(1) is not None
        goes_on = partial(go_on, workflow_id=self.workflow_id, revision=revision, steps=steps, is_due=is_due)
        amendment, events = await self.store.amend(goes_on)
        self.emit(events)
        if not amendment.events:
            raise ConflictError(
                f"workflow {self.workflow_id} is {self.state} and nothing of it is left to do; "
                f"to run jobs again: penstockctl retry {self.workflow_id} --job N"
            )
        await self.load()
        return Touched(len(amendment.changed))

    def _refuse_revision(self, revision: Revision | None) -> None:
        """ConflictError while attempts are under way: what they leave is read as what they were begun with."""
        if self.state is WorkflowState.RUNNING:
            raise ConflictError(
                f"workflow {self.workflow_id} is running; pause it, and change it when what runs now has ended"
            )
        if active := sum(self.store.tally[state] for state in ACTIVE):
            raise ConflictError(
                f"{counted(active)} of workflow {self.workflow_id} {'is' if active == 1 else 'are'} still under way; "
                "say it again when they have ended"
            )
        if revision is not None and revision.before != self.row.spec:
            raise ConflictError(f"workflow {self.workflow_id} was changed meanwhile; look at it and say it again")

    def _revised_steps(self, revision: Revision) -> list[NewStep]:
        """What the steps have of their own under a revision."""
        spec = msgspec.json.decode(revision.spec, type=WorkflowSpec)
        steps = get_recipe(self.row.recipe).steps(View(spec, ()))
        return [new_step(step, revision.parameters) for step in steps]

    async def mark(self, selection: Selection, *, never_rerun: bool) -> Touched:
        """Sets or clears the never-rerun mark."""
        where = where_selected(self.workflow_id, selection)
        touched = await self.store.mark_never_rerun(where, marked=never_rerun)
        if never_rerun:  # a job that only waits for its next try has failed, then
            waiting = where & in_states(JobState.READY) & Where("failure IS NOT NULL")
            _, events = await self.store.move_jobs(waiting, JobState.FAILED, Event("jobs_given_up", 0))
            self.emit(events)
        return Touched(touched, note=None if touched else _NO_JOB)

    async def _switch(self, before: WorkflowState, after: WorkflowState, reason: str | None) -> Touched:
        if self.row.state == after:
            return Touched(0, note=f"the workflow is {after} already")
        if self.row.state != before:
            raise ConflictError(f"workflow {self.workflow_id} is {self.row.state}, not {before}")
        await self.set_state(after, reason)
        return Touched(sum(self.store.tally[state] for state in (JobState.READY, JobState.HELD)))

    async def _move(self, selection: Selection, before: JobState, after: JobState, kind: str) -> Touched:
        where = where_selected(self.workflow_id, selection)
        total = await self.store.count(where)
        moved, events = await self.store.move_jobs(where & in_states(before) & RUN_HERE, after, Event(kind, 0))
        self.emit(events)
        left = total - moved
        return Touched(moved, left, f"{left} were not {before}" if left else None if total else _NO_JOB)

    async def retry(self, selection: Selection) -> Touched:
        """Makes selected ended jobs ready again, those marked never-rerun left out."""
        self.refuse_record()
        where = where_selected(self.workflow_id, selection)
        if self.derived:
            where &= NOT_UNFOLDED
        ended = [JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.SKIPPED]
        if selection.jobs or JobState.COMPLETED in selection.statuses:
            ended.append(JobState.COMPLETED)
        again = where & in_states(*ended) & RUN_HERE
        marked = await self.store.count(again & Where("never_rerun = 1"))
        total = await self.store.count(where) if selection.jobs else await self.store.count(again)
        unfinished = self.step.state == "failed"
        if not unfinished and not await self.store.count(again & Where("never_rerun = 0")):
            return Touched(0, total, _left_note(total, marked))
        # The workflow runs before anything else changes: killed in between, it finds that it has ended once more.
        if self.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
            await self.set_state(WorkflowState.RUNNING, None)
        if unfinished:
            await self.set_step("expanding")  # the source is tried again from where it could not be read
        moved, events = await self.store.move_jobs(
            again & Where("never_rerun = 0"), JobState.READY, Event("jobs_reset", 0), reset=True
        )
        self.emit(events)
        return Touched(moved, total - moved, _left_note(total - moved, marked))

    async def change_budget(self, slots: int | None, priority: int | None) -> Touched:
        """Slots or priority, by request."""
        changes: dict[str, Any] = {
            name: value for name, value in (("slots", slots), ("priority", priority)) if value is not None
        }
        if slots is not None:
            changes["slots_origin"] = "set"
        if changes:
            await self.set_budget(changes)
        return Touched(0)

    async def set_budget(self, changes: dict[str, Any]) -> None:
        """Changes columns of the workflow, whoever wants it."""
        events = await self.store.set_workflow(Event("workflow_changed", 0, changes), **changes)
        self.row = msgspec.structs.replace(self.row, **changes)
        self.emit(events)

    async def pause_refused(self, refused: str) -> None:
        """Stops submitting what the scheduler will never take, until a person has looked at it."""
        if self.state is WorkflowState.RUNNING:
            reason = refused_reason(self.spec.cluster, self.workflow_id, refused)
            await self.set_state(WorkflowState.PAUSED, reason, Event("workflow_paused", 0, {"reason": reason}))
            self._board.figures.refusals[self.spec.cluster] += 1

    async def set_state(
        self,
        state: WorkflowState,
        reason: str | None,
        event: Event | None = None,
        actions: Sequence[CompletionAction] = (),
    ) -> None:
        """Records the workflow's state and why, and what is to be done at its end."""
        event = event or Event("workflow_state", 0, {"state": state, "reason": reason})
        self.emit(await self.store.set_workflow(event, actions=actions, state=state, reason=reason))
        self.row = msgspec.structs.replace(self.row, state=state, reason=reason, updated_at=self._clock.time())

    def note_running(self) -> None:
        """The workflow runs again: it is in the database already."""
        self.row = msgspec.structs.replace(
            self.row, state=WorkflowState.RUNNING, reason=None, updated_at=self._clock.time()
        )

    async def end(self) -> None:
        """Records how the workflow has ended, and with it what is to be done then."""
        state, reason = await self.verdict()
        if self.step.state != "failed":
            await self.set_step("completed")
        failed = state is WorkflowState.FAILED
        actions = [action for action in self.spec.on_complete if action.is_due(failed=failed)]
        if state is WorkflowState.CANCELLED:
            actions = []
        await self.set_state(state, reason, actions=actions)

    async def verdict(self) -> tuple[WorkflowState, str | None]:
        """How a workflow ends that has nothing left to do. Optional steps may fail."""
        bad = self.store.tally[JobState.FAILED] + self.store.tally[JobState.TIMEOUT]
        if bad and any(step.optional for step in self.steps.values()):
            by_step = await self.store.count_by_step(JobState.FAILED, JobState.TIMEOUT)
            bad = sum(jobs for step_id, jobs in by_step.items() if not self.steps[step_id].optional)
        if self.step.state == "failed":
            return WorkflowState.FAILED, self.row.reason or "the source could not be read to its end"
        if not sum(self.store.tally.values()):
            return WorkflowState.FAILED, f"the source gave no usable structure ({self.store.rejected} rejected)"
        if self.derived and (failed := await self.store.fetch(FAILED_CONCLUSIONS, [self.workflow_id])):
            first = f"{failed[0][0]} of {failed[0][1]}: {failed[0][2]}"
            return WorkflowState.FAILED, first + (f" (and {len(failed) - 1} more)" if failed[1:] else "")
        if bad:
            skipped = self.store.tally[JobState.SKIPPED]
            return WorkflowState.FAILED, f"{counted(bad)} failed" + (f", {skipped} skipped" if skipped else "")
        if not self.store.tally[JobState.COMPLETED] and self.store.tally[JobState.CANCELLED]:
            return WorkflowState.CANCELLED, "all its jobs were cancelled"
        return WorkflowState.COMPLETED, None

    async def take_in(self, chunk: PackedChunk) -> None:
        """A run of structures becomes ready jobs."""
        self.emit(await self.store.add_chunk(self.step, self.row.namespace, chunk, self._links, self._methods))
        state = "running" if chunk.done else "expanding"
        self.step = msgspec.structs.replace(self.step, cursor=chunk.cursor, state=state)

    async def set_step(self, state: str) -> None:
        """Records where the step stands."""
        await self.store.set_step(self.step, state)
        self.step = msgspec.structs.replace(self.step, state=state)


def new_step(step: Step, parameters: str) -> NewStep:
    """A step as it is stored, where `parameters` (JSON) are the workflow's."""
    return NewStep(
        step.key,
        step.kind,
        step.after,
        step.parameters_over(parameters) if step.engine else None,
        msgspec.json.encode(step.resources).decode() if step.resources else None,
        step.optional,
        step.whole,
    )


def _derived_steps(rows: Sequence[StepRow]) -> list[DerivedStep]:
    """The steps that are derived from results, in the order of the plan."""
    ids = {row.key: row.id for row in rows}
    return [
        DerivedStep(row.id, row.key, row.kind == ANALYSIS, row.whole, ids[row.after] if row.after else None)
        for row in rows
        if row.kind in (UNFOLD, ANALYSIS)
    ]


def _left_note(left: int, marked: int) -> str | None:
    notes = [f"{marked} are marked never-rerun"] if marked else []
    if left > marked:
        notes.append(f"{left - marked} have not ended")
    return "; ".join(notes) or None


def raised_needs(needs: Resources, memory_mb: int | None, walltime_s: int | None) -> Resources:
    """What attempts get: what their step asks for, unless their jobs were given more."""
    raised = {"memory_mb": memory_mb, "walltime_s": walltime_s}
    return msgspec.structs.replace(needs, **{name: value for name, value in raised.items() if value})


def describe_workflow(ledger: Ledger) -> WorkflowInfo:
    """What people see of a workflow."""
    row, spec, store = ledger.row, ledger.spec, ledger.store
    return WorkflowInfo(
        id=row.workflow_id,
        recipe=row.recipe,
        state=row.state,
        directory=str(ledger.directory),
        mode=row.mode,
        cluster=spec.cluster,
        engine=spec.engine_name,
        slots=row.slots,
        priority=row.priority,
        jobs=sum(store.tally.values()),
        statuses=public_counts(store.tally),
        states=dict(store.tally),
        rejected=store.rejected,
        ingesting=ledger.step.state == "expanding" and row.state in (WorkflowState.RUNNING, WorkflowState.PAUSED),
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        database=ledger.context.database,
        completions=dict(store.completions),
    )


def retry_policy(spec: WorkflowSpec) -> RetryPolicy:
    """`[retry]` and what goes on from a checkpoint, in machine units."""
    table = spec.retry
    return RetryPolicy(
        max_attempts=table.max_attempts,
        delay_s=parse_walltime_s(table.delay, "retry.delay") if table.delay else 0.0,
        walltime_growth=table.walltime_growth,
        walltime_max_s=parse_walltime_s(table.walltime_max) if table.walltime_max else WALLTIME_MAX_S,
        memory_growth=table.memory_growth,
        memory_max_mb=parse_memory_mb(table.memory_max) if table.memory_max else MEMORY_MAX_MB,
        continues=bool(spec.checkpoint.carry),
    )
