"""The command top."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, Final

import click

from penstock.ctl.options import command, id_argument
from penstock.ctl.output import Ctl
from penstock.domain.errors import NotFoundError


@command("top")
@id_argument(required=False)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks while something changes; more where answers take long.",
)
def top(ctl: Ctl, id: str | None, interval_s: float) -> int | None:
    """Show what goes on, live: workflows, clusters, failures; jobs and their logs; pause, resume, retry, cancel.

    With --json, one snapshot of workflows, clusters and recent failures.
    """
    if ctl.json:
        ctl.emit(_snapshot(ctl, id))
        return None
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) or os.environ.get("TERM") == "dumb":
        raise click.UsageError("top needs a terminal; use penstockctl status, list or watch, or top --json")
    if id is None:
        ctl.client.ping()
    else:
        ctl.client.status(id)
    return _run(ctl, id, interval_s)


def _run(ctl: Ctl, id: str | None, interval_s: float) -> int:
    """The live view until a person leaves it; the exit code."""
    os.environ |= {"TEXTUAL_ANIMATIONS": "none", "TEXTUAL_DISABLE_KITTY_KEY": "1"}  # read when textual is imported
    for name in ("COLUMNS", "LINES"):  # what a shell has exported is not what the terminal is resized to
        os.environ.pop(name, None)
    from penstock.control.aio import AsyncClient
    from penstock.ctl.top.app import make_app
    from penstock.ctl.top.state import JobsView, Overview, State

    views = (Overview(),) if id is None else (Overview(), JobsView(id))
    app = make_app(AsyncClient(ctl.client.path), State(views=views), interval_s)
    app.run(mouse=False)  # the mouse stays the terminal's own, to mark and copy
    return app.return_code or 0


def _snapshot(ctl: Ctl, id: str | None) -> dict[str, Any]:
    """What the first screen shows, or of it what concerns one workflow."""
    from penstock.ctl.top.picture import Failure, failing, failure_of_job, merged

    workflows = ctl.client.list_workflows().workflows if id is None else (ctl.client.status(id).workflow,)
    clusters = ctl.client.clusters().clusters
    if id is not None:
        clusters = tuple(cluster for cluster in clusters if cluster.name == workflows[0].cluster)
    failures: list[Failure] = []
    for info in failing(workflows):
        with suppress(NotFoundError):  # deleted meanwhile
            failures += [failure_of_job(info.id, job) for job in ctl.client.status(info.id).failures]
    return {"workflows": workflows, "clusters": clusters, "failures": merged((), failures)}


COMMANDS: Final = {"top": top}
