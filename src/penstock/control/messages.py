"""Everything that travels over the control socket, as msgspec tagged unions.

A connection opens with `Hello` answered by `Welcome`; then the client sends `Call`s and the daemon answers each with
one `Reply` or `Fail`, or, for the streaming requests (`StreamRequest`), with any number of `Item`s and one `Done`.
Every request names its reply type in `reply`, so that a client's `call` is typed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from penstock.domain.properties import PropertyResult
from penstock.domain.revision import SpecChange
from penstock.domain.settings import Layer
from penstock.domain.states import Resolution
from penstock.domain.views import (
    AnalysisInfo,
    ArchiveInfo,
    AttemptInfo,
    ClusterInfo,
    ClusterReport,
    CompletionInfo,
    ConclusionInfo,
    DatabaseInfo,
    EventInfo,
    ExecutionInfo,
    ExecutionStepInfo,
    Finding,
    ImportRemark,
    JobInfo,
    LockInfo,
    MergeReport,
    OnConflict,
    QueuedJobInfo,
    RejectedInfo,
    RetentionInfo,
    Selection,
    Statistic,
    SweepInfo,
    SweepPointInfo,
    UsageInfo,
    WorkflowInfo,
)

PROTOCOL: Final = 1
"""The protocol this program speaks. `Hello` gives the range a client can speak; the daemon picks or refuses."""
MAX_FRAME: Final = 16 * 1024 * 1024
"""Bytes of the largest payload; a longer one ends the connection."""
MAX_CALLS: Final = 64
"""Calls that one connection may have in flight; a further one is answered `busy`."""

R_co = TypeVar("R_co", covariant=True)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True, tag_field="type", tag=True):
    """Base of everything on the wire; a newer peer's extra fields are ignored."""


# ---- values ---------------------------------------------------------------------------------------------------------


class SettingInfo(Message, frozen=True):
    """One setting's effective value and the layer that set it."""

    key: str
    value: Any
    origin: str


class StepPlan(Message, frozen=True):
    """One step of a dry run; `dry_run` is always true and says that nothing was submitted.

    `untold`: why not all of its jobs can be counted before there are results, else empty.
    """

    key: str
    kind: str
    engine: str
    jobs: int
    after: tuple[str, ...]
    dry_run: bool
    example_files: dict[str, str]  # the first job's rendered inputs
    example_argv: tuple[str, ...] | None
    untold: str = ""


class LeftAlone(Message, frozen=True):
    """A job that a review of job directories left as it was, and why: in a word or two, and in full."""

    job: int
    reason: str
    detail: str


# ---- replies --------------------------------------------------------------------------------------------------------


class Pong(Message, frozen=True):
    """The daemon is there. `config`: the file of its configuration ("built-in": none), read at `config_read_at`."""

    pid: int
    version: str
    uptime_s: float
    config: str = ""  # empty: an older daemon
    config_read_at: float | None = None


class Accepted(Message, frozen=True):
    """The workflow is recorded and will run."""

    id: str
    directory: str


class Planned(Message, frozen=True):
    """What a submission would do with the `structures` of its source.

    `core_hours_limit` is jobs x cores x walltime, an upper bound.
    """

    id: str | None
    steps: tuple[StepPlan, ...]
    jobs: int
    rejected: tuple[RejectedInfo, ...]  # at most the first 1000
    rejected_total: int
    core_hours_limit: float
    structures: int = 0


class SweepStatus(Message, frozen=True):
    """A sweep and where the workflow of each of its points stands."""

    sweep: SweepInfo
    points: tuple[SweepPointInfo, ...]


class Sweeps(Message, frozen=True):
    """Sweeps, newest last."""

    sweeps: tuple[SweepInfo, ...]


class Workflows(Message, frozen=True):
    """Workflows, newest last."""

    workflows: tuple[WorkflowInfo, ...]


