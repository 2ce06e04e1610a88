"""Why a job is in its state: every state has an answer, and it names the nearest cause first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.daemon.test_metrics import WORKFLOW

from penstock.daemon.why import explain
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.states import PUBLIC_STATUS, JobState
from penstock.domain.views import AttemptInfo, ClusterInfo, EventInfo, JobInfo
from penstock.store.queries import JobRecord

NOW = 1_700_000_000.0
SPEC = WorkflowSpec("campaign", StructureSource("m.csv"), {"name": "emt"})
CLUSTER = ClusterInfo("local", "local", "up", None, 8, 6, 16000, 3000, 3, 4)
JOB = JobInfo(
    id=7,
    orig_index=6,
    name="water",
    elements="O;H",
    natoms=3,
    status="ready",
    state="ready",
    charge=0,
    spin=1,
    attempts=1,
    never_rerun=False,
    job_dir=None,
    max_forces=None,
    scf_steps=None,
    final_energy=None,
    wall_time_s=None,
    failure=None,
    error_message=None,
    created_at="",
    updated_at="",
)
ATTEMPT = AttemptInfo(1, "failed", "01ARZ3", "/w/1", "exit_code", "ended with code 3", 3, None, 1.0, NOW - 5, NOW)
FAILED = EventInfo("g2", 3, NOW, "job_failed", 7, "", {"decision": "attempt 1 of 1"})


def why(state: JobState, *, cluster: ClusterInfo | None = CLUSTER, **changes: Any) -> tuple[str, list[str]]:
    workflow = msgspec.structs.replace(WORKFLOW, **changes.pop("workflow", {}))
    job = msgspec.structs.replace(JOB, state=state, status=PUBLIC_STATUS[state], **changes.pop("job", {}))
    record = JobRecord(job, "", None, None, 0, 0, (), {}, (), ())
    return explain(msgspec.structs.replace(record, **changes), workflow, cluster, SPEC, NOW)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_an_answer(state: JobState) -> None:
    verdict, reasons = why(state)
    assert verdict.startswith(("It ", "Its ", "The ", "Nobody "))
    assert verdict.endswith(".")
    assert all(reasons)


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"workflow": {"state": "paused"}}, "The workflow is paused.", "go on: penstockctl resume g2"),
        ({"workflow": {"state": "faulted"}}, "The workflow cannot use its database.", None),
        ({"not_before": NOW + 60}, "It waits for its retry timer until ", None),
        ({"not_before": NOW - 60}, "It waits for a free slot of its workflow.", "9 jobs are on their way"),
        ({}, "It waits for a free slot of its workflow.", "in a budget of 2 slots"),
        ({"workflow": {"states": {}}}, "It is about to be submitted.", None),
        ({"attempts": (ATTEMPT,)}, "It waits for a free slot", "attempt 1 ended as exit_code: ended with code 3"),
    ],
)
def test_a_job_that_is_ready(changes: dict[str, Any], verdict: str, reason: str | None) -> None:
    found, reasons = why(JobState.READY, **changes)
    assert found.startswith(verdict)
    assert reason is None or reason in "\n".join(reasons)


def test_a_job_at_a_cluster_that_is_down_or_gone() -> None:
    assert "6 of 8 cores and 3000 of 16000 MB in use" in why(JobState.QUEUED)[1][-1]
    down = msgspec.structs.replace(CLUSTER, state="down", reason="no answer")
    assert why(JobState.SUBMITTING, cluster=down)[1] == ["cluster local is down: no answer"]
    assert why(JobState.SUBMITTING, cluster=None)[1] == ["its cluster is not configured any more"]


def test_a_job_that_failed() -> None:
    job = {"failure": "exit_code", "error_message": "ended with code 3", "never_rerun": True}
    verdict, reasons = why(JobState.FAILED, job=job, attempts=(ATTEMPT,), events=(FAILED,))
    assert verdict == "It failed (exit_code)."
    assert reasons == [
        "ended with code 3",
        "not tried again: attempt 1 of 1",
        "attempt 1 in /w/1",
        "try again: penstockctl retry g2 --job 7",
        "it is marked never-rerun",
    ]
    assert why(JobState.TIMEOUT)[0] == "It ran out of walltime."


def test_a_job_that_runs() -> None:
    assert why(JobState.RUNNING, attempts=(ATTEMPT,))[1] == ["attempt 1 started 5 s ago"]


def test_the_reason_of_the_workflow_is_told_where_it_matters() -> None:
    faulted: dict[str, Any] = {"state": "faulted", "reason": "disk full"}
    assert "the workflow is faulted: disk full" in why(JobState.RUNNING, workflow=faulted)[1]
    assert why(JobState.COMPLETED, workflow=faulted)[1] == []
