"""`penstockctl log`: the daemon's own log."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from penstock.control.messages import Lagged
from penstock.control.session import retry_delays_s
from penstock.ctl.options import ID_VARIABLE, Whole, command, complete_id
from penstock.ctl.output import Ctl
from penstock.ctl.progress import PATIENCE_S
from penstock.domain.context import LOG_PLACE_NAME
from penstock.domain.errors import UnreachableError
from penstock.domain.log_line import LEVELS, LogLine, flat, render_json, render_text
from penstock.domain.settings import socket_path, state_dir

_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd])")
_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Since(click.ParamType[float]):
    """A moment: so long ago (`10m`), a time of today (`14:30`), or a date and time."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since the epoch; click.BadParameter for what is no moment."""
        text = str(value).strip()
        if ago := _AGO.fullmatch(text):
            return time.time() - float(ago[1]) * _UNIT_S[ago[2]]
        today = datetime.now().astimezone().date()
        for moment in (f"{today}T{text}", text):
            with suppress(ValueError):
                return datetime.fromisoformat(moment).timestamp()
        return self.fail(f"{text!r} is no moment; write 10m, 2h, 14:30 or 2026-03-01T14:30", param, ctx)


@command("log")
@click.argument("id", required=False, shell_complete=complete_id)
@click.option(
    "-n", "--lines", type=Whole(0), default=100, show_default=True, metavar="N", help="The newest N; 0 with -f only."
)
@click.option("-f", "--follow", is_flag=True, help="Go on; a restart of the daemon is waited for.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="This and what is graver. [default: all]")
@click.option("--job", type=Whole(1), metavar="N", help="Of workflow ID.")
@click.option("--cluster", metavar="NAME", help="About this cluster.")
@click.option("--since", type=Since(), metavar="WHEN", help="10m, 2h, 14:30, or 2026-03-01T14:30.")
def log(  # noqa: PLR0917 - one for each option
    ctl: Ctl,
    id: str | None,
    lines: int,
    follow: bool,
    level: str,
    job: int | None,
    cluster: str | None,
    since: float | None,
) -> None:
    """Show the daemon's own log, of one workflow or of all; what a job has written: penstockctl logs.

    The daemon keeps the newest lines in memory. Older ones, and those from before its start, are where its standard
    error goes: in the journal (journalctl --user -u penstockd), or in the file that it was given.
    """
    if job is not None and id is None:
        raise click.UsageError(f'--job needs a workflow\'s ID (inside a job: --job N "${ID_VARIABLE}")')
    if not lines and not follow:
        raise click.UsageError("-n 0 shows nothing; say how many lines (-n 20), or -f for those to come")
    request: dict[str, Any] = {"level": level, "job": job, "cluster": cluster, "since": since}
    has_colours = ctl.is_terminal and not os.environ.get("NO_COLOR")
    shown = False
    for line in _lines(ctl, id, lines, follow=follow, **request):
        shown = True
        if isinstance(line, Lagged) and ctl.json:
            ctl.emit(line)
        elif isinstance(line, Lagged):
            ctl.note(f"... {line.dropped} lines were left out here because this terminal could not keep up")
        elif ctl.json:
            click.echo(render_json(flat(line)))
        else:
            click.echo(render_text(line, colours=has_colours))
        sys.stdout.flush()
    if not shown:
        ctl.note("the daemon has no such line in memory; older ones are in the journal, or where its log goes")


def _lines(ctl: Ctl, id: str | None, lines: int, *, follow: bool, **request: Any) -> Generator[LogLine | Lagged]:
    """The lines; one who follows waits for a daemon that goes away and goes on where it was."""
    last: int | None = None
    began, reached = time.time(), False
    delays, told = retry_delays_s(PATIENCE_S), False
    while True:
        try:
            if follow:
                ctl.client.ping()
                if reached and last is None:  # it has been away before it had a line for us
                    last, request["since"] = 0, max(began, request["since"] or 0.0)
                reached = True
            for line in ctl.client.log(id, lines=lines, follow=follow, after=last, **request):
                delays, told = retry_delays_s(PATIENCE_S), False
                if isinstance(line, LogLine):
                    last = line.seq
                yield line
        except UnreachableError as error:
            delay = next(delays, None) if follow and reached else None
            if delay is None:
                raise UnreachableError(f"{error}; {_where(ctl)}") from error
            if not told:
                ctl.note(f"the daemon does not answer; waiting up to {PATIENCE_S:g} s for it to come back")
                told = True
            time.sleep(delay)
        else:
            return


def _where(ctl: Ctl) -> str:
    """Where the log of a daemon is that is not there."""
    for directory in (Path(ctl.socket or socket_path(os.environ)).parent, state_dir(os.environ)):
        with suppress(OSError):
            if place := (directory / LOG_PLACE_NAME).read_text(encoding="utf-8", errors="replace").strip():
                return f"its log: {place}"
    return "its log is in the journal (journalctl --user -u penstockd), or in the file that its standard error went to"


COMMANDS: Final = {"log": log}
