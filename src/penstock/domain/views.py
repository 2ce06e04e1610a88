"""Values people see: a workflow, a job, an attempt, an event. The store makes, the control protocol carries them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

import msgspec

_FILTER: Final = re.compile(r"\s*([A-Za-z_]+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*")


class View(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of all views."""


class Filter(View, frozen=True):
    """One condition on a public job column: `column op value`, op one of = != < <= > >= ~ (contains)."""

    column: str
    op: str
    value: str


def parse_filter(text: str) -> Filter:
    """A condition from text such as `natoms>50`; ValueError says what is wrong with it."""
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no condition; write it like 'natoms>50'")
    return Filter(match[1], match[2], match[3])


class Selection(View, frozen=True):
    """Which jobs: by id, by public status or exact state, by conditions; several kinds narrow each other. None: all."""

    jobs: tuple[int, ...] = ()
    statuses: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()


class WorkflowInfo(View, frozen=True):
    """A workflow at a glance. `statuses` counts jobs by public status, `states` by exact state."""

    id: str
    recipe: str
    state: str
    directory: str  # the workflow's own directory, absolute
    mode: str
    cluster: str
    engine: str
    slots: int
    priority: int
    jobs: int
    statuses: dict[str, int]
    states: dict[str, int]
    rejected: int  # records of the source that could not be taken in
    ingesting: bool  # the source is still being read
    reason: str | None  # why it is faulted, paused or failed
    created_at: float
    updated_at: float
    database: str = ""  # the file that its rows are in, absolute
    completions: dict[str, int] = {}  # actions of its newest end by state
    operation: str = ""  # what is done to it as a whole now: archiving, restoring, deleting, cleaning


class CompletionInfo(View, frozen=True):
    """An action of `[[on_complete]]` at a workflow's newest end, and what it came to."""

    position: int  # from 1
    action: str
    state: str  # pending, begun, done, failed, held, dropped
    result: str | None
    at: float


class UsageInfo(View, frozen=True):
    """What a workflow takes on the disk, in bytes; `steps`: the directories of its jobs by step.

    `database` counts in `bytes` only where it is inside the workflow's directory; elsewhere others may use it too.
    """

    id: str
    bytes: int
    files: int
    database: int
    database_is_inside: bool
    steps: dict[str, int]
    source: int
    exports: int
    storage: int
    other: int


class RetentionInfo(View, frozen=True):
    """What retention will do to a workflow (`archive`, `delete`), and when; not while it is `spared`."""

    id: str
    action: str
    at: float
    spared: bool
    destination: str


class ArchiveInfo(View, frozen=True):
    """An archive that was written and verified. `changed_at` is when the workflow in it had last changed."""

    location: str  # absolute path or URL
    workflow_id: str
    work_root: str
    bytes: int
    sha256: str
    files: int
    state: str
    jobs: int
    changed_at: float
    archived_at: float


class DatabaseInfo(View, frozen=True):
    """The file that a workflow's rows are in."""

    path: str
    file_system: str  # as the kernel names its type
    journal: str  # "wal", or "truncate" where the file system is a network's
    why: str  # it is there, or is kept so; empty where all is as usual


class SweepInfo(View, frozen=True):
    """A sweep: the keys that differ between its points, and its workflows counted by state (`missing`: not there)."""

    name: str
    keys: tuple[str, ...]
    points: int
    states: dict[str, int]
    complete: bool  # whether all its workflows have been made; else submitting it again makes the rest
    created_at: float


class SweepPointInfo(View, frozen=True):
    """One workflow of a sweep, and what it has of its own."""

    number: int  # from 1
    id: str
    values: dict[str, Any]
    state: str
    jobs: int
    statuses: dict[str, int]


class JobInfo(View, frozen=True):
    """One row of the public job table."""

    id: int
    orig_index: int
    name: str
    elements: str
    natoms: int
    status: str
    state: str
    charge: int
    spin: int  # multiplicity 2S+1
    attempts: int
    never_rerun: bool
    job_dir: str | None
    max_forces: float | None  # Eh/bohr
    scf_steps: int | None
    final_energy: float | None  # Eh
    wall_time_s: float | None
    failure: str | None
    error_message: str | None
    created_at: str
    updated_at: str
    step: str | None = None  # of a chain
    origin: dict[str, Any] | None = None  # where its result was taken over from: workflow, job, attempt, directory


