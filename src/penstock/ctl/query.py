"""Commands that look: list, status, jobs, show, summary, why."""

from __future__ import annotations

import csv
import sys
from typing import Final

import click

from penstock.control.messages import JobDetail, Summary, Table, WorkflowStatus
from penstock.ctl.options import (
    Whole,
    command,
    complete_order,
    id_argument,
    job_argument,
    optional_job_argument,
    selection_options,
)
from penstock.ctl.output import Ctl
from penstock.ctl.results import counted_analyses, show_failed_analyses
from penstock.ctl.text import (
    bar,
    clean_block,
    counts,
    duration,
    local_time,
    local_time_of,
    number,
    percentage,
)
from penstock.domain.context import Mode
from penstock.domain.measured import conditions
from penstock.domain.states import JobState, WorkflowState
from penstock.domain.views import (
    CompletionInfo,
    EventInfo,
    JobInfo,
    RejectedInfo,
    Selection,
    Statistic,
    WorkflowInfo,
)

_REJECTED_SHOWN: Final = 20
_BAR_WIDTH: Final = 30
_USUAL: Final = frozenset({"energy_hartree", "band_gap_ev", "band_gap_kind"})
_DOUBT_HINT: Final = (
    "being looked into; which: penstockctl jobs {0} --state in_doubt; what is known: penstockctl why {0} JOB; "
    "if you know better: penstockctl resolve {0} --job JOB --as lost|not-run|ended"
)


@command("list")
@click.option("--state", type=click.Choice([str(state) for state in WorkflowState]), help="Only those in this state.")
@click.option("--archived", is_flag=True, help="Those that were archived here, and where they are.")
def list_(ctl: Ctl, state: str | None, archived: bool) -> None:
    """Show all workflows."""
    if archived:
        from penstock.ctl.life import show_archives

        show_archives(ctl, None)
        return
    _list(ctl, state)


@command("status")
@id_argument(required=False)
def status(ctl: Ctl, id: str | None) -> None:
    """Show where a workflow stands, or all workflows."""
    if id is None:
        _list(ctl, None)
        return
    reply = ctl.client.status(id)
    if ctl.json:
        ctl.emit(reply)
    else:
        show_status(ctl, reply)


@command("jobs")
@id_argument()
@selection_options
@click.option("--limit", type=Whole(1, 10_000), default=100, show_default=True, help="Jobs on a page.")
@click.option("--offset", type=Whole(0), default=0, help="Jobs to leave out before it.")
@click.option(
    "--order",
    default="id",
    show_default=True,
    shell_complete=complete_order,
    help="A public column; -COLUMN for falling.",
)
def jobs(ctl: Ctl, id: str, selection: Selection, limit: int, offset: int, order: str) -> None:
    """Show a workflow's jobs, page by page."""
    reply = ctl.client.jobs(id, selection, limit, offset, order)
    if ctl.json:
        ctl.emit(reply)
        return
    _job_table(ctl, reply.jobs)
    if not reply.jobs and reply.total:
        ctl.note(f"there are {reply.total} jobs, and none on this page")
    elif len(reply.jobs) < reply.total:
        last = offset + len(reply.jobs)
        more = f"; the next: --offset {last}" if last < reply.total else ""
        ctl.note(f"jobs {offset + 1} to {last} of {reply.total}{more}")


@command("show")
@job_argument
@click.option("--geometry", is_flag=True, help="Also print the geometries.")
def show(ctl: Ctl, id: str, job: int, geometry: bool) -> None:
    """Show everything about one job."""
    reply = ctl.client.job(id, job)
    if ctl.json:
        ctl.emit(reply)
        return
    _show_job(ctl, reply)
    if geometry:
        for title, block in (("geometry", reply.geometry), ("final geometry", reply.final_geometry)):
            if block is not None:
                ctl.line()
                ctl.line(f"{title}:")
                click.echo(clean_block(block.rstrip("\n")))


@command("summary")
@id_argument()
def summary(ctl: Ctl, id: str) -> None:
    """Show counts and statistics of a workflow's results."""
    reply = ctl.client.summary(id)
    if ctl.json:
        ctl.emit(reply)
    else:
        _show_summary(ctl, reply)


