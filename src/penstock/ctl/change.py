"""Commands that change something: pause, resume, cancel, retry, mark, resolve, set, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from penstock.control.messages import Changed
from penstock.ctl.options import Whole, command, id_argument, selection_options
from penstock.ctl.output import Ctl
from penstock.ctl.query import show_status
from penstock.domain.states import Resolution, Status
from penstock.domain.views import Selection

_NOTHING: Final = Selection()
_FAILED: Final = Selection(statuses=(Status.FAILED, Status.TIMEOUT))
_NOT_CONFIRMED: Final = 2
_FATES: Final = {
    "lost": (
        "they began and left nothing. They are tried again, and it costs them none of their attempts. Make sure that "
        "they do not run any more (squeue, flux jobs): what still runs would run twice."
    ),
    "not-run": (
        "they never began. What has not begun is barred from beginning first, then it is submitted again. Make sure "
        "that they do not run: what did begin would run twice."
    ),
    "ended": (
        "they ran to their end. Their outputs are read now, and what those say counts. Only what they show to have "
        "failed is tried again, as [retry] says."
    ),
}
"""What a person may say, and what comes of it."""


@command("pause")
@id_argument()
@selection_options
def pause(ctl: Ctl, id: str, selection: Selection) -> None:
    """Start nothing more of a workflow, or hold some of its jobs."""
    _changed(ctl, f"{id}: paused", ctl.client.pause(id, _or_all(selection)))


@command("resume")
@id_argument()
@selection_options
def resume(ctl: Ctl, id: str, selection: Selection) -> None:
    """Undo a pause, or release some held jobs."""
    _changed(ctl, f"{id}: resumed", ctl.client.resume(id, _or_all(selection)))


@command("cancel")
@id_argument()
@selection_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def cancel(ctl: Ctl, id: str, selection: Selection, yes: bool) -> int | None:
    """Stop a workflow, or some of its jobs, running ones included."""
    asks = selection == _NOTHING and not yes and sys.stdin.isatty() and sys.stdout.isatty()
    if asks and not click.confirm(f"Cancel the whole workflow {id}, its running jobs included?"):
        ctl.note("nothing was cancelled")
        return _NOT_CONFIRMED
    _changed(ctl, f"{id}: cancelled", ctl.client.cancel(id, _or_all(selection)))
    return None


@command("retry")
@id_argument()
@selection_options
def retry(ctl: Ctl, id: str, selection: Selection) -> None:
    """Make ended jobs ready again: those selected, else all that failed or ran out of time."""
    _changed(ctl, f"{id}: to be tried again", ctl.client.retry(id, _FAILED if selection == _NOTHING else selection))


@command("mark")
@id_argument()
@selection_options
@click.option("--never-rerun/--clear", "never_rerun", default=None, help="Set the mark, or take it away.")
def mark(ctl: Ctl, id: str, selection: Selection, never_rerun: bool | None) -> None:
    """Mark jobs as never to be run again."""
    if never_rerun is None:
        raise click.UsageError("say --never-rerun or --clear")
    if selection == _NOTHING:
        raise click.UsageError("say which jobs, with --job, --status, --state or --filter")
    _changed(ctl, f"{id}: {'marked' if never_rerun else 'cleared'}", ctl.client.mark(id, selection, never_rerun))


@command("resolve")
@id_argument()
@selection_options
@click.option(
    "--as",
    "fate",
    type=click.Choice(list(_FATES)),
    required=True,
    help="lost: it ran and left nothing; not-run: it never started; ended: it ran to its end, so read its outputs.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def resolve(ctl: Ctl, id: str, selection: Selection, fate: str, yes: bool) -> int | None:
    """Say what became of jobs in doubt, where evidence could not settle it; look at the cluster first.

    Others than those in doubt are left as they are. A job said to be lost or not run is started again: if it still
    runs, it runs twice.
    """
    if selection == _NOTHING:
        raise click.UsageError("say which jobs, with --job, --status, --state or --filter")
    asks = not yes and not ctl.json and sys.stdin.isatty() and sys.stdout.isatty()
    if asks:
        ctl.line(f"{fate}: {_FATES[fate]}")
        if not click.confirm(f"Is that what became of these jobs of {id}?"):
            ctl.note("nothing was changed")
            return _NOT_CONFIRMED
    _changed(ctl, f"{id}: resolved as {fate}", ctl.client.resolve(id, selection, Resolution(fate.replace("-", "_"))))
    return None


@command("set")
@id_argument()
@click.option("--slots", type=Whole(), metavar="N", help="Jobs that may run at the same time.")
@click.option("--priority", type=Whole(), metavar="N", help="Higher goes first.")
def set_(ctl: Ctl, id: str, slots: int | None, priority: int | None) -> None:
    """Change a workflow's slots or priority."""
    if slots is None and priority is None:
        raise click.UsageError("give --slots or --priority")
    reply = ctl.client.set(id, slots, priority)
    if ctl.json:
        ctl.emit(reply)
    else:
        show_status(ctl, reply)


@command("export")
@id_argument()
@selection_options
@click.option("--to", "format_", type=click.Choice(["csv", "json", "extxyz", "ase"]), required=True, help="Format.")
@click.option("-o", "--output", type=click.Path(), metavar="PATH", help="Default: the workflow's own directory.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def export(ctl: Ctl, id: str, selection: Selection, format_: str, output: str | None, overwrite: bool) -> None:
    """Write a workflow's results to a file."""
    if output == "-":
        raise click.UsageError("an export is a file; give -o the path it shall have, or ./- for a file of that name")
    path = None if output is None else str(Path(output).absolute())
    reply = ctl.client.export(id, format_, path, selection, overwrite)
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"{reply.jobs} {reply.of} written to {reply.path}")


def _or_all(selection: Selection) -> Selection | None:
    """No selection means the workflow itself, which is more than all of its jobs."""
    return None if selection == _NOTHING else selection


def _changed(ctl: Ctl, what: str, reply: Changed) -> None:
    if ctl.json:
        ctl.emit(reply)
        return
    left = f", {reply.left} left as they were" if reply.left else ""
    note = f" ({reply.note})" if reply.note else ""
    ctl.line(f"{what}, {reply.changed} {'job' if reply.changed == 1 else 'jobs'}{left}{note}")


COMMANDS: Final = {
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "retry": retry,
    "mark": mark,
    "resolve": resolve,
    "set": set_,
    "export": export,
}