class AttemptInfo(View, frozen=True):
    """One try at a job."""

    number: int
    state: str
    submission: str
    directory: str
    failure: str | None
    message: str | None
    exit_code: int | None
    exit_signal: int | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    position: int = 0  # in the submission
    remedy: dict[str, Any] | None = None  # the newest change that it ran with: rule, changes, after (attempt)
    evidence: dict[str, Any] | None = None  # where its failure is told: file, line, text
    revision: int = 0  # of the workflow's spec that it was begun with; 0: as submitted


class EventInfo(View, frozen=True, tag=True):
    """One line of a workflow's history; `job` is 0 for events of the whole workflow."""

    workflow: str
    seq: int
    at: float
    kind: str  # workflow_created, jobs_ingested, job_submitted, job_completed, job_failed, ...
    job: int
    text: str
    data: dict[str, Any] = {}


class RejectedInfo(View, frozen=True):
    """A record of the source that could not be taken in."""

    orig_index: int
    line: int
    reason: str


class Statistic(View, frozen=True):
    """Mean, median, least and greatest of one quantity over the completed jobs that have it."""

    count: int
    mean: float | None
    median: float | None
    min: float | None
    max: float | None


class ClusterInfo(View, frozen=True):
    """A cluster and what it is doing."""

    name: str
    kind: str
    state: str  # up, down
    reason: str | None
    cores: int
    cores_used: int
    memory_mb: int
    memory_used_mb: int
    submissions_running: int
    submissions_waiting: int
    host: str = ""  # empty: the daemon's own
    version: str = ""  # of the scheduler
    jobs_queued: int = 0  # at the scheduler, every array task counted
    jobs_running: int = 0
    jobs_in_doubt: int = 0
    calls_last_min: int = 0  # of the scheduler's commands
    calls_allowed_per_min: float = 0.0  # queries
    budget_left: float = 0.0  # queries that may be sent at once
    next_query_at: float | None = None  # when the budget lets the query go that waits
    connected: bool = True
    down_since: float | None = None
    next_try_at: float | None = None  # when connecting is tried again
    connects: int = 0  # connections made since the daemon's start
    excluded_nodes: tuple[str, ...] = ()


class Doubt(View, frozen=True):
    """Attempts of a submission of which nobody can say what became of them."""

    submission: str
    positions: tuple[int, ...]
    since: float
    asked: tuple[str, ...]  # what has been asked and what it said
    waits_for: str
    question_at: float | None  # when a person is asked; in the past: has been
    cluster: str = ""


class CallCount(View, frozen=True):
    """How often a command was called in the minute that began at `minute`."""

    minute: float
    command: str
    calls: int


class CallTotal(View, frozen=True):
    """How often a command ended so since the daemon's start."""

    command: str
    outcome: str  # ok, failed, timeout, rate_limited, unreachable
    calls: int


class Latency(View, frozen=True):
    """How long a command took: `median_s` and `p95_s` of its newest calls, the others of all."""

    command: str
    count: int
    median_s: float
    p95_s: float
    max_s: float


class BudgetInfo(View, frozen=True):
    """A budget of calls that all workflows share, and how it was kept."""

    kind: str  # query, submit
    allowed_per_min: float
    left: float  # calls that may be made at once
    last_min: int  # made in the last 60 s
    most_per_min: int  # the most in any 60 s of the last hour
    waited_s: float  # since the daemon's start: time in which a call waited for its budget


class PartitionInfo(View, frozen=True):
    """A partition (Slurm) or queue (Flux); None where it sets no limit."""

    name: str
    is_default: bool
    is_up: bool
    nodes: int
    cores_per_node: int | None = None
    memory_mb_per_node: int | None = None
    gpus_per_node: int | None = None
    walltime_s: int | None = None


class ClusterReport(View, frozen=True):
    """What a site's administrators would ask about our use of their scheduler."""

    cluster: ClusterInfo
    at: float
    calls: tuple[CallCount, ...]  # of the last hour
    totals: tuple[CallTotal, ...]
    latencies: tuple[Latency, ...]
    rate_limited: int  # answers that said we ask too often
    limits: dict[str, str]
    partitions: tuple[PartitionInfo, ...]
    jobs: dict[str, int]  # ours at the scheduler, by its own state
    others: dict[str, int]  # the same account's that are not ours
    submissions: dict[str, int]  # by stage
    doubts: tuple[Doubt, ...]
    connected_since: float | None
    sessions: int  # of the connection, in use
    sessions_max: int
    spool: str
    listing_s: float  # how often the spool is listed while something runs
    budgets: tuple[BudgetInfo, ...] = ()