class WorkflowStatus(Message, frozen=True):
    """One workflow, with its most recent failures."""

    workflow: WorkflowInfo
    failures: tuple[JobInfo, ...]
    rejected: tuple[RejectedInfo, ...]  # at most the first 1000
    database: DatabaseInfo | None = None  # None: its file system does not answer, or an older daemon
    completions: tuple[CompletionInfo, ...] = ()  # what was done at its newest end, or will be
    analyses: tuple[AnalysisInfo, ...] = ()
    failed_analyses: tuple[ConclusionInfo, ...] = ()  # at most the first 10


class Jobs(Message, frozen=True):
    """A page of jobs; `total` counts all that the selection holds."""

    jobs: tuple[JobInfo, ...]
    total: int


class JobDetail(Message, frozen=True):
    """Everything about one job."""

    job: JobInfo
    geometry: str
    final_geometry: str | None
    attempts: tuple[AttemptInfo, ...]
    properties: dict[str, Any]
    files: tuple[str, ...]
    events: tuple[EventInfo, ...]
    units: dict[str, str] = {}  # of those properties whose names do not say it
    made_from: int | None = None  # the job whose result it was made from
    label: dict[str, Any] = {}  # what its recipe made it with


class LockList(Message, frozen=True):
    """Locks and shared resources."""

    locks: tuple[LockInfo, ...]


class LockReleased(Message, frozen=True):
    """How much was taken from a holder of a lock."""

    name: str
    holder: str
    count: int


class Changed(Message, frozen=True):
    """How many jobs a request touched, and how many of the selection it left alone and why."""

    changed: int
    left: int = 0
    note: str | None = None


class Revised(Message, frozen=True):
    """What a revision of a spec changed, or would change in a dry run.

    `jobs` are ready again by it; of all that will run, `keeping` have engine parameters of their own, by a remedy.
    """

    changes: tuple[SpecChange, ...]
    jobs: int
    keeping: int
    dry_run: bool


class Reviewed(Message, frozen=True):
    """What a review of job directories came to, in numbers of jobs.

    `changed`: adopted, recomputed or reset. `unchanged`: there was nothing to change. `left`: jobs left as they were
    although they could not be read or must not be touched, by reason; `shown` are the first of them (at most 100).
    """

    looked_at: int
    changed: int
    unchanged: int
    left: dict[str, int]
    shown: tuple[LeftAlone, ...]


class Summary(Message, frozen=True):
    """Counts and statistics of a campaign."""

    workflow: WorkflowInfo
    failures: dict[str, int]  # by failure class
    energy_hartree: Statistic
    max_force_hartree_per_bohr: Statistic
    scf_cycles: Statistic
    wall_time_s: Statistic


class Table(Message, frozen=True):
    """Results with a row a material: `rows` by `columns`, of `total` materials; see `docs/ctl-json.md`."""

    workflow: WorkflowInfo
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int


class Results(Message, frozen=True):
    """A page of what a workflow's analyses have said, and how far they are.

    `total` counts all properties that were asked for, `conclusions_total` all conclusions (those that failed come
    first), `names` the properties of the whole workflow by name. `open_jobs`: what is still to be calculated.
    """

    workflow: str
    recipe: str
    state: str
    reason: str | None
    properties: tuple[PropertyResult, ...]
    total: int
    conclusions: tuple[ConclusionInfo, ...]
    conclusions_total: int
    names: dict[str, int]
    analyses: tuple[AnalysisInfo, ...]
    open_jobs: int


class ReportWritten(Message, frozen=True):
    """Where a report was written, how many figures it has, their own files, and what could not be drawn and why."""

    path: str
    figures: int
    files: tuple[str, ...]
    troubles: tuple[str, ...]


class BackupWritten(Message, frozen=True):
    """Where a backup was written: the whole file, with all workflows that are in it."""

    path: str
    bytes: int
    workflows: tuple[str, ...]
    jobs: int  # of the workflow that was asked for


class Exported(Message, frozen=True):
    """Where an export was written and how many jobs it holds, or how many of what `of` says."""

    path: str
    jobs: int
    of: str = "jobs"


