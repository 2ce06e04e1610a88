"""Commands that follow: watch, logs."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from typing import Final

import click

from penstock.control.messages import Lagged, LogChunk
from penstock.ctl.options import Whole, command, id_argument, job_argument
from penstock.ctl.output import Ctl
from penstock.ctl.text import clean_block, local_time
from penstock.domain.views import EventInfo


@command("watch")
@id_argument(required=False)
@click.option("--since", type=Whole(0), metavar="SEQ", help="First replay what came after this event.")
@click.option("--until-end", is_flag=True, help="Stop when the workflow has ended.")
def watch(ctl: Ctl, id: str | None, since: int | None, until_end: bool) -> None:
    """Show events as they happen, one on a line."""
    if id is None and (since is not None or until_end):
        raise click.UsageError("--since and --until-end need a workflow's ID")
    for item in ctl.client.watch(id, since=since, until_end=until_end):
        if ctl.json:
            ctl.emit(item)
        else:
            ctl.line(_event_line(item))
        sys.stdout.flush()


@command("logs")
@job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--attempt", type=Whole(1), metavar="N", help="Default: the newest.")
@click.option("--tail", type=Whole(0), metavar="BYTES", help="Only the last BYTES of each file.")
def logs(ctl: Ctl, id: str, job: int, follow: bool, attempt: int | None, tail: int | None) -> None:
    """Print what a job has written; the daemon's own log: penstockctl log."""
    write = _json_writer(ctl) if ctl.json else _terminal_writer() if ctl.is_terminal else _pipe_writer()
    current: str | None = None
    for chunk in ctl.client.logs(id, job, attempt=attempt, follow=follow, tail_bytes=tail):
        if not ctl.json and chunk.name != current and (current is not None or ctl.is_terminal):
            ctl.line(f"==> {chunk.name} <==")
        current = chunk.name
        write(chunk)
        sys.stdout.flush()
    if current is None:
        ctl.note("nothing was written; its files are listed by: penstockctl show")


def _event_line(item: EventInfo | Lagged) -> str:
    if isinstance(item, Lagged):
        return f"... {item.dropped} events were left out here because this terminal could not keep up"
    job = f" job {item.job}" if item.job else ""
    return f"{local_time(item.at)}  {item.workflow}{job}  {item.kind}  {item.text}"


def _json_writer(ctl: Ctl) -> Callable[[LogChunk], None]:
    decode = _decoder()
    return lambda chunk: ctl.emit({"name": chunk.name, "data": decode(chunk)})


def _terminal_writer() -> Callable[[LogChunk], None]:
    decode = _decoder()
    return lambda chunk: click.echo(clean_block(decode(chunk)), nl=False)


def _pipe_writer() -> Callable[[LogChunk], None]:
    """Bytes as they are: what reads a pipe may want them so."""
    return lambda chunk: click.echo(chunk.data, nl=False)


def _decoder() -> Callable[[LogChunk], str]:
    """Text from chunks that may be cut in the middle of a character, file by file."""
    decoders: dict[str, codecs.IncrementalDecoder] = {}

    def decode(chunk: LogChunk) -> str:
        decoder = decoders.setdefault(chunk.name, codecs.getincrementaldecoder("utf-8")("replace"))
        return decoder.decode(chunk.data)

    return decode


COMMANDS: Final = {"watch": watch, "logs": logs}
