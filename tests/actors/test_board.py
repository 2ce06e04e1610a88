"""The board: what everybody may see."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from penstock.actors import board as boards
from penstock.actors.board import Board
from penstock.domain.views import EventInfo, WorkflowInfo

INFO = WorkflowInfo(
    id="w",
    recipe="campaign",
    state="running",
    directory="/d",
    mode="isolated",
    cluster="local",
    engine="emt",
    slots=1,
    priority=0,
    jobs=0,
    statuses={},
    states={},
    rejected=0,
    ingesting=True,
    reason=None,
    created_at=0.0,
    updated_at=0.0,
)


def event(seq: int, workflow: str = "w") -> EventInfo:
    return EventInfo(workflow, seq, 0.0, "job_started", 1, "")


def test_only_what_changed_is_to_be_written_to_the_catalogue() -> None:
    board = Board()
    board.pin(INFO)
    assert board.changed == {"w"}
    board.changed.clear()
    board.pin(msgspec.structs.replace(INFO))
    assert board.changed == set()
    board.pin(msgspec.structs.replace(INFO, jobs=1))
    assert (board.changed, board.workflows["w"].jobs) == ({"w"}, 1)


async def test_watchers_get_the_events_of_their_workflow_or_of_all() -> None:
    board = Board()
    with board.subscribe("w") as one, board.subscribe(None) as both:
        board.emit([event(1), event(1, "other"), event(2)])
        assert [(await one.take()).seq for _ in range(2)] == [1, 2]
        assert [(await both.take()).workflow for _ in range(3)] == ["w", "other", "w"]
    board.emit([event(3)])
    assert len(one._queue) == 0


async def test_a_watcher_waits_for_the_next_event() -> None:
    board = Board()
    got: list[Any] = []

    async def watch() -> None:
        with board.subscribe("w") as watching:
            got.append(await watching.take())

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        board.emit([event(7)])
    assert got == [event(7)]


async def test_a_slow_watcher_loses_events_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_BACKLOG", 3)
    board = Board()
    with board.subscribe("w") as slow, board.subscribe("w") as quick:
        board.emit(map(event, range(3)))
        assert [(await quick.take()).seq for _ in range(3)] == [0, 1, 2]
        board.emit(map(event, range(3, 6)))
        assert [(await slow.take()).seq for _ in range(3)] == [0, 1, 2]
        assert [(await quick.take()).seq for _ in range(3)] == [3, 4, 5]
        assert (slow.take_dropped(), slow.take_dropped(), quick.take_dropped()) == (3, 0, 0)
        board.emit([event(6)])
        assert (await slow.take()).seq == 6
