"""The command submit, with its dry run and its wait."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.control.messages import Planned, StepPlan, SubmitSweep
from penstock.ctl.goal_files import grow_file, told_in_goal
from penstock.ctl.layers import client_layers
from penstock.ctl.options import Whole, command
from penstock.ctl.output import Ctl
from penstock.ctl.progress import follow_to_end
from penstock.ctl.query import show_rejected, show_table
from penstock.ctl.results import show_results
from penstock.ctl.sweep import is_sweep, submit_points
from penstock.ctl.text import clean_block
from penstock.domain.context import Mode
from penstock.domain.settings import read_text
from penstock.domain.states import WorkflowState
from penstock.store.events import counted

_WORK_FAILED: Final = 1
_INTERRUPTED: Final = 130


@command("submit")
@click.argument("spec", type=click.Path())
@click.option("--wait", is_flag=True, help="Stay until the workflow has ended; exit 1 unless it completed.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; nothing is written.")
@click.option("--id", help="The workflow's name.")
@click.option("--cluster", metavar="NAME", help="Where it runs.")
@click.option("--slots", type=Whole(), metavar="N", help="Jobs that may run at the same time.")
@click.option("--priority", type=Whole(), metavar="N", help="Higher goes first.")
@click.option(
    "--isolation",
    type=click.Choice([str(mode) for mode in Mode]),
    help="What it shares with others: nothing, the database only, or results too.",
)
def submit(
    ctl: Ctl,
    spec: str,
    *,
    wait: bool,
    dry_run: bool,
    id: str | None,
    cluster: str | None,
    slots: int | None,
    priority: int | None,
    isolation: str | None,
) -> int | None:
    """Run the workflow that the file SPEC describes, or all workflows of its [sweep].

    A goal file grows into a full spec first; 'penstockctl plan' shows it.
    """
    if wait and dry_run:
        raise click.UsageError("--wait and --dry-run exclude each other")
    path = Path(spec).absolute()
    text = read_text(path)
    given = {"id": id, "cluster": cluster, "slots": slots, "priority": priority, "isolation": isolation}
    layers = client_layers(given)
    goal = grow_file(ctl, path, text)
    if goal is not None:
        text = goal.grown.text
        if not ctl.json:
            ctl.line(goal.summary)
            goal.warn(ctl)
    with told_in_goal(goal):
        return _submit(ctl, SubmitSweep(text, str(path), str(Path.cwd()), layers, dry_run), wait=wait)


def _submit(ctl: Ctl, request: SubmitSweep, *, wait: bool) -> int | None:
    """Submits a spec, which may or may not be a sweep's."""
    if is_sweep(request.text):
        return submit_points(ctl, request, wait=wait)
    about = (request.text, request.file, request.work_root, request.layers)
    if request.dry_run:
        _show_plan(ctl, ctl.client.plan(*about))
        return None
    accepted = ctl.client.submit(*about)
    if not ctl.json:
        ctl.line(f"accepted {accepted.id} in {accepted.directory}")
    elif not wait:
        ctl.emit(accepted)
    return _wait(ctl, accepted.id) if wait else None


def _wait(ctl: Ctl, id: str) -> int:
    try:
        status = follow_to_end(ctl, id)
    except KeyboardInterrupt:
        ctl.note(f"workflow {id} goes on without us; look again with: penstockctl status {id}")
        return _INTERRUPTED
    if ctl.json:
        ctl.emit(status)
    elif status.analyses:
        show_results(ctl, id)
    elif status.workflow.recipe != "campaign" and status.workflow.state != WorkflowState.FAULTED:
        show_table(ctl, ctl.client.table(id))
    if status.workflow.state == WorkflowState.COMPLETED:
        return 0
    ctl.note(f"{id} is {status.workflow.state}; look closer with: penstockctl status {id}, penstockctl why {id} JOB")
    return _WORK_FAILED


def _show_plan(ctl: Ctl, plan: Planned) -> None:
    if ctl.json:
        ctl.emit(plan)
        return
    ctl.line(f"dry run{f' of {plan.id}' if plan.id else ''}: nothing was submitted")
    ctl.line(
        f"{counted(plan.structures, 'structure')}: {counted(plan.jobs)}, "
        f"at most {plan.core_hours_limit:.1f} core hours, {plan.rejected_total} records rejected"
    )
    ctl.line("(jobs x cores x walltime asked for, each job tried once: an upper bound)")
    ctl.line()
    rows = ((step.key, step.kind, step.engine, _count(step), ", ".join(step.after) or "-") for step in plan.steps)
    ctl.table(("step", "kind", "engine", ">jobs", "after"), rows)
    for step in plan.steps:
        if step.untold:
            ctl.line(f"{step.key}: not counted, since {step.untold}")
    for step in plan.steps:
        _show_example(ctl, step)
    show_rejected(ctl, plan.rejected, plan.rejected_total)


def _count(step: StepPlan) -> str:
    if step.kind == "analysis":
        return "-"
    return f"{step.jobs} + ?" if step.untold else str(step.jobs)


def _show_example(ctl: Ctl, step: StepPlan) -> None:
    if step.example_argv:
        ctl.line()
        ctl.line(f"{step.key}, first job's command: {' '.join(step.example_argv)}")
    for name, text in step.example_files.items():
        ctl.line()
        ctl.line(f"{step.key}, first job's {name}:")
        click.echo("\n".join(f"    {line}".rstrip() for line in clean_block(text).splitlines()))


COMMANDS: Final = {"submit": submit}