@command("table")
@id_argument()
@click.option("--limit", type=Whole(1, 10_000), default=1000, show_default=True, help="Materials on a page.")
@click.option("--offset", type=Whole(0), default=0, help="Materials to leave out before it.")
@click.option("--column", "wanted", multiple=True, metavar="NAME", help="Show this column, such as SP.band_gap_ev.")
@click.option("--csv", "as_csv", is_flag=True, help="All columns as CSV.")
def table(ctl: Ctl, id: str, limit: int, offset: int, wanted: tuple[str, ...], as_csv: bool) -> None:
    """Show the results, one row a material."""
    if as_csv and wanted:
        raise click.UsageError("--csv has all columns; leave --column out")
    reply = ctl.client.table(id, limit, offset)
    if ctl.json:
        ctl.emit(reply)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([reply.columns, *reply.rows])
    else:
        show_table(ctl, reply, wanted, offset)


def show_table(ctl: Ctl, reply: Table, wanted: tuple[str, ...] = (), offset: int = 0) -> None:
    """The wanted columns, or those that most people look for, and how many more columns and materials there are."""
    unknown = [name for name in wanted if name not in reply.columns]
    if unknown:
        raise click.UsageError(f"there is no column {unknown[0]!r}; there are {', '.join(reply.columns)}")
    columns = ("material", *wanted) if wanted else _usual_columns(reply)
    places = [reply.columns.index(name) for name in columns]
    heads = tuple(name if name == "material" or "." not in name else f">{name}" for name in columns)
    ctl.table(heads, (tuple(_cell(row[place]) for place in places) for row in reply.rows))
    hidden = len(reply.columns) - len(columns)
    if hidden and not wanted:
        ctl.note(f"{hidden} more columns: penstockctl table {reply.workflow.id} --column NAME, or --csv for all")
    if not reply.rows and reply.total:
        ctl.note(f"there are {reply.total} materials, and none on this page")
    elif len(reply.rows) < reply.total:
        ctl.note(f"materials {offset + 1} to {offset + len(reply.rows)} of {reply.total}")


