"""The screen of one cluster: what its report says, condensed, and the workflows on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from penstock.ctl.cluster import about_cluster
from penstock.ctl.text import counts, duration, local_time
from penstock.ctl.top.cell import compact_rate, pace_of, progress, slots, state_span
from penstock.ctl.top.line import Line, Span, cut, said, wrapped
from penstock.ctl.top.state import ClusterView, State
from penstock.domain.views import ClusterReport, WorkflowInfo

_MINUTES: Final = 10
_AROUND: Final = 3  # title, notice and keys
_LIVE: Final = frozenset({"running", "paused", "faulted"})


def rows_of_cluster(state: State) -> int:
    """Lines that have room on the screen."""
    return max(1, state.size[1] - _AROUND)


def cluster_lines(state: State, width: int) -> list[Line]:
    """The screen but for its last two lines."""
    view = state.view
    assert isinstance(view, ClusterView)
    info = next((info for info in state.picture.clusters if info.name == view.name), None)
    details, rows = cluster_details(state, width), rows_of_cluster(state)
    shown = details[view.scroll : view.scroll + rows]
    below = len(details) - view.scroll - rows
    title = [Span(cut(f"cluster {view.name}", width // 2), "bold")]
    if info:
        title += [Span("  "), state_span(info.state), Span(f"  {info.version or info.kind}")]
    if below > 0:
        title.append(Span(f"  ({below} more lines below)", "dim"))
    return [tuple(title), *shown, *[()] * (rows - len(shown))]


def cluster_details(state: State, width: int) -> list[Line]:
    """All there is to say of the cluster on top."""
    view, reported = state.view, state.picture.reported
    assert isinstance(view, ClusterView)
    info = next((info for info in state.picture.clusters if info.name == view.name), None)
    report = reported.report if reported and reported.focus.name == view.name else None
    if info is None:
        return [said("asking the daemon ...", "dim")]
    lines = _pairs(about_cluster(report.cluster if report else info)[1:], width)
    if report:
        lines += _report_lines(report, width)
    here = [w for w in state.picture.workflows.values() if w.cluster == view.name and w.state in _LIVE]
    lines.append(said("workflows at work here:" if here else "no workflow is at work here", "bold"))
    for workflow in sorted(here, key=lambda workflow: workflow.id):
        lines.append(_workflow_line(state, workflow))
    return lines


def _workflow_line(state: State, info: WorkflowInfo) -> Line:
    rate = pace_of(state.picture, info).per_min
    pace = "" if rate is None else f", {compact_rate(rate)} end a minute"
    text = f"  {progress(info)}  {slots(info)}{pace}"
    return (Span(f"{cut(info.id, 24):24} "), state_span(info.state), Span(text))


def _report_lines(report: ClusterReport, width: int) -> list[Line]:
    lines = _pairs(
        [
            ("sessions", f"{report.sessions} of {report.sessions_max}, {report.cluster.connects} connects"),
            ("connected", f"since {local_time(report.connected_since)}"),
            ("spool", f"{report.spool}, listed every {duration(report.listing_s)} while something runs"),
            ("rate limit", f"told {report.rate_limited} times that we ask too often"),
            ("our jobs", counts(report.jobs)),
            ("other jobs", f"{counts(report.others)} (the account's own, not ours)"),
            ("by stage", counts(report.submissions)),
        ],
        width,
    )
    for doubt in report.doubts:
        asked = f", a person is asked at {local_time(doubt.question_at)}" if doubt.question_at is not None else ""
        waits = f", waits for {doubt.waits_for}" if doubt.waits_for else ""
        text = f"in doubt: {len(doubt.positions)} of {doubt.submission} since {local_time(doubt.since)}{waits}{asked}"
        lines += wrapped(text, width, indent="  ", style="magenta")
    lines += _calls(report, width)
    if report.limits:
        lines.append(said("limits found:", "bold"))
        lines += _pairs(report.limits.items(), width)
    if report.partitions:
        lines.append(said("partitions:", "bold"))
        for part in report.partitions:
            up = "up" if part.is_up else "down"
            most = "no limit" if part.walltime_s is None else duration(part.walltime_s)
            cores = "" if part.cores_per_node is None else f" of {part.cores_per_node} cores"
            lines.append(said(cut(f"{part.name:<16} {up}, {part.nodes} nodes{cores}, walltime {most}", width)))
    return lines


def _calls(report: ClusterReport, width: int) -> list[Line]:
    """How often each command was called in the last minutes, how they ended, how long they took."""
    lines: list[Line] = []
    minutes = sorted({count.minute for count in report.calls})[-_MINUTES:]
    ends = {(total.command, total.outcome): total.calls for total in report.totals}
    latencies = {latency.command: latency for latency in report.latencies}
    commands = sorted({command for command, _ in ends} | {count.command for count in report.calls})
    if commands:
        lines.append(said(f"calls in each of the last {len(minutes)} minutes with any; all since the start:", "bold"))
    for command in commands:
        per_minute = {count.minute: count.calls for count in report.calls if count.command == command}
        recent = " ".join(str(per_minute.get(minute, 0)) for minute in minutes)
        ended = counts({outcome: calls for (name, outcome), calls in ends.items() if name == command})
        took = latencies.get(command)
        pace = f"; median {duration(took.median_s)}, 95 % {duration(took.p95_s)}" if took else ""
        lines += wrapped(f"{command:<10} {recent}; {ended}{pace}", width, indent=" " * 11)
    return lines


def _pairs(pairs: Iterable[tuple[str, str]], width: int) -> list[Line]:
    return [said(cut(f"{name:<12} {value}", width)) for name, value in pairs]
