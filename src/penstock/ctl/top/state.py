"""All that the live view shows, as one value: what was heard, the screens on each other, what is being asked."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from penstock.ctl.top.picture import Action, Focus, OneCluster, OneJob, Page, Picture
from penstock.domain.views import Filter, JobInfo, Selection, parse_filter

PAGE_MOST: Final = 200
"""Jobs on a page, however tall the terminal is."""


class Panel(StrEnum):
    """The parts of the overview that have a cursor."""

    WORKFLOWS = "workflows"
    CLUSTERS = "clusters"
    FAILURES = "failures"


class Sort(StrEnum):
    """What workflows are ordered by."""

    STATE = "state"  # what needs somebody first, then the newest
    ID = "id"
    NEWEST = "newest"
    FAILED = "failed"
    RATE = "rate"


class JobKind(msgspec.Struct, frozen=True):
    """States of jobs that are looked at together."""

    name: str
    states: tuple[str, ...]


JOB_KINDS: Final = (
    JobKind("all", ()),
    JobKind("failed", ("failed", "timeout")),
    JobKind("in doubt", ("in_doubt",)),
    JobKind("running", ("running", "collecting")),
    JobKind("queued", ("queued", "submitting")),
    JobKind("ready", ("ready", "held", "waiting")),
    JobKind("completed", ("completed",)),
    JobKind("cancelled", ("cancelled", "skipped")),
)


class JobOrder(msgspec.Struct, frozen=True):
    """An order of jobs, in words and as the daemon knows it."""

    name: str
    order: str


JOB_ORDERS: Final = (
    JobOrder("failures first", "failure"),
    JobOrder("number", "id"),
    JobOrder("changed last", "-updated_at"),
    JobOrder("name", "name"),
    JobOrder("most attempts", "-attempts"),
    JobOrder("longest", "-wall_time_s"),
    JobOrder("energy", "final_energy"),
)


class Cursor(msgspec.Struct, frozen=True):
    """Which row is chosen: that of this key or, where it is gone, the one at its place; `top` is the first shown."""

    key: str = ""
    index: int = 0
    top: int = 0


class Overview(msgspec.Struct, frozen=True):
    """The first screen."""

    panel: Panel = Panel.WORKFLOWS
    workflows: Cursor = Cursor()
    clusters: Cursor = Cursor()
    failures: Cursor = Cursor()
    sort: Sort = Sort.STATE
    wanted: str = ""  # a text that is in what is shown of a workflow


class JobsView(msgspec.Struct, frozen=True):
    """A workflow's jobs."""

    workflow: str
    cursor: Cursor = Cursor()
    offset: int = 0
    kind: JobKind = JOB_KINDS[0]
    order: JobOrder = JOB_ORDERS[0]
    wanted: str = ""
    marked: tuple[JobInfo, ...] = ()


class JobView(msgspec.Struct, frozen=True):
    """One job. `scroll` lines of its details are above the screen, `log_back` lines of its log below."""

    workflow: str
    job: int
    attempt: int | None = None
    scroll: int = 0
    log_back: int = 0
    in_log: bool = False  # the keys move the log, which has most of the room


class ClusterView(msgspec.Struct, frozen=True):
    """One cluster."""

    name: str
    scroll: int = 0


class HelpView(msgspec.Struct, frozen=True):
    """What the keys do."""

    scroll: int = 0


View: TypeAlias = Overview | JobsView | JobView | ClusterView | HelpView


class Dialog(msgspec.Struct, frozen=True):
    """A question that is answered by yes or no."""

    title: str
    lines: tuple[str, ...]
    action: Action


class Prompt(msgspec.Struct, frozen=True):
    """A line that is being typed."""

    label: str
    text: str


class Notice(msgspec.Struct, frozen=True):
    """A sentence about what was just done, until the next key."""

    text: str
    bad: bool = False


class State(msgspec.Struct, frozen=True):
    """Everything. `views` lie on each other, the overview at the bottom."""

    size: tuple[int, int] = (80, 24)
    picture: Picture = Picture()
    views: tuple[View, ...] = (Overview(),)
    dialog: Dialog | None = None
    prompt: Prompt | None = None
    notice: Notice | None = None
    acting: Action | None = None

    @property
    def view(self) -> View:
        """The screen on top."""
        return self.views[-1]

    def with_view(self, view: View) -> State:
        """The screen on top replaced."""
        return msgspec.structs.replace(self, views=(*self.views[:-1], view))

    def over(self, view: View) -> State:
        """Another screen on top."""
        return msgspec.structs.replace(self, views=(*self.views, view))

    def back(self) -> State:
        """The screen below; the overview stays."""
        return msgspec.structs.replace(self, views=self.views[:-1]) if len(self.views) > 1 else self

    def saying(self, text: str, *, bad: bool = False) -> State:
        """With a notice."""
        return msgspec.structs.replace(self, notice=Notice(text, bad))


def focus_of(state: State) -> Focus:
    """What has to be known for the screen on top, help aside."""
    view = next(view for view in reversed(state.views) if not isinstance(view, HelpView))
    match view:
        case JobsView():
            return page_of(view, state.size[1])
        case JobView(workflow=workflow, job=job, attempt=attempt):
            return OneJob(workflow, job, attempt)
        case ClusterView(name=name):
            return OneCluster(name)
        case _:
            return None


JOBS_AROUND: Final = 8
"""Lines of the screen of jobs that are none of its rows."""


def page_of(view: JobsView, height: int) -> Page:
    """The page of jobs that fits on the screen."""
    return Page(view.workflow, selection_of(view), view.order.order, view.offset, page_rows(height))


def page_rows(height: int) -> int:
    """How many jobs fit on the screen."""
    return max(1, min(PAGE_MOST, height - JOBS_AROUND))


def selection_of(view: JobsView) -> Selection:
    """The jobs that a screen of jobs shows: of a kind; by number, by a condition such as `natoms>50`, or by name."""
    jobs: tuple[int, ...] = ()
    filters: tuple[Filter, ...] = ()
    if view.wanted.isdecimal() and len(view.wanted) <= 18:
        jobs = (int(view.wanted),)
    elif view.wanted:
        try:
            filters = (parse_filter(view.wanted),)
        except ValueError:
            filters = (Filter("name", "~", view.wanted),)
    return Selection(jobs, view.kind.states, filters)


def settled(cursor: Cursor, keys: Sequence[str], height: int) -> Cursor:
    """`cursor` on a row that is there and shown, where rows with these keys have `height` lines."""
    if not keys:
        return Cursor(cursor.key)
    index = cursor.index
    if not (index < len(keys) and keys[index] == cursor.key):
        index = keys.index(cursor.key) if cursor.key in keys else max(0, min(index, len(keys) - 1))
    height = max(1, height)
    top = max(0, min(cursor.top, index, len(keys) - height))
    top = max(top, index - height + 1)
    return Cursor(keys[index], index, top)


def moved(cursor: Cursor, keys: Sequence[str], step: int) -> Cursor:
    """`cursor` as many rows on, or on the first or last row."""
    if not keys:
        return cursor
    index = max(0, min(cursor.index + step, len(keys) - 1))
    return Cursor(keys[index], index, cursor.top)
