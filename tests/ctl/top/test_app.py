"""The live view itself, keys in and screens out, with a daemon behind it."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest
from tests.ctl.top.conftest import live
from tests.ctl.top.seen import FORGED, JOBS, WORKFLOWS

from penstock.control import messages
from penstock.ctl.top.canvas import changed_cells
from penstock.ctl.top.line import Span, filled, said
from penstock.ctl.top.state import JobsView, Overview, State
from penstock.domain.errors import ConflictError, InternalError, NotFoundError
from penstock.domain.views import Selection
from penstock.testing.scripted_daemon import Script, ScriptedDaemon


async def test_drilling_down_from_the_overview_to_a_log_and_back(daemon: ScriptedDaemon) -> None:
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", "enter")
        text = await app.until("mol-7")
        assert FORGED.split()[0] in text  # a name is no markup
        await pilot.press("enter")
        text = await app.until("finishäd")
        assert "It failed (walltime)." in text
        await pilot.press("tab")
        await app.until(lambda text: text.splitlines()[3].startswith("log of attempt"))
        await pilot.press("escape", "escape")
        await app.until("mol-10")
        await pilot.press("escape", "tab", "down", "enter")
        await app.until("cluster hpc")


@pytest.mark.parametrize(
    ("keys", "asks", "request_", "said"),
    [
        ("p", "Pause the whole workflow oxides?", messages.Pause("oxides"), "oxides: paused, 2 jobs, 1 left"),
        ("c", "Cancel the whole workflow oxides?", messages.Cancel("oxides"), "oxides: cancelled, 2 jobs"),
        (
            "t",
            "Retry failed jobs of oxides?",
            messages.Retry("oxides", Selection(statuses=("failed", "timeout"))),
            "oxides: to be tried again, 2 jobs",
        ),
        ("down r", "Resume the whole workflow metals?", messages.Resume("metals"), "metals: resumed, 2 jobs"),
    ],
)
async def test_each_action_asks_first_and_tells_what_came_of_it(
    keys: str, asks: str, request_: Any, said: str, daemon: ScriptedDaemon, script: Script
) -> None:
    changing = (messages.Pause, messages.Resume, messages.Cancel, messages.Retry)
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", *keys.split())
        await app.until(asks)
        assert not [request for request in script.seen if isinstance(request, changing)]
        await pilot.press("n")
        await app.until("nothing was done")
        await pilot.press(keys.rsplit(maxsplit=1)[-1], "y")
        await app.until(said)
    assert [request for request in script.seen if isinstance(request, changing)] == [request_]


async def test_jobs_are_acted_on_by_mark_or_cursor(daemon: ScriptedDaemon, script: Script) -> None:
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", "enter")
        await app.until("mol-7")
        await pilot.press("c")
        await app.until("job 7 (mol-7): ended already; nothing to cancel")
        await pilot.press("down", "down", "down", "p", "y")
        await app.until("oxides: held, 2 jobs")
        await pilot.press("space", "space", "c")
        await app.until("Cancel 2 jobs (11-12) of oxides?")
        await pilot.press("y")
        await app.until("oxides: cancelled, 2 jobs")
    assert messages.Pause("oxides", Selection(jobs=(11,))) in script.seen
    assert messages.Cancel("oxides", Selection(jobs=(11, 12))) in script.seen


@pytest.mark.parametrize("error", [ConflictError("workflow oxides is completed"), InternalError("a bug")])
async def test_the_daemons_refusal_is_a_message(error: Exception, daemon: ScriptedDaemon, script: Script) -> None:
    def refuse(_: Any) -> messages.Changed:
        raise error

    script.answers[messages.Cancel] = refuse
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", "c", "y")
        await app.until(f"cancelling the whole workflow oxides failed: {error}")
        await pilot.press("up")
        await app.until(lambda text: "failed:" not in text)


async def test_it_survives_a_restart_and_goes_on_at_the_same_place(daemon: ScriptedDaemon, script: Script) -> None:
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", "enter")
        await app.until("mol-7")
        await pilot.press("down", "down", "space")
        await anyio.to_thread.run_sync(daemon.stop)
        text = await app.until("no daemon since")
        assert "mol-7" in text
        await pilot.press("c")
        await app.until("nothing can be changed")
        page = (*JOBS[:2], msgspec.structs.replace(JOBS[2], state="running"), *JOBS[3:])
        script.answers[messages.ListJobs] = lambda _: messages.Jobs(page, len(page))
        await anyio.to_thread.run_sync(daemon.start)
        await app.until("the daemon answers again")
        await app.until(lambda text: "running" in next(line for line in text.splitlines() if "mol-10" in line))
        view = app.state.view
        assert isinstance(view, JobsView)
        assert view.cursor.key == "11"
        assert [job.id for job in view.marked] == [10]


async def test_a_workflow_that_is_deleted_while_it_is_looked_at(daemon: ScriptedDaemon, script: Script) -> None:
    def gone(_: Any) -> messages.Jobs:
        raise NotFoundError("no workflow 'oxides'")

    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("down", "enter")
        await app.until("mol-7")
        script.answers[messages.ListJobs] = gone
        script.answers[messages.ListWorkflows] = lambda _: messages.Workflows(WORKFLOWS[1:])
        text = await app.until("metals")
        assert "oxides" in text.splitlines()[-2]
        assert len(app.state.views) == 1


async def test_it_can_begin_with_a_workflow(daemon: ScriptedDaemon) -> None:
    state = State(views=(Overview(), JobsView("oxides")))
    async with live(daemon, state) as (app, pilot):
        await app.until("mol-7")
        await pilot.press("escape")
        await app.until("WORKFLOW  ")


async def test_another_size_is_drawn_at_once(daemon: ScriptedDaemon) -> None:
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.resize_terminal(150, 45)
        text = await app.until("RECIPE/ENGINE")
        assert len(text.splitlines()) == 45
        await pilot.resize_terminal(80, 24)
        await app.until(lambda text: "RECIPE/ENGINE" not in text)


async def test_searching_takes_what_is_typed_and_pasted(daemon: ScriptedDaemon) -> None:
    async with live(daemon) as (app, pilot):
        await app.until("oxides")
        await pilot.press("slash", "m", "e", "q", "backspace", "enter")
        await app.until("1 with 'me'")
        await pilot.press("escape", "question_mark")
        await app.until("Everywhere")
        await pilot.press("q")
    assert app.return_code == 0


def test_of_a_line_only_what_differs_is_drawn() -> None:
    old = (Span("abc"), Span(" "), Span("12"), Span("\u4e2d\u6587"), Span("end"))
    assert changed_cells(old, (*old[:2], Span("13"), *old[3:])) == (4, 6)
    assert changed_cells(old, (*old[:3], Span("\u6587\u4e2d"), *old[4:])) == (6, 10)
    assert changed_cells(old, tuple(Span(span.text, "bold") for span in old)) == (0, 13)
    assert changed_cells(filled(said("a"), 9), filled(said("ab"), 9)) == (0, 9)
    assert changed_cells((Span("aa"),), (Span("a"), Span("a"))) == (0, 2)
