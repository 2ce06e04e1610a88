"""A survey of disks and database files, once a minute, in a thread of its own.

A file system that hangs harms neither the event loop nor a scrape: the thread that met it is left to it, the next
minute's goes round it, and what has not been measured for a while is not shown at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog

from penstock.actors.clock import Clock
from penstock.domain.context import work_root_of
from penstock.domain.states import UNENDED
from penstock.domain.views import WorkflowInfo

EVERY_S: Final = 60.0
_TRUSTED_S: Final = 3 * EVERY_S
_HANGS_AFTER_S: Final = 10.0
_DISKS_MOST: Final = 20
_THREADS_MOST: Final = 8
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
        self._devices: dict[str, int] = {}  # of directories, also when they answer no more
        self._sizes: dict[str, tuple[int, float]] = {}
        self._rounds: dict[int, _Round] = {}
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
        while True:
            self._forget()
            await self._measure(choose_subjects(self._state_dir, self._workflows()))
            await self._clock.sleep(EVERY_S)

    async def _measure(self, subjects: Subjects) -> None:
        """One round. It passes over file systems in which an earlier one is stuck; stuck itself, it is left alone."""
        if len(self._rounds) < _THREADS_MOST:
            latest = _Round(subjects, self._choose_avoided(subjects), self)
            self._rounds[id(latest)] = latest
            latest.start()
            with self._clock.busy(), anyio.move_on_after(_HANGS_AFTER_S):
                await latest.ended.wait()
        self._rounds = {key: found for key, found in self._rounds.items() if not found.is_over}
        self._tell(frozenset(found.inside for found in self._rounds.values() if found.inside))

    def _choose_avoided(self, subjects: Subjects) -> set[str]:
        """Where rounds are stuck, and what is known to be on the same file systems."""
        self._devices = {name: self._devices[name] for name in subjects.directories if name in self._devices}
        stuck = {found.inside for found in self._rounds.values() if found.inside}
        devices = {self._devices[name] for name in stuck if name in self._devices}
        return stuck | {name for name, device in self._devices.items() if device in devices}

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
        """A round has measured a file system."""
        self._disks[disk.directory] = disk
        self._devices[disk.directory] = disk.device

    def note_size(self, workflow_id: str, size: int) -> None:
        """A round has measured a database."""
        self._sizes[workflow_id] = (size, self._clock.monotonic())

    def monotonic(self) -> float:
        """The clock's reading."""
        return self._clock.monotonic()


class _Round:
    """One walk over all directories, in a thread that the process does not wait for when it ends."""

    def __init__(self, subjects: Subjects, avoided: set[str], survey: Survey) -> None:
        self.inside = ""  # the directory that is being measured
        self.is_over = False
        self.ended = anyio.Event()
        self._subjects = subjects
        self._avoided = avoided
        self._survey = survey

    def start(self) -> None:
        """Begins it."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(loop,), name="penstock-survey", daemon=True).start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        for directory in self._subjects.directories:
            if directory in self._avoided:
                continue
            self.inside = directory
            with contextlib.suppress(OSError):  # gone, or not to be read: it has no figures, then
                self._survey.note_disk(measure_disk(directory, self._survey.monotonic()))
            for workflow_id, database in self._subjects.databases.get(directory, ()):
                with contextlib.suppress(OSError):
                    self._survey.note_size(workflow_id, measure_database(database))
            self.inside = ""
        self.is_over = True
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self.ended.set)


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