class Imported(Message, frozen=True):
    """What an import came to; of a dry run, what it would come to.

    `counts` by what was made, `left_out` rows of the source by table, `statuses` what became of which status (`old ->
    new`), `states` jobs by state, `remarks` what was not taken over as it was, by reason, `shown` the first of them (at
    most 100).
    """

    id: str
    directory: str | None  # None: a dry run
    kind: str
    counts: dict[str, int]
    left_out: dict[str, int]
    statuses: dict[str, int]
    states: dict[str, int]
    remarks: dict[str, int]
    shown: tuple[ImportRemark, ...]
    workflow: WorkflowInfo | None


class Executions(Message, frozen=True):
    """A page of executions; `total` counts all that were asked for."""

    executions: tuple[ExecutionInfo, ...]
    total: int


class ExecutionDetail(Message, frozen=True):
    """An execution with its steps, and its places in the queue."""

    execution: ExecutionInfo
    steps: tuple[ExecutionStepInfo, ...]
    queued: tuple[QueuedJobInfo, ...]


class Merged(Message, frozen=True):
    """What a merge did, or would do."""

    report: MergeReport


class Why(Message, frozen=True):
    """The whole cause of a job's state: `verdict` in one sentence, `reasons` from the nearest cause outwards."""

    job: JobInfo
    verdict: str
    reasons: tuple[str, ...]
    events: tuple[EventInfo, ...]


class Clusters(Message, frozen=True):
    """All clusters."""

    clusters: tuple[ClusterInfo, ...]


class ClusterReported(Message, frozen=True):
    """What a site's administrators would ask about our use of their scheduler."""

    report: ClusterReport


class Settings(Message, frozen=True):
    """Every setting, its value and its origin."""

    settings: tuple[SettingInfo, ...]


class StoredSpec(Message, frozen=True):
    """A workflow's spec as it was accepted: every key, defaults included, settings and the source's copy put in."""

    id: str
    spec: dict[str, Any]


class Archived(Message, frozen=True):
    """An archive that was verified after it was written; `deleted`: the workflow was removed afterwards.

    `outside`: how many jobs have their files in other directories, which no archive of this workflow holds.
    """

    archive: ArchiveInfo
    deleted: bool
    outside: int = 0


class Archives(Message, frozen=True):
    """Archives that were written by this daemon, oldest first."""

    archives: tuple[ArchiveInfo, ...]


class Restored(Message, frozen=True):
    """A workflow that came out of an archive. `left_out`: links that lead out of it and were not made."""

    id: str
    directory: str
    state: str
    jobs: int
    files: int
    left_out: tuple[str, ...]


class Usage(Message, frozen=True):
    """What workflows take on the disk."""

    workflows: tuple[UsageInfo, ...]


class Cleaned(Message, frozen=True):
    """What was removed because it is no result, or would be."""

    attempts: int
    files: int
    bytes: int
    dry_run: bool


class Retention(Message, frozen=True):
    """What retention will do, soonest first; `done`: what it has done just now."""

    due: tuple[RetentionInfo, ...]
    done: tuple[RetentionInfo, ...] = ()


class Deleted(Message, frozen=True):
    """The workflow and its directory are gone."""

    id: str
    directory: str


class Done(Message, frozen=True):
    """The end of a stream, or a request done that has nothing to say."""

    id: int = 0


class LogChunk(Message, frozen=True):
    """A piece of a job's log; `name` is the file it comes from."""

    name: str
    data: bytes


class Lagged(Message, frozen=True):
    """The client read too slowly: `dropped` events were left out here."""

    dropped: int


# ---- requests -------------------------------------------------------------------------------------------------------


class Request(Message, Generic[R_co], frozen=True):
    """Base of all requests; R_co is the type of the reply."""

    reply: ClassVar[type[Message]] = Done


class Ping(Request[Pong], frozen=True):
    """Is the daemon there?"""

    reply = Pong


