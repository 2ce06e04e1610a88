"""Keys and news in any order: what is shown, what is asked, what is done."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.control.reported import REPORT
from tests.ctl.top.seen import (
    ATTEMPTS,
    CLUSTERS,
    DETAIL,
    EVENT,
    FAILURES,
    FORGED,
    JOBS,
    NOW,
    WHY,
    WORKFLOWS,
    job,
    overview,
)

from penstock.control.messages import Cancel, Changed, Pause, Retry
from penstock.ctl.top.draw import drawn
from penstock.ctl.top.hearing import heard, resized
from penstock.ctl.top.line import text_of
from penstock.ctl.top.picture import (
    LOG_KEPT,
    Acted,
    Action,
    Clustered,
    Explained,
    Found,
    Gone,
    Logged,
    Looked,
    Lost,
    News,
    OneCluster,
    OneJob,
    Page,
    Paged,
    Refused,
    Reported,
    Slow,
    Trouble,
    failure_of,
    merged,
)
from penstock.ctl.top.press import QUIT, pasted, pressed
from penstock.ctl.top.state import (
    ClusterView,
    HelpView,
    JobsView,
    JobView,
    Overview,
    Panel,
    Sort,
    State,
    focus_of,
)
from penstock.domain.views import JobInfo, Selection


def press(state: State, *keys: str) -> State:
    """The state after these keys, none of which has an effect in the world."""
    for key in keys:
        state, effect = pressed(state, key)
        assert effect is None, key
    return state


def answered(state: State, jobs: tuple[JobInfo, ...] = JOBS, total: int = 40) -> State:
    """With the page that is asked for."""
    page = focus_of(state)
    assert isinstance(page, Page)
    return heard(state, Paged(page, jobs[: page.limit], total))


def asked(state: State) -> Page:
    """The page of jobs that the daemon is asked for."""
    focus = focus_of(state)
    assert isinstance(focus, Page)
    return focus


def first(state: State) -> Overview:
    """The first screen, on top."""
    assert isinstance(state.view, Overview)
    return state.view


def jobs_of(state: State) -> JobsView:
    """The screen of jobs, on top."""
    assert isinstance(state.view, JobsView)
    return state.view


def screen(state: State) -> str:
    return "\n".join(text_of(line).rstrip() for line in drawn(state))


# ---- overview -------------------------------------------------------------------------------------------------------


def test_what_needs_somebody_comes_first() -> None:
    lines = [line.split()[:2] for line in screen(overview()).splitlines()]
    assert lines[2:6] == [["broken", "faulted"], ["oxides", "running"], ["metals", "paused"], ["salts", "completed"]]


def test_the_overview_fits_80_by_24_with_workflows_clusters_and_failures() -> None:
    text = screen(overview())
    assert len(text.splitlines()) == 24
    for part in ("oxides", "52%", "hpc", "3 of 12", "walltime", "tried again: ended", "? help  q quit"):
        assert part in text
    assert "\x1b" not in text
    assert "[red]x[/] \\x1b[31m" in screen(overview(200, 40))


def test_more_room_shows_more_columns() -> None:
    assert "CLUSTER  " not in screen(overview()).splitlines()[1]
    wide = screen(overview(160, 40)).splitlines()
    assert "RECIPE/ENGINE" in wide[1]
    assert "campaign/tblite" in wide[2]


def test_the_cursor_goes_down_stays_with_its_row_and_opens_it() -> None:
    state = press(overview(), "down", "j")
    assert first(state).workflows.key == "metals"
    state = heard(state, Looked(1.0, WORKFLOWS[1:]))
    assert first(state).workflows.key == "metals"
    assert press(state, "enter").view == JobsView("metals")
    assert first(press(state, "end")).workflows.key == "salts"
    assert first(press(state, "pagedown", "home", "k")).workflows.key == "broken"


def test_tab_goes_on_to_clusters_and_failures() -> None:
    state = press(overview(), "tab", "down")
    assert press(state, "enter").view == ClusterView("hpc")
    state = press(state, "tab", "enter")
    assert state.view == JobView("oxides", 9)
    assert press(state, "escape").view == JobsView("oxides")
    assert first(press(overview(), "shift+tab")).panel == Panel.FAILURES


def test_searching_narrows_and_escape_takes_it_back() -> None:
    state = press(overview(), "/", "P", "a", "u", "x", "backspace", "enter")
    assert screen(state).splitlines()[2].startswith("metals")
    assert "1 with 'Pau'" in screen(state)
    assert len(press(state, "escape").views) == 1
    assert "oxides" in screen(press(state, "escape"))
    assert "no workflow has that" in screen(press(overview(), "/", "?", "q", "enter"))
    assert "workflows with: oxid" in screen(pasted(press(overview(), "/"), "ox\x1b\nid"))
    assert press(overview(), "/", "x", "ctrl+u", "space", "y", "escape").view == overview().view


def test_sorting_goes_round() -> None:
    state = overview()
    seen: list[Sort] = []
    for _ in Sort:
        seen.append(first(state).sort)
        state = press(state, "s")
    assert seen == list(Sort)
    assert first(state).sort == Sort.STATE
    assert screen(press(overview(), "s")).splitlines()[2].startswith("broken")
    assert screen(press(overview(), "s", "s", "s")).splitlines()[2].startswith("oxides")


def test_rates_and_what_is_left_come_with_a_second_look() -> None:
    later = msgspec.structs.replace(
        WORKFLOWS[0], states={"ready": 5, "queued": 4, "running": 5, "completed": 23, "failed": 2, "timeout": 1}
    )
    state = heard(overview(), Looked(30.0, (later,)))
    assert "10.0" in screen(state).splitlines()[2]
    assert screen(state).splitlines()[2].endswith("1m")
    assert "10.0 jobs end a minute" in screen(state)
    reading = msgspec.structs.replace(later, ingesting=True)
    assert screen(heard(state, Looked(60.0, (reading,)))).splitlines()[2].endswith("-")


def test_new_failures_are_seen_unless_somebody_is_at_the_old_ones() -> None:
    newer = tuple(msgspec.structs.replace(FAILURES[0], at=NOW + 99 + n, job=100 + n) for n in range(9))
    state = heard(overview(), Looked(1.0, WORKFLOWS, newer))
    assert first(state).failures.key == "oxides 108"
    state = heard(press(overview(), "tab", "tab"), Looked(1.0, WORKFLOWS, newer))
    assert first(state).failures.key == "oxides 9"
    assert press(state, "enter").view == JobView("oxides", 9)


# ---- jobs -----------------------------------------------------------------------------------------------------------


def test_a_workflows_jobs_come_a_page_at_a_time() -> None:
    state = press(overview(), "down", "enter")
    assert focus_of(state) == Page("oxides", Selection(), "failure", 0, 16)
    assert "asking the daemon" in screen(state)
    state = answered(state, tuple(job(n) for n in range(1, 20)))
    assert "all jobs, failures first: 1 to 16 of 40" in screen(state)
    state = press(state, *["down"] * 16)
    assert focus_of(state) == Page("oxides", Selection(), "failure", 16, 16)
    state = answered(state, tuple(job(n) for n in range(17, 33)))
    assert jobs_of(state).cursor.key == "17"
    back = answered(press(state, "up"), tuple(job(n) for n in range(1, 17)))
    assert (jobs_of(back).offset, jobs_of(back).cursor.key) == (0, "16")
    assert asked(press(state, "end")).offset == 32
    assert asked(press(state, "pagedown", "pagedown", "pagedown")).offset == 32


def test_what_is_not_there_yet_cannot_be_opened() -> None:
    state = answered(press(overview(), "down", "enter"))
    assert press(state, "enter").view == JobView("oxides", 7)
    assert press(state, "f", "enter").view == press(state, "f").view


def test_filters_and_orders_begin_at_the_first_page() -> None:
    state = answered(press(overview(), "down", "enter"))
    assert focus_of(press(state, "pagedown", "f")) == Page(
        "oxides", Selection((), ("failed", "timeout")), "failure", 0, 16
    )
    assert asked(press(state, "F")).selection.statuses == ("cancelled", "skipped")
    assert asked(press(state, "s")).order == "id"
    assert asked(press(state, "/", "1", "2", "enter")).selection == Selection(jobs=(12,))


def test_fewer_jobs_than_there_were_show_the_last_page() -> None:
    state = answered(press(overview(), "down", "enter"), tuple(job(n) for n in range(1, 17)), 40)
    state = answered(press(state, "end"), (), 18)
    assert asked(state).offset == 16


def test_another_size_is_another_page() -> None:
    state = answered(press(overview(), "down", "enter"))
    state = resized(state, 120, 40)
    assert asked(state).limit == 32
    assert "mol-10" in screen(state)


# ---- actions --------------------------------------------------------------------------------------------------------


def confirmed(state: State, key: str) -> tuple[State, Action]:
    state, effect = pressed(press(state, key), "y")
    assert isinstance(effect, Action)
    return state, effect


def test_an_action_is_asked_about_and_done_once() -> None:
    state = press(overview(), "down", "p")
    assert "Pause the whole workflow oxides?" in screen(state)
    state, effect = pressed(state, "y")
    assert isinstance(effect, Action)
    assert effect.request == Pause("oxides")
    assert state.acting == effect
    assert "pausing the whole workflow oxides ..." in screen(state)
    assert "still pausing" in screen(press(state, "c"))
    state = heard(state, Acted(effect, Changed(10)))
    assert "oxides: paused, 10 jobs" in screen(state)
    assert "oxides: paused" not in screen(press(state, "down"))


@pytest.mark.parametrize("key", ["n", "escape", "q"])
def test_no_is_no(key: str) -> None:
    state = press(overview(), "down", "c", "x", "enter", "tab")
    assert state.dialog is not None
    state = press(state, key)
    assert state.dialog is None
    assert "nothing was done" in screen(state)


def test_marked_jobs_are_acted_on_together_and_capitals_mean_the_workflow() -> None:
    state = answered(press(overview(), "down", "enter"))
    state = press(state, "space", "down", "space")
    assert [job.id for job in jobs_of(state).marked] == [7, 10]
    assert "2 marked" in screen(state)
    assert confirmed(state, "c")[1].request == Cancel("oxides", Selection(jobs=(7, 10)))
    assert confirmed(state, "C")[1].request == Cancel("oxides")
    assert confirmed(press(state, "escape"), "c")[1].request == Cancel("oxides", Selection(jobs=(11,)))
    assert jobs_of(press(state, "up", "space")).marked == (JOBS[0],)


def test_the_states_of_marked_jobs_are_kept_up_to_date() -> None:
    state = press(answered(press(overview(), "down", "enter")), "space")
    state = answered(state, (job(7, "running"), *JOBS[1:]))
    assert jobs_of(state).marked[0].state == "running"


def test_a_job_is_acted_on_from_its_own_screen() -> None:
    state = press(answered(press(overview(), "down", "enter")), "enter")
    assert press(state, "t").dialog is None  # nothing is known of it yet
    state = heard(state, Explained(OneJob("oxides", 7), WHY, DETAIL))
    assert confirmed(state, "t")[1].request == Retry("oxides", Selection(jobs=(7,)))


def test_a_refusal_is_told_and_nothing_breaks() -> None:
    state, effect = confirmed(press(overview(), "down"), "c")
    state = heard(state, Refused(effect, "workflow oxides is completed;\nnothing is left \x1b[31m"))
    text = screen(state)
    lines = text.splitlines()
    assert lines[-3:-1] == [
        "cancelling the whole workflow oxides failed: workflow oxides is",
        "completed;\\nnothing is left \\x1b[31m",
    ]
    assert "~" in screen(heard(state, Refused(effect, "because " * 500))).splitlines()[-2]
    assert state.acting is None


def test_without_a_daemon_nothing_can_be_asked_or_done() -> None:
    lost = Lost(NOW, "")
    assert "nothing can be changed" in screen(press(heard(overview(), lost), "down", "c"))
    state, effect = pressed(heard(press(overview(), "down", "c"), lost), "y")
    assert effect is None
    assert "nothing was done" in screen(state)


# ---- what else is heard ---------------------------------------------------------------------------------------------


def test_a_lost_daemon_is_told_and_the_last_picture_stays_dimmed() -> None:
    state = heard(heard(press(overview(), "down"), Trouble("something else")), Lost(NOW, ""))
    state = heard(state, Lost(NOW + 50, ""))
    assert "no daemon since " in screen(state)
    assert "oxides" in screen(state)
    assert all(span.style == "dim" for line in drawn(state)[:20] for span in line if span.text.strip())
    state = heard(state, Found())
    assert "the daemon answers again" in screen(state)
    assert first(state).workflows.key == "oxides"
    assert "another version" in screen(heard(overview(), Lost(NOW, "another version")))


def test_a_slow_daemon_is_told() -> None:
    state = heard(overview(), Slow(waiting=True))
    assert "has not answered for a while" in screen(state)
    assert "for a while" not in screen(heard(state, Slow(waiting=False)))


@pytest.mark.parametrize(
    "news",
    [
        Looked(1.0, WORKFLOWS[1:]),
        Gone(Page("oxides", Selection(), "id", 0, 16), "workflow oxides is gone: no such workflow"),
    ],
)
def test_a_workflow_that_goes_while_it_is_looked_at_leads_back(news: News) -> None:
    state = answered(press(overview(), "down", "enter"))
    for deeper in (state, press(state, "enter"), press(state, "enter", "?"), press(state, "c")):
        left = heard(deeper, news)
        assert len(left.views) == 1
        assert left.dialog is None
        assert "workflow oxides is gone" in screen(left)


def test_a_job_or_a_cluster_that_goes_leads_back() -> None:
    state = press(answered(press(overview(), "down", "enter")), "enter")
    state = heard(state, Gone(OneJob("oxides", 7), "no job 7"))
    assert isinstance(state.view, JobsView)
    state = press(overview(), "tab", "enter")
    assert isinstance(heard(state, Gone(OneCluster("local"), "no cluster")).view, Overview)
    assert isinstance(heard(state, Gone(None, "x")).view, ClusterView)


def test_failures_are_the_newest_of_each_job() -> None:
    event = msgspec.structs.replace(EVENT, at=NOW + 99, data={"failure": "scf_not_converged", "message": "no"})
    fresh = failure_of(event)
    assert fresh is not None
    kept = merged(FAILURES, [fresh])
    assert [(failure.job, failure.failure) for failure in kept] == [(7, "scf_not_converged"), (9, "exit_code")]
    assert failure_of(msgspec.structs.replace(EVENT, kind="job_completed")) is None
    again = failure_of(msgspec.structs.replace(EVENT, kind="job_retried"))
    assert again is not None
    assert again.again


def test_a_job_says_why_and_shows_the_end_of_its_log() -> None:
    focus = OneJob("oxides", 7)
    state = press(answered(press(overview(), "down", "enter")), "enter")
    state = heard(state, Explained(focus, WHY, DETAIL))
    state = heard(state, Logged(focus, 2, "first\n", fresh=True))
    state = heard(state, Logged(focus, 2, "[bold]second[/]\tx\x1b[31m\n"))
    text = screen(state)
    for part in ("oxides job 7", "It failed (walltime).", "- not tried again", "log of attempt 2", "exit code 1"):
        assert part in text
    assert "[bold]second[/] x\\x1b[31m" in text
    assert FORGED not in text
    full = screen(press(state, "tab"))
    assert full.splitlines()[3] == "log of attempt 2"
    assert press(state, "tab", "escape").view == state.view
    assert "history, newest first" in screen(press(state, "end"))
    assert "attempt 2 failed" in screen(press(state, "end"))


def test_other_attempts_have_logs_of_their_own() -> None:
    state = press(answered(press(overview(), "down", "enter")), "enter")
    state = heard(state, Explained(OneJob("oxides", 7), WHY, DETAIL))
    state = press(state, "[")
    assert focus_of(state) == OneJob("oxides", 7, ATTEMPTS[0].number)
    assert focus_of(press(state, "[")) == OneJob("oxides", 7, 1)
    assert focus_of(press(state, "]")) == OneJob("oxides", 7)


def test_a_long_log_is_kept_to_its_end_and_can_be_gone_back_in() -> None:
    focus = OneJob("oxides", 7)
    state = press(answered(press(overview(), "down", "enter")), "enter", "tab")
    for number in range(100):
        state = heard(state, Logged(focus, 1, "".join(f"line {number}.{n} {'x' * 60}\n" for n in range(50))))
    assert state.picture.log is not None
    assert len(state.picture.log.text) <= LOG_KEPT
    assert state.picture.log.text.startswith("line ")
    assert "line 99.49" in screen(state)
    assert "line 99.49" not in screen(press(state, "up"))
    assert "line 99.49" in screen(press(state, "home", "end"))
    assert "lines back" in screen(press(state, "home"))


def test_a_cluster_says_what_its_report_says() -> None:
    state = press(overview(), "tab", "down", "enter")
    state = heard(state, Reported(OneCluster("hpc"), REPORT))
    text = screen(resized(state, 100, 60))
    for part in (
        "cluster hpc",
        "slurm 22.05.8",
        "3 in the last minute",
        "told 1 times",
        "squeue",
        "MaxArraySize",
        "long",
    ):
        assert part in text
    assert "in doubt: 1 of 01ARZ3" in text
    assert "metals" in text
    assert "more lines below" in screen(state)
    assert screen(press(state, "end")) != screen(state)
    local = press(overview(), "tab", "enter")
    assert "2 of 4" in screen(heard(local, Reported(OneCluster("local"), None)))


def test_trouble_is_told() -> None:
    assert "no column 'x'" in screen(heard(overview(), Trouble("no column 'x'")))


def test_help_and_ways_out() -> None:
    state = press(overview(), "?")
    assert isinstance(state.view, HelpView)
    assert "cancel the workflow under" in screen(state)
    assert "over the last five" in screen(press(state, "end"))
    assert press(state, "escape").view == overview().view
    for key in ("q", "ctrl+c"):
        assert pressed(state, key)[1] == QUIT
    assert pressed(press(overview(), "down", "c"), "ctrl+c")[1] == QUIT


def test_a_terminal_that_is_too_small_says_so() -> None:
    assert screen(overview(30, 5)).split("\n") == ["30x5 is too small; 40x12 is th", "", "", "", ""]


# ---- anything in any order ------------------------------------------------------------------------------------------

KEYS = [
    *("up", "down", "pageup", "pagedown", "home", "end", "enter", "escape", "tab", "shift+tab", "space", "backspace"),
    *("left", "right", "ctrl+u", "p", "r", "t", "c", "P", "R", "T", "C", "f", "F", "s", "/", "?", "y", "n", "[", "]"),
    *("g", "G", "j", "k", "h", "l", "L", "1", ">", "\u4e2d", "f1", "delete"),
]
FOCUS = OneJob("oxides", 7)
NEWS: list[News] = [
    *(Looked(float(n), WORKFLOWS[n:], FAILURES) for n in range(5)),
    Clustered(()),
    Clustered(CLUSTERS),
    Explained(FOCUS, WHY, DETAIL),
    Logged(FOCUS, 2, f"{FORGED}\n" * 30, fresh=True),
    Logged(FOCUS, 3, "\u4e2d\u6587" * 60),
    Reported(OneCluster("hpc"), REPORT),
    Reported(OneCluster("local"), None),
    Gone(FOCUS, "gone"),
    Gone(Page("oxides", Selection(), "id", 0, 1), "gone"),
    Lost(NOW, ""),
    Found(),
    Slow(waiting=True),
    Trouble(FORGED),
]
STEPS: st.SearchStrategy[str | News | tuple[int, int] | tuple[str, int]] = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(NEWS),
    st.tuples(st.integers(1, 200), st.integers(1, 70)),
    st.tuples(st.just("page"), st.integers(0, 40)),
)


def paged_or_resized(state: State, width: int | str, number: int) -> State:
    """Another size, or the page that is asked for, of as many jobs."""
    if isinstance(width, int):
        return resized(state, width, number)
    if not isinstance(page := focus_of(state), Page):
        return state
    jobs = tuple(job(page.offset + n + 1) for n in range(max(0, min(page.limit, number - page.offset))))
    return heard(state, Paged(page, jobs, number))


@given(st.lists(STEPS, max_size=60))
def test_whatever_comes_the_screen_is_whole(steps: list[str | News | tuple[int, int] | tuple[str, int]]) -> None:
    state = overview()
    for step in steps:
        if isinstance(step, str):
            state, effect = pressed(state, step)
            if isinstance(effect, Action):
                state = heard(state, Acted(effect, Changed(1, 1, FORGED)))
        elif isinstance(step, tuple):
            state = paged_or_resized(state, *step)
        else:
            state = heard(state, step)
        lines = drawn(state)
        assert len(lines) == state.size[1]
        for line in lines:
            text = text_of(line)
            assert cell_len(text) == state.size[0]
            assert not set(text) & {"\x1b", "\n", "\t", "\r"}
        assert isinstance(state.views[0], Overview)
