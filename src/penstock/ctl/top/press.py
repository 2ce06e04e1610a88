"""What keys do: another state, and what has to be done in the world."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from penstock.ctl.top.hearing import tidied
from penstock.ctl.top.moves import BACK, ENDS, FAR, INTO, PAGES, STEPS, VERBS, asking, scrolled, with_wanted
from penstock.ctl.top.overview import keys_of
from penstock.ctl.top.picture import Action
from penstock.ctl.top.press_jobs import on_job, on_jobs
from penstock.ctl.top.state import (
    ClusterView,
    Dialog,
    HelpView,
    JobsView,
    JobView,
    Overview,
    Panel,
    Prompt,
    Sort,
    State,
    moved,
)

QUIT: Final = "quit"
Effect: TypeAlias = Action | str | None
"""An action to be carried out, `QUIT`, or nothing."""

_WANTED_MOST: Final = 200


def pressed(state: State, key: str) -> tuple[State, Effect]:
    """`state` after a key, named by its character or as `enter`, `pageup`, ...; and what is to be done."""
    if key == "ctrl+c":
        return state, QUIT
    if state.dialog is not None:
        return _answered(state, state.dialog, key)
    if state.prompt is not None:
        return tidied(_typed(state, state.prompt, key)), None
    state = msgspec.structs.replace(state, notice=None)
    if key == "q":
        return state, QUIT
    return tidied(_pressed(state, key)), None


def pasted(state: State, text: str) -> State:
    """`state` after text was put in at once: it means something only where something is being typed."""
    if state.prompt is None:
        return state
    line = "".join(character for character in text if character.isprintable())
    return msgspec.structs.replace(state, prompt=Prompt(state.prompt.label, (state.prompt.text + line)[:_WANTED_MOST]))


def _answered(state: State, dialog: Dialog, key: str) -> tuple[State, Effect]:
    closed = msgspec.structs.replace(state, dialog=None)
    if key in ("y", "Y"):
        if state.picture.lost:
            return closed.saying("there is no daemon now; nothing was done", bad=True), None
        return msgspec.structs.replace(closed, acting=dialog.action), dialog.action
    if key in ("n", "N", "q", *BACK):
        return closed.saying("nothing was done"), None
    return state, None


def _typed(state: State, prompt: Prompt, key: str) -> State:
    match key:
        case "enter":
            return with_wanted(msgspec.structs.replace(state, prompt=None), prompt.text.strip())
        case "escape":
            return msgspec.structs.replace(state, prompt=None)
        case "backspace":
            return msgspec.structs.replace(state, prompt=Prompt(prompt.label, prompt.text[:-1]))
        case "ctrl+u":
            return msgspec.structs.replace(state, prompt=Prompt(prompt.label, ""))
        case "space":
            return pasted(state, " ")
        case _:
            return pasted(state, key) if len(key) == 1 else state


def _pressed(state: State, key: str) -> State:
    view = state.view
    if key == "?" and not isinstance(view, HelpView):
        return state.over(HelpView())
    if key in BACK and not _has_something_to_undo(view):
        return state.back()
    match view:
        case Overview():
            return _on_overview(state, view, key)
        case JobsView():
            return on_jobs(state, view, key)
        case JobView():
            return on_job(state, view, key)
        case ClusterView() | HelpView():
            return state.with_view(msgspec.structs.replace(view, scroll=scrolled(view.scroll, key, state.size[1])))


def _has_something_to_undo(view: object) -> bool:
    """Whether Esc takes back a search, marks or a place in the log, before it leaves the screen."""
    match view:
        case Overview(wanted=wanted):
            return bool(wanted)
        case JobsView(wanted=wanted, marked=marked):
            return bool(wanted or marked)
        case JobView(in_log=in_log):
            return in_log
        case _:
            return False


def _on_overview(state: State, view: Overview, key: str) -> State:  # noqa: PLR0911 - one line a key
    panels, cursor = list(Panel), getattr(view, view.panel.value)
    if key in STEPS or key in PAGES or key in ENDS:
        step = STEPS.get(key, 0) + PAGES.get(key, 0) * max(1, state.size[1] // 2) + ENDS.get(key, 0) * FAR
        cursor = moved(cursor, keys_of(state, view.panel), step)
        return state.with_view(msgspec.structs.replace(view, **{view.panel.value: cursor}))
    match key:
        case "tab" | "shift+tab":
            step = 1 if key == "tab" else -1
            panel = panels[(panels.index(view.panel) + step) % len(panels)]
            return state.with_view(msgspec.structs.replace(view, panel=panel))
        case "s":
            sorts = list(Sort)
            following = sorts[(sorts.index(view.sort) + 1) % len(sorts)]
            return state.with_view(msgspec.structs.replace(view, sort=following))
        case "/":
            return msgspec.structs.replace(state, prompt=Prompt("workflows with: ", view.wanted))
        case _ if key in BACK:
            return with_wanted(state, "")
        case _ if key in INTO:
            return _opened(state, view)
        case _ if key.lower() in VERBS:
            return asking(state, VERBS[key.lower()], state.picture.workflows.get(view.workflows.key))
        case _:
            return state


def _opened(state: State, view: Overview) -> State:
    match view.panel:
        case Panel.WORKFLOWS if view.workflows.key in state.picture.workflows:
            return state.over(JobsView(view.workflows.key))
        case Panel.CLUSTERS if view.clusters.key:
            return state.over(ClusterView(view.clusters.key))
        case Panel.FAILURES if view.failures.key:
            workflow, _, job = view.failures.key.rpartition(" ")
            return state.over(JobsView(workflow)).over(JobView(workflow, int(job)))
        case _:
            return state