class Submit(Request[Accepted], frozen=True):
    """Run a workflow.

    `text` is the spec file's text, `file` its absolute path (errors name it, and relative source paths are taken from
    its directory), `work_root` the absolute directory that gets `.penstock/`. `layers` are the settings found on the
    client's side, rising in rank; the spec ranks below the layer "command line" and above the others.
    """

    text: str
    file: str
    work_root: str
    layers: tuple[Layer, ...] = ()
    reply = Accepted


class Adopt(Request[Accepted], frozen=True):
    """Run the workflow in `directory` (absolute), which was made offline or by a daemon elsewhere.

    None leaves id, cluster and slots as they are. `force`: although it belongs to another daemon.
    """

    directory: str
    id: str | None = None
    cluster: str | None = None
    slots: int | None = None
    force: bool = False
    reply = Accepted


class SubmitSweep(Request[SweepStatus], frozen=True):
    """Run the workflows of a spec with a `[sweep]`, all of them or none; fields as in `Submit`.

    Of a sweep that was broken off while it was made, the same request makes those that are missing. With `dry_run`
    everything is checked and nothing is made.
    """

    text: str
    file: str
    work_root: str
    layers: tuple[Layer, ...] = ()
    dry_run: bool = False
    reply = SweepStatus


class ListSweeps(Request[Sweeps], frozen=True):
    """All sweeps the daemon knows."""

    reply = Sweeps


class GetSweep(Request[SweepStatus], frozen=True):
    """One sweep with its points."""

    name: str
    reply = SweepStatus


class Plan(Request[Planned], frozen=True):
    """What `Submit` with the same fields would do; nothing is written."""

    text: str
    file: str
    work_root: str
    layers: tuple[Layer, ...] = ()
    reply = Planned


class Import(Request[Imported], frozen=True):
    """Make a workflow of another tool's databases (absolute paths), which stay as they are.

    `kind` is architector, crystal or protocol, by default what the tables say. `running` says what becomes of
    calculations that the other tool has running: hold or ready. `moved`: where job directories are now. `text` is a
    spec for how jobs go on, without `[structures]`; None makes a record, of which nothing runs.
    """

    sources: tuple[str, ...]
    work_root: str
    id: str | None = None
    kind: str | None = None
    running: str = "hold"
    moved: str | None = None
    text: str | None = None
    file: str = ""
    layers: tuple[Layer, ...] = ()
    dry_run: bool = False
    reply = Imported


class ListExecutions(Request[Executions], frozen=True):
    """Executions of protocols that a workflow holds, by status and by a text that is in them."""

    id: str
    statuses: tuple[str, ...] = ()
    search: str | None = None
    limit: int = 100
    offset: int = 0
    reply = Executions


class GetExecution(Request[ExecutionDetail], frozen=True):
    """One execution, by its id or an unambiguous beginning of it."""

    id: str
    execution: str
    reply = ExecutionDetail


class ListWorkflows(Request[Workflows], frozen=True):
    """All workflows the daemon knows; `state` narrows."""

    state: str | None = None
    reply = Workflows


class GetStatus(Request[WorkflowStatus], frozen=True):
    """One workflow."""

    id: str
    reply = WorkflowStatus


class ListJobs(Request[Jobs], frozen=True):
    """Jobs of a workflow in order of id, or of `order` (a public column, `-column` for falling)."""

    id: str
    selection: Selection = Selection()
    limit: int = 100
    offset: int = 0
    order: str = "id"
    reply = Jobs


class GetJob(Request[JobDetail], frozen=True):
    """One job."""

    id: str
    job: int
    reply = JobDetail


class Pause(Request[Changed], frozen=True):
    """Start nothing more of the workflow; with a selection, hold those jobs only."""

    id: str
    selection: Selection | None = None
    reply = Changed


