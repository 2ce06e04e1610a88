"""Calls into file systems, in threads: so many for each file system that one which hangs takes none from the others."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio import CapacityLimiter, current_time, to_thread
from anyio.lowlevel import RunVar

from penstock.files.kinds import Mount, read_mounts

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
THREADS: Final = 32
"""For each file system. Those of a server that is gone stay taken until it answers."""
_MOUNTS_LAST_S: Final = 10.0
_PATIENCE_S: Final = 10.0
_ANSWERS_S: Final = 5.0
_TELLING: Final = 2


class SilentError(TimeoutError):
    """A file system does not answer. Its message says which."""


class MountTable:
    """What is mounted where, read anew now and then. It asks no disk. Needs a running event loop."""

    def __init__(self) -> None:
        self._mounts: list[Mount] = []
        self._read_at = float("-inf")

    def point_of(self, path: str) -> str:
        """Where the file system is mounted that `path` (absolute) is on."""
        now = current_time()
        if now - self._read_at > _MOUNTS_LAST_S:
            self._mounts, self._read_at = read_mounts(), now
        return point_of(self._mounts, path)

    def file_system_of(self, path: str) -> str:
        """A name for the file system that `path` (absolute) is on: where it is mounted.

        Below the root, links may lead anywhere, and to follow them is to ask a disk; so `path`'s first two directories
        stand for what is behind them.
        """
        point = self.point_of(path)
        return point if point != "/" else "/".join(path.split("/")[: _TELLING + 1]) or "/"


class _Threads:
    """The limits of one event loop."""

    def __init__(self) -> None:
        self.unlimited = CapacityLimiter(math.inf)
        self.mounts = MountTable()
        self._limiters = defaultdict[str, CapacityLimiter](lambda: CapacityLimiter(THREADS))
        self._probes = defaultdict[str, CapacityLimiter](lambda: CapacityLimiter(THREADS))

    def limiter_of(self, path: str) -> CapacityLimiter:
        """The one that counts the threads in the file system that `path` is on."""
        return self._limiters[self.mounts.file_system_of(path)]

    def probes_of(self, path: str) -> CapacityLimiter:
        """The one that counts those that only look whether it answers: they wait for no work that takes long."""
        return self._probes[self.mounts.file_system_of(path)]


_threads: RunVar[_Threads] = RunVar("penstock.files.threads")


async def in_thread(path: str | Path, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """What `function` makes of the arguments, called in a thread since it goes where `path` (absolute) is.

    It waits for others that are in the same file system, and for nobody else. It is waited for, cancelled or not.
    """
    return await to_thread.run_sync(function, *arguments, limiter=_limits().limiter_of(os.fspath(path)))


async def look_in_thread(path: str | Path, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """As `in_thread`, for what changes nothing: who is cancelled does not wait for the thread, which ends by itself.

    Its place stays taken until then.
    """
    return await _look(_limits().limiter_of(os.fspath(path)), function, *arguments)


async def ask_in_thread(path: str | Path, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """As `look_in_thread`, for somebody who waits: SilentError once the file system is found not to answer.

    What takes long where the file system answers may take as long as it will.
    """
    asked = asyncio.ensure_future(look_in_thread(path, function, *arguments))
    asked.add_done_callback(_hear)
    try:
        while not (await asyncio.wait({asked}, timeout=_PATIENCE_S))[0]:
            if not await _answers(os.fspath(path)):
                raise SilentError(f"the file system of {path} does not answer; what is there waits until it does")
        return asked.result()
    finally:
        asked.cancel()


async def refuse_silent(path: str | Path) -> None:
    """SilentError where the file system of `path` does not answer: for who would wait elsewhere than in a thread."""
    await ask_in_thread(path, _probe, os.fspath(path))


def where_is(path: str | Path) -> str:
    """A name for the file system that `path` (absolute) is on; see `MountTable`. Needs a running event loop."""
    return _limits().mounts.file_system_of(os.fspath(path))


def _hear(asked: asyncio.Future[T]) -> None:
    """What came of it when nobody waited any more is nobody's affair, and no error of the event loop."""
    if not asked.cancelled():
        asked.exception()


def _probe(path: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # that is an answer, too; no path has a NUL in it
        os.statvfs(path)


async def _answers(path: str) -> bool:
    """Whether the file system of `path` says anything at all."""
    with anyio.move_on_after(_ANSWERS_S):
        await _look(_limits().probes_of(path), _probe, path)
        return True
    return False


async def _look(limiter: CapacityLimiter, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    borrower, chance = object(), [None]
    loop = asyncio.get_running_loop()
    await limiter.acquire_on_behalf_of(borrower)

    def begin() -> T:
        chance.pop()  # IndexError where nobody waits any more
        try:
            return function(*arguments)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(limiter.release_on_behalf_of, borrower)

    try:
        return await to_thread.run_sync(begin, abandon_on_cancel=True, limiter=_limits().unlimited)
    except BaseException:
        with contextlib.suppress(IndexError):  # a thread has begun, maybe just now
            chance.pop()
            limiter.release_on_behalf_of(borrower)
        raise


def _limits() -> _Threads:
    found = _threads.get(None)
    if found is None:
        found = _Threads()
        _threads.set(found)
    return found


def point_of(mounts: Iterable[Mount], path: str) -> str:
    """Where the file system is mounted that `path` is on, by the path's words alone: nothing is asked of the disk."""
    found = ""
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(f"{point}/")) and len(point) > len(found):
            found = point
    return found or "/"
