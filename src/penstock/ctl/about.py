"""Commands about the daemon and this program: config, ping, version, completion."""

from __future__ import annotations

import time
from typing import Final

import click

from penstock import __version__
from penstock.control.messages import PROTOCOL
from penstock.ctl.layers import client_layers
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.text import duration
from penstock.domain.errors import UnreachableError

_LOOK_EVERY_S: Final = 0.05


@command("config")
def config(ctl: Ctl) -> None:
    """Show every setting a submission from here would use, and where it comes from."""
    reply = ctl.client.settings(client_layers({}))
    if ctl.json:
        ctl.emit(reply)
        return
    rows = ((s.key, "-" if s.value is None else str(s.value), s.origin) for s in reply.settings)
    ctl.table(("setting", "value", "origin"), rows)


@command("ping")
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait for the daemon.")
def ping(ctl: Ctl, wait_s: float) -> None:
    """Ask whether the daemon is there."""
    give_up = time.monotonic() + wait_s
    while True:
        try:
            reply = ctl.client.ping()
            break
        except UnreachableError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(_LOOK_EVERY_S)
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"penstockd {reply.version}, pid {reply.pid}, up for {duration(reply.uptime_s)}")


@command("version")
def version(ctl: Ctl) -> None:
    """Show this program's version."""
    if ctl.json:
        ctl.emit({"version": __version__, "protocol": PROTOCOL})
    else:
        ctl.line(f"penstockctl {__version__}, protocol {PROTOCOL}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script; for bash: eval "$(penstockctl completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "penstockctl", "_PENSTOCKCTL_COMPLETE").source())


COMMANDS: Final = {"config": config, "ping": ping, "version": version, "completion": completion}
