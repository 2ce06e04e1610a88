"""What news make of what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.ctl.top.action import outcome
from penstock.ctl.top.cluster import cluster_details, rows_of_cluster
from penstock.ctl.top.job import detail_lines, explained_now, log_lines, log_now, shares
from penstock.ctl.top.jobs import page_shown
from penstock.ctl.top.overview import settled_overview
from penstock.ctl.top.picture import (
    LOG_KEPT,
    Acted,
    Clustered,
    Explained,
    Found,
    Gone,
    Log,
    Logged,
    Looked,
    Lost,
    News,
    OneCluster,
    OneJob,
    Page,
    Paged,
    Picture,
    Refused,
    Reported,
    Slow,
    Trouble,
    ended_jobs,
    merged,
)
from penstock.ctl.top.rate import followed
from penstock.ctl.top.state import (
    ClusterView,
    Cursor,
    JobsView,
    JobView,
    State,
    View,
    page_of,
    settled,
)


def heard(state: State, news: News) -> State:
    """`state` after the daemon, or the connection to it, has told something."""
    match news:
        case Acted(action=action, reply=reply):
            state = msgspec.structs.replace(state, acting=None).saying(outcome(action, reply))
        case Refused(action=action, message=message):
            state = msgspec.structs.replace(state, acting=None).saying(f"{action.doing} failed: {message}", bad=True)
        case Trouble(message=message):
            state = state.saying(message, bad=True)
        case Gone():
            state = _left(state, news)
        case Lost():
            picture = msgspec.structs.replace(state.picture, lost=state.picture.lost or news)
            state = msgspec.structs.replace(state, picture=picture, notice=None)
        case Found():
            picture = msgspec.structs.replace(state.picture, lost=None)
            state = msgspec.structs.replace(state, picture=picture).saying("the daemon answers again")
        case _:
            state = msgspec.structs.replace(state, picture=_taken_in(state.picture, news))
    if isinstance(news, Looked):
        there = state.picture.workflows
        shown = next((id for view in state.views if (id := _workflow_of(view)) is not None), None)
        if shown is not None and shown not in there:
            state = _without(state, lambda view: _workflow_of(view) == shown, f"workflow {shown} is gone")
    return tidied(state)


def _taken_in(picture: Picture, news: News) -> Picture:
    """What is kept of news that change nothing but the picture."""
    match news:
        case Looked():
            return _looked(picture, news)
        case Clustered(clusters=clusters):
            changes: dict[str, Any] = {"clusters": clusters}
        case Paged():
            changes = {"page": news}
        case Explained():
            changes = {"explained": news}
        case Logged():
            changes = {"log": _logged(picture.log, news)}
        case Reported():
            changes = {"reported": news}
        case Slow(waiting=waiting):
            changes = {"slow": waiting}
        case _:
            changes = {}
    return msgspec.structs.replace(picture, **changes)


def _looked(picture: Picture, news: Looked) -> Picture:
    workflows = {info.id: info for info in news.workflows}
    tracks = {info.id: followed(picture.tracks.get(info.id), news.at, ended_jobs(info)) for info in workflows.values()}
    failures = merged(picture.failures, news.failures)
    return msgspec.structs.replace(
        picture,
        workflows=workflows,
        tracks=tracks,
        failures=tuple(failure for failure in failures if failure.workflow in workflows),
        seen=True,
    )


def _logged(log: Log | None, news: Logged) -> Log:
    if news.fresh or log is None or (log.focus, log.attempt) != (news.focus, news.attempt):
        return Log(news.focus, news.attempt, news.text)
    text = log.text + news.text
    if len(text) > LOG_KEPT:
        text = text[-LOG_KEPT:].partition("\n")[2] or text[-LOG_KEPT:]
    return Log(news.focus, news.attempt, text)


def _left(state: State, news: Gone) -> State:
    match news.focus:
        case Page(workflow=workflow):
            return _without(state, lambda view: _workflow_of(view) == workflow, news.message)
        case OneJob(workflow=workflow, job=job):
            shown = lambda view: isinstance(view, JobView) and (view.workflow, view.job) == (workflow, job)  # noqa: E731
            return _without(state, shown, news.message)
        case OneCluster(name=name):
            return _without(state, lambda view: isinstance(view, ClusterView) and view.name == name, news.message)
        case None:
            return state


def _without(state: State, is_gone: Callable[[View], bool], message: str) -> State:
    """Back to the last screen before the first that shows what is gone, with the reason; as it is, if none does."""
    for depth, view in enumerate(state.views):
        if is_gone(view):
            left = msgspec.structs.replace(state, views=state.views[:depth], dialog=None, prompt=None)
            return left.saying(message, bad=True)
    return state


def _workflow_of(view: View) -> str | None:
    return view.workflow if isinstance(view, JobsView | JobView) else None


def resized(state: State, width: int, height: int) -> State:
    """`state` on a terminal of another size."""
    return tidied(msgspec.structs.replace(state, size=(width, height)))


def tidied(state: State) -> State:
    """With all cursors on rows that are there, and nothing scrolled past its end."""
    state = msgspec.structs.replace(state, views=(settled_overview(state), *state.views[1:]))
    view, (width, _) = state.view, state.size
    match view:
        case JobsView():
            return state.with_view(_settled_jobs(state, view))
        case JobView():
            known, share = explained_now(state), shares(state)
            details = len(detail_lines(known, width)) if known else 0
            log = len(log_lines(log_now(state), width))
            scroll = max(0, min(view.scroll, details - share.details))
            log_back = max(0, min(view.log_back, log - share.log))
            return state.with_view(msgspec.structs.replace(view, scroll=scroll, log_back=log_back))
        case ClusterView():
            most = len(cluster_details(state, width)) - rows_of_cluster(state)
            return state.with_view(msgspec.structs.replace(view, scroll=max(0, min(view.scroll, most))))
        case _:
            return state


def _settled_jobs(state: State, view: JobsView) -> JobsView:
    page = page_shown(state)
    if page is None or page.page != page_of(view, state.size[1]):
        return view
    if page.total and not page.jobs:  # there are fewer than there were
        last = (page.total - 1) // page.page.limit * page.page.limit
        return msgspec.structs.replace(view, offset=last, cursor=Cursor())
    keys = [str(job.id) for job in page.jobs]
    newer = {job.id: job for job in page.jobs}
    marked = tuple(newer.get(job.id, job) for job in view.marked)
    return msgspec.structs.replace(view, cursor=settled(view.cursor, keys, len(keys)), marked=marked)
