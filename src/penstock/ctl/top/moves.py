"""What keys mean on every screen: steps, ways back, and what asks first."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.ctl.top.action import Verb, propose, propose_for_jobs
from penstock.ctl.top.state import Cursor, Dialog, JobsView, Overview, Panel, State
from penstock.domain.views import JobInfo, WorkflowInfo

STEPS: Final = {"up": -1, "k": -1, "down": 1, "j": 1}
PAGES: Final = {"pageup": -1, "pagedown": 1}
ENDS: Final = {"home": -1, "g": -1, "end": 1, "G": 1}
BACK: Final = frozenset({"escape", "backspace", "left", "h"})
INTO: Final = frozenset({"enter", "right", "l"})
VERBS: Final = {"p": Verb.PAUSE, "r": Verb.RESUME, "t": Verb.RETRY, "c": Verb.CANCEL}
FAR: Final = 1_000_000_000


def scrolled(scroll: int, key: str, height: int) -> int:
    """How many lines are above the screen after a key, on a terminal of this height."""
    page = max(1, height - 4)
    ends = {-1: 0, 1: FAR}
    if key in ENDS:
        return ends[ENDS[key]]
    return max(0, scroll + STEPS.get(key, 0) + page * (PAGES.get(key, 0) or int(key == "space")))


def with_wanted(state: State, wanted: str) -> State:
    """Only what has this text, on screens where one can search."""
    match state.view:
        case Overview(wanted=before) | JobsView(wanted=before) if wanted == before:
            return state
        case Overview() as view:
            changed = msgspec.structs.replace(view, wanted=wanted, panel=Panel.WORKFLOWS, workflows=Cursor())
            return state.with_view(changed)
        case JobsView() as view:
            return state.with_view(msgspec.structs.replace(view, wanted=wanted, offset=0, cursor=Cursor()))
        case _:
            return state


def asking(state: State, verb: Verb, info: WorkflowInfo | None, jobs: tuple[JobInfo, ...] | None = None) -> State:
    """A dialog about a workflow, or about some of its jobs; or the reason for none."""
    if state.picture.lost:
        return state.saying("there is no daemon now; nothing can be changed", bad=True)
    if state.acting:
        return state.saying(f"still {state.acting.doing}; then ask again", bad=True)
    if info is None or jobs == ():
        return state
    found = propose(verb, info) if jobs is None else propose_for_jobs(verb, info, jobs)
    if isinstance(found, Dialog):
        return msgspec.structs.replace(state, dialog=found)
    return msgspec.structs.replace(state, notice=found)
