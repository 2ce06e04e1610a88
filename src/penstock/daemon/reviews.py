"""Requests about job directories and what is recorded of single jobs, as what a workflow is asked."""

from __future__ import annotations

import math
import os
from typing import Any, Final

import msgspec

from penstock.actors.mailbox import Answer
from penstock.actors.reviews import Reviewed
from penstock.actors.workflow_messages import ReviewJobs, SetJob
from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.domain.states import JobState
from penstock.store.reviews import ReviewKind

_BEGIN_S: Final = 60.0  # for the workflow to begin; the review itself takes as long as it takes
_SETTABLE: Final = tuple(map(str, (JobState.COMPLETED, JobState.FAILED, JobState.SKIPPED)))
_COLUMNS: Final = {
    "energy_hartree": "final_energy",
    "max_force_hartree_per_bohr": "max_forces",
    "scf_cycles": "scf_steps",
    "wall_time_s": "wall_time_s",
}
_REASON_MAX: Final = 1000

ReviewRequest = m.Rescan | m.RecomputeMetrics | m.ResetMissing


async def review(workflows: Workflows, request: ReviewRequest) -> m.Reviewed:
    """Has a workflow's job directories looked through, to the end."""
    message = ReviewJobs(_kind_of(request), request.selection)
    answer = await workflows.ask(request.id, message, _BEGIN_S)
    assert isinstance(answer, Answer)
    reviewed = await answer.wait()
    assert isinstance(reviewed, Reviewed)
    shown = tuple(m.LeftAlone(*msgspec.structs.astuple(left)) for left in reviewed.shown)
    return m.Reviewed(reviewed.looked_at, reviewed.changed, reviewed.unchanged, reviewed.left, shown)


def _kind_of(request: ReviewRequest) -> ReviewKind:
    match request:
        case m.Rescan():
            return ReviewKind.RESCAN
        case m.RecomputeMetrics():
            return ReviewKind.RECOMPUTE
        case m.ResetMissing():
            return ReviewKind.RESET_MISSING


def word_on_job(request: m.SetJob, peer: Peer) -> SetJob:
    """The request as what a workflow is told; SpecError says what is wrong with it."""
    state = None if request.status is None else _state_of(request.status)
    columns: dict[str, float | int | str | None] = {}
    for name, column in _COLUMNS.items():
        value = getattr(request, name)
        if value is not None:
            columns[column] = _checked(name, value)
    if state is None and not columns:
        raise SpecError("nothing to set; give a status or a metric", key="status")
    if request.reason is not None and len(request.reason) > _REASON_MAX:
        raise SpecError(f"longer than {_REASON_MAX} characters", key="reason")
    if state is not None:  # what went wrong before does not count any more
        columns |= {"failure": None, "error_message": None}
    by = "the daemon's account" if peer.uid == os.getuid() else f"uid {peer.uid}"
    if state is JobState.FAILED:
        columns["error_message"] = request.reason or f"set to failed by {by}"
    return SetJob(request.job, state, columns, by, request.reason)


def _state_of(status: str) -> JobState:
    if status in _SETTABLE:
        return JobState(status)
    hint = nearest(status, _SETTABLE) or f"it can be {', '.join(_SETTABLE)}"
    again = "; say 'penstockctl retry' to have it run again" if status == JobState.READY else ""
    raise SpecError(f"a job's status cannot be set to {status!r}; {hint}{again}", key="status")


def _checked(name: str, value: Any) -> float | int:
    if not math.isfinite(value):
        raise SpecError(f"{value} is not finite", key=name)
    if value < 0 and name != "energy_hartree":
        raise SpecError(f"must not be negative, not {value:g}", key=name)
    number: float | int = value
    return number
