"""A workflow's errands: slow work that is done beside its supervisor and reported back to it as messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import structlog

from penstock import engines
from penstock.actors.clock import Clock
from penstock.actors.derive_tasks import Conclude, Place, Unfold
from penstock.actors.ledger import Ledger, PlannedStep
from penstock.actors.mailbox import Ref
from penstock.actors.order_book import Order
from penstock.actors.report_tasks import WriteReport
from penstock.actors.worker_tasks import Collect, CollectItem, ExportJobs, ReadChunk, Render, RenderItem
from penstock.actors.workers import WorkerLostError, Workers, WorkerStuckError
from penstock.actors.workflow_messages import (
    ChunkRead,
    Collected,
    CollectingSlowly,
    Derived,
    Projected,
    ReadingEnded,
    Staged,
)
from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome
from penstock.domain.errors import BusyError, PenstockError, SpecError, StoreError
from penstock.domain.resources import Resources
from penstock.domain.submission import Manifest
from penstock.domain.views import Selection
from penstock.store.deriving import Due
from penstock.store.rows import ReadyJob

_CHUNK: Final = 8000
_AHEAD: Final = 2  # chunks read and not yet committed
_WORKER_TRIES: Final = 3
_RETRY_S: Final = 1.0
_SLOW_S: Final = 2.0
PROJECTED_MAX: Final = 20_000
STRUCTURES_NAME: Final = "structures.db"
REPORT_NAME: Final = "report.html"


class Reading:
    """A source that is being read, a little ahead of the database."""

    def __init__(self) -> None:
        self.wanted = True
        self.room = anyio.Semaphore(_AHEAD)


class Errands:
    """Each method is a task of its own; what it brings back goes to `me`."""

    def __init__(self, me: Ref[Any], ledger: Ledger, workers: Workers, clock: Clock) -> None:
        self._me = me
        self._ledger = ledger
        self._workers = workers
        self._clock = clock
        self._log = structlog.get_logger().bind(workflow=ledger.workflow_id)

    @property
    def view(self) -> Path:
        """Where the view for ASE users is."""
        return self._ledger.directory / STRUCTURES_NAME

    async def read_source(self, reading: Reading, cursor: str) -> None:
        """Reads the source from `cursor` on until its end, or until it is not wanted any more."""
        source = self._ledger.spec.structures
        path = str(self._ledger.directory / source.kept)
        shares = self._ledger.shares_results
        engine, steps = self._ledger.spec.engine_name, self._ledger.steps.values()
        by_name = shares and any(engines.depends_on_name(engine, step.parameters) for step in steps)
        done = False
        while not done:
            await reading.room.acquire()
            if not reading.wanted:
                break
            try:
                chunk = await self._work(ReadChunk(source, path, cursor, _CHUNK, shares, by_name))
            except (SpecError, BusyError) as error:
                self._me.post(("chunk", cursor), ChunkRead(cursor, None, str(error)))
                break
            self._me.post(("chunk", cursor), ChunkRead(cursor, chunk, None))
            cursor, done = chunk.cursor, chunk.done
        self._me.post("read", ReadingEnded())

    async def stage(self, order: Order, jobs: list[ReadyJob], carried: Mapping[int, str]) -> None:
        """Renders a submission's inputs; `carried`: by job, the directory of the attempt that the next goes on from."""
        needs, step = order.submission.resources, self._ledger.step_of(order.step_id)
        manifest = Manifest(
            ulid=order.submission.ulid,
            workflow_id=self._ledger.workflow_id,
            workflow_dir=str(self._ledger.directory),
            mode=self._ledger.row.mode,
            engine=self._ledger.spec.engine_name,
            cores=needs.cores_in_all,
            walltime_s=needs.walltime_s,
            entries=[],
            memory_mb=needs.memory_mb,
            environment=order.tokens.environment(),
        )
        items = [
            _render_item(position, order.attempts[position].directory, job, step, needs, carried.get(job.id))
            for position, job in enumerate(jobs)
        ]
        carry = tuple(self._ledger.spec.checkpoint.carry)
        rendered = await self._work(Render(manifest, step.parameters.encode(), items, carry))
        staged = Staged(order.submission.ulid, rendered.manifest, rendered.errors)
        self._me.post(("staged", staged.ulid), staged)

    async def collect(self, order: Order, ended: dict[int, Exit], changed: Mapping[int, str]) -> None:
        """Reads the outputs of ended attempts; `changed`: by job, the parameters that are not those of its step."""
        items = [
            CollectItem(
                position,
                str(self._ledger.directory / order.attempts[position].directory),
                exit_,
                own.encode() if (own := changed.get(order.attempts[position].job_id)) is not None else None,
            )
            for position, exit_ in ended.items()
        ]
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._say_when_slow, order, ended)
            outcomes = await self._read_outputs(items, self._ledger.step_of(order.step_id).parameters.encode())
            beside.cancel_scope.cancel()
        ends = {position: (ended[position], outcome) for position, outcome in outcomes}
        ulid = order.submission.ulid
        self._me.post(("collected", ulid), Collected(ulid, ends), _both_collected)

    async def _read_outputs(self, items: list[CollectItem], parameters: bytes) -> list[tuple[int, Outcome]]:
        """Outputs that take the reader down are found by reading one attempt after another."""
        engine = self._ledger.spec.engine_name
        try:
            outcomes: list[tuple[int, Outcome]] = await self._work(Collect(engine, parameters, items))
        except WorkerLostError as error:
            if len(items) == 1:
                return [(items[0].position, Outcome(FailureClass.OUTPUT_INVALID, f"reading its outputs: {error}"))]
            outcomes = [outcome for item in items for outcome in await self._read_outputs([item], parameters)]
        return outcomes

    async def project(self) -> None:
        """Writes `structures.db`: a view of the results for ASE users, never a second truth.

        Large campaigns export theirs when they want it, since ASE's database takes about a millisecond a structure.
        """
        if sum(self._ledger.store.tally.values()) <= PROJECTED_MAX:
            path = str(self.view)
            task = ExportJobs(
                self._ledger.context.database, self._ledger.workflow_id, "ase", path, Selection(), overwrite=True
            )
            try:
                await self._work(task)
            except (SpecError, BusyError) as error:
                self._log.warning("structures.db not written", error=str(error))
        await self._report()
        self._me.post("projected", Projected())

    async def _report(self) -> None:
        """Writes `report.html` where analyses have said something: a view of it, as `structures.db` is."""
        ledger = self._ledger
        if not any(step.is_analysis for step in ledger.derived):
            return
        place = Place(ledger.context.database, ledger.workflow_id, str(ledger.directory))
        try:
            await self._work(WriteReport(place, str(ledger.directory / REPORT_NAME), overwrite=True))
        except PenstockError as error:
            self._log.warning("report.html not written", error=str(error))

    async def derive(self, due: Due) -> None:
        """Has a worker derive from results what is due."""
        spec = self._ledger.row.spec
        found, trouble = await self._derived(due)
        self._me.post(("derived", due.step.id, *due.of), Derived(due, spec, found, trouble))

    async def _derived(self, due: Due) -> tuple[list[Any], str | None]:
        """What a worker derives. Results that it cannot get through are found by taking one after another.

        A database that cannot be read is trouble of the workflow, and says nothing of its results: StoreError.
        """
        ledger = self._ledger
        place = Place(ledger.context.database, ledger.workflow_id, str(ledger.directory))
        task: Conclude | Unfold
        if due.step.is_analysis:
            task = Conclude(place, due.step.key, due.of)
        else:
            task = Unfold(place, due.step.key, due.of, ledger.shares_results)
        try:
            return await self._work(task), None
        except StoreError:
            raise
        except PenstockError as error:
            if len(due.of) == 1:
                return [], str(error)
        parts = [await self._derived(Due(due.step, (one,))) for one in due.of]
        return [found for part, _ in parts for found in part], next((trouble for _, trouble in parts if trouble), None)

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
                return await self._workers.run(task)
            except WorkerStuckError:
                raise
            except WorkerLostError as error:
                self._log.warning("worker lost, asking another", task=type(task).__name__, error=str(error))
                await self._clock.sleep(_RETRY_S)
        return await self._workers.run(task)


def _render_item(
    position: int, directory: str, job: ReadyJob, step: PlannedStep, needs: Resources, carried_from: str | None
) -> RenderItem:
    """An attempt as it is rendered: from where the job's last attempt, or the step before, came to."""
    start = job.goes_on_from
    calculation = Calculation(
        job.name,
        start.geometry if start and start.geometry else job.geometry,
        job.charge,
        job.multiplicity,
        needs.cores,
        needs.memory_mb,
        needs.tasks,
        start.deck if start and start.deck else job.deck,
        start.files if start else (),
    )
    parameters = step.parameters_of(job.parameters, job.own)
    # What the step before left is needed; files of an attempt that ran out of walltime are a help.
    carry_from = start.directory if start and (start.files or carried_from is None) else carried_from
    is_own = carry_from is not None and (job.resume is not None or carry_from == carried_from)
    encoded = parameters.encode() if parameters is not None else None
    return RenderItem(position, directory, job.id, calculation, carry_from, encoded, is_own)


def _both_collected(older: Any, newer: Any) -> Collected:
    return Collected(older.ulid, older.ends | newer.ends)
