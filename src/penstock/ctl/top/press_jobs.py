"""What keys do on the screens of jobs and of one job."""

from __future__ import annotations

import msgspec

from penstock.ctl.top.job import explained_now, shares
from penstock.ctl.top.jobs import page_shown
from penstock.ctl.top.moves import BACK, ENDS, FAR, INTO, PAGES, STEPS, VERBS, asking, scrolled, with_wanted
from penstock.ctl.top.state import (
    JOB_KINDS,
    JOB_ORDERS,
    Cursor,
    JobsView,
    JobView,
    Prompt,
    State,
    page_of,
    page_rows,
)
from penstock.domain.views import JobInfo


def on_jobs(state: State, view: JobsView, key: str) -> State:  # noqa: PLR0911 - one line a key
    """The screen of jobs after a key."""
    if key in STEPS or key in PAGES or key in ENDS:
        return state.with_view(_through_jobs(state, view, key))
    replace = msgspec.structs.replace
    match key:
        case "f" | "F":
            place = (JOB_KINDS.index(view.kind) + (1 if key == "f" else -1)) % len(JOB_KINDS)
            return state.with_view(replace(view, kind=JOB_KINDS[place], offset=0, cursor=Cursor()))
        case "s":
            order = JOB_ORDERS[(JOB_ORDERS.index(view.order) + 1) % len(JOB_ORDERS)]
            return state.with_view(replace(view, order=order, offset=0, cursor=Cursor()))
        case "/":
            return replace(state, prompt=Prompt("jobs by name, number or natoms>50: ", view.wanted))
        case "space":
            return state.with_view(_marked(state, view))
        case _ if key in BACK:
            return with_wanted(state.with_view(replace(view, marked=())), "")
        case _ if key in INTO:
            job = job_chosen(state)
            return state.over(JobView(view.workflow, job.id)) if job else state
        case _ if key in VERBS:
            job = job_chosen(state)
            jobs = view.marked or ((job,) if job else ())
            return asking(state, VERBS[key], state.picture.workflows.get(view.workflow), jobs)
        case _ if key.lower() in VERBS:
            return asking(state, VERBS[key.lower()], state.picture.workflows.get(view.workflow))
        case _:
            return state


def job_chosen(state: State) -> JobInfo | None:
    """The job under the cursor, if what is shown is what was asked for."""
    view, page = state.view, page_shown(state)
    if not isinstance(view, JobsView) or page is None or page.page != page_of(view, state.size[1]):
        return None
    return page.jobs[view.cursor.index] if view.cursor.index < len(page.jobs) else None


def _through_jobs(state: State, view: JobsView, key: str) -> JobsView:
    """Up and down, over the edges of the page too."""
    page, rows = page_shown(state), page_rows(state.size[1])
    if page is None:
        return view
    last = max(0, page.total - 1) // rows * rows
    index = view.cursor.index + STEPS.get(key, 0)
    replace = msgspec.structs.replace
    if key in ENDS:
        place = last if ENDS[key] > 0 else 0
        at = Cursor(index=max(0, page.total - 1 - last) if place else 0)
        return replace(view, offset=place, cursor=at)
    if key in PAGES:
        place = max(0, min(view.offset + PAGES[key] * rows, last))
        return view if place == view.offset else replace(view, offset=place, cursor=Cursor(index=view.cursor.index))
    if index < 0:
        return replace(view, offset=max(0, view.offset - rows), cursor=Cursor(index=rows - 1)) if view.offset else view
    if index >= len(page.jobs):
        return replace(view, offset=view.offset + rows, cursor=Cursor()) if view.offset < last else view
    return replace(view, cursor=Cursor(str(page.jobs[index].id), index))


def _marked(state: State, view: JobsView) -> JobsView:
    """With a mark at the job under the cursor set or taken away, and the cursor one row on."""
    job = job_chosen(state)
    if job is None:
        return view
    rest = tuple(one for one in view.marked if one.id != job.id)
    marked = rest if len(rest) < len(view.marked) else (*rest, job)
    return msgspec.structs.replace(_through_jobs(state, view, "down"), marked=marked)


# ---- one job --------------------------------------------------------------------------------------------------------


def on_job(state: State, view: JobView, key: str) -> State:
    """The screen of one job after a key."""
    replace = msgspec.structs.replace
    match key:
        case "tab" | "L" | "enter":
            return state.with_view(replace(view, in_log=not view.in_log))
        case "[" | "]":
            return state.with_view(_another_attempt(state, view, -1 if key == "[" else 1))
        case _ if key in BACK:
            return state.with_view(replace(view, in_log=False, log_back=0))
        case _ if key in VERBS:
            known = explained_now(state)
            jobs = (known.why.job,) if known else ()
            return asking(state, VERBS[key], state.picture.workflows.get(view.workflow), jobs)
        case _ if view.in_log:
            step = STEPS.get(key, 0) + PAGES.get(key, 0) * shares(state).log + ENDS.get(key, 0) * FAR
            return state.with_view(replace(view, log_back=max(0, view.log_back - step)))
        case _:
            return state.with_view(replace(view, scroll=scrolled(view.scroll, key, shares(state).details + 4)))


def _another_attempt(state: State, view: JobView, step: int) -> JobView:
    known = explained_now(state)
    if known is None or not known.detail.attempts:
        return view
    numbers = [attempt.number for attempt in known.detail.attempts]
    place = numbers.index(view.attempt) if view.attempt in numbers else len(numbers) - 1
    place = max(0, min(place + step, len(numbers) - 1))
    newest = place == len(numbers) - 1
    return msgspec.structs.replace(view, attempt=None if newest else numbers[place], log_back=0)
