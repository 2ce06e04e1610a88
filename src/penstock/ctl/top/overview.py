"""The first screen: workflows, clusters, the newest failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from penstock.ctl.top.cell import (
    chosen,
    compact,
    compact_rate,
    pace_of,
    progress,
    short,
    slots,
    state_span,
)
from penstock.ctl.top.line import Column, Line, Span, cut, fitted, head, row, said
from penstock.ctl.top.picture import Failure, Picture, count
from penstock.ctl.top.state import Cursor, Overview, Panel, Sort, State, settled
from penstock.domain.states import JobState, WorkflowState
from penstock.domain.views import ClusterInfo, WorkflowInfo

LOCAL: Final = "local"
_AROUND: Final = 7  # the two lines at the top, two titles, the chosen workflow, notice and keys
_URGENCY: Final = {
    WorkflowState.FAULTED: 0,
    WorkflowState.RUNNING: 1,
    WorkflowState.PAUSED: 2,
    WorkflowState.FAILED: 3,
    WorkflowState.CANCELLED: 4,
    WorkflowState.COMPLETED: 5,
}
_WORKFLOWS: Final = (
    Column("WORKFLOW", 14, 34),
    Column("STATE", 9, 9),
    Column("DONE", 11, 21),
    Column("READY", 5, 7, right=True),
    Column("QUEUE", 5, 7, right=True),
    Column("RUN", 5, 6, right=True),
    Column("FAIL", 5, 7, right=True),
    Column("OK", 5, 7, right=True),
    Column("/MIN", 5, 6, right=True),
    Column("LEFT", 6, 7, right=True),
    Column("CLUSTER", 8, 12, 1),
    Column("SLOTS", 5, 7, 2, right=True),
    Column("RECIPE/ENGINE", 16, 20, 3),
    Column("LAST FAILURE", 14, 60, 4),
)
_CLUSTERS: Final = (
    Column("CLUSTER", 12, 24),
    Column("KIND", 5, 6),
    Column("STATE", 5, 5),
    Column("RUN", 6, 8, right=True),
    Column("QUEUE", 6, 8, right=True),
    Column("DOUBT", 5, 6, right=True),
    Column("CORES", 9, 11, right=True),
    Column("CALLS/MIN", 10, 12, right=True),
    Column("NOTE", 13, 80),
)
_FAILURES: Final = (
    Column("FAILED", 8, 8),
    Column("WORKFLOW", 14, 24),
    Column("JOB", 7, 9, right=True),
    Column("CLASS", 16, 20),
    Column("MESSAGE", 30, 200),
)


class Heights(NamedTuple):
    """Lines of the rows of each panel."""

    workflows: int
    clusters: int
    failures: int


def heights(state: State) -> Heights:
    """How the screen's lines are shared: failures and clusters as many as they need and a part allows."""
    free = max(3, state.size[1] - _AROUND)
    clusters = max(1, min(len(state.picture.clusters), free // 5))
    failures = max(1, min(len(state.picture.failures), free // 4))
    return Heights(max(1, free - clusters - failures), clusters, failures)


# ---- what the cursor goes over --------------------------------------------------------------------------------------


def workflows_shown(picture: Picture, view: Overview) -> list[WorkflowInfo]:
    """Those that have the wanted text in what is shown of them, in order."""
    found = [info for info in picture.workflows.values() if view.wanted.lower() in _words(info)]
    found.sort(key=lambda info: (-info.created_at, info.id))
    keys: dict[Sort, Callable[[WorkflowInfo], Any]] = {
        Sort.STATE: lambda info: _URGENCY.get(info.state, 9),  # type: ignore[call-overload]
        Sort.ID: lambda info: info.id,
        Sort.FAILED: lambda info: -_failed(info),
        Sort.RATE: lambda info: -(pace_of(picture, info).per_min or 0.0),
    }
    return sorted(found, key=keys[view.sort]) if view.sort in keys else found


def _words(info: WorkflowInfo) -> str:
    return f"{info.id} {info.state} {info.cluster} {info.recipe}/{info.engine}".lower()


def keys_of(state: State, panel: Panel) -> list[str]:
    """What the rows of a panel are known by."""
    view = overview_of(state)
    match panel:
        case Panel.WORKFLOWS:
            return [info.id for info in workflows_shown(state.picture, view)]
        case Panel.CLUSTERS:
            return [info.name for info in state.picture.clusters]
        case Panel.FAILURES:
            return [failure_key(failure) for failure in state.picture.failures]


def failure_key(failure: Failure) -> str:
    """A failure is known by its job."""
    return f"{failure.workflow} {failure.job}"


def overview_of(state: State) -> Overview:
    """The screen at the bottom."""
    view = state.views[0]
    assert isinstance(view, Overview)
    return view


def settled_overview(state: State) -> Overview:
    """All cursors on rows that are there and shown."""
    view, lines = overview_of(state), heights(state)
    if view.panel != Panel.FAILURES:  # while nobody is at them, the newest are shown
        view = msgspec.structs.replace(view, failures=Cursor())
    cursors = {
        panel.value: settled(getattr(view, panel.value), keys_of(state, panel), getattr(lines, panel.value))
        for panel in Panel
    }
    return msgspec.structs.replace(view, **cursors)


# ---- what it looks like ---------------------------------------------------------------------------------------------


def overview_lines(state: State, width: int) -> list[Line]:
    """The screen but for its last two lines."""
    picture, view, lines = state.picture, overview_of(state), heights(state)
    shown = workflows_shown(picture, view)
    newest = {failure.workflow: failure for failure in reversed(picture.failures)}
    layout = fitted(_WORKFLOWS, width)
    rows = [_workflow_row(picture, info, newest.get(info.id)) for info in _window(shown, view.workflows, lines[0])]
    drawn = [_totals(picture, view, len(shown)), head(_WORKFLOWS, layout)]
    drawn += _block([row(cells, layout) for cells in rows], lines.workflows, view, Panel.WORKFLOWS, _empty(state))
    drawn.append(_about_chosen(picture, view, newest))
    layout = fitted(_CLUSTERS, width)
    some = [row(_cluster_row(info), layout) for info in _window(picture.clusters, view.clusters, lines.clusters)]
    drawn += [head(_CLUSTERS, layout), *_block(some, lines.clusters, view, Panel.CLUSTERS, "no clusters")]
    layout = fitted(_FAILURES, width)
    some = [row(_failure_row(f), layout) for f in _window(picture.failures, view.failures, lines.failures)]
    empty = "nothing has failed lately"
    return [*drawn, head(_FAILURES, layout), *_block(some, lines.failures, view, Panel.FAILURES, empty)]


def _empty(state: State) -> str:
    if overview_of(state).wanted:
        return "no workflow has that in its name, state, cluster, recipe or engine; Esc shows all"
    return "no workflows" if state.picture.seen else "asking the daemon ..."


def _window(values: Any, cursor: Cursor, height: int) -> Any:
    return values[cursor.top : cursor.top + height]


def _block(rows: list[Line], height: int, view: Overview, panel: Panel, empty: str) -> list[Line]:
    """Rows with the cursor where the keys move it, filled up to the panel's height."""
    if not rows:
        rows = [said(empty, "dim")]
    elif panel == view.panel:
        cursor: Cursor = getattr(view, panel.value)
        place = cursor.index - cursor.top
        rows = [chosen(line) if number == place else line for number, line in enumerate(rows)]
    return rows + [()] * (height - len(rows))


def _totals(picture: Picture, view: Overview, shown: int) -> Line:
    infos = picture.workflows.values()
    states = [(str(state), sum(info.state == state for info in infos)) for state in _URGENCY]
    counted = ", ".join(f"{number} {state}" for state, number in states if number)
    rates = [rate for info in infos if (rate := pace_of(picture, info).per_min) is not None]
    spans = [Span(f"{len(picture.workflows)} workflows" + (f": {counted}" if counted else ""))]
    if rates:
        spans.append(Span(f"; {compact_rate(sum(rates))} jobs end a minute"))
    if view.wanted:
        spans.append(Span(f"; {shown} with '{cut(view.wanted, 20)}'", "bold"))
    if view.sort != Sort.STATE:
        spans.append(Span(f"; by {view.sort}", "bold"))
    return tuple(spans)


def _workflow_row(picture: Picture, info: WorkflowInfo, last: Failure | None) -> list[Span]:
    rate, remaining = pace_of(picture, info)
    failed, doubt = _failed(info), count(info, JobState.IN_DOUBT)
    return [
        Span(info.id),
        state_span(info.state),
        Span(progress(info)),
        Span(compact(count(info, JobState.READY, JobState.HELD, JobState.WAITING))),
        Span(compact(count(info, JobState.SUBMITTING, JobState.QUEUED))),
        Span(compact(count(info, JobState.RUNNING, JobState.COLLECTING, JobState.IN_DOUBT)) + ("?" if doubt else "")),
        Span(compact(failed), "red" if failed else ""),
        Span(compact(count(info, JobState.COMPLETED))),
        Span("-" if rate is None else compact_rate(rate)),
        Span("-" if remaining is None else short(remaining)),
        Span(info.cluster),
        Span(str(info.slots)),
        Span(f"{info.recipe}/{info.engine}"),
        Span(f"{last.failure}, job {last.job}: {last.message}" if last else "-"),
    ]


def _about_chosen(picture: Picture, view: Overview, newest: dict[str, Failure]) -> Line:
    """What the row of the chosen workflow has no room for."""
    info = picture.workflows.get(view.workflows.key)
    if info is None:
        return ()
    spans = [Span(f"{info.id}: {slots(info)}")]
    if info.operation:
        spans.append(Span(f"; {info.operation}"))
    if info.reason:
        spans += [Span("; "), Span(info.reason, "yellow")]
    elif last := newest.get(info.id):
        spans += [Span(f"; last failure: job {last.job} "), Span(last.failure, "red")]
    return (*spans, Span(f"; {info.recipe}/{info.engine} on {info.cluster}"))


def _cluster_row(info: ClusterInfo) -> list[Span]:
    is_local = info.kind == LOCAL
    return [
        Span(info.name),
        Span(info.kind),
        state_span(info.state),
        Span(compact(info.submissions_running if is_local else info.jobs_running)),
        Span(compact(info.submissions_waiting if is_local else info.jobs_queued)),
        Span(compact(info.jobs_in_doubt), "magenta" if info.jobs_in_doubt else ""),
        Span(f"{info.cores_used}/{info.cores}" if is_local else "-"),
        Span("-" if is_local else f"{info.calls_last_min} of {info.calls_allowed_per_min:g}"),
        Span(info.reason or ("" if info.connected else "not connected"), "yellow"),
    ]


def _failure_row(failure: Failure) -> list[Span]:
    again = "tried again: " if failure.again else ""
    return [
        Span(time.strftime("%H:%M:%S", time.localtime(failure.at))),
        Span(failure.workflow),
        Span(str(failure.job)),
        Span(failure.failure, "yellow" if failure.again else "red"),
        Span(again + failure.message),
    ]


def _failed(info: WorkflowInfo) -> int:
    return count(info, JobState.FAILED, JobState.TIMEOUT)
