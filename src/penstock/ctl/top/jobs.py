"""The screen of one workflow: where it stands, and its jobs a page at a time."""

from __future__ import annotations

from typing import Final

from penstock.ctl.text import counts, duration
from penstock.ctl.top.cell import chosen, compact_rate, pace_of, progress, short, slots, state_span
from penstock.ctl.top.line import Column, Line, Span, cut, fitted, head, row, said
from penstock.ctl.top.picture import Paged, Picture, ended_jobs
from penstock.ctl.top.state import JOB_ORDERS, JobsView, State, page_of, page_rows
from penstock.domain.states import JobState
from penstock.domain.views import JobInfo, WorkflowInfo

_JOBS: Final = (
    Column(" ", 1, 1),
    Column("JOB", 7, 9, right=True),
    Column("NAME", 17, 60),
    Column("STATE", 10, 10),
    Column("TRIES", 5, 5, right=True),
    Column("TIME", 8, 8, right=True),
    Column("FAILURE", 17, 20),
    Column("STEP", 8, 16, 1),
    Column("ATOMS", 5, 6, 2, right=True),
    Column("ENERGY/EH", 14, 16, 3, right=True),
    Column("MESSAGE", 20, 200, 4),
)


def page_shown(state: State) -> Paged | None:
    """The newest page of the workflow on top, though it may not be the one that is asked for."""
    view, page = state.view, state.picture.page
    if not isinstance(view, JobsView) or page is None or page.page.workflow != view.workflow:
        return None
    return page


def jobs_lines(state: State, width: int) -> list[Line]:
    """The screen but for its last two lines."""
    view, picture = state.view, state.picture
    assert isinstance(view, JobsView)
    info, rows = picture.workflows.get(view.workflow), page_rows(state.size[1])
    layout = fitted(_JOBS, width)
    drawn = _about(picture, info, width) if info else [said(f"{view.workflow}: asking the daemon ..."), (), ()]
    drawn += [_which(state, view), head(_JOBS, layout)]
    page = page_shown(state)
    if page is None:
        return [*drawn, said("asking the daemon ...", "dim"), *[()] * (rows - 1)]
    is_old = page.page != page_of(view, state.size[1])
    marked = {job.id for job in view.marked}
    lines = [row(_job_row(job, job.id in marked), layout) for job in page.jobs[:rows]]
    if is_old:
        lines = [tuple(Span(span.text, "dim") for span in line) for line in lines]
    elif not lines:
        lines = [said("no such jobs; f shows others, Esc all" if picture.seen else "", "dim")]
    elif view.cursor.index < len(lines):
        lines[view.cursor.index] = chosen(lines[view.cursor.index])
    return [*drawn, *lines, *[()] * (rows - len(lines))]


def _about(picture: Picture, info: WorkflowInfo, width: int) -> list[Line]:
    rate, remaining = pace_of(picture, info)
    what = f"  {info.recipe}/{info.engine} on {info.cluster}, {slots(info)}"
    what += f"; {info.operation}" if info.operation else ""
    pace = "" if rate is None else f", {compact_rate(rate)} a minute"
    pace += "" if remaining is None else f", {short(remaining)} left"
    done = f"{ended_jobs(info)} of {info.jobs} jobs ended"
    last = next((failure for failure in picture.failures if failure.workflow == info.id), None)
    third: Line = said(counts({str(state): info.states.get(state, 0) for state in JobState}))
    if info.reason:
        third = (Span(info.reason, "yellow"),)
    elif last and width > 100:
        third = (*third, Span(f"; last failure: job {last.job} "), Span(last.failure, "red"))
    return [
        (Span(cut(info.id, width // 2), "bold"), Span("  "), state_span(info.state), Span(what)),
        (Span(progress(info, 20)), Span(f"  {done}"), Span(pace)),
        third,
    ]


def _which(state: State, view: JobsView) -> Line:
    page = page_shown(state)
    wanted = f" with '{cut(view.wanted, 20)}'" if view.wanted else ""
    text = f"{view.kind.name} jobs{wanted}, {view.order.name}" if view.order != JOB_ORDERS[1] else ""
    text = text or f"{view.kind.name} jobs{wanted}, by number"
    if page is not None and page.jobs:
        first = page.page.offset + 1
        text += f": {first} to {first + len(page.jobs) - 1} of {page.total}"
    spans = [Span(text)]
    if view.marked:
        spans.append(Span(f"  {len(view.marked)} marked", "bold"))
    return tuple(spans)


def _job_row(job: JobInfo, is_marked: bool) -> list[Span]:
    return [
        Span("*" if is_marked else " ", "bold"),
        Span(str(job.id)),
        Span(job.name),
        state_span(job.state),
        Span(str(job.attempts)),
        Span(duration(job.wall_time_s)),
        Span(job.failure or "-", "red" if job.failure else ""),
        Span(job.step or "-"),
        Span(str(job.natoms)),
        Span("-" if job.final_energy is None else f"{job.final_energy:.8f}"),
        Span(job.error_message or "-"),
    ]
