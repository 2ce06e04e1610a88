"""Why is a job in the state it is in? The whole cause, from values that are already known."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from penstock.actors.board import Board
from penstock.daemon.cluster_tables import LOCAL
from penstock.daemon.why_cluster import explain_cluster, explain_doubt, explain_note, explain_trouble, is_held
from penstock.domain.silence import is_silent
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import JobState
from penstock.domain.views import ClusterInfo, Doubt, WorkflowInfo
from penstock.store.queries import JobRecord

_DECISIONS_SHOWN: Final = 3
_VERDICTS: Final = {
    JobState.HELD: "It is held by request.",
    JobState.WAITING: "It waits for the step before it.",
    JobState.SUBMITTING: "Its submission is recorded; the cluster is being told.",
    JobState.QUEUED: "The cluster has it and has not started it.",
    JobState.RUNNING: "It is running.",
    JobState.COLLECTING: "It has ended and its outputs are being read.",
    JobState.IN_DOUBT: "Nobody can say yet whether it runs; it is not started again until that is known.",
    JobState.COMPLETED: "It completed.",
    JobState.CANCELLED: "It was cancelled by request.",
    JobState.SKIPPED: "It was skipped.",
}


class Around(msgspec.Struct, frozen=True):
    """What is known of a job outside its database: its cluster, and what that said last of the newest attempt."""

    cluster: ClusterInfo | None
    note: str | None = None
    doubt: Doubt | None = None
    locks: tuple[str, ...] = ()  # why its workflow waits for locks and shared resources, where it does
    hanging: str | None = None  # the file system of its directory, where that is known not to answer

    @property
    def kind(self) -> str:
        """The kind of cluster; empty when it is not configured any more."""
        return self.cluster.kind if self.cluster else ""


def look_around(board: Board, record: JobRecord, cluster: str) -> Around:
    """What the board shows of a job."""
    info = board.clusters.get(cluster)
    if not record.attempts:
        return Around(info)
    newest = record.attempts[-1]
    note = board.notes.get(newest.submission, {}).get(newest.position)
    return Around(info, note, board.doubts.get(newest.submission))


def explain(
    record: JobRecord, workflow: WorkflowInfo, around: Around, spec: WorkflowSpec | None, now: float
) -> tuple[str, list[str]]:
    """One sentence that answers, and reasons from the nearest cause outwards."""
    job = record.job
    verdict, reasons = _explain_state(record, workflow, around, spec, now)
    if job.never_rerun:
        reasons.append("it is marked never-rerun")
    if workflow.reason and job.state not in (JobState.COMPLETED, JobState.CANCELLED):
        reasons.append(f"the workflow is {workflow.state}: {workflow.reason}")
    return verdict, reasons


def _explain_state(
    record: JobRecord, workflow: WorkflowInfo, around: Around, spec: WorkflowSpec | None, now: float
) -> tuple[str, list[str]]:
    state = JobState(record.job.state)
    reasons: list[str] = []
    match state:
        case JobState.READY:
            return _why_ready(record, workflow, around, now)
        case JobState.FAILED | JobState.TIMEOUT:
            return _why_failed(record, workflow)
        case JobState.QUEUED if is_held(around.note):
            return "Somebody holds it at the scheduler.", _why_queued(record, around, spec, now)
        case JobState.SUBMITTING:
            reasons = [*explain_cluster(around.cluster, spec, now), *_decisions(record)]
        case JobState.QUEUED:
            reasons = _why_queued(record, around, spec, now)
        case JobState.RUNNING:
            note = explain_note(around.note, around.kind)
            reasons = [*note, *_running_since(record, now), *_decisions(record)]
        case JobState.COLLECTING if around.hanging is not None:
            return "It has ended; its outputs are read when their file system answers again.", [
                f"{around.hanging} does not answer; the file server, or the network to it, is down",
            ]
        case JobState.IN_DOUBT:
            reasons = _why_in_doubt(record, workflow, around, now)
        case JobState.WAITING if record.awaited is not None:
            return "Another workflow is calculating the same; its result will be taken over.", _why_awaits(record)
        case _:
            reasons = _why_at_rest(record, workflow, state)
    return _VERDICTS[state], reasons


def _why_ready(record: JobRecord, workflow: WorkflowInfo, around: Around, now: float) -> tuple[str, list[str]]:
    reasons = [*_last_attempt(record), *_decisions(record)]
    if workflow.state == "paused":
        return "The workflow is paused.", [*reasons, f"go on: penstockctl resume {workflow.id}"]
    if workflow.state == "faulted":
        return _why_faulted(workflow), reasons
    if record.not_before is not None and record.not_before > now:
        due = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.not_before))
        return f"It waits for its retry timer until {due}.", reasons
    active = sum(
        workflow.states.get(state, 0) for state in ("submitting", "queued", "running", "collecting", "in_doubt")
    )
    if around.locks:
        return "It waits for a lock or a shared resource.", [*around.locks, *reasons]
    if active:
        slots = f"{active} jobs are on their way in a budget of {workflow.slots} slots; older jobs go first"
        return "It waits for a free slot of its workflow.", [*reasons, slots]
    trouble = explain_trouble(around.cluster, now) if around.cluster else explain_cluster(None, None, now)
    return "It is about to be submitted.", [*trouble, *reasons]


def _why_faulted(workflow: WorkflowInfo) -> str:
    if is_silent(workflow.reason):
        return "The workflow waits for its file system to answer; then it goes on by itself."
    return "The workflow cannot use its database."


def _why_queued(record: JobRecord, around: Around, spec: WorkflowSpec | None, now: float) -> list[str]:
    cluster = explain_cluster(around.cluster, spec, now)
    if around.kind == LOCAL:
        return ["jobs of one submission run one after another in one slot", *cluster]
    return [*explain_note(around.note, around.kind), *cluster, *_decisions(record)]


def _why_in_doubt(record: JobRecord, workflow: WorkflowInfo, around: Around, now: float) -> list[str]:
    doubt = around.doubt
    reasons = [around.note] if around.note and (doubt is None or around.note not in doubt.asked) else []
    if doubt is not None:
        reasons += explain_doubt(doubt, workflow.id, record.job.id, now)
    if around.kind != LOCAL:
        reasons += explain_cluster(around.cluster, None, now)
    return reasons


def _why_failed(record: JobRecord, workflow: WorkflowInfo) -> tuple[str, list[str]]:
    job = record.job
    what = "ran out of walltime" if job.state == JobState.TIMEOUT else f"failed ({job.failure})"
    decisions = [
        event.data["decision"] for event in record.events if event.kind == "job_failed" and "decision" in event.data
    ]
    reasons = [job.error_message] if job.error_message else []
    reasons += [
        f"told by {e['file']}, line {e['line']}: {e['text']}" for a in record.attempts[-1:] if (e := a.evidence)
    ]
    reasons += [f"not tried again: {decisions[-1]}"] if decisions else []
    reasons += _decisions(record)
    reasons += [f"attempt {a.number} in {a.directory}" for a in record.attempts[-1:]]
    reasons.append(f"try again: penstockctl retry {workflow.id} --job {job.id}")
    return f"It {what}.", reasons


def _why_at_rest(record: JobRecord, workflow: WorkflowInfo, state: JobState) -> list[str]:
    """Of a job that nothing is being done about, and that has not failed."""
    target = f"{workflow.id} --job {record.job.id}"
    match state:
        case JobState.HELD:
            return [f"release it: penstockctl resume {target}"]
        case JobState.CANCELLED:
            return [f"run it after all: penstockctl retry {target}"]
        case JobState.COMPLETED:
            return [*_taken_over(record), *_decisions(record)]
    said = [record.job.error_message] if record.job.error_message else []
    return said + _step_before(record, workflow)


def _why_awaits(record: JobRecord) -> list[str]:
    assert record.awaited is not None
    other, job = record.awaited
    return [
        f"job {job} of workflow {other} has the same structure, charge, multiplicity and method and is on its way",
        f"should it fail, this job is calculated after all; why: penstockctl why {other} {job}",
    ]


def _taken_over(record: JobRecord) -> list[str]:
    if (origin := record.job.origin) is None:
        return []
    return [f"its result was taken over from workflow {origin['workflow']}, job {origin['job']}: nothing ran for it"]


def _step_before(record: JobRecord, workflow: WorkflowInfo) -> list[str]:
    parent = record.parent
    if parent is None:
        return []
    what = f"step {parent.step} of {parent.name}, job {parent.id}, is {parent.state}"
    return [f"{what}; why: penstockctl why {workflow.id} {parent.id}"]


def _last_attempt(record: JobRecord) -> list[str]:
    ended = [a for a in record.attempts if a.message or a.failure]
    return [f"attempt {a.number} ended as {a.failure or a.state}: {a.message}" for a in ended[-1:]]


def _running_since(record: JobRecord, now: float) -> list[str]:
    started = next((a.started_at for a in reversed(record.attempts) if a.started_at is not None), None)
    return [f"attempt {record.job.attempts} started {now - started:.0f} s ago"] if started is not None else []


def _decisions(record: JobRecord) -> list[str]:
    """What was decided after earlier attempts: why there is another, and what it gets more."""
    retried = [event for event in record.events if event.kind in ("job_retried", "job_remedied")]
    return [
        f"after attempt {event.data.get('attempt', '?')}: {event.data.get('decision', event.text)}"
        for event in retried[-_DECISIONS_SHOWN:]
    ]
