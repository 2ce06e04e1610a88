"""Calls into file systems, in threads: so many for each file system that one which hangs takes none from the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, current_time, to_thread
from anyio.lowlevel import RunVar

from penstock.files.kinds import Mount, read_mounts

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
THREADS: Final = 32
"""For each file system. Those of a server that is gone stay taken until it answers."""
_MOUNTS_LAST_S: Final = 10.0
_TELLING: Final = 2


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
        self._mounts = MountTable()
        self._limiters: dict[str, CapacityLimiter] = {}

    def limiter_of(self, path: str) -> CapacityLimiter:
        """The one that counts the threads in the file system that `path` is on."""
        point = self._mounts.point_of(path)
        if point not in self._limiters:
            self._limiters[point] = CapacityLimiter(THREADS)
        return self._limiters[point]


_threads: RunVar[_Threads] = RunVar("penstock.files.threads")


async def in_thread(
    path: str | Path, function: Callable[[*Ts], T], *arguments: *Ts, abandon_on_cancel: bool = False
) -> T:
    """What `function` makes of the arguments, called in a thread since it goes where `path` (absolute) is.

    It waits for others that are in the same file system, and for nobody else. `abandon_on_cancel`: who is cancelled
    does not wait for the thread, which ends by itself some time.
    """
    threads = _threads.get(None)
    if threads is None:
        threads = _Threads()
        _threads.set(threads)
    limiter = threads.limiter_of(os.fspath(path))
    return await to_thread.run_sync(function, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter)


def point_of(mounts: Iterable[Mount], path: str) -> str:
    """Where the file system is mounted that `path` is on, by the path's words alone: nothing is asked of the disk."""
    found = ""
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(f"{point}/")) and len(point) > len(found):
            found = point
    return found or "/"
