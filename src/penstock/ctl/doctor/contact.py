"""The daemon as its clients meet it: whether it answers, how fast, and what it says of workflows and clusters."""

from __future__ import annotations

import statistics
import time
from typing import Final

import msgspec

from penstock.control.client import Client
from penstock.control.messages import Pong
from penstock.ctl.doctor.finding import SERVER_REMEDY, note, problem, warning, well
from penstock.ctl.doctor.process import Process
from penstock.ctl.text import duration
from penstock.domain.errors import ForbiddenError, PenstockError, ProtocolError, UnreachableError, VersionError
from penstock.domain.pause import PauseKind, kind_of_pause
from penstock.domain.silence import is_silent
from penstock.domain.states import UNENDED, JobState, WorkflowState
from penstock.domain.views import ClusterInfo, Finding, WorkflowInfo

_PINGS: Final = 5
_SLOW_S: Final = 0.25
_SHOWN: Final = 10


class Contact(msgspec.Struct, frozen=True):
    """What a daemon answered, or the error that kept it from answering."""

    pong: Pong | None = None
    latencies_s: tuple[float, ...] = ()
    workflows: tuple[WorkflowInfo, ...] = ()
    clusters: tuple[ClusterInfo, ...] = ()
    error: PenstockError | None = None

    def active(self) -> list[WorkflowInfo]:
        """The workflows that have not ended."""
        return [workflow for workflow in self.workflows if workflow.state in UNENDED]


def make_contact(client: Client) -> Contact:
    """Asks some times, so that one slow answer is not taken for a slow daemon."""
    pong, latencies = None, []
    try:
        for _ in range(_PINGS):
            began = time.monotonic()
            pong = client.ping()
            latencies.append(time.monotonic() - began)
        return Contact(pong, tuple(latencies), client.list_workflows().workflows, client.clusters().clusters)
    except PenstockError as error:
        return Contact(pong, tuple(latencies), error=error)


def judge_contact(seen: Contact, version: str, *, holder: int | None, unit: str) -> list[Finding]:
    """Whether it answers, as fast as it should, and in our version.

    `holder` is who has the state directory's lock, `unit` the systemd service that is installed (empty: none).
    """
    if seen.pong is None:
        return [_silent(seen.error, holder, unit)]
    pong = seen.pong
    findings = [_speed(seen), _version(pong.version, version)]
    if seen.error is not None:
        findings.append(problem("answers", f"it stopped answering: {seen.error}", "look into its log"))
    if holder is not None and holder != pong.pid:
        detail = f"pid {pong.pid} answers, and pid {holder} has the state directory that was looked at"
        findings.append(warning("which daemon", detail, "see that PENSTOCK_SOCKET and PENSTOCK_STATE_DIR fit together"))
    return findings


def _silent(error: PenstockError | None, holder: int | None, unit: str) -> Finding:
    what, said = "daemon", str(error) if error is not None else "it did not answer"
    if isinstance(error, VersionError | ProtocolError):
        return problem(what, said, "bring daemon and client to the same version of Penstock, and restart the daemon")
    if isinstance(error, ForbiddenError):
        return problem(what, said, "ask the daemon's owner to set [daemon] group to a group that you are in")
    if holder is not None:
        remedy = f"if it does not answer in a minute either: look into its log, then kill {holder} and start it again"
        return problem(what, f"pid {holder} has the state directory and does not answer: {said}", remedy)
    if isinstance(error, UnreachableError) and isinstance(error.__cause__, PermissionError):
        remedy = "ask the daemon's owner to set [daemon] group to a group that you are in, or have one of your own"
        return problem(what, f"whether one runs cannot be seen: {said}", remedy)
    start = f"systemctl {unit}" if unit else "penstockd"
    if isinstance(error, UnreachableError):
        return warning(what, f"none runs: {said}", f"start it: {start}")
    return problem(what, said, "look into its log")


