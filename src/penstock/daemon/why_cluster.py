"""What a cluster has to do with a job's state, in sentences."""

from __future__ import annotations

import re
import time
from typing import Final

from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec
from penstock.domain.views import ClusterInfo, Doubt

_SCHEDULER_JOB: Final = re.compile(r"job (\S+?): ")
_HELD: Final = re.compile(r"held\b|jobh[eo]ld|_hold\b|special_exit|reservationdeleted", re.IGNORECASE)
_MEANINGS: Final = (
    ("dependencyneversatisfied", "what it depends on at the scheduler failed: it can never start"),
    ("dependency", "it depends on another job at the scheduler, as the directives say"),
    ("qosmax", "a limit of its QOS is reached; ask the site, or use another QOS"),
    ("qosgrp", "a limit of its QOS is reached by all its users together"),
    ("assoc", "a limit of its account is reached; ask the site, or use another account"),
    ("reqnodenotavail", "nodes it could use are down, drained or reserved"),
    ("partition", "its partition does not take it: it is down, inactive, or its limits are smaller than the request"),
    ("begintime", "the scheduler waits before it tries to start it again"),
    ("licenses", "no licence is free"),
    ("resources", "it is next in line and waits for nodes to become free"),
    ("priority", "jobs of higher priority go first"),
)
"""What a scheduler's reasons mean, by a part of their names; the first that fits."""


def is_held(note: str | None) -> bool:
    """Whether somebody must release the job at the scheduler."""
    return bool(note and _HELD.search(note))


def explain_note(note: str | None, kind: str) -> list[str]:
    """What the scheduler said last of a job, and what that means."""
    if not note:
        return []
    reasons = [f"the scheduler says: {note}"]
    match = _SCHEDULER_JOB.match(note)
    if is_held(note):
        job = match[1] if match else "ID"
        command = f"flux job urgency {job} default" if kind == "flux" else f"scontrol release {job}"
        return [*reasons, f"whoever held it, or an administrator, releases it: {command}"]
    flat = note.lower()
    meaning = next((meaning for part, meaning in _MEANINGS if part in flat), None)
    return [*reasons, meaning] if meaning else reasons


def explain_doubt(doubt: Doubt, workflow: str, job: int, now: float) -> list[str]:
    """Since when nobody knows, what was asked, and who can end it."""
    reasons = [f"in doubt since {local_time(doubt.since)}, {_span(now - doubt.since)} ago"]
    reasons += [f"asked: {asked}" for asked in doubt.asked]
    if doubt.waits_for:
        reasons.append(f"waits for: {doubt.waits_for}")
    resolve = f"penstockctl resolve {workflow} --job {job} --as lost|not-run|ended"
    if doubt.question_at is not None and doubt.question_at > now:
        reasons.append(
            f"if nothing settles it by {local_time(doubt.question_at)}, you are asked; you know already: {resolve}"
        )
    elif doubt.question_at is not None:
        reasons.append(f"evidence has not settled it, so you are asked: {resolve}")
    else:
        reasons.append(f"evidence will settle it; you know already: {resolve}")
    return reasons


def explain_cluster(cluster: ClusterInfo | None, spec: WorkflowSpec | None, now: float) -> list[str]:
    """What keeps a cluster from starting more."""
    if cluster is None:
        return ["its cluster is not configured any more"]
    if trouble := explain_trouble(cluster, now):
        return trouble
    reasons = [f"cluster {cluster.name}: {cluster.reason}"] if cluster.reason else []
    if cluster.kind == "local":
        return [*reasons, _local_load(cluster, spec)]
    return [*reasons, *_queue_load(cluster, now), *_request(spec)]


def explain_trouble(cluster: ClusterInfo, now: float) -> list[str]:
    """Why a cluster cannot be used at all; nothing where it can."""
    if cluster.connected and cluster.state == "up":
        return []
    since = f" since {local_time(cluster.down_since)}" if cluster.down_since is not None else ""
    what = f"is {cluster.state}" if cluster.connected else "cannot be reached"
    reasons = [f"cluster {cluster.name} {what}{since}: {cluster.reason or 'no reason is known'}"]
    if cluster.next_try_at is not None:
        reasons.append(f"the next try is in {_span(max(0.0, cluster.next_try_at - now))}; jobs there go on meanwhile")
    return reasons


def _local_load(cluster: ClusterInfo, spec: WorkflowSpec | None) -> str:
    needs = f"; each job asks for {spec.resources.cores} cores and {spec.resources.memory}" if spec else ""
    used = (
        f"{cluster.cores_used} of {cluster.cores} cores and {cluster.memory_used_mb} of {cluster.memory_mb} MB in use"
    )
    return f"cluster {cluster.name}: {used}, {cluster.submissions_waiting} submissions waiting{needs}"


def _queue_load(cluster: ClusterInfo, now: float) -> list[str]:
    there = f"{cluster.jobs_queued} jobs of ours queued and {cluster.jobs_running} running there"
    reasons = [f"cluster {cluster.name}: {there}, {cluster.submissions_waiting} submissions wait here to be sent"]
    if cluster.next_query_at is not None and cluster.next_query_at > now:
        reasons.append(
            f"the budget of calls ({cluster.calls_allowed_per_min:g} queries a minute) allows the next query in "
            f"{_span(cluster.next_query_at - now)}; what jobs report by themselves is seen before"
        )
    if cluster.excluded_nodes:
        reasons.append(f"nodes left out after repeated failures: {', '.join(cluster.excluded_nodes)}")
    return reasons


def _request(spec: WorkflowSpec | None) -> list[str]:
    if spec is None:
        return []
    needs: Resources = spec.needs()
    asked = [f"{needs.cores} {'core' if needs.cores == 1 else 'cores'}", f"{needs.memory_mb} MB"]
    asked.append(_span(needs.walltime_s))
    asked += [f"{count} {noun}" for count, noun in ((needs.nodes, "nodes"), (needs.tasks, "tasks")) if count > 1]
    asked += [f"{needs.gpus} GPUs"] if needs.gpus else []
    return [f"it asks for {', '.join(asked)}; smaller requests and shorter walltimes start sooner"]


def local_time(at: float) -> str:
    """A moment as people here write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _span(seconds: float) -> str:
    """Seconds as people say them, rounded."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
