"""Following a workflow to its end, with a bar for people and lines for a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from penstock.control.messages import WorkflowStatus
from penstock.control.session import ENDED_WORKFLOW, retry_delays_s
from penstock.ctl.output import Ctl
from penstock.ctl.text import clean, counts
from penstock.domain.errors import UnreachableError
from penstock.domain.states import Status
from penstock.domain.views import WorkflowInfo

PATIENCE_S: Final = 300.0
"""How long a daemon that has gone away is waited for."""

_LOOK_EVERY_S: Final = 0.25
_LINE_EVERY_S: Final = 3.0
_ENDED: Final = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED, Status.SKIPPED)


class _Show(Protocol):
    def __call__(self, info: WorkflowInfo, *, last: bool) -> None: ...


def follow_to_end(ctl: Ctl, id: str) -> WorkflowStatus:
    """Show the workflow's progress until it has ended; a daemon that restarts meanwhile is waited for."""
    with _shown(ctl) as show:
        for status in _statuses(ctl, id):
            ended = status.workflow.state in ENDED_WORKFLOW
            show(status.workflow, last=ended)
            if ended:
                return status
            time.sleep(_LOOK_EVERY_S)
    raise AssertionError("statuses end with the workflow only")


def _statuses(ctl: Ctl, id: str) -> Iterator[WorkflowStatus]:
    delays = retry_delays_s(PATIENCE_S)
    told = False
    while True:
        try:
            status = ctl.client.status(id)
        except UnreachableError:
            delay = next(delays, None)
            if delay is None:
                raise
            if delay > 1 and not told:
                ctl.note(f"the daemon does not answer; waiting up to {PATIENCE_S:g} s for it to come back")
                told = True
            time.sleep(delay)
        else:
            delays, told = retry_delays_s(PATIENCE_S), False
            yield status


@contextmanager
def _shown(ctl: Ctl) -> Iterator[_Show]:
    if ctl.json:
        yield _show_nothing
    elif ctl.is_terminal:
        with _bar(ctl) as show:
            yield show
    else:
        yield _lines(ctl)


def _show_nothing(info: WorkflowInfo, *, last: bool) -> None:
    """Programs get the end only."""


def _lines(ctl: Ctl) -> _Show:
    shown, shown_at = "", float("-inf")

    def show(info: WorkflowInfo, *, last: bool) -> None:
        nonlocal shown, shown_at
        line = _line(info) if info.jobs or last else f"{clean(info.id)} {info.state}, reading its structures"
        if line != shown and (last or time.monotonic() - shown_at >= _LINE_EVERY_S):
            ctl.line(line)
            shown, shown_at = line, time.monotonic()

    return show


@contextmanager
def _bar(ctl: Ctl) -> Iterator[_Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
    )
    began: tuple[float, int] | None = None
    with Progress(*columns, console=ctl.console) as progress:
        task = progress.add_task("", total=None, rate="", counts="")

        def show(info: WorkflowInfo, *, last: bool) -> None:  # noqa: ARG001 - the bar stays as it was last drawn
            nonlocal began
            done = _done(info)
            began = began or (time.monotonic(), done)
            elapsed_s = time.monotonic() - began[0]
            rate = f"{(done - began[1]) / elapsed_s:.1f}/s" if elapsed_s > 0 else ""
            total = None if info.ingesting else info.jobs
            text = clean(f"{info.id} {info.state}")
            progress.update(
                task, description=text, completed=done, total=total, rate=rate, counts=counts(info.statuses)
            )

        yield show


def _line(info: WorkflowInfo) -> str:
    total = f"{info.jobs}{'+' if info.ingesting else ''}"
    reason = f": {info.reason}" if info.reason else ""
    return f"{info.id} {info.state}{reason}, {_done(info)} of {total} jobs ended, {counts(info.statuses)}"


def _done(info: WorkflowInfo) -> int:
    return sum(info.statuses.get(status, 0) for status in _ENDED)
