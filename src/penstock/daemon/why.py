"""Why is a job in the state it is in? The whole cause, from values that are already known."""

from __future__ import annotations

import time

from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import JobState
from penstock.domain.views import ClusterInfo, WorkflowInfo
from penstock.store.queries import JobRecord


def explain(
    record: JobRecord, workflow: WorkflowInfo, cluster: ClusterInfo | None, spec: WorkflowSpec | None, now: float
) -> tuple[str, list[str]]:
    """One sentence that answers, and reasons from the nearest cause outwards."""
    job = record.job
    match JobState(job.state):
        case JobState.READY:
            verdict, reasons = _why_ready(record, workflow, now)
        case JobState.HELD:
            verdict, reasons = (
                "It is held by request.",
                [f"release it: penstockctl resume {workflow.id} --job {job.id}"],
            )
        case JobState.SUBMITTING:
            verdict = "Its submission is recorded; the cluster is being told."
            reasons = _cluster_reasons(cluster, spec)
        case JobState.QUEUED:
            verdict = "The cluster has it and has not started it."
            reasons = ["jobs of one submission run one after another in one slot", *_cluster_reasons(cluster, spec)]
        case JobState.RUNNING:
            verdict, reasons = "It is running.", _running_since(record, now)
        case JobState.COLLECTING:
            verdict, reasons = "It has ended and its outputs are being read.", []
        case JobState.IN_DOUBT:
            verdict, reasons = "Nobody can say yet whether it runs; it is not started again until that is known.", []
        case JobState.COMPLETED:
            verdict, reasons = f"It completed at attempt {job.attempts}.", []
        case JobState.CANCELLED:
            verdict = "It was cancelled by request."
            reasons = [f"run it after all: penstockctl retry {workflow.id} --job {job.id}"]
        case JobState.SKIPPED:
            verdict, reasons = "It was skipped.", []
        case JobState.FAILED | JobState.TIMEOUT:
            verdict, reasons = _why_failed(record, workflow)
    if job.never_rerun:
        reasons.append("it is marked never-rerun")
    if workflow.reason and job.state not in (JobState.COMPLETED, JobState.CANCELLED):
        reasons.append(f"the workflow is {workflow.state}: {workflow.reason}")
    return verdict, reasons


def _why_ready(record: JobRecord, workflow: WorkflowInfo, now: float) -> tuple[str, list[str]]:
    reasons = _last_attempt(record)
    if workflow.state == "paused":
        return "The workflow is paused.", [*reasons, f"go on: penstockctl resume {workflow.id}"]
    if workflow.state == "faulted":
        return "The workflow cannot use its database.", reasons
    if record.not_before is not None and record.not_before > now:
        due = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.not_before))
        return f"It waits for its retry timer until {due}.", reasons
    active = sum(
        workflow.states.get(state, 0) for state in ("submitting", "queued", "running", "collecting", "in_doubt")
    )
    if active:
        slots = f"{active} jobs are on their way in a budget of {workflow.slots} slots; older jobs go first"
        return "It waits for a free slot of its workflow.", [*reasons, slots]
    return "It is about to be submitted.", reasons


def _why_failed(record: JobRecord, workflow: WorkflowInfo) -> tuple[str, list[str]]:
    job = record.job
    what = "ran out of walltime" if job.state == JobState.TIMEOUT else f"failed ({job.failure})"
    decisions = [
        event.data["decision"] for event in record.events if event.kind == "job_failed" and "decision" in event.data
    ]
    reasons = [job.error_message] if job.error_message else []
    reasons += [f"not tried again: {decisions[-1]}"] if decisions else []
    reasons += [f"attempt {a.number} in {a.directory}" for a in record.attempts[-1:]]
    reasons.append(f"try again: penstockctl retry {workflow.id} --job {job.id}")
    return f"It {what}.", reasons


def _last_attempt(record: JobRecord) -> list[str]:
    ended = [a for a in record.attempts if a.message or a.failure]
    return [f"attempt {a.number} ended as {a.failure or a.state}: {a.message}" for a in ended[-1:]]


def _running_since(record: JobRecord, now: float) -> list[str]:
    started = next((a.started_at for a in reversed(record.attempts) if a.started_at is not None), None)
    return [f"attempt {record.job.attempts} started {now - started:.0f} s ago"] if started is not None else []


def _cluster_reasons(cluster: ClusterInfo | None, spec: WorkflowSpec | None) -> list[str]:
    if cluster is None:
        return ["its cluster is not configured any more"]
    if cluster.state != "up":
        return [f"cluster {cluster.name} is {cluster.state}: {cluster.reason}"]
    needs = f"; each job asks for {spec.resources.cores} cores and {spec.resources.memory}" if spec else ""
    return [
        f"cluster {cluster.name}: {cluster.cores_used} of {cluster.cores} cores and {cluster.memory_used_mb} of "
        f"{cluster.memory_mb} MB in use, {cluster.submissions_waiting} submissions waiting{needs}"
    ]
