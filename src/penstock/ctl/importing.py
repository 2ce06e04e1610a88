"""The command import, and what imported histories of protocols hold: executions, execution."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec

from penstock.control.messages import Imported
from penstock.ctl.layers import client_layers
from penstock.ctl.options import DaemonPath, Whole, command, id_argument
from penstock.ctl.output import Ctl
from penstock.domain.settings import read_text
from penstock.domain.views import ExecutionStepInfo

_KINDS: Final = ("architector", "crystal", "protocol")
_RUNNING: Final = ("hold", "ready")
_LISTED: Final = 10
_WIDTH: Final = 60


@command("import")
@click.argument("files", nargs=-1, required=True, type=DaemonPath(), metavar="FILE...")
@click.option("--id", help="The workflow's name.  [default: the file's]")
@click.option("--spec", type=click.Path(), metavar="FILE", help="How its jobs go on; [structures] is not needed.")
@click.option("--kind", type=click.Choice(_KINDS), help="What it is, where the tables leave it open.")
@click.option("--running", type=click.Choice(_RUNNING), default="hold", help="What becomes of running calculations.")
@click.option("--moved", type=DaemonPath(), metavar="DIR", help="Where the job directories are now.")
@click.option("--dry-run", is_flag=True, help="Show what would be made; nothing is written.")
def import_(
    ctl: Ctl,
    files: tuple[str, ...],
    *,
    id: str | None,
    spec: str | None,
    kind: str | None,
    running: str,
    moved: str | None,
    dry_run: bool,
) -> None:
    """Make a workflow of another tool's database FILE, which stays as it is.

    That is workflow.db of the Architector/ORCA workflow manager, materials.db of the CRYSTAL workflow manager, or
    executions.db of protocols (give job_queue.db with it). Directories are taken over where they are. With --spec the
    workflow waits for 'penstockctl resume' and goes on; without, it is a record.
    """
    path = Path(spec).absolute() if spec is not None else None
    reply = ctl.client.import_databases(
        tuple(str(Path(file).absolute()) for file in files),
        str(Path.cwd()),
        id=id,
        kind=kind,
        running=running,
        moved=str(Path(moved).absolute()) if moved is not None else None,
        text=read_text(path) if path is not None else None,
        file=str(path) if path is not None else "",
        layers=client_layers({}),
        dry_run=dry_run,
    )
    if ctl.json:
        ctl.emit(reply)
    else:
        _show(ctl, reply)


def _show(ctl: Ctl, reply: Imported) -> None:
    if reply.directory is None:
        ctl.line(f"dry run of {reply.id} ({reply.kind}): nothing was written")
    else:
        ctl.line(f"imported {reply.id} ({reply.kind}) in {reply.directory}")
    ctl.line()
    counts = [(what.replace("_", " "), str(number)) for what, number in reply.counts.items()]
    ctl.pairs([*counts, *((f"left out of {table}", str(rows)) for table, rows in reply.left_out.items())])
    if reply.statuses:
        ctl.line()
        ctl.pairs((mapping, str(number)) for mapping, number in sorted(reply.statuses.items()))
    if reply.remarks:
        ctl.line()
        ctl.line("not taken over as it was:")
        ctl.pairs((f"  {reason}", str(times)) for reason, times in sorted(reply.remarks.items(), key=_by_count))
        for remark in reply.shown[:_LISTED]:
            row = f", row {remark.row}" if remark.row is not None else ""
            ctl.line(f"    {remark.table}{row}: {remark.reason}{': ' if remark.detail else ''}{remark.detail}")
        if sum(reply.remarks.values()) > _LISTED:
            ctl.line("    ... --json shows more")
    if reply.workflow is not None and reply.workflow.reason is not None:
        ctl.line()
        ctl.line(f"{reply.id} is {reply.workflow.state}: {reply.workflow.reason}")


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


@command("executions")
@id_argument()
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only these; may be repeated.")
@click.option("--search", metavar="TEXT", help="Only those with this text in a name, an error or the metadata.")
@click.option("--limit", type=Whole(0), default=100, show_default=True, metavar="N", help="At most so many.")
@click.option("--offset", type=Whole(0), default=0, metavar="N", help="From so many on.")
def executions(ctl: Ctl, id: str, statuses: tuple[str, ...], search: str | None, limit: int, offset: int) -> None:
    """List the executions of protocols that a workflow holds."""
    reply = ctl.client.executions(id, statuses, search, limit, offset)
    if ctl.json:
        ctl.emit(reply)
        return
    ctl.table(
        ("execution", "name", "operation", "subject", "vessel", "status", ">steps", "created"),
        (
            (
                *(e.execution_id, e.workflow_name or "-", e.operation_type or "-", e.cell_line or "-"),
                *(e.vessel_id or "-", e.status, str(e.steps), e.created_at or "-"),
            )
            for e in reply.executions
        ),
    )
    ctl.note(f"{len(reply.executions)} of {reply.total} executions")


@command("execution")
@id_argument()
@click.argument("execution", metavar="EXECUTION")
def execution(ctl: Ctl, id: str, execution: str) -> None:
    """Show one execution with its steps; a beginning of its id is enough."""
    reply = ctl.client.execution(id, execution)
    if ctl.json:
        ctl.emit(reply)
        return
    plain = msgspec.structs.asdict(reply.execution)
    ctl.pairs((name.replace("_", " "), _short(value, None)) for name, value in plain.items() if value is not None)
    for queued in reply.queued:
        ctl.pairs([("queued", f"{queued.job_id}, priority {queued.priority}, {queued.status}")])
    ctl.line()
    ctl.table((">step", "name", "operation", "status", "parameters", "result"), map(_row, reply.steps))


def _row(step: ExecutionStepInfo) -> tuple[str, ...]:
    index = "-" if step.step_index is None else str(step.step_index)
    result = step.error_message or _short(step.result)
    return index, step.name or "-", step.operation_type or "-", step.status, _short(step.parameters), result


def _short(value: Any, width: int | None = _WIDTH) -> str:
    """A value on one line, no longer than `width`."""
    if isinstance(value, dict):
        shown = ", ".join(f"{name}={inner}" for name, inner in value.items())
    else:
        shown = "" if value is None else str(value)
    return shown if width is None or len(shown) <= width else f"{shown[: width - 3]}..."


COMMANDS: Final = {"import": import_, "executions": executions, "execution": execution}
