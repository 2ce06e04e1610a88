"""Why a job is in its state: every state has an answer, and it names the nearest cause first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.daemon.metrics.scraped import WORKFLOW

from penstock.actors.board import Board
from penstock.daemon.why import Around, explain, look_around
from penstock.domain.silence import silent_reason
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.states import PUBLIC_STATUS, JobState
from penstock.domain.views import AttemptInfo, ClusterInfo, Doubt, EventInfo, JobInfo
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
    around = Around(
        cluster, changes.pop("note", None), changes.pop("doubt", None), hanging=changes.pop("hanging", None)
    )
    return explain(msgspec.structs.replace(record, **changes), workflow, around, SPEC, NOW)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_an_answer(state: JobState) -> None:
    verdict, reasons = why(state)
    assert verdict.startswith(("It ", "Its ", "The ", "Nobody "))
    assert verdict.endswith(".")
    assert all(reasons)


def test_a_job_whose_outputs_are_on_a_dead_file_server_says_which() -> None:
    verdict, reasons = why(JobState.COLLECTING, hanging="/nfs/lab")
    assert verdict == "It has ended; its outputs are read when their file system answers again."
    assert reasons == ["/nfs/lab does not answer; the file server, or the network to it, is down"]
    assert why(JobState.COMPLETED, hanging="/nfs/lab") == why(JobState.COMPLETED)


def test_a_step_that_waits_names_the_one_before() -> None:
    parent = msgspec.structs.replace(JOB, id=3, state="running", step="OPT", name="diamond")
    verdict, reasons = why(JobState.WAITING, parent=parent)
    assert verdict == "It waits for the step before it."
    assert reasons == ["step OPT of diamond, job 3, is running; why: penstockctl why g2 3"]
    skipped = {"error_message": "its step OPT failed", "step": "SP"}
    _, reasons = why(JobState.SKIPPED, parent=msgspec.structs.replace(parent, state="failed"), job=skipped)
    assert reasons[:2] == ["its step OPT failed", "step OPT of diamond, job 3, is failed; why: penstockctl why g2 3"]


def test_remedies_and_the_place_in_the_output_are_told() -> None:
    decision = "rule more: cycles 50 → 150"
    remedied = EventInfo("g2", 3, NOW, "job_remedied", 7, "", {"attempt": 1, "decision": decision})
    _, reasons = why(JobState.COMPLETED, events=(remedied,))
    assert reasons == [f"after attempt 1: {decision}"]
    attempt = msgspec.structs.replace(ATTEMPT, evidence={"file": "stdout", "line": 7, "text": "SCF NOT CONVERGED"})
    _, reasons = why(JobState.FAILED, attempts=(attempt,), events=(remedied, FAILED))
    assert "told by stdout, line 7: SCF NOT CONVERGED" in reasons
    assert f"after attempt 1: {decision}" in reasons


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"workflow": {"state": "paused"}}, "The workflow is paused.", "go on: penstockctl resume g2"),
        ({"workflow": {"state": "faulted"}}, "The workflow cannot use its database.", None),
        (
            {"workflow": {"state": "faulted", "reason": silent_reason("/nfs/lab")}},
            "The workflow waits for its file system to answer; then it goes on by itself.",
            "/nfs/lab does not answer",
        ),
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


# ---- a cluster with a scheduler -------------------------------------------------------------------------------------

HPC = msgspec.structs.replace(
    CLUSTER, name="hpc", kind="slurm", cores=0, jobs_queued=40, jobs_running=8, calls_allowed_per_min=12.0
)
DOUBT = Doubt("01ARZ3", (0,), NOW - 300, ("squeue at 10:00: not there",), "accounting", NOW + 600)
RETRIED = EventInfo("g2", 3, NOW, "job_retried", 7, "", {"attempt": 1, "decision": "walltime 1h instead of 30min"})


def test_the_schedulers_own_reason_and_what_it_means() -> None:
    verdict, reasons = why(JobState.QUEUED, cluster=HPC, note="job 17: PENDING (Priority)", events=(RETRIED,))
    assert verdict == "The cluster has it and has not started it."
    assert reasons == [
        "the scheduler says: job 17: PENDING (Priority)",
        "jobs of higher priority go first",
        "cluster hpc: 40 jobs of ours queued and 8 running there, 4 submissions wait here to be sent",
        "it asks for 1 core, 1000 MB, 60 min; smaller requests and shorter walltimes start sooner",
        "after attempt 1: walltime 1h instead of 30min",
    ]
    assert why(JobState.QUEUED, cluster=HPC, note="job 17: PENDING (Odd)")[1][:1] == [
        "the scheduler says: job 17: PENDING (Odd)"
    ]
    assert why(JobState.RUNNING, cluster=HPC, note="job 17: SUSPENDED")[1] == ["the scheduler says: job 17: SUSPENDED"]


@pytest.mark.parametrize(
    ("kind", "note", "command"),
    [
        ("slurm", "job 17: PENDING (JobHeldUser)", "scontrol release 17"),
        ("slurm", "job 17: REQUEUE_HOLD", "scontrol release 17"),
        ("slurm", "job 17: PENDING (JobHoldMaxRequeue)", "scontrol release 17"),
        ("flux", "job 99: SCHED (held (urgency 0))", "flux job urgency 99 default"),
    ],
)
def test_a_held_job_says_how_to_release_it(kind: str, note: str, command: str) -> None:
    verdict, reasons = why(JobState.QUEUED, cluster=msgspec.structs.replace(HPC, kind=kind), note=note)
    assert verdict == "Somebody holds it at the scheduler."
    assert reasons[1].endswith(command)


def test_the_budget_of_calls_and_nodes_left_out() -> None:
    waiting = msgspec.structs.replace(HPC, next_query_at=NOW + 7, excluded_nodes=("n7", "n9"))
    reasons = why(JobState.QUEUED, cluster=waiting)[1]
    assert "the budget of calls (12 queries a minute) allows the next query in 7 s" in "\n".join(reasons)
    assert "nodes left out after repeated failures: n7, n9" in reasons
    allowed = msgspec.structs.replace(HPC, next_query_at=NOW - 7)
    assert "budget" not in "\n".join(why(JobState.QUEUED, cluster=allowed)[1])


@pytest.mark.parametrize("state", [JobState.READY, JobState.SUBMITTING, JobState.QUEUED, JobState.IN_DOUBT])
def test_a_cluster_that_cannot_be_reached(state: JobState) -> None:
    down = msgspec.structs.replace(HPC, connected=False, reason="timed out", down_since=NOW - 60, next_try_at=NOW + 30)
    reasons = why(state, cluster=down, workflow={"states": {}})[1]
    assert reasons[0].startswith("cluster hpc cannot be reached since 20")
    assert reasons[0].endswith(": timed out")
    assert reasons[1] == "the next try is in 30 s; jobs there go on meanwhile"


def test_a_job_in_doubt() -> None:
    verdict, reasons = why(JobState.IN_DOUBT, cluster=HPC, note="the answer was lost", doubt=DOUBT)
    assert verdict.startswith("Nobody can say yet")
    assert reasons[0] == "the answer was lost"
    assert reasons[1].startswith("in doubt since 20")
    assert reasons[1].endswith(", 5 min ago")
    assert reasons[2:4] == ["asked: squeue at 10:00: not there", "waits for: accounting"]
    assert reasons[4].endswith("you know already: penstockctl resolve g2 --job 7 --as lost|not-run|ended")
    asked = msgspec.structs.replace(DOUBT, question_at=NOW - 1)
    assert "so you are asked: penstockctl resolve g2 --job 7" in why(JobState.IN_DOUBT, cluster=HPC, doubt=asked)[1][3]
    told = why(
        JobState.IN_DOUBT, cluster=HPC, note=DOUBT.asked[0], doubt=msgspec.structs.replace(DOUBT, question_at=None)
    )
    assert "\n".join(told[1]).count(DOUBT.asked[0]) == 1
    assert told[1][3].startswith("evidence will settle it; you know already: penstockctl resolve g2")
    assert why(JobState.IN_DOUBT)[1] == []


def test_decisions_that_led_to_another_try() -> None:
    reasons = why(JobState.READY, cluster=HPC, events=(RETRIED,) * 5, not_before=NOW + 60)[1]
    assert reasons == ["after attempt 1: walltime 1h instead of 30min"] * 3


def test_what_the_board_shows_of_a_job() -> None:
    board = Board()
    board.clusters["hpc"] = HPC
    board.notes["01ARZ3"] = {4: "job 17: PENDING"}
    board.doubts["01ARZ3"] = DOUBT
    record = JobRecord(JOB, "", None, None, 0, 0, (), {}, (), ())
    assert look_around(board, record, "hpc") == Around(HPC)
    record = msgspec.structs.replace(record, attempts=(ATTEMPT, msgspec.structs.replace(ATTEMPT, position=4)))
    assert look_around(board, record, "hpc") == Around(HPC, "job 17: PENDING", DOUBT)
    assert look_around(board, record, "gone") == Around(None, "job 17: PENDING", DOUBT)
