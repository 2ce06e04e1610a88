"""What Flux says of one job: its name, its state, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from penstock.clusters.scheduler import Phase, is_job_name

_SUFFIX: Final = re.compile(r"(.*?)(?:-([0-9]{1,7}))?")
_STATES: Final = {
    **dict.fromkeys(("NEW", "DEPEND", "PRIORITY", "SCHED"), Phase.QUEUED),
    **dict.fromkeys(("RUN", "CLEANUP"), Phase.RUNNING),
}
_RESULTS: Final = {
    "COMPLETED": Phase.COMPLETED,
    "FAILED": Phase.FAILED,
    "CANCELED": Phase.CANCELLED,
    "TIMEOUT": Phase.TIMEOUT,
}
_NOBODYS_FAULT: Final = frozenset({"node-failure", "prolog", "epilog", "exec-lost"})


def task_of(name: str) -> tuple[str, int | None] | None:
    """The name of the submission and the task behind a job's name, None for what is not ours."""
    match = _SUFFIX.fullmatch(name)
    if match is None or not is_job_name(match[1]):
        return None
    return match[1], None if match[2] is None else int(match[2])


def phase_of(job: Mapping[str, Any]) -> tuple[Phase, str, int | None, int | None]:
    """The phase, the reason, the exit code and the signal.

    A request that no node could ever satisfy is accepted, then ended by an exception: it is over, never ran, and has
    neither code nor signal.
    """
    state, result = job.get("state"), job.get("result")
    raised = job.get("exception")
    exception = raised if isinstance(raised, Mapping) and raised.get("occurred") else {}
    kind, note = str(exception.get("type", "")), str(exception.get("note", ""))
    reason = ": ".join(part for part in (kind, note) if part)
    if state != "INACTIVE":
        return _active(job, str(state), reason)
    phase = _RESULTS.get(str(result), Phase.UNKNOWN)
    if phase is Phase.FAILED and kind in _NOBODYS_FAULT:
        phase = Phase.INFRASTRUCTURE
    status = job.get("waitstatus")
    if phase not in {Phase.COMPLETED, Phase.FAILED} or not isinstance(status, int) or not 0 <= status <= 0xFFFF:
        return phase, reason, None, None
    return phase, reason, *_decoded(status)


def _active(job: Mapping[str, Any], state: str, reason: str) -> tuple[Phase, str, int | None, int | None]:
    phase = _STATES.get(state, Phase.UNKNOWN)
    if phase is Phase.QUEUED and job.get("urgency") == 0:
        return Phase.HELD, reason or "held (urgency 0)", None, None
    waits = job.get("dependencies")
    if state == "DEPEND" and isinstance(waits, list):
        reason = reason or "depends on " + ", ".join(map(str, waits))
    return phase, reason, None, None


def _decoded(status: int) -> tuple[int | None, int | None]:
    """Exit code and signal of a wait status; the shell of a job reports its task's signal as code 128 + n."""
    code, signal = status >> 8, status & 0x7F
    if signal:
        return None, signal
    return (None, code - 128) if 128 < code <= 192 else (code, None)
