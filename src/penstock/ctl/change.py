"""Commands that change something: pause, resume, cancel, retry, mark, resolve, set, export."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from penstock.control.messages import Changed, Revised
from penstock.ctl.options import DaemonPath, Whole, command, id_argument, selection_options
from penstock.ctl.output import Ctl
from penstock.ctl.query import show_completions, show_status
from penstock.ctl.sweep import for_all_points
from penstock.domain.settings import read_text
from penstock.domain.states import Resolution, Status
from penstock.domain.views import Selection

_NOTHING: Final = Selection()
_FAILED: Final = Selection(statuses=(Status.FAILED, Status.TIMEOUT))
_NOT_CONFIRMED: Final = 2
_FORMATS: Final = ("csv", "json", "extxyz", "ase", "folder")
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


_sweep_option = click.option("--sweep", metavar="NAME", help="All workflows of this sweep, instead of ID.")


@command("pause")
@id_argument(required=False)
@_sweep_option
@selection_options
def pause(ctl: Ctl, id: str | None, sweep: str | None, selection: Selection) -> int | None:
    """Start nothing more of a workflow, or hold some of its jobs."""
    return _change(ctl, id, sweep, "paused", lambda one: ctl.client.pause(one, _or_all(selection)))


@command("resume")
@id_argument(required=False)
@_sweep_option
@selection_options
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Such as engine.accuracy=0.1; repeatable."
)
@click.option("--spec", type=click.Path(), metavar="FILE", help="A spec file; its keys replace the workflow's.")
@click.option("--dry-run", is_flag=True, help="Show what would change and how many jobs would run; nothing is changed.")
def resume(
    ctl: Ctl,
    id: str | None,
    sweep: str | None,
    selection: Selection,
    assignments: tuple[str, ...],
    spec: str | None,
    dry_run: bool,
) -> int | None:
    """Go on with a workflow: one that is paused, faulted, failed or cancelled; or release some held jobs.

    What failed or was cancelled runs again from where it stands, except jobs marked never-rerun, with a changed spec if
    you wish; the rest of the source is read.
    """
    if not (assignments or spec or dry_run):
        return _change(ctl, id, sweep, "resumed", lambda one: ctl.client.resume(one, _or_all(selection)))
    if selection != _NOTHING or sweep or id is None:
        raise click.UsageError("--set, --spec and --dry-run are for one whole workflow; give its ID alone")
    path = Path(spec or "spec.toml").absolute()
    text = read_text(path) if spec else ""
    _revised(ctl, id, ctl.client.revise(id, dict(map(_assignment, assignments)), text, str(path), dry_run))
    return None


def _assignment(text: str) -> tuple[str, Any]:
    """A dotted key and its value: what TOML reads as a value is one, anything else is a text."""
    from penstock.ctl.spec_document import parse_value

    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise click.BadParameter(f"{text!r} is no KEY=VALUE", param_hint="--set")
    return key.strip(), parse_value(value.strip())


def _revised(ctl: Ctl, id: str, reply: Revised) -> None:
    if ctl.json:
        ctl.emit(reply)
        return
    jobs = f"{reply.jobs} {'job' if reply.jobs == 1 else 'jobs'} again"
    ctl.line(f"{id}: would run {jobs}; nothing was changed" if reply.dry_run else f"{id}: resumed, {jobs}")
    if reply.changes:
        ctl.table(("key", "was", "is"), ((c.key, _written(c.old), _written(c.new)) for c in reply.changes))
    if reply.keeping and any(change.key.startswith("engine.") for change in reply.changes):
        ctl.note(f"{reply.keeping} of them keep the engine's parameters that a remedy gave them")


def _written(value: Any) -> str:
    return "-" if value is None else msgspec.json.encode(value).decode()


@command("cancel")
@id_argument(required=False)
@_sweep_option
@selection_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def cancel(ctl: Ctl, id: str | None, sweep: str | None, selection: Selection, yes: bool) -> int | None:
    """Stop a workflow, or some of its jobs, running ones included."""
    asks = selection == _NOTHING and not yes and sys.stdin.isatty() and sys.stdout.isatty()
    what = f"all workflows of sweep {sweep}, their" if sweep else f"the whole workflow {id}, its"
    if asks and not click.confirm(f"Cancel {what} running jobs included?"):
        ctl.note("nothing was cancelled")
        return _NOT_CONFIRMED
    return _change(ctl, id, sweep, "cancelled", lambda one: ctl.client.cancel(one, _or_all(selection)))


@command("retry")
@id_argument(required=False)
@_sweep_option
@selection_options
def retry(ctl: Ctl, id: str | None, sweep: str | None, selection: Selection) -> int | None:
    """Make ended jobs ready again: those selected, else all that failed or ran out of time."""
    wanted = _FAILED if selection == _NOTHING else selection
    return _change(ctl, id, sweep, "to be tried again", lambda one: ctl.client.retry(one, wanted))


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


@command("on-complete")
@id_argument()
@click.option("--retry", is_flag=True, help="Do again what failed, and then what was held back for it.")
@click.option("--again", type=Whole(1), metavar="N", help="Do action N again, whatever it came to.")
def on_complete(ctl: Ctl, id: str, retry: bool, again: int | None) -> None:
    """Show what was done at a workflow's end ([[on_complete]]), or do it again."""
    if retry and again is not None:
        raise click.UsageError("--retry and --again exclude each other")
    reply = ctl.client.repeat_completion(id, again) if retry or again is not None else ctl.client.status(id)
    if ctl.json:
        ctl.emit(reply)
    elif reply.completions:
        show_completions(ctl, reply.completions)
    else:
        ctl.note(f"{id} has had nothing to do at its end")


@command("export")
@id_argument()
@selection_options
@click.option(
    "--to", "format_", type=click.Choice(["csv", "json", "extxyz", "ase", "folder"]), required=True, help="Format."
)
@click.option("-o", "--output", type=DaemonPath(), metavar="PATH", help="Default: the workflow's own directory.")
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


def _change(ctl: Ctl, id: str | None, sweep: str | None, done: str, act: Callable[[str], Changed]) -> int | None:
    """Changes a workflow, or all of a sweep."""
    if sweep is not None:
        return for_all_points(ctl, sweep, done, act)
    if id is None:
        raise click.UsageError("give a workflow's ID, or --sweep NAME")
    _changed(ctl, f"{id}: {done}", act(id))
    return None


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
    "on-complete": on_complete,
    "export": export,
}
