"""What the screens look like, to the last cell; `pytest --snapshot-update` after a change that is meant."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.control.reported import REPORT
from tests.ctl.top.seen import DETAIL, FORGED, JOBS, NOW, WHY, overview

from penstock.control.aio import AsyncClient
from penstock.ctl.top.app import TopApp
from penstock.ctl.top.feed import Feed
from penstock.ctl.top.hearing import heard
from penstock.ctl.top.picture import Explained, Logged, Lost, OneCluster, OneJob, Page, Paged, Reported
from penstock.ctl.top.press import pressed
from penstock.ctl.top.state import State, focus_of

SMALL, LARGE = (80, 24), (120, 40)


class Compare(Protocol):
    """Compares an app's screen with the picture that was kept of it."""

    def __call__(self, app: TopApp, *, terminal_size: tuple[int, int]) -> bool: ...


class SilentFeed(Feed):
    """Hears nothing."""

    async def run(self) -> None:
        """Nothing is asked."""


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """The time zone of the pictures."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def shown(state: State) -> TopApp:
    return TopApp(state, lambda hear: SilentFeed(AsyncClient(Path("none")), hear, 1.0))


def press(state: State, *keys: str) -> State:
    for key in keys:
        state, _ = pressed(state, key)
    return state


def jobs(size: tuple[int, int]) -> State:
    state = press(overview(*size), "down", "enter")
    page = focus_of(state)
    assert isinstance(page, Page)
    return heard(state, Paged(page, JOBS, 600))


def one_job(size: tuple[int, int]) -> State:
    focus = OneJob("oxides", 7)
    state = heard(press(jobs(size), "enter"), Explained(focus, WHY, DETAIL))
    return heard(state, Logged(focus, 2, f"SCF cycle 1\n{FORGED}\nSCF cycle 2\n", fresh=True))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_overview(size: tuple[int, int], snap_compare: Compare) -> None:
    assert snap_compare(shown(press(overview(*size), "down")), terminal_size=size)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_jobs(size: tuple[int, int], snap_compare: Compare) -> None:
    assert snap_compare(shown(press(jobs(size), "space", "down")), terminal_size=size)


def test_job(snap_compare: Compare) -> None:
    assert snap_compare(shown(one_job(SMALL)), terminal_size=SMALL)


def test_cluster(snap_compare: Compare) -> None:
    state = heard(press(overview(), "tab", "down", "enter"), Reported(OneCluster("hpc"), REPORT))
    assert snap_compare(shown(state), terminal_size=SMALL)


def test_dialog(snap_compare: Compare) -> None:
    assert snap_compare(shown(press(overview(), "down", "c")), terminal_size=SMALL)


def test_no_daemon_and_no_colour(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(shown(heard(overview(), Lost(NOW, ""))), terminal_size=SMALL)