class Finding(View, frozen=True, tag=True):
    """One thing that was looked at in a check, and how to mend it where it is not well.

    `ok`: nothing has to be mended. `level` says more where there is more to say: ok, note, warning or problem.
    """

    what: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    level: str = ""
    group: str = ""  # what it is about, where a check looks at many things


class ImportRemark(View, frozen=True):
    """What of another tool's database was not taken over as it was: a row of a table (None: the table), and why.

    `left_out` where nothing of it is in the workflow.
    """

    table: str
    row: str | None
    reason: str
    detail: str
    left_out: bool


class FigureInfo(View, frozen=True):
    """A figure that an analysis came to, without its data; `name` is that of its file, without suffix."""

    kind: str
    name: str
    title: str
    caption: str


class ConclusionInfo(View, frozen=True):
    """What an analysis said of a subject beside its properties. `failure`: why it could not say all, or nothing."""

    step: str
    subject: str
    failure: str | None
    notes: tuple[str, ...]
    figures: tuple[FigureInfo, ...]
    properties: int  # how many there are
    at: str  # UTC


class AnalysisInfo(View, frozen=True):
    """How far an analysis step is: of how many of its subjects it has said something, and of how many not all."""

    step: str
    subjects: int
    concluded: int
    failed: int  # of those concluded


class ExecutionInfo(View, frozen=True):
    """One execution of a protocol; times are as the tool wrote them."""

    execution_id: str
    workflow_name: str | None
    cell_line: str | None
    vessel_id: str | None
    operation_type: str | None
    status: str
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    metadata: Any
    current_step_index: int | None
    steps: int  # how many there are


class ExecutionStepInfo(View, frozen=True):
    """One step of an execution, in the order of `step_index`."""

    step_id: str
    step_index: int | None
    name: str | None
    operation_type: str | None
    parameters: Any
    status: str
    start_time: str | None
    end_time: str | None
    error_message: str | None
    result: Any


class QueuedJobInfo(View, frozen=True):
    """An execution's place in the queue."""

    job_id: str
    priority: int | None
    status: str
    scheduled_time: str | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    metadata: Any


class LockHolder(View, frozen=True):
    """Who holds how much of a lock. Without `expires_at` it ends by evidence, never by the clock."""

    holder: str
    count: int
    token: int
    since: float
    expires_at: float | None = None
    workflow: str | None = None  # of a submission
    submission: str | None = None


class LockWaiter(View, frozen=True):
    """Who waits, for how much, and since when; the first goes first."""

    name: str
    count: int
    priority: int
    since: float
    workflow: str | None = None


class LockInfo(View, frozen=True):
    """A shared resource, or a lock of a namespace: how much there is, who holds it, who waits."""

    name: str
    count: int
    used: int
    holders: tuple[LockHolder, ...]
    waiting: tuple[LockWaiter, ...]
    namespace: str | None = None  # None: shared by all workflows of the daemon
    description: str = ""


class OnConflict(StrEnum):
    """What becomes of a result whose place in the target of a merge is taken by another one."""

    KEEP = "keep"  # the target's stays, the source's is left out
    REPLACE = "replace"  # the source's is the one that others find from now on; the target's stays in its workflow
    BOTH = "both"  # both are there; others go on finding the target's


class MergeConflict(View, frozen=True):
    """A result that the target of a merge has no room for.

    `kind` is `material` (another structure has the name there) or `result` (the same calculation came to something else
    there); energies (Eh) and largest forces (Eh/bohr) of the source and of the target.
    """

    kind: str
    material: str
    job: int  # of the source
    other_workflow: str
    other_job: int | None
    energy_hartree: float | None
    other_energy_hartree: float | None
    max_force_hartree_per_bohr: float | None
    other_max_force_hartree_per_bohr: float | None


class MergeReport(View, frozen=True):
    """What a merge did, or would do. Jobs of the source are counted; `shown` are the first of the conflicts."""

    source: str
    target: str  # the database, absolute
    applied: bool  # not in a dry run, nor with conflicts that nobody has decided about
    new: int
    changed: int  # merged before, and different now
    unchanged: int
    present: int  # the target has the same result from elsewhere
    materials: int  # new ones
    conflicts: int
    shown: tuple[MergeConflict, ...]
    left: int  # have not ended
    pointless: int  # cancelled or skipped: there is nothing to merge of them
