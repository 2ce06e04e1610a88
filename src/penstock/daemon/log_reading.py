"""What `penstockctl log` is told: lines of the log that fit, and those that come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

import anyio
import anyio.lowlevel

from penstock.control import messages as m
from penstock.daemon.log_ring import Kept, LogRing
from penstock.domain.errors import SpecError
from penstock.domain.log_line import LEVELS, LogLine, parse_json

_TURN: Final = 500  # lines that are looked at before others have theirs


def fits(line: LogLine, request: m.ReadLog) -> bool:
    """Whether the line is about what was asked for."""
    fields = line.fields
    return (
        request.id in (None, fields.get("workflow"))
        and request.job in (None, fields.get("job"))
        and request.cluster in (None, fields.get("cluster"))
        and LEVELS.index(line.level) >= LEVELS.index(request.level)
        and line.at >= (request.since or 0.0)
    )


async def read_log(
    ring: LogRing, request: m.ReadLog, check_known: Callable[[m.ReadLog], None] = lambda _: None
) -> AsyncGenerator[m.AnyItem]:
    """The lines; SpecError for a request that cannot be meant so. See `messages.ReadLog`.

    Where no line fits, `check_known` refuses what is not there: a deleted workflow may have lines yet.
    """
    _check(request)
    news = anyio.Event()
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # lines may come from any thread, and the loop may be gone
            loop.call_soon_threadsafe(news.set)

    with ring.followed(wake):
        last = request.after
        if last is None:
            kept = ring.kept()
            last = kept[-1].seq if kept else ring.newest
            found = await _fitting(reversed(kept), request, request.lines)
            if not found:
                check_known(request)
            for line in found[::-1]:
                yield line
        while True:
            news = anyio.Event()
            fresh = ring.after(last)
            if fresh and last >= ring.first and (dropped := fresh[0].seq - last - 1) > 0:
                yield m.Lagged(dropped)
            for line in await _fitting(fresh, request):
                yield line
            if fresh:
                last = fresh[-1].seq
            elif request.follow:
                await news.wait()
            else:
                return


def _check(request: m.ReadLog) -> None:
    if request.level not in LEVELS:
        raise SpecError(f"must be one of {', '.join(LEVELS)}, not {request.level!r}", key="level")
    if request.lines < 0:
        raise SpecError(f"cannot be negative, is {request.lines}", key="lines")
    if request.job is not None and request.id is None:
        raise SpecError("a job has a number within its workflow: give the workflow, too", key="job")


async def _fitting(kept: Iterable[Kept], request: m.ReadLog, most: int | None = None) -> list[LogLine]:
    """The first of these lines that fit."""
    rank, since = LEVELS.index(request.level), request.since or 0.0
    found: list[LogLine] = []
    for number, each in enumerate(kept, start=1):
        if most is not None and len(found) >= most:
            break
        if number % _TURN == 0:
            await anyio.lowlevel.checkpoint()
        if each.rank >= rank and each.at >= since:  # what is cheap to know first
            line = parse_json(each.seq, each.at, each.text)
            if fits(line, request):
                found.append(line)
    return found
