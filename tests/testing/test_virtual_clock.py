"""Virtual time moves when everybody waits, in order, and never while somebody works."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from penstock.testing.virtual_clock import VirtualClock


async def test_sleepers_wake_in_order_at_their_moments() -> None:
    clock = VirtualClock(start_s=1000.0)
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic()))

    async with anyio.create_task_group() as group:
        group.start_soon(sleep, "a", 5.0, 5.0)
        group.start_soon(sleep, "b", 3.0, 7.0)
        group.start_soon(sleep, "c", 0.0, 3600.0)
        await clock.advance(9.0)
        assert woken == [("c", 0.0), ("b", 3.0), ("a", 5.0)]
        assert (clock.monotonic(), clock.time()) == (9.0, 1009.0)
        await clock.run_until(lambda: len(woken) == 6, 3600.0)
    assert woken[3:] == [("b", 10.0), ("a", 10.0), ("c", 3600.0)]


async def test_time_stands_still_while_a_thread_works() -> None:
    clock = VirtualClock()
    release, moments = threading.Event(), []

    async def work() -> None:
        with clock.busy():
            await anyio.to_thread.run_sync(release.wait)
        moments.append(clock.monotonic())

    async def nap() -> None:
        await clock.sleep(1.0)
        moments.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(nap)
        group.start_soon(clock.advance, 10.0)
        await anyio.wait_all_tasks_blocked()
        assert moments == []
        assert clock.monotonic() == 0.0
        release.set()
    assert moments == [0.0, 1.0]


async def test_waiting_for_what_never_comes_fails() -> None:
    clock = VirtualClock()
    with pytest.raises(TimeoutError, match="at 0 s every task waits, and none of them for the time"):
        await clock.run_until(lambda: False, 10.0)
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 11.0)
        with pytest.raises(TimeoutError, match="did not happen within 10 s"):
            await clock.run_until(lambda: False, 10.0)
        group.cancel_scope.cancel()


async def test_a_cancelled_sleeper_leaves_no_timer() -> None:
    clock = VirtualClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 5.0)
        await clock.advance(1.0)
        group.cancel_scope.cancel()
    with pytest.raises(TimeoutError, match="none of them for the time"):
        await clock.run_until(lambda: False, 10.0)


async def test_what_holds_already_takes_no_time() -> None:
    clock = VirtualClock()
    await clock.run_until(lambda: True, 10.0)
    assert clock.monotonic() == 0.0
