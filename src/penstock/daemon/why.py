"""Why is a job in the state it is in? The whole cause, from values that are already known."""

from __future__ import annotations

import time
from typing import Final

from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import JobState
from penstock.domain.views import ClusterInfo, WorkflowInfo
from penstock.store.queries import JobRecord


def explain(
    record: JobRecord, workflow: WorkflowInfo, cluster: ClusterInfo | None, spec: WorkflowSpec | None, now: float
) -> tuple[str, list[str]]:
    """One sentence that answers, and reasons from the nearest cause outwards."""
    job = record.job
    verdict, reasons = _explain_state(record, workflow, cluster, spec, now)
    if job.never_rerun:
        reasons.append("it is marked never-rerun")
    if workflow.reason and job.state not in (JobState.COMPLETED, JobState.CANCELLED):
        reasons.append(f"the workflow is {workflow.state}: {workflow.reason}")
    return verdict, reasons


def _explain_state(
    record: JobRecord, workflow: WorkflowInfo, cluster: ClusterInfo | None, spec: WorkflowSpec | None, now: float
) -> tuple[str, list[str]]:
    job = record.job
    state = JobState(job.state)
    if state is JobState.READY:
        return _why_ready(record, workflow, now)
    if state in (JobState.FAILED, JobState.TIMEOUT):
        return _why_failed(record, workflow)
    reasons = {
        JobState.HELD: [f"release it: penstockctl resume {workflow.id} --job {job.id}"],
        JobState.SUBMITTING: _cluster_reasons(cluster, spec),
        JobState.QUEUED: ["jobs of one submission run one after another in one slot", *_cluster_reasons(cluster, spec)],
        JobState.RUNNING: _running_since(record, now),
        JobState.CANCELLED: [f"run it after all: penstockctl retry {workflow.id} --job {job.id}"],
    }
    return _VERDICTS[state], reasons.get(state, [])


_VERDICTS: Final = {
    JobState.HELD: "It is held by request.",
    JobState.SUBMITTING: "Its submission is recorded; the cluster is being told.",
    JobState.QUEUED: "The cluster has it and has not started it.",
    JobState.RUNNING: "It is running.",
    JobState.COLLECTING: "It has ended and its outputs are being read.",
    JobState.IN_DOUBT: "Nobody can say yet whether it runs; it is not started again until that is known.",
    JobState.COMPLETED: "It completed.",
    JobState.CANCELLED: "It was cancelled by request.",
    JobState.SKIPPED: "It was skipped.",
}


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
    trouble = [f"cluster {cluster.name}: {cluster.reason}"] if cluster.reason else []
    needs = f"; each job asks for {spec.resources.cores} cores and {spec.resources.memory}" if spec else ""
    used = (
        f"{cluster.cores_used} of {cluster.cores} cores and {cluster.memory_used_mb} of {cluster.memory_mb} MB in use"
    )
    return [*trouble, f"cluster {cluster.name}: {used}, {cluster.submissions_waiting} submissions waiting{needs}"]
