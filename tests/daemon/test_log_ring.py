"""The lines in memory: how many, which of them are read, and who follows."""

from __future__ import annotations

import threading
import time
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from penstock.control import messages as m
from penstock.daemon.log_reading import read_log
from penstock.daemon.log_ring import LogRing
from penstock.domain.errors import SpecError
from penstock.domain.log_line import LEVELS, LogLine, flat, render_json

pytestmark = pytest.mark.anyio


def put(ring: LogRing, event: str, level: str = "info", at: float = 1000.0, **fields: Any) -> None:
    ring.append(at, LEVELS.index(level), render_json(flat(LogLine(0, at, level, event, fields))))


async def read(ring: LogRing, **request: Any) -> list[str]:
    async with aclosing(read_log(ring, m.ReadLog(**request))) as lines:
        return [line.event if isinstance(line, LogLine) else repr(line) async for line in lines]


async def test_it_is_bounded_in_lines_and_in_bytes() -> None:
    ring = LogRing(10, bytes_max=2000)
    for n in range(100):
        put(ring, f"e{n}")
    assert await read(ring) == [f"e{n}" for n in range(90, 100)]
    put(ring, "long", text="x" * 1500)
    assert ring.bytes <= 2000
    assert (await read(ring))[-1] == "long"
    put(ring, "too long", text="x" * 3000)
    assert await read(ring) == []
    assert ring.bytes == 0
    ring.resize(2)
    for n in range(5):
        put(ring, f"e{n}")
    assert await read(ring) == ["e3", "e4"]
    ring.resize(0)
    put(ring, "none")
    assert ring.kept() == []


async def test_lines_are_chosen() -> None:
    ring = LogRing(1000)
    put(ring, "up", cluster="hpc", at=1.0)
    put(ring, "failed", workflow="a", job=3, cluster="hpc", at=2.0)
    put(ring, "failed too", workflow="b", job=3, cluster="hpc", level="warning", at=3.0)
    put(ring, "started", workflow="a", job=3, cluster="local", level="debug", at=4.0)
    put(ring, "broke", workflow="a", level="error", at=5.0)
    assert await read(ring, id="a") == ["failed", "started", "broke"]
    assert await read(ring, id="a", job=3) == ["failed", "started"]
    assert await read(ring, cluster="hpc") == ["up", "failed", "failed too"]
    assert await read(ring, level="warning") == ["failed too", "broke"]
    assert await read(ring, since=3.0, level="info") == ["failed too", "broke"]
    assert await read(ring, lines=2) == ["started", "broke"]
    assert await read(ring, id="a", lines=1, level="info") == ["broke"]
    assert await read(ring, lines=0) == []
    assert await read(ring, id="nobody") == []


@pytest.mark.parametrize("request_", [{"level": "loud"}, {"lines": -1}, {"job": 3}])
async def test_what_cannot_be_meant_so_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        await read(LogRing(10), **request_)


async def test_after_a_number_there_is_what_came_then() -> None:
    ring = LogRing(1000)
    for n in range(5):
        put(ring, f"e{n}")
    third = ring.kept()[2].seq
    assert await read(ring, after=third, lines=1) == ["e3", "e4"]
    assert await read(ring, after=ring.newest) == []
    assert await read(ring, after=ring.newest + 10**9) == [f"e{n}" for n in range(5)]  # of a daemon before us
    assert await read(ring, after=ring.first - 10**9) == [f"e{n}" for n in range(5)]
    ring.resize(2)
    assert await read(ring, after=third - 1) == ["Lagged(dropped=1)", "e3", "e4"]


async def test_numbers_begin_at_the_clocks_so_that_a_later_daemons_are_greater() -> None:
    before, ring, after = time.time_ns(), LogRing(10), time.time_ns()
    assert before // 1000 <= ring.first <= after // 1000


async def test_what_is_said_while_a_line_is_kept_is_kept_too() -> None:
    """Memory may be cleared up at any moment, and a destructor may log: on the same thread, which holds the lock."""

    class Bound(int):
        """Is looked at in the middle of it."""

        def __lt__(self, other: int) -> bool:
            if not said:
                said.append(True)
                put(ring, "the destructor's")
            return int(self) < other

    said: list[bool] = []
    ring = LogRing(Bound(10))
    talker = threading.Thread(target=put, args=(ring, "the line"), daemon=True)
    talker.start()
    talker.join(10.0)
    assert not talker.is_alive()
    assert await read(ring) == ["the line", "the destructor's"]


async def test_who_follows_hears_lines_from_any_thread_and_is_told_of_gaps() -> None:
    ring = LogRing(4)
    put(ring, "old")
    async with aclosing(read_log(ring, m.ReadLog(lines=0, follow=True))) as lines:
        heard: list[Any] = []

        async def follow() -> None:
            async for line in lines:
                heard.append(line)
                arrived.set()

        arrived = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            thread = threading.Thread(target=put, args=(ring, "from a thread"))
            thread.start()
            with anyio.fail_after(10):
                await arrived.wait()
            thread.join()
            assert [line.event for line in heard] == ["from a thread"]
            for n in range(10):
                put(ring, f"e{n}")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert heard[1] == m.Lagged(6)
    assert [line.event for line in heard[2:]] == ["e6", "e7", "e8", "e9"]
    put(ring, "nobody listens")
