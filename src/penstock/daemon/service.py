"""What the daemon answers: every request of the control protocol, carried out on workflows, store and clusters."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from penstock import __version__
from penstock.actors.board import Board
from penstock.actors.worker_tasks import REJECTED_SHOWN, ExportJobs, SourcePlan
from penstock.actors.workers import WorkerPool, run_unless_silent
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    ChangeBudget,
    JobCommand,
    MarkJobs,
    PauseWorkflow,
    ResolveJobs,
    ResumeWorkflow,
    RetryJobs,
    Touched,
)
from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.daemon.adoption import adopt
from penstock.daemon.backups import back_up
from penstock.daemon.cluster_tables import LOCAL
from penstock.daemon.completion import Completions
from penstock.daemon.config import Config
from penstock.daemon.creation import Request, check_fits, check_request
from penstock.daemon.imports import executions_of, import_databases, structures_of
from penstock.daemon.locks import LockDesk
from penstock.daemon.log_reading import read_log
from penstock.daemon.log_ring import LogRing
from penstock.daemon.merging import merge_results
from penstock.daemon.metrics.registry import Metrics
from penstock.daemon.request_log import carry_out, tell_stream
from penstock.daemon.results import answer_about_results
from penstock.daemon.resuming import resume_revised
from penstock.daemon.retention import WHOLE, Retention
from penstock.daemon.reviews import review, word_on_job
from penstock.daemon.streams import Streams, job_record
from penstock.daemon.sweeps import find_sweep, list_sweeps, refuse_sweep, submit_sweep
from penstock.daemon.why import explain, look_around
from penstock.daemon.workflows import Workflows
from penstock.domain import settings
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, SpecError
from penstock.domain.resources import Resources
from penstock.domain.spec import SLOTS_MAX, WorkflowSpec, decode_spec, in_file, parse_toml
from penstock.domain.states import JobState, WorkflowState
from penstock.domain.views import (
    AnalysisInfo,
    ClusterInfo,
    ClusterReport,
    ConclusionInfo,
    Finding,
    RejectedInfo,
    WorkflowInfo,
)
from penstock.files.threads import SilentError, ask_in_thread, refuse_silent
from penstock.recipes.recipe import Step
from penstock.recipes.record import RECORD
from penstock.recipes.registry import draws_conclusions
from penstock.store import export, queries, table
from penstock.store.completion import load_completions
from penstock.store.result_pages import how_analyses_are

_DEADLINE_S: Final = 60.0
_FAILURES_SHOWN: Final = 10


_Change = m.Pause | m.Resume | m.Cancel | m.Retry | m.Mark | m.Resolve | m.SetWorkflow


class ClusterDesk(Protocol):
    """Who knows the clusters with a scheduler from inside."""

    async def report(self, name: str) -> ClusterReport:
        """What a site's administrators would ask."""

    def check(self, name: str) -> AsyncGenerator[Finding]:
        """Looks at everything that a job needs, one by one; closed when nobody listens any more."""

    def refuse_impossible(self, spec: WorkflowSpec, needs: Sequence[Resources] = ()) -> None:
        """SpecError when the site could never run a job of it, as far as its limits are known.

        `needs`: what the jobs of each of its steps ask for, where that is not what the spec says.
        """


