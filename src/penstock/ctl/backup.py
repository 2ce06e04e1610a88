"""The command backup."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.ctl.options import DaemonPath, command, id_argument
from penstock.ctl.output import Ctl


@command("backup")
@id_argument()
@click.option("-o", "--output", type=DaemonPath(), metavar="PATH", help="Default: the workflow's own directory.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def backup(ctl: Ctl, id: str, output: str | None, overwrite: bool) -> None:
    """Copy a workflow's database while it is in use, and check the copy."""
    if output == "-":
        raise click.UsageError("a backup is a file; give -o the path it shall have, or ./- for a file of that name")
    path = None if output is None else str(Path(output).absolute())
    reply = ctl.client.backup(id, path, overwrite)
    if ctl.json:
        ctl.emit(reply)
        return
    ctl.line(f"{reply.jobs} jobs of {id} are in {reply.path} ({reply.bytes / 1e6:.1f} MB), checked")
    if others := [name for name in reply.workflows if name != id]:
        ctl.line(f"the database is shared, and so the copy also holds {', '.join(others)}")


COMMANDS: Final = {"backup": backup}
