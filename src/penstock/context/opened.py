"""An open context: one object for `with` and `async with`, safe in any thread and task."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from penstock.context import current
from penstock.context.access import daemon_of, why_read_only
from penstock.context.calculations import Calculations
from penstock.context.making import make_workflow
from penstock.context.materials import Materials
from penstock.context.place import (
    DIRECTORY_VARIABLE,
    ID_VARIABLE,
    MODE_VARIABLE,
    Place,
    as_mode,
    find_place,
    known_ids,
    plan_place,
    read_place,
    settled_mode,
)
from penstock.context.results import Results
from penstock.context.status import ContextStatus, status_of
from penstock.domain.context import Context, DaemonPlace, Mode
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.properties import PropertyResult
from penstock.domain.spec import nearest
from penstock.domain.views import Selection
from penstock.store import export, result_pages
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.held_lock import HeldLock, hold
from penstock.store.lock_table import LOCKS_NAME, LockTable
from penstock.store.results import property_of


def open_context(
    id: str | None = None,
    *,
    mode: str | None = None,
    work_root: str | os.PathLike[str] | None = None,
    write: bool | None = None,
    create: bool = True,
) -> OpenContext:
    """A workflow's context, opened by `with` or `async with`; what does not exist is made then, if `create`.

    Without an `id` it is the context around, then that of PENSTOCK_WORKFLOW_ID (as jobs and child processes have it),
    else a new workflow with a name of its own. `mode` (isolated, shared, hybrid) is for new workflows, from the
    environment and the settings where it is not given; for one that exists it must be the workflow's own. `work_root`
    is the directory that has `.penstock`; default: that of the context around, else the working directory.

    Beside a running daemon it is open for reading, unless `write=True`; with `write=False` always. Entering raises
    SpecError, NotFoundError, ConflictError or StoreError, each saying what to do.
    """
    return OpenContext(id, as_mode(mode), work_root, write=write, create=create)


class OpenContext:
    """A workflow that a program works on. It may be entered several times, in one task or thread or in many.

    It keeps no connection: every use has one of its own, so that threads, tasks and children of a fork never share one.
    """

    def __init__(
        self,
        id: str | None,
        mode: Mode | None,
        work_root: str | os.PathLike[str] | None,
        *,
        write: bool | None,
        create: bool,
    ) -> None:
        self._wanted = (id, mode, work_root)
        self._write = write
        self._create = create
        self._opening = threading.Lock()
        self._value: Context | None = None
        self._daemon: DaemonPlace | None = None
        self.materials = Materials(self)
        self.calculations = Calculations(self)
        self.results = Results(self)

    def __repr__(self) -> str:
        return f"<context {self._value.workflow_id}, {self._value.mode}>" if self._value else "<context, not entered>"

    # ---- entering and leaving ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Opens it, and makes it the current context of this task or thread."""
        self._open(self._place())
        current.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restores the context around."""
        current.leave(self)

    async def __aenter__(self) -> Self:
        """As `with`; the files are looked at in a thread."""
        from anyio import to_thread

        place = self._place()  # here, where the context around is known
        await to_thread.run_sync(self._open, place)
        current.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As `with`."""
        current.leave(self)

    def _place(self) -> Place:
        id_, _, work_root = self._wanted
        return Place(self.id, self.directory) if self._value else find_place(id_, work_root, os.environ)

    def _open(self, place: Place) -> None:
        mode = self._wanted[1]
        with self._opening:
            if not place.exists:
                self._make(place, mode)
            self._value = read_place(place, mode)
            self._daemon = daemon_of(self._value)

    def _make(self, place: Place, mode: Mode | None) -> None:
        if not self._create or self._write is False:
            known = known_ids(place.work_root)
            hint = nearest(place.workflow_id, known) or f"there are {len(known)} workflows below {place.work_root}"
            raise NotFoundError(f"there is no workflow {place.workflow_id!r} in {place.directory}; {hint}")
        if place.inherited:
            raise NotFoundError(
                f"{place.directory}, which {DIRECTORY_VARIABLE} names, holds no workflow as seen from here; a job on "
                "another machine sees it only through a file system that both share"
            )
        if place.directory.exists():
            raise ConflictError(f"{place.directory} exists, but is no workflow; choose another id or move it away")
        wanted = mode or settled_mode(os.environ, place.work_root)
        make_workflow(plan_place(place, wanted))

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def value(self) -> Context:
        """Where the workflow has its things. ConflictError before it was ever entered."""
        if self._value is None:
            raise ConflictError("the context is not open; enter it: with penstock.open_context(...) as context")
        return self._value

    @property
    def id(self) -> str:
        """The workflow's name."""
        return self.value.workflow_id

    @property
    def mode(self) -> Mode:
        """How much it shares."""
        return self.value.mode

    @property
    def namespace(self) -> str:
        """Whose materials it sees."""
        return self.value.namespace

    @property
    def directory(self) -> Path:
        """The workflow's own directory."""
        return Path(self.value.directory)

    @property
    def database(self) -> Path:
        """The file that its rows are in."""
        return Path(self.value.database)

    @property
    def storage(self) -> Path:
        """Where its files may lie; `path` names places in it."""
        return Path(self.value.storage)

    @property
    def is_open(self) -> bool:
        """Whether somebody in this process is in it."""
        return current.is_entered(self)

    @property
    def daemon(self) -> DaemonPlace | None:
        """The daemon that the workflow belongs to, running or not; None where there never was one."""
        return self._daemon

    @property
    def read_only_because(self) -> str | None:
        """Why nothing may be written now; None where it may."""
        return why_read_only(self.value, self._daemon, write=self._write)

    def status(self) -> ContextStatus:
        """Where the workflow stands."""
        self.check_open()
        return status_of(self.value, self.read_only_because, self._daemon)

    def properties(self, *names: str) -> list[PropertyResult]:
        """What the workflow's analyses have found, as it stands now; of these names, or all. Raises StoreError."""
        with self.reading() as db:
            rows = result_pages.property_rows(db, self.id, result_pages.Wanted(names))
            return [property_of(row) for row in rows]

    def path(self, *parts: str) -> Path:
        """A path in the storage, its folder made. SpecError for one that would lead out of it, through links too."""
        self.check_open()
        if not parts or any("\0" in part for part in parts):
            raise SpecError("a path in the storage has at least one name, and no NUL character", key="path")
        top = self.storage.resolve()
        wanted = self.storage.joinpath(*parts)
        if wanted.resolve() == top or not wanted.resolve().is_relative_to(top):
            raise SpecError(f"{'/'.join(parts)!r} leads out of {self.storage}", key="path")
        if self.read_only_because is None:
            wanted.parent.mkdir(parents=True, exist_ok=True)
        return wanted

    @contextlib.contextmanager
    def lock(
        self, name: str, *, count: int = 1, lease_s: float = 30.0, wait_s: float | None = None
    ) -> Iterator[HeldLock]:
        """Holds a lock of the workflow's namespace inside, against jobs of daemons and other programs.

        Its lease is renewed in a thread; `token` of what is given goes with whatever is written under it. BusyError
        when it cannot be had within `wait_s` seconds (None: for ever), LockLostError on leaving when it was lost.
        """
        self.check_open()
        table = LockTable(Path(self.value.locks, LOCKS_NAME))
        try:
            with hold(table, name, self.id, count=count, lease_s=lease_s, wait_s=wait_s) as held:
                yield held
        finally:
            table.close()

    # ---- handing it on ----------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment for a child process that joins by `open_context()`: ours, and where the context is.

        Our own environment is never changed: all threads share it.
        """
        context = self.value
        return os.environ | {
            ID_VARIABLE: context.workflow_id,
            DIRECTORY_VARIABLE: context.directory,
            MODE_VARIABLE: context.mode,
        }

    def run(self, argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
        """`subprocess.run` of a program that finds the context in its environment; `options` are those of it."""
        self.check_open()
        own = self.environment()
        given = options.pop("env", None)
        env = (
            own if given is None else {**given, **{k: own[k] for k in (ID_VARIABLE, DIRECTORY_VARIABLE, MODE_VARIABLE)}}
        )
        return subprocess.run(argv, env=env, **options)  # noqa: PLW1510 - `check` is the caller's

    def export(
        self,
        format: str,  # noqa: A002
        path: str | os.PathLike[str] | None = None,
        *,
        results: Results | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes results to a file (csv, json, extxyz, ase), whole or not at all; returns its path.

        Without a path it is one in the workflow's directory, replaced each time. SpecError for one that cannot be.
        """
        self.check_open()
        target = export.default_path(self.directory, self.id, format) if path is None else Path(path).absolute()
        selection = Selection() if results is None else results.selection
        export.export_jobs(self.database, self.id, format, target, selection, overwrite=overwrite or path is None)
        return target

    # ---- for its parts ----------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """ConflictError when it was left, or never entered."""
        if not self.is_open:
            raise ConflictError(f"context {self.id} was left; enter it again: with context: ...")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that only reads. Raises StoreError."""
        self.check_open()
        with reading(self.database) as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction. ConflictError where nothing may be written, saying why."""
        self.check_open()
        if (because := self.read_only_because) is not None:
            raise ConflictError(f"context {self.id} is read-only: {because}")
        with open_writer(self.database) as connection, transaction(connection, self.database) as db:
            yield db