class Service:
    """The handler behind the control server."""

    def __init__(  # noqa: PLR0913 - all that requests are about
        self,
        workflows: Workflows,
        board: Board,
        workers: WorkerPool,
        metrics: Metrics,
        layers: Callable[[], list[settings.Layer]],
        desk: ClusterDesk,
        locks: LockDesk,
        *,
        completions: Completions,
        whole: Retention | None = None,
        ring: LogRing | None = None,
        config: Callable[[], Config] = Config,
    ) -> None:
        self._workflows = workflows
        self._board = board
        self._workers = workers
        self._metrics = metrics
        self._layers = layers
        self._desk = desk
        self._locks = locks
        self._completions = completions
        self._streams = Streams(workflows, board)
        self._ring = ring or LogRing(0)
        self._whole = whole  # what is done to workflows as a whole
        self._config = config
        self._started_at = time.monotonic()

    async def call(self, request: m.Request[Any], peer: Peer) -> m.AnyReply:
        """The reply to a plain request. Every allowed peer is equal; who changed something is in the log."""
        self._metrics.count_request(request)
        return await carry_out(request, peer, partial(self._answer_in_time, peer))

    async def _answer_in_time(self, peer: Peer, request: m.Request[Any]) -> m.AnyReply:
        with _silence_told():
            return await self._reply(peer, request)

    async def _reply(self, peer: Peer, request: m.Request[Any]) -> m.AnyReply:  # noqa: PLR0911 - one line a kind
        match request:
            case m.Submit() | m.SubmitSweep() | m.Adopt() | m.Plan() | m.GetSettings():
                return await self._before_creation(request)
            case m.Import() | m.ListExecutions() | m.GetExecution():
                return await self._imported(request)
            case m.Pause() | m.Resume() | m.Cancel() | m.Retry() | m.Mark() | m.Resolve() | m.SetWorkflow():
                return await self._change(request)
            case m.Revise() | m.RepeatCompletion():
                return await self._go_on(request)
            case m.Rescan() | m.RecomputeMetrics() | m.ResetMissing():
                return await review(self._workflows, request)
            case m.ListResults() | m.WriteResults() | m.WriteReport():
                return await answer_about_results(self._workflows, self._workers, request)
            case m.ListLocks() | m.ReleaseLock():
                return await self._locks.answer(request)
            case _ if isinstance(request, WHOLE) and self._whole is not None:
                return await self._whole.answer(request)
            case m.SetJob():
                await self._workflows.ask(request.id, word_on_job(request, peer), _DEADLINE_S)
                return await self._job(request.id, request.job)
            case _:
                return await self._answer(request)

    async def _imported(self, request: m.Import | m.ListExecutions | m.GetExecution) -> m.AnyReply:
        if isinstance(request, m.Import):
            return await self._import(request)
        return await executions_of(self._workflows, request)

    async def _before_creation(
        self, request: m.Submit | m.SubmitSweep | m.Adopt | m.Plan | m.GetSettings
    ) -> m.AnyReply:
        """What makes workflows, or would."""
        match request:
            case m.Adopt():
                return await adopt(request, self._workflows, self._refuse_impossible, self._board.clusters)
            case m.SubmitSweep():
                return await submit_sweep(request, self._wish, self._workflows, self._board.clusters)
            case m.Submit():
                wish = await self._ask_checked(request)
                try:
                    workflow_id, directory = await self._workflows.create(wish, self._board.clusters)
                except SpecError as error:
                    raise in_file(error, request.text, request.file) from error
                return m.Accepted(workflow_id, str(directory))
            case m.Plan():
                return await self._plan(request)
            case m.GetSettings(layers):
                resolved = settings.resolve(settings.check_layer(layer) for layer in self._all_layers(layers))
                return m.Settings(tuple(m.SettingInfo(key, *setting) for key, setting in resolved.items()))

    async def _change(self, request: _Change) -> m.Changed | m.WorkflowStatus:
        match request:
            case m.Resume(id=id_, selection=None):
                return await self._resume(id_)
            case m.SetWorkflow(id=id_, slots=slots, priority=priority):
                if slots is not None and not 1 <= slots <= SLOTS_MAX:
                    raise SpecError(f"must be between 1 and {SLOTS_MAX}, not {slots}", key="slots")
                if priority is not None and not -1000 <= priority <= 1000:
                    raise SpecError(f"must be between -1000 and 1000, not {priority}", key="priority")
                await self._touch(id_, ChangeBudget(slots, priority))
                return await self._status(id_)
            case _:
                return await self._touch(request.id, _command_of(request))

    async def _go_on(self, request: m.Revise | m.RepeatCompletion) -> m.Revised | m.WorkflowStatus:
        match request:
            case m.Revise():
                return await resume_revised(request, self._workflows, self._refuse_impossible, self._board.clusters)
            case m.RepeatCompletion(id=id_, position=position):
                await self._completions.again(id_, position)
                return await self._status(id_)

    def _pong(self) -> m.Pong:
        config = self._config()
        file = config.file if config.file == settings.BUILT_IN else str(Path(config.file).absolute())
        return m.Pong(os.getpid(), __version__, time.monotonic() - self._started_at, file, config.read_at)

    async def _answer(self, request: m.Request[Any]) -> m.AnyReply:  # noqa: PLR0911 - one line a request
        match request:
            case m.Ping():
                return self._pong()
            case m.ListWorkflows(state=state):
                found = (w for w in self._board.workflows.values() if state in (None, w.state))
                return m.Workflows(tuple(found))
            case m.GetStatus(id=id_):
                return await self._status(id_)
            case m.ListSweeps():
                return await list_sweeps(self._workflows)
            case m.GetSweep(name=name):
                return await find_sweep(name, self._workflows)
            case m.ListClusters():
                return m.Clusters(tuple(self._board.clusters.values()))
            case m.ReportCluster(name=name):
                return m.ClusterReported(await self._desk_for(name).report(name))
            case _:
                return await self._look_up(request)

    async def _look_up(self, request: m.Request[Any]) -> m.AnyReply:  # noqa: PLR0911 - one line a request
        """What only a workflow's database knows."""
        match request:
            case m.ListJobs():
                return await self._jobs(request)
            case m.GetJob(id=id_, job=job):
                return await self._job(id_, job)
            case m.Summarize(id=id_):
                info = self._workflows.info(id_)
                summary = await ask_in_thread(info.database, queries.summarize, Path(info.database), id_)
                return m.Summary(info, *msgspec.structs.astuple(summary))
            case m.Tabulate(id=id_, limit=limit, offset=offset):
                return await self._table(id_, limit, offset)
            case m.Export():
                return await self._export(request)
            case m.Explain(id=id_, job=job):
                return await self._why(id_, job)
            case m.GetSpec(id=id_):
                return m.StoredSpec(id_, msgspec.json.decode(await self._spec(id_)))
            case m.Merge():
                return await merge_results(self._workflows, self._workers, request)
            case m.Backup():
                return await back_up(self._workflows.info(request.id), request, self._workers)
        raise NotFoundError(f"this daemon does not know the request {type(request).__name__}; upgrade it")

    # ---- submitting -------------------------------------------------------------------------------------------------

    def _all_layers(self, layers: tuple[settings.Layer, ...]) -> list[settings.Layer]:
        return [*self._layers(), *layers]

    async def _ask_checked(self, request: m.Submit | m.Plan, structures: dict[str, str] | None = None) -> Request:
        """As `_checked`, which goes to the work directory and, for templates, to where the spec is; SilentError."""
        await refuse_silent(Path(request.file).parent)
        return await ask_in_thread(request.work_root, self._checked, request, structures)

    def _checked(self, request: m.Submit | m.Plan, structures: dict[str, str] | None = None) -> Request:
        """The request's spec; `structures` take the place of its own."""
        tables = parse_toml(request.text, request.file)
        if structures is not None:
            tables = tables | {"structures": structures}
        try:
            refuse_sweep(tables)
        except SpecError as error:
            raise in_file(error, request.text, request.file) from error
        return self._wish(tables, request, request.layers)

    def _wish(
        self, tables: dict[str, Any], request: m.Submit | m.SubmitSweep | m.Plan, given: tuple[settings.Layer, ...]
    ) -> Request:
        """A spec's tables with the layers around them, checked as far as that goes without reading the source."""
        layers = self._all_layers(given)
        spec = decode_spec(settings.apply(tables, layers), request.text, request.file)
        own = settings.Layer(request.file, tables)
        above = [layer for layer in layers if layer.origin == settings.COMMAND_LINE]
        below = [layer for layer in layers if layer.origin != settings.COMMAND_LINE]
        slots_origin = settings.resolve([*below, own, *above])["slots"].origin
        try:
            wish = check_request(spec, request.work_root, request.file, slots_origin, self._board.clusters)
            self._refuse_impossible(spec, wish.needs())
        except SpecError as error:
            raise in_file(error, request.text, request.file) from error
        return wish

    def _refuse_impossible(self, spec: WorkflowSpec, needs: Sequence[Resources]) -> None:
        """SpecError for what could never run here: no cluster gives it, or there is no such shared resource."""
        self._desk.refuse_impossible(spec, needs)
        self._locks.refuse_impossible(spec.locks)

    async def _plan(self, request: m.Plan) -> m.Planned:
        wish = await self._ask_checked(request)
        try:
            source = await self._workflows.plan(wish, self._board.clusters)
        except SpecError as error:
            raise in_file(error, request.text, request.file) from error
        steps = tuple(_planned(wish.spec, step, source) for step in wish.steps)
        rejected = tuple(RejectedInfo(*shown) for shown in source.rejected_shown)
        working = [step for step in wish.steps if step.runs_jobs]
        hours = sum(
            source.jobs_of(step.key) * needs.cores_in_all * needs.walltime_s / 3600
            for step, needs in zip(working, wish.needs(), strict=True)
        )
        jobs = sum(step.jobs for step in steps)
        return m.Planned(wish.spec.id, steps, jobs, rejected, source.rejected, hours, source.structures)

    async def _import(self, request: m.Import) -> m.Imported:
        wish: Request | None = None
        if request.text is not None:
            spec = m.Plan(request.text, request.file, request.work_root, request.layers)
            structures = structures_of(request)
            wish = await self._ask_checked(spec, structures)
        try:
            if wish is not None:
                for needs in wish.needs():
                    check_fits(needs, self._board.clusters[wish.spec.cluster])
            return await import_databases(request, wish, self._workflows, self._workers)
        except SpecError as error:
            raise in_file(error, request.text or "", request.file) from error

    # ---- changing ---------------------------------------------------------------------------------------------------

    async def _touch(self, workflow_id: str, message: Any) -> m.Changed:
        touched = await self._workflows.ask(workflow_id, message, _DEADLINE_S)
        assert isinstance(touched, Touched)
        return m.Changed(touched.changed, touched.left, touched.note)

    async def _resume(self, workflow_id: str) -> m.Changed:
        """A faulted workflow is started again; whether its database works now shows at once."""
        if self._workflows.info(workflow_id).state == WorkflowState.FAULTED:
            await self._workflows.ask(workflow_id, ChangeBudget(None, None), _DEADLINE_S)
            return m.Changed(0, note="the workflow works again")
        return await self._touch(workflow_id, ResumeWorkflow(None))

    # ---- asking -----------------------------------------------------------------------------------------------------

    async def _status(self, workflow_id: str) -> m.WorkflowStatus:
        info = self._workflows.info(workflow_id)
        database = await self._workflows.database(workflow_id)
        failed = info.statuses.get("failed", 0) + info.statuses.get("timeout", 0)
        derives = draws_conclusions(info.recipe)
        if info.state == WorkflowState.FAULTED or not (failed or info.rejected or info.completions or derives):
            return m.WorkflowStatus(info, (), (), database)
        status = await ask_in_thread(info.directory, _what_became, info, failed)
        return msgspec.structs.replace(status, database=database)

    def _cluster(self, name: str) -> ClusterInfo:
        try:
            return self._board.clusters[name]
        except KeyError:
            raise NotFoundError(f"there is no cluster {name!r}; known: {', '.join(self._board.clusters)}") from None

    def _desk_for(self, cluster: str) -> ClusterDesk:
        info = self._cluster(cluster)
        if info.kind == LOCAL:
            raise ConflictError(f"cluster {cluster} has no scheduler; all there is to say: penstockctl clusters")
        return self._desk

    async def _jobs(self, request: m.ListJobs) -> m.Jobs:
        info = self._workflows.info(request.id)
        jobs, total = await ask_in_thread(
            info.database,
            lambda: queries.list_jobs(
                Path(info.database),
                request.id,
                request.selection,
                limit=request.limit,
                offset=request.offset,
                order=request.order,
            ),
        )
        return m.Jobs(tuple(jobs), total)

    async def _job(self, workflow_id: str, job: int) -> m.JobDetail:
        record = await job_record(self._workflows.info(workflow_id), job)
        return m.JobDetail(
            job=record.job,
            geometry=record.geometry,
            final_geometry=record.final_geometry,
            attempts=record.attempts,
            properties=record.properties,
            files=record.files,
            events=record.events,
            units=record.units,
            made_from=record.made_from,
            label=record.label,
        )

    async def _why(self, workflow_id: str, job: int) -> m.Why:
        info = self._workflows.info(workflow_id)
        record = await job_record(info, job)
        decoded = msgspec.json.decode(await self._spec(workflow_id), type=WorkflowSpec)
        around = look_around(self._board, record, info.cluster)
        if record.job.state == JobState.READY:
            waits_for = await self._locks.explain(info, decoded.locks)
            around = msgspec.structs.replace(around, locks=tuple(waits_for))
        if (hanging := self._workers.hanging(info.directory)) is not None:
            around = msgspec.structs.replace(around, hanging=hanging)
        verdict, reasons = explain(record, info, around, decoded, time.time())
        return m.Why(record.job, verdict, tuple(reasons), record.events)

    async def _spec(self, workflow_id: str) -> str:
        info = self._workflows.info(workflow_id)
        return await ask_in_thread(info.database, queries.load_spec, Path(info.database), workflow_id)

    async def _table(self, workflow_id: str, limit: int, offset: int) -> m.Table:
        info = self._workflows.info(workflow_id)
        found = await ask_in_thread(
            info.database, lambda: table.tabulate(Path(info.database), workflow_id, limit=limit, offset=offset)
        )
        return m.Table(info, found.columns, found.rows, found.total)

    async def _export(self, request: m.Export) -> m.Exported:
        info = self._workflows.info(request.id)
        self._workflows.refuse_held(request.id)
        path = export.default_path(Path(info.directory), request.id, request.format)
        overwrite = request.overwrite or request.path is None
        if request.path is not None:
            path = Path(request.path)
            if not path.is_absolute():
                raise SpecError(f"{path} is not an absolute path", key="path")
        task = ExportJobs(info.database, request.id, request.format, str(path), request.selection, overwrite)
        of = "executions" if info.recipe == RECORD and not info.jobs else "jobs"
        return m.Exported(str(path), await run_unless_silent(self._workers, task), of)

    # ---- streams ----------------------------------------------------------------------------------------------------

    async def stream(self, request: m.StreamRequest, peer: Peer) -> AsyncGenerator[m.AnyItem]:
        """The elements of a stream."""
        self._metrics.count_request(request)
        tell_stream(request, peer)
        async with aclosing(self._items(request)) as items:
            with _silence_told():
                async for item in items:
                    yield item

    def _items(self, request: m.StreamRequest) -> AsyncGenerator[m.AnyItem]:
        match request:
            case m.Watch():
                return self._streams.watch(request)
            case m.Logs():
                return self._streams.logs(request)
            case m.ReadLog():
                return read_log(self._ring, request, self._check_known)
            case m.CheckCluster(name):
                return self._check(name)

    def _check_known(self, request: m.ReadLog) -> None:
        if request.id is not None:
            self._workflows.info(request.id)
        if request.cluster is not None:
            self._cluster(request.cluster)

    async def _check(self, name: str) -> AsyncGenerator[m.AnyItem]:
        async with aclosing(self._desk_for(name).check(name)) as findings:
            async for finding in findings:
                yield finding