class Resume(Request[Changed], frozen=True):
    """Go on: undo a pause, heal a fault, run again what failed or was cancelled and read the rest of the source.

    With a selection, release those jobs only, where they are held.
    """

    id: str
    selection: Selection | None = None
    reply = Changed


class Revise(Request[Revised], frozen=True):
    """Go on with a workflow under a changed spec: one that failed, was cancelled, or is paused and has come to rest.

    `text` is that of a spec file whose keys replace the stored ones, `file` its absolute path (or any file beside the
    templates), `values` are single keys by dotted name and come last. With `dry_run` nothing is changed.
    """

    id: str
    values: dict[str, Any] = {}
    text: str = ""
    file: str = ""
    dry_run: bool = False
    reply = Revised


class Cancel(Request[Changed], frozen=True):
    """Stop the workflow, or the selected jobs, running ones included."""

    id: str
    selection: Selection | None = None
    reply = Changed


class Retry(Request[Changed], frozen=True):
    """Make ended jobs ready again; those marked never-rerun are left."""

    id: str
    selection: Selection = Selection()
    reply = Changed


class Mark(Request[Changed], frozen=True):
    """Set or clear the never-rerun mark."""

    id: str
    selection: Selection
    never_rerun: bool
    reply = Changed


class Resolve(Request[Changed], frozen=True):
    """Say what became of jobs that are in doubt, where evidence could not settle it; others are left."""

    id: str
    selection: Selection
    resolution: Resolution
    reply = Changed


class Rescan(Request[Reviewed], frozen=True):
    """Read the directories of jobs that have no result: where one holds a success, the job is completed by it."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class RecomputeMetrics(Request[Reviewed], frozen=True):
    """Read the outputs of completed jobs again, and take over what they say now."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class ResetMissing(Request[Reviewed], frozen=True):
    """Make completed jobs ready again whose outputs are gone; those marked never-rerun are left."""

    id: str
    selection: Selection = Selection()
    reply = Reviewed


class SetJob(Request[JobDetail], frozen=True):
    """Set what is recorded of a job that is not active; None leaves as it is. `reason` is kept in its history.

    `status` is completed, failed or skipped. `max_force_hartree_per_bohr` is the largest Cartesian component.
    """

    id: str
    job: int
    status: str | None = None
    energy_hartree: float | None = None
    max_force_hartree_per_bohr: float | None = None
    scf_cycles: int | None = None
    wall_time_s: float | None = None
    reason: str | None = None
    reply = JobDetail


class SetWorkflow(Request[WorkflowStatus], frozen=True):
    """Change a workflow's slot budget or priority."""

    id: str
    slots: int | None = None
    priority: int | None = None
    reply = WorkflowStatus


class RepeatCompletion(Request[WorkflowStatus], frozen=True):
    """Do again what failed of a workflow's `[[on_complete]]` and what was held back for it, or one action by number."""

    id: str
    position: int | None = None
    reply = WorkflowStatus


class Summarize(Request[Summary], frozen=True):
    """Counts and statistics."""

    id: str
    reply = Summary


class Tabulate(Request[Table], frozen=True):
    """A page of results with one row a material."""

    id: str
    limit: int = 1000
    offset: int = 0
    reply = Table


class ListResults(Request[Results], frozen=True):
    """A page of a workflow's properties and one of its conclusions, each as long as `limit` and a frame have room for.

    `names` are those of properties, `subject` a text that is in the subject's name. `order`: value, uncertainty, name
    or subject, `-order` for falling; without it, subject by subject.
    """

    id: str
    names: tuple[str, ...] = ()
    subject: str | None = None
    limit: int = 100
    offset: int = 0
    order: str = ""
    conclusions_offset: int = 0
    reply = Results


class WriteResults(Request[Exported], frozen=True):
    """Write properties to `path` (absolute), whose suffix says how: .csv, .json, .parquet. They narrow as above."""

    id: str
    path: str
    names: tuple[str, ...] = ()
    subject: str | None = None
    overwrite: bool = False
    reply = Exported


