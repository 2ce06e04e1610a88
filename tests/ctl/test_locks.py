"""What people read of locks, and how one is taken away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock.control import messages
from penstock.domain.views import LockHolder, LockInfo, LockWaiter
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

LOCKS = messages.LockList(
    (
        LockInfo(
            "orca",
            3,
            3,
            (LockHolder("g2/1", 2, 7, 1e9, None, "g2", "1"), LockHolder("a script", 1, 8, 1e9, 1e9 + 30)),
            (LockWaiter("fe", 1, 5, 1e9, "fe"), LockWaiter("other", 2, 0, 1e9)),
        ),
        LockInfo("laser", 1, 0, (), (), "g2"),
    )
)


@pytest.fixture(autouse=True)
def _answers(script: Script) -> None:
    script.answers[messages.ListLocks] = lambda _: LOCKS
    script.answers[messages.ReleaseLock] = lambda _: messages.LockReleased("orca", "g2/1", 2)


def test_holders_and_the_line_are_shown(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    lines = [line.split() for line in run("locks").out.splitlines()]
    assert lines[1][:6] == ["orca", "-", "3", "3", "g2/1", "2"]
    assert lines[1][-4:] == ["when", "its", "jobs", "end"]
    assert lines[2][4:7] == ["a", "script", "1"]
    assert lines[3] == ["laser", "g2", "1", "0", "-", "-", "-", "-"]
    assert lines[4][:7] == ["orca:", "1.", "in", "line:", "fe", "for", "1"]
    assert lines[4][-2:] == ["priority", "5"]
    assert lines[5][1:5] == ["2.", "in", "line:", "other"]
    assert daemon.script.seen == [messages.ListLocks()]


def test_a_workflow_is_named_as_for_other_commands(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert json.loads(run("locks", "g2", "--json").out)["locks"][1]["namespace"] == "g2"
    assert run("locks", "--json").code == 0
    assert daemon.script.seen == [messages.ListLocks("g2"), messages.ListLocks()]
    assert "Usage" in run("locks", "--help").out


def test_no_locks_are_told_as_such(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    script.answers[messages.ListLocks] = lambda _: messages.LockList(())
    assert "there are no locks" in run("locks").err


def test_a_lock_is_taken_away(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("locks", "release", "orca", "--holder", "g2/1", "--workflow", "g2", "--force")
    assert ran.out == "orca: 2 taken from g2/1\n"
    assert json.loads(run("locks", "release", "orca", "--holder", "g2/1", "--json").out)["count"] == 2
    assert daemon.script.seen == [
        messages.ReleaseLock("orca", "g2/1", "g2", force=True),
        messages.ReleaseLock("orca", "g2/1"),
    ]
    assert run("locks", "release", "orca").code == 2