def _usual_columns(reply: Table) -> list[str]:
    """The material, the state of each step, and of what a step found what most people look for."""
    return [
        name
        for place, name in enumerate(reply.columns)
        if "." not in name or (name.partition(".")[2] in _USUAL and any(row[place] is not None for row in reply.rows))
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@command("why")
@optional_job_argument
def why(ctl: Ctl, id: str, job: int | None) -> None:
    """Say why a job, or a workflow, is in the state it is in."""
    if job is None:
        _why_workflow(ctl, ctl.client.status(id))
        return
    reply = ctl.client.why(id, job)
    if ctl.json:
        ctl.emit(reply)
        return
    ctl.line(f"job {reply.job.id} ({reply.job.name}) is {reply.job.state}: {reply.verdict}")
    for reason in reply.reasons:
        ctl.line(f"  - {reason}")
    if reply.events:
        ctl.line()
        _events(ctl, reply.events)


def _why_workflow(ctl: Ctl, reply: WorkflowStatus) -> None:
    """A workflow's state, and the analyses and jobs that failed."""
    if ctl.json:
        ctl.emit(reply)
        return
    info = reply.workflow
    ctl.line(f"{info.id} is {info.state}: {info.reason or counts(info.statuses)}")
    for one in reply.failed_analyses:
        ctl.line(f"  - analysis {one.step} of {one.subject}: {one.failure}")
    for job in reply.failures:
        ctl.line(f"  - job {job.id} ({job.name}) is {job.state}: {job.error_message or job.failure or '-'}")
    if reply.failures:
        ctl.line(f"  - more on a job: penstockctl why {info.id} JOB")


def show_status(ctl: Ctl, reply: WorkflowStatus) -> None:
    """A workflow with its most recent failures and rejected records, for people."""
    info = reply.workflow
    pairs = [
        ("workflow", info.id),
        ("state", info.state + (f": {info.reason}" if info.reason else "")),
        *([("now", info.operation)] if info.operation else []),
        ("jobs", f"{info.jobs} ({counts(info.statuses)})" + (", more are being read" if info.ingesting else "")),
        *([("analyses", counted_analyses(reply.analyses))] if reply.analyses else []),
        ("recipe", f"{info.recipe}, engine {info.engine}"),
        ("cluster", f"{info.cluster}, slots {info.slots}, priority {info.priority}"),
        ("isolation", info.mode if info.mode == Mode.ISOLATED else f"{info.mode}, its rows are in {info.database}"),
        ("directory", info.directory),
        *_database(reply),
        ("created", local_time(info.created_at)),
        ("updated", local_time(info.updated_at)),
    ]
    if info.rejected:
        pairs.insert(3, ("rejected", f"{info.rejected} of the source's records"))
    if in_doubt := info.states.get(JobState.IN_DOUBT):
        pairs.insert(3, ("in doubt", f"{in_doubt}, {_DOUBT_HINT.format(info.id)}"))
    ctl.pairs(pairs)
    if reply.failures:
        ctl.line()
        ctl.line("most recent failures:")
        columns = (">job", "name", "status", "failure", "message")
        rows = ((str(j.id), j.name, j.status, j.failure or "-", j.error_message or "-") for j in reply.failures)
        ctl.table(columns, rows)
    show_failed_analyses(ctl, reply)
    show_rejected(ctl, reply.rejected, info.rejected)
    if reply.completions:
        ctl.line()
        ctl.line("on completion:")
        show_completions(ctl, reply.completions)


def show_completions(ctl: Ctl, completions: tuple[CompletionInfo, ...]) -> None:
    """What was done at the workflow's end, or will be."""
    rows = ((str(c.position), c.action, c.state, local_time(c.at), c.result or "-") for c in completions)
    ctl.table((">n", "action", "state", "at", "message"), rows)


def _database(reply: WorkflowStatus) -> list[tuple[str, str]]:
    """Where the database is, if that is not where one would look."""
    found = reply.database
    if found is None or not found.why:
        return []
    return [("database", f"{found.path} ({found.why}; journal mode {found.journal})")]


def show_rejected(ctl: Ctl, rejected: tuple[RejectedInfo, ...], total: int) -> None:
    """The first records that could not be taken in, and how many there are."""
    if not rejected:
        return
    ctl.line()
    ctl.line("records that could not be taken in:")
    for record in rejected[:_REJECTED_SHOWN]:
        ctl.line(f"  line {record.line}: {record.reason}")
    if total > _REJECTED_SHOWN:
        ctl.line(f"  ... and {total - min(_REJECTED_SHOWN, len(rejected))} more")


def _list(ctl: Ctl, state: str | None) -> None:
    reply = ctl.client.list_workflows(state)
    if ctl.json:
        ctl.emit(reply)
        return
    if not reply.workflows:
        ctl.note("no workflows" if state is None else f"no workflow is {state}")
        return
    columns = ("id", "state", ">jobs", ">done", "counts", "cluster", ">slots", "created")
    ctl.table(columns, (_workflow_row(info) for info in reply.workflows))


def _workflow_row(info: WorkflowInfo) -> tuple[str, ...]:
    done = percentage(sum(info.statuses.get(s, 0) for s in ("completed", "skipped")), info.jobs)
    created = local_time(info.created_at)
    return (
        info.id,
        info.state,
        str(info.jobs),
        done,
        counts(info.statuses),
        info.cluster,
        str(info.slots),
        created,
    )


def _job_table(ctl: Ctl, jobs: tuple[JobInfo, ...]) -> None:
    is_chain = any(job.step for job in jobs)
    step = ("step",) if is_chain else ()
    results = (">natoms", "state", ">attempts", ">energy/Eh", ">max force/(Eh/bohr)", ">time", "failure")
    rows = (
        (
            str(job.id),
            job.name,
            *((job.step or "-",) if is_chain else ()),
            str(job.natoms),
            job.state,
            str(job.attempts),
            number(job.final_energy, 8),
            number(job.max_forces),
            duration(job.wall_time_s),
            job.failure or "-",
        )
        for job in jobs
    )
    ctl.table((">id", "name", *step, *results), rows)


def _show_job(ctl: Ctl, detail: JobDetail) -> None:
    job = detail.job
    ctl.pairs(
        [
            ("job", f"{job.id} ({job.name}" + (f", step {job.step})" if job.step else ")")),
            ("state", f"{job.state} (status {job.status})" + (", never to be rerun" if job.never_rerun else "")),
            ("elements", f"{job.elements}, {job.natoms} atoms"),
            ("charge, spin", f"{job.charge}, multiplicity {job.spin}"),
            ("energy", f"{number(job.final_energy, 10)} Eh"),
            ("max force", f"{number(job.max_forces, 8)} Eh/bohr"),
            ("SCF cycles", "-" if job.scf_steps is None else str(job.scf_steps)),
            ("wall time", duration(job.wall_time_s)),
            ("failure", f"{job.failure}: {job.error_message or '-'}" if job.failure else "-"),
            ("directory", job.job_dir or "-"),
            *([("taken from", f"workflow {job.origin['workflow']}, job {job.origin['job']}")] if job.origin else []),
            *([("made from", f"the result of job {detail.made_from}")] if detail.made_from else []),
            *([("label", conditions(detail.label))] if detail.label else []),
            ("source row", str(job.orig_index)),
            ("updated", local_time_of(job.updated_at)),
        ]
    )
    if detail.attempts:
        ctl.line()
        rows = (
            (
                str(attempt.number),
                attempt.state,
                local_time(attempt.started_at),
                duration(attempt.ended_at - attempt.started_at) if attempt.ended_at and attempt.started_at else "-",
                "-" if attempt.exit_code is None else str(attempt.exit_code),
                attempt.failure or "-",
                attempt.message or "-",
                attempt.directory,
            )
            for attempt in detail.attempts
        )
        ctl.table((">attempt", "state", "started", ">time", ">exit", "failure", "message", "directory"), rows)
        for attempt in detail.attempts:
            if attempt.remedy:
                changes = ", ".join(attempt.remedy["changes"])
                ctl.line(f"attempt {attempt.number} ran with what rule {attempt.remedy['rule']} changed: {changes}")
            if attempt.revision:
                ctl.line(f"attempt {attempt.number} ran with revision {attempt.revision} of the workflow's spec")
            if attempt.evidence:
                place = attempt.evidence
                ctl.line(f"attempt {attempt.number} failed by {place['file']}, line {place['line']}: {place['text']}")
    if detail.properties:
        ctl.line()
        ctl.pairs((name, f"{value} {detail.units.get(name, '')}".rstrip()) for name, value in detail.properties.items())
    if detail.files:
        ctl.line()
        ctl.line("files: " + ", ".join(detail.files))
    if detail.events:
        ctl.line()
        _events(ctl, detail.events)


def _events(ctl: Ctl, events: tuple[EventInfo, ...]) -> None:
    for event in events:
        ctl.line(f"{local_time(event.at)}  {event.kind}  {event.text}")


def _show_summary(ctl: Ctl, reply: Summary) -> None:
    info = reply.workflow
    ctl.line(f"{info.id}: {info.state}, {info.jobs} jobs" + (f", {info.rejected} rejected" if info.rejected else ""))
    ctl.line()
    full = "█" if ctl.is_terminal else "#"
    ctl.table(
        ("status", ">jobs", ">share", "bar"),
        (
            (status, str(count), percentage(count, info.jobs), bar(count, info.jobs, _BAR_WIDTH, full))
            for status, count in info.statuses.items()
        ),
    )
    ctl.line()
    quantities: list[tuple[str, Statistic, int]] = [
        ("energy/Eh", reply.energy_hartree, 8),
        ("max force/(Eh/bohr)", reply.max_force_hartree_per_bohr, 6),
        ("SCF cycles", reply.scf_cycles, 1),
        ("wall time/s", reply.wall_time_s, 3),
    ]
    ctl.table(
        ("quantity", ">jobs", ">mean", ">median", ">min", ">max"),
        (
            (name, str(s.count), *(number(value, digits) for value in (s.mean, s.median, s.min, s.max)))
            for name, s, digits in quantities
        ),
    )
    if reply.failures:
        ctl.line()
        ctl.table(("failure", ">jobs"), ((name, str(count)) for name, count in reply.failures.items()))


COMMANDS: Final = {
    "list": list_,
    "status": status,
    "jobs": jobs,
    "show": show,
    "summary": summary,
    "table": table,
    "why": why,
}
