"""The screen of one job: why it is in its state, its attempts and history, and the end of its log."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.ctl.text import clean_block, duration, local_time, number
from penstock.ctl.top.cell import state_span
from penstock.ctl.top.line import Line, Span, cut, said, wrapped
from penstock.ctl.top.picture import Explained, Log
from penstock.ctl.top.state import JobView, State
from penstock.domain.measured import conditions
from penstock.domain.views import AttemptInfo

_AROUND: Final = 4  # title, title of the log, notice and keys
_DETAILS_IN_LOG: Final = 2
_TAB: Final = 8


class Shares(NamedTuple):
    """Lines of the details and of the log."""

    details: int
    log: int


def shares(state: State) -> Shares:
    """How the screen is shared: the log has a third, or most of it where the keys move it."""
    free = max(2, state.size[1] - _AROUND)
    view = state.view
    assert isinstance(view, JobView)
    details = min(_DETAILS_IN_LOG, free - 1) if view.in_log else free - max(1, free // 3)
    return Shares(details, free - details)


def job_lines(state: State, width: int) -> list[Line]:
    """The screen but for its last two lines."""
    view = state.view
    assert isinstance(view, JobView)
    known, share = explained_now(state), shares(state)
    details = detail_lines(known, width) if known else [said("asking the daemon ...", "dim")]
    below = len(details) - view.scroll - share.details
    shown = details[view.scroll : view.scroll + share.details]
    log, lines = log_now(state), log_lines(log_now(state), width)
    last = len(lines) - view.log_back
    tail = lines[max(0, last - share.log) : last]
    if not tail:
        tail = [said("nothing was written" if log else "no log yet", "dim")]
    more = f"  ({below} more lines below)" if below > 0 else ""
    title = f"log of attempt {log.attempt}" if log else "log"
    back = f"  ({view.log_back} lines back)" if view.log_back else ""
    return [
        _title(view, known, more, width),
        *_filled(shown, share.details),
        (Span(title + back, "bold"),),
        *_filled(tail, share.log),
    ]


def explained_now(state: State) -> Explained | None:
    """What is known of the job on top."""
    view, known = state.view, state.picture.explained
    if not isinstance(view, JobView) or known is None:
        return None
    return known if (known.focus.workflow, known.focus.job) == (view.workflow, view.job) else None


def log_now(state: State) -> Log | None:
    """The log of the job on top."""
    view, log = state.view, state.picture.log
    if not isinstance(view, JobView) or log is None:
        return None
    return log if (log.focus.workflow, log.focus.job) == (view.workflow, view.job) else None


def log_lines(log: Log | None, width: int) -> list[Line]:
    """The log, long lines cut."""
    if log is None or not log.text:
        return []
    text = clean_block(log.text.removesuffix("\n")).expandtabs(_TAB)
    return [said(cut(line, width)) for line in text.split("\n")]


def _filled(lines: list[Line], height: int) -> list[Line]:
    return [*lines, *[()] * (height - len(lines))]


def _title(view: JobView, known: Explained | None, more: str, width: int) -> Line:
    name = Span(cut(f"{view.workflow} job {view.job}", width // 2), "bold")
    if known is None:
        return (name,)
    job = known.why.job
    step = f", step {job.step}" if job.step else ""
    return (name, Span("  "), state_span(job.state), Span(cut(f"  {job.name}{step}", 40)), Span(more, "dim"))


def detail_lines(known: Explained, width: int) -> list[Line]:
    """Verdict, reasons, attempts, results, history: all there is to say, in lines of `width` cells."""
    job, detail = known.detail.job, known.detail
    lines = wrapped(known.why.verdict, width, style="bold")
    for reason in known.why.reasons:
        lines += wrapped(f"- {reason}", width, indent="  ")
    if detail.attempts:
        lines.append(said("attempts, newest first:", "bold"))
        for attempt in reversed(detail.attempts):
            lines += _attempt_lines(attempt, width)
    lines.append(said("results:", "bold"))
    lines += _pairs(
        [
            ("energy", f"{number(job.final_energy, 10)} Eh"),
            ("max force", f"{number(job.max_forces, 8)} Eh/bohr"),
            ("SCF cycles", "-" if job.scf_steps is None else str(job.scf_steps)),
            ("wall time", duration(job.wall_time_s)),
            ("elements", f"{job.elements}, {job.natoms} atoms, charge {job.charge}, multiplicity {job.spin}"),
            ("directory", job.job_dir or "-"),
            *([("label", conditions(detail.label))] if detail.label else []),
            *((name, f"{value} {detail.units.get(name, '')}".rstrip()) for name, value in detail.properties.items()),
        ],
        width,
    )
    if detail.events:
        lines.append(said("history, newest first:", "bold"))
        for event in reversed(detail.events):
            lines += wrapped(f"{local_time(event.at)}  {event.text}", width, indent="  ")
    return lines


def _attempt_lines(attempt: AttemptInfo, width: int) -> list[Line]:
    took = duration(attempt.ended_at - attempt.started_at) if attempt.ended_at and attempt.started_at else "-"
    ended = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
    ended += "" if attempt.exit_signal is None else f", signal {attempt.exit_signal}"
    text = f"{attempt.number}  {attempt.state}  started {local_time(attempt.started_at)}, took {took}{ended}"
    if attempt.failure:
        text += f"; {attempt.failure}: {attempt.message or '-'}"
    lines = wrapped(text, width, indent="   ")
    if attempt.remedy:
        changes = ", ".join(map(str, attempt.remedy["changes"]))
        lines += wrapped(f"   ran with what rule {attempt.remedy['rule']} changed: {changes}", width, indent="   ")
    if attempt.evidence:
        place = attempt.evidence
        lines += wrapped(f"   {place['file']}, line {place['line']}: {place['text']}", width, indent="   ")
    return lines


def _pairs(pairs: list[tuple[str, str]], width: int) -> list[Line]:
    longest = max(len(name) for name, _ in pairs)
    return [said(cut(f"{name:<{longest}}  {value}", width)) for name, value in pairs]