@contextmanager
def _silence_told() -> Iterator[None]:
    """A file system that does not answer is no fault of ours: BusyError, and whoever asked may ask again."""
    try:
        yield
    except SilentError as error:
        raise BusyError(str(error)) from error


def _what_became(info: WorkflowInfo, failed: int) -> m.WorkflowStatus:
    """The newest of `failed` jobs, the records that could not be taken in, what was done at the end, the analyses."""
    database = Path(info.database)
    failures = queries.recent_failures(database, info.id, _FAILURES_SHOWN) if failed else []
    rejected = queries.list_rejected(database, info.id, REJECTED_SHOWN) if info.rejected else []
    completions = load_completions(database, info.id) if info.completions else []
    analyses: list[AnalysisInfo] = []
    failed_analyses: list[ConclusionInfo] = []
    if draws_conclusions(info.recipe):
        analyses, failed_analyses = how_analyses_are(database, info.id, _FAILURES_SHOWN)
    return m.WorkflowStatus(
        info,
        tuple(failures),
        tuple(rejected),
        completions=tuple(completions),
        analyses=tuple(analyses),
        failed_analyses=tuple(failed_analyses),
    )


def _command_of(request: m.Pause | m.Resume | m.Cancel | m.Retry | m.Mark | m.Resolve) -> JobCommand:
    """What a workflow is told."""
    command: JobCommand
    match request:
        case m.Pause(selection=selection):
            command = PauseWorkflow(selection)
        case m.Resume(selection=selection):
            command = ResumeWorkflow(selection)
        case m.Cancel(selection=selection):
            command = CancelWorkflow(selection)
        case m.Retry(selection=selection):
            command = RetryJobs(selection)
        case m.Mark(selection=selection, never_rerun=never_rerun):
            command = MarkJobs(selection, never_rerun)
        case m.Resolve(selection=selection, resolution=resolution):
            command = ResolveJobs(selection, resolution)
    return command


def _planned(spec: WorkflowSpec, step: Step, source: SourcePlan) -> m.StepPlan:
    example = source.examples.get(step.key)
    return m.StepPlan(
        key=step.key,
        kind=step.kind,
        engine=spec.engine_name,
        jobs=source.jobs_of(step.key) if step.runs_jobs else 0,
        after=(step.after,) if step.after else (),
        dry_run=True,
        example_files=example.files if example else {},
        example_argv=tuple(example.argv) if example and example.argv else None,
        untold=source.untold.get(step.key, ""),
    )
