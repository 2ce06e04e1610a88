"""How workflows come in: from a spec, a sweep, a directory, another tool's databases."""

from __future__ import annotations

from penstock.control.messages.base import Message, Request
from penstock.domain.settings import Layer
from penstock.domain.views import ImportRemark, RejectedInfo, SweepInfo, SweepPointInfo, WorkflowInfo


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


SubmissionRequest = Submit | Adopt | SubmitSweep | ListSweeps | GetSweep | Plan | Import


SubmissionReply = Accepted | SweepStatus | Sweeps | Planned | Imported
