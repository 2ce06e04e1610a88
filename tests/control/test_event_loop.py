"""What anyio tells a socket's reader too late is no fault; all else is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from penstock.control.event_loop import EventLoop


def run(main: Callable[[EventLoop], Any]) -> list[dict[str, Any]]:
    """What the event loop told of while `main` ran."""
    told: list[dict[str, Any]] = []

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        loop.set_exception_handler(lambda _, context: told.append(context))
        await main(loop)

    anyio.run(begin, backend_options={"loop_factory": EventLoop})
    return told


def test_what_comes_to_a_reader_that_is_cancelled_is_told_to_nobody_and_not_lost() -> None:
    async def main(loop: EventLoop) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
            async with stream:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(stream.receive)
                    await anyio.wait_all_tasks_blocked()
                    theirs.send(b"word")
                    loop.call_soon(tasks.cancel_scope.cancel)  # in the next turn, before what the selector finds
                    await anyio.sleep_forever()
                assert await stream.receive() == b"word"

    assert run(main) == []


@pytest.mark.parametrize("error", [ValueError("a fault"), asyncio.InvalidStateError("a fault")])
def test_every_other_exception_is_told(error: Exception) -> None:
    def fail() -> None:
        raise error

    async def main(loop: EventLoop) -> None:
        loop.call_soon(fail)
        await asyncio.sleep(0)

    assert [context["exception"] for context in run(main)] == [error]


def test_a_result_that_is_set_twice_is_told() -> None:
    async def main(loop: EventLoop) -> None:
        future = loop.create_future()
        future.set_result(None)
        loop.call_soon(future.set_result, None)
        await asyncio.sleep(0)

    assert len(run(main)) == 1
