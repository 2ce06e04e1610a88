"""What the tests of the live view let the daemon say: a small campaign, at one moment."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.control.reported import HPC
from tests.ctl.conftest import CLUSTER, INFO, JOB

from penstock.control.messages import JobDetail, Why
from penstock.ctl.top.hearing import heard, resized
from penstock.ctl.top.picture import Clustered, Failure, Looked
from penstock.ctl.top.state import State
from penstock.domain.views import AttemptInfo, EventInfo, JobInfo, WorkflowInfo

NOW = 1_700_000_000.0
FORGED = "[red]x[/] \x1b[31m"
"""A name that would be red, or worse, were it taken for anything but a name."""


def workflow(id: str, state: str = "running", **changes: Any) -> WorkflowInfo:
    """A workflow of 40 jobs, unless told otherwise."""
    states = {"ready": 10, "queued": 4, "running": 5, "completed": 18, "failed": 2, "timeout": 1}
    given = {"states": states, "jobs": sum(changes.get("states", states).values()), "created_at": NOW} | changes
    return msgspec.structs.replace(INFO, id=id, state=state, **given)


def job(id: int, state: str = "ready", **changes: Any) -> JobInfo:
    """A job in an exact state."""
    given = {"name": f"mol-{id}", "failure": None, "error_message": None, "attempts": 1} | changes
    status = "running" if state == "running" else "ready" if state in ("held", "ready", "queued") else state
    return msgspec.structs.replace(JOB, id=id, state=state, status=status, **given)


WORKFLOWS = (
    workflow("oxides", "running", created_at=NOW + 3),
    workflow("metals", "paused", reason="paused by request", cluster="hpc", states={"ready": 30, "completed": 12}),
    workflow("salts", "completed", states={"completed": 7}),
    workflow("broken", "faulted", reason="the disk is full", states={"ready": 3}),
)
FAILURES = (
    Failure(NOW, "oxides", 7, "walltime", "stopped at its walltime"),
    Failure(NOW + 60, "oxides", 9, "exit_code", f"ended with code 1 {FORGED}", again=True),
)
JOBS = (
    job(7, "failed", failure="walltime", error_message="stopped at its walltime", attempts=3),
    job(9, "running", failure="exit_code", name=FORGED),
    job(10, "queued"),
    job(11, "ready"),
    job(12, "held"),
    job(13, "completed", final_energy=-5.5),
)
ATTEMPTS = (
    AttemptInfo(1, "failed", "01ARZ3", "/w/7/1", "walltime", "stopped", None, 15, NOW, NOW, NOW + 60),
    AttemptInfo(2, "failed", "01ARZ4", "/w/7/2", "exit_code", FORGED, 1, None, NOW, NOW + 70, NOW + 75),
)
EVENT = EventInfo("oxides", 3, NOW, "job_failed", 7, f"attempt 2 failed {FORGED}")
WHY = Why(JOBS[0], "It failed (walltime).", ("stopped at its walltime", "not tried again: attempt 2 of 2"), (EVENT,))
DETAIL = JobDetail(JOBS[0], "1\n\nH 0 0 0", None, ATTEMPTS, {"dipole": [1.0]}, ("out",), (EVENT,))
CLUSTERS = (CLUSTER, HPC)


def overview(width: int = 80, height: int = 24) -> State:
    """The first screen with all of this."""
    state = resized(State(), width, height)
    return heard(heard(state, Looked(0.0, WORKFLOWS, FAILURES)), Clustered(CLUSTERS))
