"""What pausing, resuming, retrying or cancelling would do, in words, before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

from penstock.control.messages import Cancel, Changed, Pause, Request, Resume, Retry
from penstock.ctl.top.picture import Action, active_jobs, count, ended_jobs
from penstock.ctl.top.state import Dialog, Notice
from penstock.domain.states import ACTIVE, ENDED, JobState, Status, WorkflowState
from penstock.domain.views import JobInfo, Selection, WorkflowInfo

FAILED: Final = Selection(statuses=(Status.FAILED, Status.TIMEOUT))
_WAITING: Final = (JobState.READY, JobState.HELD, JobState.WAITING)
_NUMBERS_SHOWN: Final = 12
_STAY: Final = "Jobs that are marked never-rerun stay as they are."


class Verb(StrEnum):
    """What a person may want."""

    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    CANCEL = "cancel"


_DOING: Final = {Verb.PAUSE: "pausing", Verb.RESUME: "resuming", Verb.RETRY: "retrying", Verb.CANCEL: "cancelling"}


def propose(verb: Verb, info: WorkflowInfo) -> Dialog | Notice:
    """A question about a whole workflow, or why there is nothing to ask."""
    return _OF_WORKFLOW[verb](info)


def propose_for_jobs(verb: Verb, info: WorkflowInfo, jobs: Sequence[JobInfo]) -> Dialog | Notice:
    """A question about some of a workflow's jobs, as they were last seen, or why there is nothing to ask."""
    selection = Selection(jobs=tuple(job.id for job in jobs))
    which = named(jobs)
    match verb:
        case Verb.PAUSE:
            will = [job for job in jobs if job.state == JobState.READY]
            request: Request[Changed] = Pause(info.id, selection)
            lines, none, done = _hold(will), f"{which}: not ready; only what has not begun can be held", "held"
        case Verb.RESUME:
            will = [job for job in jobs if job.state == JobState.HELD]
            request = Resume(info.id, selection)
            lines, none, done = _release(will), f"{which}: not held; nothing to resume", "released"
        case Verb.RETRY:
            will = [job for job in jobs if JobState(job.state) in ENDED and not job.never_rerun]
            request = Retry(info.id, selection)
            lines, none, done = _again(info, will), f"{which}: not ended, or marked never-rerun", "to be tried again"
        case Verb.CANCEL:
            will = [job for job in jobs if JobState(job.state) not in ENDED]
            request = Cancel(info.id, selection)
            lines, none, done = _stop(will), f"{which}: ended already; nothing to cancel", "cancelled"
    if not will:
        return Notice(none, bad=True)
    if left := len(jobs) - len(will):
        lines = (*lines, f"{_jobs(left)} of those chosen {'is' if left == 1 else 'are'} left as now.")
    action = Action(request, f"{_DOING[verb]} {which} of {info.id}", f"{info.id}: {done}")
    return Dialog(f"{verb.capitalize()} {which} of {info.id}?", lines, action)


def named(jobs: Sequence[JobInfo]) -> str:
    """`job 7 (water)`, or `3 jobs (1, 5-6)`."""
    if len(jobs) == 1:
        return f"job {jobs[0].id} ({jobs[0].name})"
    return f"{len(jobs)} jobs ({ranges(job.id for job in jobs)})"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as `1, 5-9, 12`, the first of many."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found[:_NUMBERS_SHOWN])
    return shown + (", ..." if len(found) > _NUMBERS_SHOWN else "")


def outcome(action: Action, reply: Changed) -> str:
    """What an action came to."""
    left = f", {reply.left} left as they were" if reply.left else ""
    note = f" ({reply.note})" if reply.note else ""
    return f"{action.done}, {_jobs(reply.changed)}{left}{note}"


# ---- a whole workflow -----------------------------------------------------------------------------------------------


def _pause(info: WorkflowInfo) -> Dialog | Notice:
    if info.state != WorkflowState.RUNNING:
        return Notice(f"{info.id} is {info.state}; only what runs can be paused", bad=True)
    lines = (
        f"Nothing more of it is started: {_jobs(count(info, *_WAITING))} that {_verb(count(info, *_WAITING), 'wait')}.",
        f"{_under_way(info)} runs on to its end." if active_jobs(info) else "Nothing of it is under way.",
    )
    return _asked(Verb.PAUSE, info, lines, Pause(info.id), "paused")


