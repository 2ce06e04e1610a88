"""Commands for workflows that move between machines: create, adopt, sync."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.ctl.goal_files import grow_file, told_in_goal
from penstock.ctl.layers import client_layers
from penstock.ctl.options import DaemonPath, Whole, command
from penstock.ctl.output import Ctl
from penstock.domain.settings import read_text


@command("create")
@click.argument("spec", type=click.Path())
@click.option("--offline", is_flag=True, help="Without a daemon; needs to be said.")
@click.option("--into", type=click.Path(), default=".", metavar="DIR", help="Gets the folder ID.  [default: .]")
@click.option("--id", help="The workflow's name.")
@click.option("--cluster", metavar="NAME", help="Where it is to run.")
@click.option("--slots", type=Whole(), metavar="N", help="Jobs that may run at the same time.")
def create(
    ctl: Ctl, spec: str, offline: bool, into: str, id: str | None, cluster: str | None, slots: int | None
) -> None:
    """Make the directory of the workflow that the file SPEC describes, to be copied and adopted elsewhere."""
    if not offline:
        raise click.UsageError("a daemon makes and runs it with 'penstockctl submit'; without one, say --offline")
    import anyio

    from penstock.daemon.offline import check_offline, create_offline

    path = Path(spec).absolute()
    layers = client_layers({"id": id, "cluster": cluster, "slots": slots})
    text = read_text(path)
    goal = grow_file(ctl, path, text)
    with told_in_goal(goal):
        wish = check_offline(goal.grown.text if goal else text, str(path), Path(into).absolute(), layers)
    directory = anyio.run(create_offline, wish)
    if ctl.json:
        ctl.emit({"id": wish.workflow_id, "directory": str(directory)})
        return
    ctl.line(f"{wish.workflow_id} is made in {directory}; copy it to where a daemon runs, and there:")
    ctl.line(f"penstockctl adopt {directory.name}")


@command("adopt")
@click.argument("directory", type=DaemonPath())
@click.option("--id", help="Another name, where that one is taken.")
@click.option("--cluster", metavar="NAME", help="Where it runs, if not where its spec says.")
@click.option("--slots", type=Whole(), metavar="N", help="Jobs that may run at the same time.")
@click.option("--force", is_flag=True, help="Although it belongs to a daemon elsewhere, which will never run it again.")
def adopt(ctl: Ctl, directory: str, id: str | None, cluster: str | None, slots: int | None, force: bool) -> None:
    """Let the daemon have and run the workflow in DIRECTORY, which was made or run elsewhere."""
    accepted = ctl.client.adopt(str(Path(directory).absolute()), id, cluster, slots, force)
    if ctl.json:
        ctl.emit(accepted)
    else:
        ctl.line(f"adopted {accepted.id} in {accepted.directory}")


@command("sync")
@click.argument("directory", type=click.Path())
@click.argument("remote")
@click.option("--penstockctl", default="penstockctl", show_default=True, metavar="PATH", help="On the other machine.")
def sync(ctl: Ctl, directory: str, remote: str, penstockctl: str) -> None:
    """Bring the workflow in DIRECTORY up to date with where it runs.

    REMOTE is its directory there, HOST:PATH or a path. What is there is copied here: its database as of one moment, job
    directories and exports. Nothing there is changed, and the workflow stays with the daemon there. Broken off, the
    same command goes on.
    """
    from penstock.ctl.sync import bring_up_to_date

    done = bring_up_to_date(Path(directory).absolute(), remote, penstockctl)
    if ctl.json:
        ctl.emit(done)
    else:
        ctl.line(f"{done.id} is as it was there: {done.state}, {done.jobs} jobs")


COMMANDS: Final = {"create": create, "adopt": adopt, "sync": sync}