class WriteReport(Request[ReportWritten], frozen=True):
    """Write a workflow's report as an HTML page to `path` (absolute; None = the workflow's own directory).

    `figures`: an absolute directory that gets every figure as SVG and PNG.
    """

    id: str
    path: str | None = None
    figures: str | None = None
    overwrite: bool = False
    reply = ReportWritten


class Export(Request[Exported], frozen=True):
    """Write results to `path` (absolute; None = the workflow's own directory)."""

    id: str
    format: str  # csv, json, extxyz, ase, or folder: one with all of them
    path: str | None = None
    selection: Selection = Selection()
    overwrite: bool = False
    reply = Exported


class Backup(Request[BackupWritten], frozen=True):
    """Copy a workflow's database, checked, to `path` (absolute; None = the workflow's own directory), as it runs."""

    id: str
    path: str | None = None
    overwrite: bool = False
    reply = BackupWritten


class Merge(Request[Merged], frozen=True):
    """Merge a workflow's results among those that shared workflows find; with conflicts, only by `on_conflict`.

    `into` is another work directory or a database (absolute; None = the database of shared workflows beside it).
    """

    id: str
    into: str | None = None
    on_conflict: OnConflict | None = None
    dry_run: bool = False
    reply = Merged


class Explain(Request[Why], frozen=True):
    """Why is a job in the state it is in?"""

    id: str
    job: int
    reply = Why


class ListClusters(Request[Clusters], frozen=True):
    """All clusters."""

    reply = Clusters


class ReportCluster(Request[ClusterReported], frozen=True):
    """Calls, latencies, limits and jobs of one cluster with a scheduler."""

    name: str
    reply = ClusterReported


class CheckCluster(Request[Done], frozen=True):
    """Stream `Finding`s: what works on a cluster from connecting to a first job, and how to mend what does not."""

    name: str


class GetSettings(Request[Settings], frozen=True):
    """Every setting that a submission with these layers would use, and where it came from."""

    layers: tuple[Layer, ...] = ()
    reply = Settings


class GetSpec(Request[StoredSpec], frozen=True):
    """What a workflow was asked to do."""

    id: str
    reply = StoredSpec


class Watch(Request[Done], frozen=True):
    """Stream `EventInfo` (and `Lagged`) of one workflow or all, until the client leaves.

    With `until_end`, until the workflow has ended (at once, when it already has). `since` replays the history after
    that event number first (one workflow only).
    """

    id: str | None = None
    since: int | None = None
    until_end: bool = False


class Logs(Request[Done], frozen=True):
    """Stream `LogChunk`s of a job's newest attempt (or of `attempt`); with `follow`, until the attempt has ended."""

    id: str
    job: int
    attempt: int | None = None
    follow: bool = False
    tail_bytes: int | None = None


class ListLocks(Request[LockList], frozen=True):
    """The shared resources and all locks; with `id`, those that this workflow needs or could hold."""

    id: str | None = None
    reply = LockList


class ReleaseLock(Request[LockReleased], frozen=True):
    """Take a lock from a holder that does not give it back.

    `id` names a workflow in whose namespace the lock is; without it, it is a shared resource. What a submission holds
    whose attempts may still run is left alone without `force`.
    """

    name: str
    holder: str
    id: str | None = None
    force: bool = False
    reply = LockReleased


class Archive(Request[Archived], frozen=True):
    """Write a workflow at rest to one `.tar.zst`, verify it, record it; with `delete`, remove the workflow then.

    `destination` is an absolute path or a URL of fsspec; a directory gets `ID.tar.zst`.
    """

    id: str
    destination: str
    delete: bool = False
    reply = Archived


class ListArchives(Request[Archives], frozen=True):
    """Archives of one workflow, or all."""

    id: str | None = None
    reply = Archives


