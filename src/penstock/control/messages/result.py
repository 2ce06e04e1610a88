"""About results: shown, written, reported, merged."""

from __future__ import annotations

from typing import Any

from penstock.control.messages.base import Message, Request
from penstock.domain.properties import PropertyResult
from penstock.domain.views import (
    AnalysisInfo,
    ConclusionInfo,
    ExecutionInfo,
    ExecutionStepInfo,
    MergeReport,
    OnConflict,
    QueuedJobInfo,
    Selection,
    Statistic,
    WorkflowInfo,
)


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


ResultRequest = (
    Summarize
    | Tabulate
    | ListResults
    | WriteResults
    | WriteReport
    | Export
    | Backup
    | Merge
    | ListExecutions
    | GetExecution
)


ResultReply = (
    Summary | Table | Results | ReportWritten | Exported | BackupWritten | Merged | Executions | ExecutionDetail
)
