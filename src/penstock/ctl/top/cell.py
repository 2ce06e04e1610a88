"""What stands in cells: states, counts, rates, time spans, bars."""

from __future__ import annotations

from typing import NamedTuple

from penstock.ctl.output import COLOURS
from penstock.ctl.text import bar, duration
from penstock.ctl.top.line import Line, Span
from penstock.ctl.top.picture import Picture, active_jobs, ended_jobs
from penstock.ctl.top.rate import left_s, rate_per_min
from penstock.domain.states import WorkflowState
from penstock.domain.views import WorkflowInfo


def chosen(line: Line) -> Line:
    """The row under the cursor; its colours would be hard to read in reverse."""
    return tuple(Span(span.text, "reverse") for span in line)


class Pace(NamedTuple):
    """How fast a workflow's jobs end, and how long it will take if it goes on so; None where nobody can say."""

    per_min: float | None
    left_s: float | None


def pace_of(picture: Picture, info: WorkflowInfo) -> Pace:
    """The pace of a workflow that runs; nothing is foretold before all of its jobs are there."""
    if info.state != WorkflowState.RUNNING:
        return Pace(None, None)
    track = picture.tracks.get(info.id)
    return Pace(rate_per_min(track), None if info.ingesting else left_s(track, info.jobs - ended_jobs(info)))


def slots(info: WorkflowInfo) -> str:
    """Its slots, and how many jobs are under way in them; a bundle in a slot may hold many."""
    return f"{info.slots} {'slot' if info.slots == 1 else 'slots'}, {active_jobs(info)} under way"


def state_span(state: str) -> Span:
    """A state as its word, in its colour."""
    return Span(state, COLOURS.get(state, ""))


def progress(info: WorkflowInfo, width: int = 6) -> str:
    """A bar of `width` cells, full only when every job has ended, and the share of jobs that have."""
    if info.ingesting:
        return "reading"
    ended = ended_jobs(info)
    most = width if ended >= info.jobs > 0 else width - 1
    return f"{bar(ended, info.jobs, width, '#')[:most]:.<{width}} {100 * ended // max(1, info.jobs):3}%"


def compact(number: int) -> str:
    """A count in at most five cells: `12345`, `123k`, `12M`."""
    if number < 100_000:
        return str(number)
    return f"{number // 1000}k" if number < 10_000_000 else f"{number // 1_000_000}M"


def compact_rate(rate: float) -> str:
    """A rate in at most five cells."""
    return f"{rate:.1f}" if rate < 1000 else compact(round(rate))


def short(seconds: float) -> str:
    """A time span in at most seven cells: `45 s`, `12m`, `2h 03m`, `3d 04h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}m" if whole < 3600 else duration(seconds)
