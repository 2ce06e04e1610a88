"""A survey of disks and database files, once a minute, in a thread for each file system.

A file system that hangs harms neither the event loop nor a scrape nor the figures of others: what met it is left to it,
the next minute's goes round it, and what has not been measured for a while is not shown at all.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from penstock.actors.clock import Clock
from penstock.domain.context import work_root_of
from penstock.domain.states import UNENDED
from penstock.domain.views import WorkflowInfo
from penstock.files.threads import look_in_thread, where_is

EVERY_S: Final = 60.0
_TRUSTED_S: Final = 3 * EVERY_S
_HANGS_AFTER_S: Final = 10.0
_DISKS_MOST: Final = 20
_WALKS_MOST: Final = 3  # in one file system; it may be a link that hangs there, and not all of it
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
        self._walks: set[_Walk] = set()
        self._hanging: frozenset[str] = frozenset()
        self._log = structlog.get_logger()

    def disks(self, now: float) -> list[Disk]:
        """One for each file system, at most 20; `now` is a reading of the monotonic clock."""
        by_device: dict[int, Disk] = {}
        for disk in sorted(self._disks.copy().values(), key=lambda d: (d.directory != self._state_dir, d.directory)):
            if now - disk.at <= _TRUSTED_S:
                by_device.setdefault(disk.device, disk)
        return list(by_device.values())[:_DISKS_MOST]

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
        """One walk through each file system. One that is stuck is left alone after a while."""
        begun = self._choose_walks(subjects)
        for walk in begun:
            tasks.start_soon(self._go, walk)
        with self._clock.busy(), anyio.move_on_after(_HANGS_AFTER_S):
            for walk in begun:
                await walk.ended.wait()
        self._tell(frozenset(walk.inside for walk in self._walks if walk.inside))

    def _choose_walks(self, subjects: Subjects) -> list[_Walk]:
        """Round the directories in which earlier ones are stuck."""
        stuck = {walk.inside for walk in self._walks}
        free: dict[str, list[str]] = {}
        for directory in subjects.directories:
            if directory not in stuck:
                free.setdefault(where_is(directory), []).append(directory)
        under_way = Counter(walk.place for walk in self._walks)
        return [
            _Walk(place, directories, subjects.databases, self)
            for place, directories in free.items()
            if under_way[place] < _WALKS_MOST
        ]

    async def _go(self, walk: _Walk) -> None:
        self._walks.add(walk)
        try:
            await look_in_thread(walk.directories[0], walk.measure)
        finally:
            self._walks.remove(walk)
            walk.ended.set()

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
        """A walk has measured a file system."""
        self._disks[disk.directory] = disk

    def note_size(self, workflow_id: str, size: int) -> None:
        """A walk has measured a database."""
        self._sizes[workflow_id] = (size, self._clock.monotonic())

    def monotonic(self) -> float:
        """The clock's reading."""
        return self._clock.monotonic()


class _Walk:
    """Through directories of one file system."""

    def __init__(
        self, place: str, directories: list[str], databases: Mapping[str, tuple[tuple[str, str], ...]], survey: Survey
    ) -> None:
        self.place = place
        self.directories = directories
        self.inside = ""  # the directory that is being measured
        self.ended = anyio.Event()
        self._databases = databases
        self._survey = survey

    def measure(self) -> None:
        """Tells the survey of each. Called in a thread."""
        for directory in self.directories:
            self.inside = directory
            with contextlib.suppress(OSError):  # gone, or not to be read: it has no figures, then
                self._survey.note_disk(measure_disk(directory, self._survey.monotonic()))
            for workflow_id, database in self._databases.get(directory, ()):
                with contextlib.suppress(OSError):
                    self._survey.note_size(workflow_id, measure_database(database))


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


def measure_disk(directory: str, at: float) -> Disk:
    """The file system that a directory is on. OSError when that cannot be found out."""
    found = os.statvfs(directory)
    return Disk(
        directory,
        Path(directory).stat().st_dev,
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_favail,
        found.f_files > 0,
        at,
    )


def measure_database(database: str) -> int:
    """Bytes of a database with what SQLite keeps beside it. OSError when it is not there."""
    size = Path(database).stat().st_size
    for beside in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            size += Path(f"{database}{beside}").stat().st_size
    return size