class Restore(Request[Restored], frozen=True):
    """Make a workflow of an archive: an absolute path, a URL, or the id of a workflow that was archived here.

    Into `work_root` (default for an id: where it was), under `id` and with `isolation` (default: as it was).
    `outside_links`: symbolic links that lead out of the workflow are made too.
    """

    source: str
    work_root: str | None = None
    id: str | None = None
    isolation: str | None = None
    outside_links: bool = False
    reply = Restored


class Delete(Request[Deleted], frozen=True):
    """Remove a workflow at rest with all it has; archives stay.

    `force`: a faulted one too, whatever may still run, and one whose directory holds files of others' results.
    """

    id: str
    force: bool = False
    reply = Deleted


class MeasureUsage(Request[Usage], frozen=True):
    """How much of the disk a workflow takes, or each of all."""

    id: str | None = None
    reply = Usage


class Clean(Request[Cleaned], frozen=True):
    """Remove what is no result from a workflow at rest: attempts that a completed job does not need, leftovers.

    `failed`: also all attempts but the newest of jobs that ended badly; `exports`: also what was exported.
    """

    id: str
    failed: bool = False
    exports: bool = False
    dry_run: bool = False
    reply = Cleaned


class ReviewRetention(Request[Retention], frozen=True):
    """What retention will do and when; with `apply`, what is due is done now and not only within the hour."""

    apply: bool = False
    reply = Retention


AnyRequest = (
    Ping
    | Submit
    | Adopt
    | SubmitSweep
    | ListSweeps
    | GetSweep
    | Plan
    | ListWorkflows
    | GetStatus
    | ListJobs
    | GetJob
    | Pause
    | Resume
    | Revise
    | Cancel
    | Retry
    | Mark
    | Resolve
    | Rescan
    | RecomputeMetrics
    | ResetMissing
    | SetJob
    | SetWorkflow
    | RepeatCompletion
    | Summarize
    | Tabulate
    | ListResults
    | WriteResults
    | WriteReport
    | Export
    | Backup
    | Merge
    | Explain
    | ListClusters
    | ReportCluster
    | CheckCluster
    | GetSettings
    | GetSpec
    | ListLocks
    | ReleaseLock
    | Watch
    | Logs
    | Import
    | ListExecutions
    | GetExecution
    | Archive
    | ListArchives
    | Restore
    | Delete
    | MeasureUsage
    | Clean
    | ReviewRetention
)
StreamRequest = Watch | Logs | CheckCluster
AnyReply = (
    Pong
    | Accepted
    | SweepStatus
    | Sweeps
    | Planned
    | Workflows
    | WorkflowStatus
    | Jobs
    | JobDetail
    | Changed
    | Revised
    | Reviewed
    | Summary
    | Table
    | Results
    | ReportWritten
    | Exported
    | BackupWritten
    | Merged
    | Why
    | Clusters
    | ClusterReported
    | Settings
    | StoredSpec
    | LockList
    | LockReleased
    | Done
    | Imported
    | Executions
    | ExecutionDetail
    | Archived
    | Archives
    | Restored
    | Deleted
    | Usage
    | Cleaned
    | Retention
)
AnyItem = EventInfo | LogChunk | Lagged | Finding


# ---- envelopes ------------------------------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """First frame of a client."""

    oldest: int  # protocol versions the client can speak
    newest: int
    client: str


class Welcome(Message, frozen=True):
    """The daemon's answer: the version both will speak."""

    protocol: int
    daemon: str
    pid: int


class Call(Message, frozen=True):
    """A request; `id` is the client's own number for it, repeated in every answer."""

    id: int
    request: AnyRequest


class Reply(Message, frozen=True):
    """The one answer to a call."""

    id: int
    body: AnyReply


class Item(Message, frozen=True):
    """One element of a stream."""

    id: int
    body: AnyItem


class Fail(Message, frozen=True):
    """A call that failed (id 0: the connection itself). `code` is one of the codes in `penstock.domain.errors`."""

    id: int
    code: str
    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None


ClientFrame = Hello | Call
DaemonFrame = Welcome | Reply | Item | Done | Fail