def _speed(seen: Contact) -> Finding:
    assert seen.pong is not None
    median = statistics.median(seen.latencies_s)
    detail = f"penstockd {seen.pong.version}, pid {seen.pong.pid}, up for {duration(seen.pong.uptime_s)}"
    detail += f", answers in {duration(median)}"
    if median <= _SLOW_S:
        return well("daemon", detail)
    remedy = "its event loop is busy: look at penstock_event_loop_lag_seconds, the machine's load and its disks"
    return warning("daemon", detail, remedy)


def _version(theirs: str, ours: str) -> Finding:
    what = "versions"
    if theirs == ours:
        return well(what, f"daemon and client are {ours}")
    detail = f"the daemon is {theirs}, this client {ours}"
    if numbers(theirs) < numbers(ours):
        return warning(what, detail, "restart the daemon, so that it runs what is installed; calculations go on")
    return warning(what, detail, "upgrade this client: pip install --upgrade penstock")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: `1.10.2rc1` gives (1, 10, 2)."""
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)


# ---- workflows ------------------------------------------------------------------------------------------------------


def judge_workflows(seen: Contact) -> list[Finding]:
    """Workflows that wait for a person."""
    findings = []
    faulted = [w for w in seen.workflows if w.state == WorkflowState.FAULTED]
    for workflow in faulted[:_SHOWN]:
        detail = f"faulted: {workflow.reason or 'no reason given'}"
        findings.append(problem(f"workflow {workflow.id}", detail, _remedy(workflow)))
    stopped = [
        w
        for w in seen.workflows
        if w.state == WorkflowState.PAUSED and w.reason and kind_of_pause(w.reason) is not PauseKind.REQUEST
    ]
    findings += [warning(f"workflow {w.id}", f"paused: {w.reason}", _remedy(w)) for w in stopped[:_SHOWN]]
    doubtful = [(w, count) for w in seen.workflows if (count := w.states.get(JobState.IN_DOUBT, 0))]
    for workflow, count in doubtful[:_SHOWN]:
        jobs = "1 job is" if count == 1 else f"{count} jobs are"
        look = f"penstockctl jobs {workflow.id} --state in_doubt"
        remedy = f"evidence is still sought; if you are asked: {look}, then why and resolve"
        findings.append(warning(f"workflow {workflow.id}", f"{jobs} in doubt", remedy))
    more = sum(max(0, len(found) - _SHOWN) for found in (faulted, stopped, doubtful))
    if more:
        findings.append(note("workflows", f"{more} more wait for somebody", "penstockctl list"))
    if not findings:
        findings.append(well("workflows", f"{len(seen.active())} at work of {len(seen.workflows)}, none waits for you"))
    return findings


def _remedy(workflow: WorkflowInfo) -> str:
    if is_silent(workflow.reason):  # to resume it would be refused, and is not needed
        return f"{SERVER_REMEDY}; then it goes on by itself"
    return f"mend the cause, then: penstockctl resume {workflow.id}"


# ---- its process ----------------------------------------------------------------------------------------------------


def judge_service(process: Process | None) -> list[Finding]:
    """Whether somebody starts it again, and notices when it hangs."""
    what = "service"
    if process is None:
        return [note(what, "its process cannot be seen from here (another host's or container's)")]
    if not process.unit:
        remedy = "penstockctl service install --user has systemd start it at boot and after a crash"
        return [note(what, f"pid {process.pid} was started by hand: nobody starts it again", remedy)]
    if process.environ is None:
        return [well(what, f"{process.unit}; its environment belongs to {process.uid} alone")]
    if "NOTIFY_SOCKET" not in process.environ:
        remedy = "set Type=notify in the unit, as penstockctl service install writes it"
        return [warning(what, f"{process.unit} does not tell systemd when it is up", remedy)]
    if "WATCHDOG_USEC" not in process.environ:
        remedy = "set WatchdogSec= in the unit, as penstockctl service install writes it"
        return [warning(what, f"{process.unit} has no watchdog: a daemon that hangs is left hanging", remedy)]
    return [well(what, f"{process.unit}, Type=notify, with a watchdog")]
