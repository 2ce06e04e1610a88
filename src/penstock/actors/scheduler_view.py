"""What people see of a cluster with a scheduler."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.scheduler_messages import SchedulerConfig
from penstock.clusters.scheduler import Limits
from penstock.clusters.tracking import Stage, Tracked
from penstock.domain.submission import Seen
from penstock.domain.views import ClusterInfo, ClusterReport, Doubt, PartitionInfo

if TYPE_CHECKING:
    from penstock.actors.scheduler_cluster import SchedulerCluster


def describe(actor: SchedulerCluster, board: Board, clock: Clock) -> ClusterInfo:
    """The cluster at a glance."""
    now, monotonic = clock.time(), clock.monotonic()
    config, way = actor.config, actor.link.shell.way
    jobs = Counter(seen.seen for tracked in actor.book.tracked.values() for seen in tracked.told.values())
    stages = Counter(tracked.stage for tracked in actor.book.tracked.values())
    wait_s = actor.loops.queries.wait_s(monotonic, urgent=True)
    connected = actor.connected_since is not None
    return ClusterInfo(
        config.name,
        config.kind,
        "up" if connected and way.is_up else "down" if actor.troubles else "connecting",
        "; ".join(dict.fromkeys(actor.troubles.values())) or None,
        0,
        0,
        0,
        0,
        sum(not tracked.closed for tracked in actor.book.tracked.values()) - stages[Stage.WAITING],
        stages[Stage.WAITING],
        host=config.host,
        version=actor.loops.limits.version if actor.loops.limits else "",
        jobs_queued=jobs[Seen.QUEUED],
        jobs_running=jobs[Seen.RUNNING],
        jobs_in_doubt=jobs[Seen.IN_DOUBT],
        calls_last_min=board.calls[config.name].last_minute(),
        calls_allowed_per_min=actor.loops.queries.active_per_min,
        budget_left=round(actor.loops.queries.left(monotonic), 1),
        next_query_at=now + wait_s if wait_s > 0 and actor.book.is_urgent(now, actor.loops.patience()) else None,
        connected=way.is_up,
        down_since=way.down_since,
        next_try_at=way.next_try_at,
        connects=way.connects,
        excluded_nodes=actor.loops.submissions.nodes.excluded(now),
    )


def doubt(tracked: Tracked, config: SchedulerConfig) -> Doubt | None:
    """What is in doubt of a submission, None when nothing is."""
    if tracked.closed or not tracked.in_doubt:
        return None
    positions = tuple(n for n, seen in tracked.told.items() if seen.seen is Seen.IN_DOUBT)
    since = min(
        (t.in_doubt_since for t in tracked.tasks.values() if t.in_doubt_since is not None), default=tracked.stage_since
    )
    waits = "a word in its journal or in the accounts, or that of a person"
    asks_a_person = tracked.stage is not Stage.DOUBT or tracked.is_spool_missing
    if tracked.is_spool_missing:
        waits = "the spool that it was submitted with, or the word of a person"
    elif tracked.stage is Stage.DOUBT:
        waits = f"a trace in spool, queue or accounts; unknown to all for {config.grace_s:.0f} s, it was not submitted"
    return Doubt(
        tracked.submission.ulid,
        positions,
        since,
        (tracked.doubt_reason,),
        waits,
        since + config.question_after_s if asks_a_person else None,
        config.name,
    )


def report(actor: SchedulerCluster, board: Board, clock: Clock) -> ClusterReport:
    """What a site's administrators would ask."""
    calls, way, limits = board.calls[actor.config.name], actor.link.shell.way, actor.loops.limits or Limits()
    rows = Counter(row.state for row in actor.view.rows for _ in row.tasks)
    return ClusterReport(
        describe(actor, board, clock),
        clock.time(),
        calls.per_minute(),
        calls.totals(),
        calls.latencies(),
        calls.rate_limited,
        _limits(limits),
        tuple(
            PartitionInfo(
                p.name,
                p.is_default,
                p.is_up,
                p.nodes,
                p.cores_per_node,
                p.memory_mb_per_node,
                p.gpus_per_node,
                p.walltime_s,
            )
            for p in limits.partitions
        ),
        dict(rows),
        dict(actor.view.others),
        dict(Counter(str(tracked.stage) for tracked in actor.book.tracked.values())),
        tuple(board.doubts[ulid] for ulid in actor.book.tracked if ulid in board.doubts),
        actor.connected_since,
        way.sessions,
        way.sessions_max,
        actor.loops.place.spool if actor.loops.place else actor.config.spool,
        actor.config.listing_s,
        calls.budget_infos(),
    )


def _limits(limits: Limits) -> dict[str, str]:
    named = {
        "version": limits.version or None,
        "tasks of one array": limits.width_max,
        "jobs in the whole system": limits.jobs_max,
        "jobs of one user": limits.submit_max,
        "ended jobs are remembered": None if limits.remembered_s is None else f"{limits.remembered_s} s",
        "accounting": "yes" if limits.has_accounting else "no",
    }
    return {name: str(value) for name, value in named.items() if value is not None}