def _resume(info: WorkflowInfo) -> Dialog | Notice:
    match info.state:
        case WorkflowState.PAUSED:
            waiting = count(info, *_WAITING)
            lines = [f"{_jobs(waiting)} that {_verb(waiting, 'wait')} may start again; held ones stay held."]
        case WorkflowState.FAULTED:
            lines = ["It is faulted; its database is opened again, and it goes on from where it stands."]
        case WorkflowState.FAILED | WorkflowState.CANCELLED:
            bad = {state: info.states.get(state, 0) for state in ("failed", "timeout", "cancelled")}
            told = ", ".join(f"{number} {state}" for state, number in bad.items() if number) or "none"
            lines = [f"It is {info.state}. Jobs that did not complete run again: {told}.", _STAY]
        case _:
            return Notice(f"{info.id} is {info.state}; there is nothing to resume", bad=True)
    if info.reason:
        lines.insert(0, f"It is {info.state}: {info.reason}.")
    return _asked(Verb.RESUME, info, tuple(lines), Resume(info.id), "resumed")


def _retry(info: WorkflowInfo) -> Dialog | Notice:
    failed, timeout = info.states.get("failed", 0), info.states.get("timeout", 0)
    if not failed + timeout:
        return Notice(f"no job of {info.id} has failed or run out of time", bad=True)
    lines = [
        f"{_jobs(failed + timeout)} ({failed} failed, {timeout} out of time) {_be(failed + timeout)} made ready again,",
        "from scratch, with the spec's own parameters and the counts of tries begun anew.",
        _STAY,
    ]
    if info.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
        lines.append(f"{info.id}, which is {info.state}, runs again.")
    return _asked(Verb.RETRY, info, tuple(lines), Retry(info.id, FAILED), "to be tried again")


def _cancel(info: WorkflowInfo) -> Dialog | Notice:
    if info.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
        return Notice(f"{info.id} is {info.state}; nothing is left to cancel", bad=True)
    lines = (
        f"{_under_way(info)} is stopped." if active_jobs(info) else "Nothing of it is under way.",
        f"{_jobs(count(info, *_WAITING))} not yet begun {_be(count(info, *_WAITING))} cancelled.",
        f"{_jobs(ended_jobs(info))} that ended {_verb(ended_jobs(info), 'stay')} as now.",
    )
    return _asked(Verb.CANCEL, info, lines, Cancel(info.id), "cancelled")


_OF_WORKFLOW: Final[dict[Verb, Callable[[WorkflowInfo], Dialog | Notice]]] = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.RETRY: _retry,
    Verb.CANCEL: _cancel,
}


def _asked(verb: Verb, info: WorkflowInfo, lines: tuple[str, ...], request: Request[Changed], done: str) -> Dialog:
    what = "failed jobs of" if verb is Verb.RETRY else "the whole workflow"
    action = Action(request, f"{_DOING[verb]} {what} {info.id}", f"{info.id}: {done}")
    return Dialog(f"{verb.capitalize()} {what} {info.id}?", lines, action)


def _under_way(info: WorkflowInfo) -> str:
    states = {state: info.states.get(state, 0) for state in sorted(ACTIVE)}
    told = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    return f"What is under way ({told})"


# ---- some jobs ------------------------------------------------------------------------------------------------------


def _hold(jobs: list[JobInfo]) -> tuple[str, ...]:
    return (f"{_jobs(len(jobs))} ({_numbers(jobs)}) {_be(len(jobs))} held: not started until resumed.",)


def _release(jobs: list[JobInfo]) -> tuple[str, ...]:
    return (f"{_jobs(len(jobs))} ({_numbers(jobs)}) {_be(len(jobs))} released: ready to start.",)


def _again(info: WorkflowInfo, jobs: list[JobInfo]) -> tuple[str, ...]:
    lines = [f"{_jobs(len(jobs))} ({_numbers(jobs)}) {_be(len(jobs))} made ready again, from scratch."]
    if completed := [job for job in jobs if job.state == JobState.COMPLETED]:
        lines.append(f"Of these {len(completed)} completed ({_numbers(completed)}): the result is set aside.")
    if info.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
        lines.append(f"{info.id}, which is {info.state}, runs again.")
    return tuple(lines)


def _stop(jobs: list[JobInfo]) -> tuple[str, ...]:
    active = [job for job in jobs if JobState(job.state) in ACTIVE]
    waiting = [job for job in jobs if JobState(job.state) not in ACTIVE]
    lines = []
    if active:
        lines.append(f"{_jobs(len(active))} under way ({_numbers(active)}) {_be(len(active))} stopped.")
    if waiting:
        lines.append(f"{_jobs(len(waiting))} not yet begun ({_numbers(waiting)}) {_be(len(waiting))} cancelled.")
    return tuple(lines)


def _numbers(jobs: list[JobInfo]) -> str:
    return ranges(job.id for job in jobs)


def _jobs(number: int) -> str:
    return f"{number} {'job' if number == 1 else 'jobs'}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb
