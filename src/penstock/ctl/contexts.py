"""Commands about workflows as they lie on disk, whether a daemon knows of them or not: contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.domain.errors import SpecError


@command("contexts")
@click.argument("root", type=click.Path(), default=".")
def contexts(ctl: Ctl, root: str) -> None:
    """Show the workflows below ROOT (default: here) without asking a daemon."""
    from penstock.context.listing import list_contexts

    path = Path(root).absolute()
    if not path.is_dir():
        raise SpecError(f"{path} is not a directory")
    found = list_contexts(path)
    if ctl.json:
        ctl.emit({"contexts": found})
        return
    ctl.table(("id", "mode", "state", "directory"), ((i.id, i.mode or "-", i.state or "?", i.directory) for i in found))
    for info in found:
        if info.problem:
            ctl.note(f"{info.id}: {info.problem}")
    if not found:
        ctl.note(f"there is no workflow below {path}")


COMMANDS: Final = {"contexts": contexts}
