"""A survey of disks and database files, once a minute, in threads of its own.

A file system that hangs harms neither the event loop nor a scrape nor the figures of others: the threads that met it, a
few, are left to it, and what has not been measured for a while is not shown at all.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from penstock.actors.clock import Clock
from penstock.domain.context import work_root_of
from penstock.domain.states import UNENDED
from penstock.domain.views import WorkflowInfo
from penstock.files.room import Room

EVERY_S: Final = 60.0
_TRUSTED_S: Final = 3 * EVERY_S
_ROUND_S: Final = 10.0
_HANGS_AFTER_S: Final = 5.0
"""One call into a file system that answers does not take so long, however much is asked of it in all."""
_DISKS_MOST: Final = 20
_THREADS_MOST: Final = 3
"""In one file system: it may be a link that hangs there, and not all of it."""
_BESIDE: Final = ("-wal", "-journal")


class Disk(msgspec.Struct, frozen=True):
    """A file system, named by the first directory of ours on it."""

    directory: str
    device: int
    free_bytes: int
    size_bytes: int
    free_inodes: int
    has_inodes: bool  # some file systems have none to run out of
    at: float  # monotonic


class Subjects(msgspec.Struct, frozen=True):
    """What to measure: directories, the first the daemon's own, and the databases of workflows below each."""

    directories: tuple[str, ...]
    databases: Mapping[str, tuple[tuple[str, str], ...]]  # by directory: workflow, path


class Survey:
    """The newest measurements; what is older than three minutes counts as unknown. Threads write, any may read."""

    def __init__(self, state_dir: Path, workflows: Callable[[], Iterable[WorkflowInfo]], clock: Clock) -> None:
        self._state_dir = str(state_dir)
        self._workflows = workflows
        self._clock = clock
        self._disks: dict[str, Disk] = {}
        self._sizes: dict[str, tuple[int, float]] = {}
        self._room = Room(_THREADS_MOST)
        self._limiter = CapacityLimiter(math.inf)  # the room is the limit
        self._under_way: dict[str, anyio.Event] = {}  # by directory
        self._inside: dict[str, float] = {}  # by directory: when its last call into the file system began, monotonic
        self._hanging: frozenset[str] = frozenset()
        self._log = structlog.get_logger()

    def disks(self, now: float) -> list[Disk]:
        """One for each file system, at most 20; `now` is a reading of the monotonic clock."""
        by_device: dict[int, Disk] = {}
        for disk in sorted(self._disks.copy().values(), key=lambda d: (d.directory != self._state_dir, d.directory)):
            if now - disk.at <= _TRUSTED_S:
                by_device.setdefault(disk.device, disk)
        return list(by_device.values())[:_DISKS_MOST]

    def hanging(self) -> list[str]:
        """Directories whose file system does not answer, at most 20."""
        return sorted(self._hanging)[:_DISKS_MOST]

    def database_bytes(self, now: float) -> dict[str, int]:
        """Size of the database of each workflow, its journal included."""
        return {name: size for name, (size, at) in self._sizes.copy().items() if now - at <= _TRUSTED_S}

    async def keep(self) -> None:
        """Measures once a minute, for ever."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._forget()
                await self._measure(choose_subjects(self._state_dir, self._workflows()), tasks)
                await self._clock.sleep(EVERY_S)

    async def _measure(self, subjects: Subjects, tasks: TaskGroup) -> None:
        """Each directory once, but for those whose last time is not over."""
        begun = {name: anyio.Event() for name in subjects.directories if name not in self._under_way}
        self._under_way |= begun
        for directory in begun:
            tasks.start_soon(self._visit, directory, subjects.databases[directory])
        with self._clock.busy(), anyio.move_on_after(_ROUND_S):
            for ended in begun.values():
                await ended.wait()
        now = time.monotonic()
        self._tell(frozenset(name for name, at in self._inside.copy().items() if now - at > _HANGS_AFTER_S))

    async def _visit(self, directory: str, databases: Iterable[tuple[str, str]]) -> None:
        """Its own directory waits for no other, so that the daemon's disk is measured whatever hangs."""
        try:
            async with self._room.at(directory) if directory != self._state_dir else contextlib.nullcontext():
                await to_thread.run_sync(
                    self._look, directory, databases, abandon_on_cancel=True, limiter=self._limiter
                )
        except RuntimeError as error:  # no thread can be begun, which is no reason to end
            self._log.warning("file system cannot be measured", directory=directory, error=str(error))
        finally:
            self._under_way.pop(directory).set()

    def _look(self, directory: str, databases: Iterable[tuple[str, str]]) -> None:
        """Called in a thread. What is gone, or not to be read, has no figures."""
        try:
            self._inside[directory] = time.monotonic()
            with contextlib.suppress(OSError):
                self.note_disk(measure_disk(directory, self._clock))
            for workflow_id, database in databases:
                self._inside[directory] = time.monotonic()
                with contextlib.suppress(OSError):
                    self._sizes[workflow_id] = (measure_database(database), self._clock.monotonic())
        finally:
            del self._inside[directory]

    def _tell(self, hanging: frozenset[str]) -> None:
        for directory in sorted(hanging - self._hanging):
            self._log.warning("file system does not answer; its figures are left out", directory=directory)
        for directory in sorted(self._hanging - hanging):
            self._log.info("file system answers again", directory=directory)
        self._hanging = hanging

    def _forget(self) -> None:
        """Drops what nobody is told any more."""
        now = self._clock.monotonic()
        for name, (_, at) in self._sizes.copy().items():
            if now - at > _TRUSTED_S:
                self._sizes.pop(name, None)
        for directory, disk in self._disks.copy().items():
            if now - disk.at > _TRUSTED_S:
                self._disks.pop(directory, None)

    def note_disk(self, disk: Disk) -> None:
        """A file system has been measured."""
        self._disks[disk.directory] = disk


def choose_subjects(state_dir: str, workflows: Iterable[WorkflowInfo]) -> Subjects:
    """The state directory and the work roots of active workflows, and the databases on the file systems of each."""
    databases: dict[str, list[tuple[str, str]]] = {state_dir: []}
    for info in workflows:
        if info.state not in UNENDED or not info.database:
            continue
        root = str(work_root_of(Path(info.directory)))
        where = state_dir if Path(info.database).is_relative_to(state_dir) else root
        databases.setdefault(root, [])
        databases[where].append((info.id, info.database))
    return Subjects(tuple(databases), {name: tuple(found) for name, found in databases.items()})


def measure_disk(directory: str, clock: Clock) -> Disk:
    """The file system that a directory is on. OSError when that cannot be found out."""
    found, device = os.statvfs(directory), Path(directory).stat().st_dev
    return Disk(
        directory,
        device,
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_favail,
        found.f_files > 0,
        clock.monotonic(),
    )


def measure_database(database: str) -> int:
    """Bytes of a database with what SQLite keeps beside it. OSError when it is not there."""
    size = Path(database).stat().st_size
    for beside in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            size += Path(f"{database}{beside}").stat().st_size
    return size
