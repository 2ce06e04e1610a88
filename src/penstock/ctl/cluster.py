"""Commands about clusters: clusters, cluster check."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import click
import msgspec

from penstock.ctl.doctor.finding import level_of
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.text import duration, local_time
from penstock.domain.errors import NotFoundError
from penstock.domain.views import BudgetInfo, CallCount, ClusterInfo, ClusterReport, Doubt, Finding

_SOMETHING_FAILED: Final = 1
_LOCAL: Final = "local"
_KINDS: Final = {"query": "queries", "submit": "submissions"}


@command("clusters")
@click.argument("name", required=False)
@click.option("--report", is_flag=True, help="What a site's administrators would ask: calls, latencies, limits, jobs.")
def clusters(ctl: Ctl, name: str | None, report: bool) -> None:
    """Show the clusters and what they are doing, or one of them."""
    if name is None:
        if report:
            raise click.UsageError("--report needs a cluster's NAME")
        _list(ctl)
    elif report:
        reply = ctl.client.report_cluster(name)
        if ctl.json:
            ctl.emit(reply)
        else:
            _show_report(ctl, reply.report)
    else:
        info = _find(ctl, name)
        if ctl.json:
            ctl.emit(info)
        else:
            ctl.pairs(about_cluster(info))


@click.group("cluster")
def cluster() -> None:
    """Look after one cluster."""


@command("check")
@click.argument("name")
def check(ctl: Ctl, name: str) -> int:
    """Try everything a job needs on a cluster, from connecting to a job of its own, and say how to mend what fails."""
    failed = total = 0
    for finding in ctl.client.check_cluster(name):
        total += 1
        failed += not finding.ok
        if ctl.json:
            ctl.emit(msgspec.structs.replace(finding, level=level_of(finding)))
        else:
            _show_finding(ctl, finding)
        sys.stdout.flush()
    if failed:
        ctl.note(f"{failed} of {total} checks failed")
    elif total:
        ctl.note(f"cluster {name} is ready: {total} of {total} checks passed")
    return _SOMETHING_FAILED if failed else 0


cluster.add_command(check)


def _list(ctl: Ctl) -> None:
    reply = ctl.client.clusters()
    if ctl.json:
        ctl.emit(reply)
        return
    columns = ("name", "kind", "state", ">cores", ">memory/MB", ">running", ">waiting", ">in doubt", "reason")
    ctl.table(columns, (_row(info) for info in reply.clusters))


def _row(info: ClusterInfo) -> tuple[str, ...]:
    is_local = info.kind == _LOCAL
    return (
        info.name,
        info.kind,
        info.state,
        f"{info.cores_used}/{info.cores}" if is_local else "-",
        f"{info.memory_used_mb}/{info.memory_mb}" if is_local else "-",
        str(info.submissions_running if is_local else info.jobs_running),
        str(info.submissions_waiting if is_local else info.jobs_queued),
        str(info.jobs_in_doubt),
        info.reason or "-",
    )


def _find(ctl: Ctl, name: str) -> ClusterInfo:
    known = {info.name: info for info in ctl.client.clusters().clusters}
    if name not in known:
        raise NotFoundError(f"there is no cluster {name!r}; known: {', '.join(known)}")
    return known[name]


def about_cluster(info: ClusterInfo) -> list[tuple[str, str]]:
    """What is known of a cluster without asking it, as names and values."""
    pairs = [("cluster", f"{info.name} ({info.version or info.kind})")]
    pairs.append(("state", info.state + (f": {info.reason}" if info.reason else "")))
    submissions = f"{info.submissions_running} running, {info.submissions_waiting} waiting"
    if info.kind == _LOCAL:
        cores, memory = f"{info.cores_used} of {info.cores}", f"{info.memory_used_mb} of {info.memory_mb} MB"
        return [*pairs, ("cores", cores), ("memory", memory), ("submissions", submissions)]
    pairs.append(("host", info.host or "this one"))
    if not info.connected:
        pairs.append(
            ("connection", f"down since {local_time(info.down_since)}, next try {local_time(info.next_try_at)}")
        )
    pairs.append(("jobs", f"{info.jobs_queued} queued, {info.jobs_running} running, {info.jobs_in_doubt} in doubt"))
    pairs.append(("submissions", f"{info.submissions_running} at the scheduler, {info.submissions_waiting} to be sent"))
    budget = f"{info.calls_allowed_per_min:g} queries allowed, {info.budget_left:.1f} may be sent at once"
    pairs.append(("calls", f"{info.calls_last_min} in the last minute; {budget}"))
    if info.excluded_nodes:
        pairs.append(("nodes left out", ", ".join(info.excluded_nodes)))
    return pairs


def _show_finding(ctl: Ctl, finding: Finding) -> None:
    detail = f": {finding.detail}" if finding.detail else ""
    ctl.line(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}{detail}")
    if finding.remedy:
        ctl.line(f"      {finding.remedy}")


# ---- the report -----------------------------------------------------------------------------------------------------


def _show_report(ctl: Ctl, report: ClusterReport) -> None:
    connection = f"{report.sessions} of {report.sessions_max} sessions in use, {report.cluster.connects} connects"
    ctl.pairs(
        [
            *about_cluster(report.cluster),
            ("connected", f"since {local_time(report.connected_since)}, {connection}"),
            ("spool", f"{report.spool}, listed every {duration(report.listing_s)} while something runs"),
            ("rate limit", f"told {report.rate_limited} times that we ask too often"),
            ("our jobs", _counts(report.jobs)),
            ("other jobs", f"{_counts(report.others)} (the account's own, not ours)"),
            ("by stage", _counts(report.submissions)),
        ]
    )
    _show_budgets(ctl, report.budgets)
    _show_calls(ctl, report)
    _show_site(ctl, report)
    _show_doubts(ctl, report.doubts)


def _show_budgets(ctl: Ctl, budgets: tuple[BudgetInfo, ...]) -> None:
    if not budgets:
        return
    _head(ctl, "budgets, of all workflows together:")
    columns = ("calls", ">allowed/min", ">last minute", ">most/min", ">may go now", ">waited")
    rows = (
        (
            _KINDS.get(b.kind, b.kind),
            f"{b.allowed_per_min:g}",
            str(b.last_min),
            str(b.most_per_min),
            f"{b.left:.1f}",
            duration(b.waited_s),
        )
        for b in budgets
    )
    ctl.table(columns, rows)


def _show_calls(ctl: Ctl, report: ClusterReport) -> None:
    if report.calls:
        _head(ctl, "calls by minute:")
        commands = sorted({count.command for count in report.calls})
        ctl.table(("minute", *(f">{name}" for name in commands), ">all"), _by_minute(report.calls, commands))
    if report.totals:
        _head(ctl, "calls since the daemon's start:")
        ctl.table(("command", "outcome", ">calls"), ((t.command, t.outcome, str(t.calls)) for t in report.totals))
    if report.latencies:
        _head(ctl, "how long they took:")
        rows = (
            (t.command, str(t.count), duration(t.median_s), duration(t.p95_s), duration(t.max_s))
            for t in report.latencies
        )
        ctl.table(("command", ">calls", ">median", ">95 %", ">max"), rows)


def _by_minute(calls: Iterable[CallCount], commands: list[str]) -> list[tuple[str, ...]]:
    minutes: dict[float, dict[str, int]] = {}
    for count in calls:
        minutes.setdefault(count.minute, {})[count.command] = count.calls
    return [
        (local_time(minute), *(str(counts.get(name, 0)) for name in commands), str(sum(counts.values())))
        for minute, counts in minutes.items()
    ]


def _show_site(ctl: Ctl, report: ClusterReport) -> None:
    if report.limits:
        _head(ctl, "limits found:")
        ctl.pairs(report.limits.items())
    if report.partitions:
        _head(ctl, "partitions:")
        columns = ("partition", "state", ">nodes", ">cores/node", ">memory/MB", ">GPUs/node", ">walltime")
        rows = (
            (
                p.name + (" (default)" if p.is_default else ""),
                "up" if p.is_up else "down",
                str(p.nodes),
                _or_dash(p.cores_per_node),
                _or_dash(p.memory_mb_per_node),
                _or_dash(p.gpus_per_node),
                duration(p.walltime_s),
            )
            for p in report.partitions
        )
        ctl.table(columns, rows)


def _show_doubts(ctl: Ctl, doubts: tuple[Doubt, ...]) -> None:
    if not doubts:
        return
    _head(ctl, "in doubt:")
    for doubt in doubts:
        asked = f", a person is asked at {local_time(doubt.question_at)}" if doubt.question_at is not None else ""
        waits = f", waits for {doubt.waits_for}" if doubt.waits_for else ""
        attempts = f"{len(doubt.positions)} {'attempt' if len(doubt.positions) == 1 else 'attempts'}"
        ctl.line(f"{doubt.submission}: {attempts} since {local_time(doubt.since)}{waits}{asked}")
        for line in doubt.asked:
            ctl.line(f"  - {line}")


def _head(ctl: Ctl, title: str) -> None:
    ctl.line()
    ctl.line(title)


def _counts(by_state: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in by_state.items() if count) or "none"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


COMMANDS: Final = {"clusters": clusters, "cluster": cluster}
