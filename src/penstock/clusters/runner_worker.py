"""The runner's worker: takes orders and runs attempt after attempt."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
import traceback
from pathlib import Path
from typing import Any, Final

from penstock import engines
from penstock.clusters import spool as spooling
from penstock.clusters.carry import carry_files
from penstock.clusters.claim import read_claim, take_claim
from penstock.clusters.program import find_program
from penstock.clusters.runner_link import SPAWNING, Current, Journal, News
from penstock.domain.calculation import Exit
from penstock.domain.submission import Entry, Manifest

_DISK_FULL_BYTES: Final = 1 << 16
ORDER_BYTES: Final = 27  # a ulid and a newline
IGNORED_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


class Worker:
    """Works through submissions.

    Without `linger_s` it takes one order. After `ends_at` (monotonic), if that is given, no attempt but a submission's
    first is begun that would still run then.
    """

    def __init__(
        self, spool: Path, linger_s: float, token: str, current: Current, bell: News, ends_at: float | None
    ) -> None:
        self._spool = spool
        self._linger_s = linger_s
        self._token = token
        self._current = current
        self._bell = bell
        self._ends_at = ends_at
        self._serial = 0
        self._environment = dict(os.environ)

    def work(self, resume_after: int | None) -> None:
        """Finishes the submission that the last worker left, if any, then takes orders until there are no more."""
        if self._current.order:
            self._run(self._current.order, -1 if resume_after is None else resume_after)
            if not self._linger_s:
                return
        while not self._current.stopping and (ulid := next_order(self._linger_s or None)):
            if take_claim(spooling.spool_path(self._spool, ulid, "claim"), self._token):
                self._current.order = ulid
                self._run(ulid, -1)
            self._bell.ring(ulid, now=True)
            if not self._linger_s:
                return

    def _run(self, ulid: str, after: int) -> None:
        manifest = spooling.read_manifest(self._spool, ulid)
        journal = Journal(self._spool, ulid)
        # No manifest: the daemon settled it without us (its manifest goes before its claim, so this is certain).
        begun = after >= 0
        for entry in manifest.entries if manifest else ():
            assert manifest is not None
            if self._current.stopping or (begun and not self._has_time_for(manifest)):
                break
            if entry.index > after:
                self._attempt(ulid, manifest, entry, journal)
                self._bell.ring(ulid)
                begun = True
        if not self._current.stopping:
            journal.write(spooling.Finish())
        journal.close()
        self._current.order = ""

    def _has_time_for(self, manifest: Manifest) -> bool:
        return self._ends_at is None or time.monotonic() + manifest.walltime_s <= self._ends_at

    def _attempt(self, ulid: str, manifest: Manifest, entry: Entry, journal: Journal) -> None:
        directory = Path(manifest.workflow_dir, entry.directory)
        started_at = time.time()
        try:
            holder = _claim_directory(directory, ulid)
            if holder is not None:
                journal.write(spooling.Barred(entry.index, holder))
                return
            journal.write(spooling.Start(entry.index, started_at))
            self._bell.ring(ulid)
            deadline = time.monotonic() + manifest.walltime_s
            group = SPAWNING if entry.rendered.argv else 0
            self._serial = self._current.begin(entry.index, deadline, started_at, group)
            if entry.carry_from is not None:
                carry_files(Path(manifest.workflow_dir, entry.carry_from), directory, entry.rendered.carry)
            for name, text in entry.rendered.files.items():
                (directory / name).write_text(text, encoding="utf-8")
            ended = self._execute(manifest, entry, directory, started_at)
        except OSError as error:
            message = f"{error.strerror}: {error.filename or directory}"
            ended = Exit(None, None, started_at, time.time(), message=f"[Errno {error.errno}] {message}")
        journal.write(spooling.End(entry.index, ended))
        self._current.end()

    def _execute(self, manifest: Manifest, entry: Entry, directory: Path, started_at: float) -> Exit:
        if entry.rendered.argv is None:
            return _run_engine(manifest.engine, directory, started_at)
        own = {"PENSTOCK_JOB_ID": str(entry.job_id), "PENSTOCK_ATTEMPT_DIR": str(directory)}
        environment = self._environment | manifest.environment | own
        return self._run_program(entry.rendered.argv, directory, environment, started_at)

    def _run_program(self, argv: list[str], directory: Path, environment: dict[str, str], started_at: float) -> Exit:
        os.chdir(directory)
        program = find_program(argv[0])
        if program.path is None or not program.is_executable:
            return Exit(127, None, started_at, time.time(), message=f"{argv[0]}: no such program")
        out = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            program.path,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "stdout", out, 0o644),
                (os.POSIX_SPAWN_OPEN, 2, "stderr", out, 0o644),
            ],
            setpgroup=0,
            setsigdef=IGNORED_SIGNALS,
        )
        self._current.group = pid
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # whatever the program left running in its group
        code = os.waitstatus_to_exitcode(status)
        verdict = self._current.verdict(self._serial)
        message = _disk_trouble(directory) if code else None
        return Exit(code if code >= 0 else None, -code if code < 0 else None, started_at, time.time(), verdict, message)


def _disk_trouble(directory: Path) -> str | None:
    """Why a program may have failed that could not even say so: the disk it wrote to is full."""
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize >= _DISK_FULL_BYTES:
        return None
    return f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}: {directory}"


def next_order(linger_s: float | None) -> str | None:
    """The next submission's ulid, None when none comes within `linger_s` (None: for ever) or can come any more."""
    ready, _, _ = select.select([0], [], [], linger_s)
    order = os.read(0, ORDER_BYTES) if ready else b""
    return order.decode().strip() or None


def _claim_directory(directory: Path, ulid: str) -> str | None:
    """Makes an attempt's directory and takes its claim; returns the other holder's token when it is not ours."""
    try:
        directory.parent.mkdir()
    except FileExistsError:
        pass
    except FileNotFoundError:
        directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    claim = directory / spooling.ATTEMPT_CLAIM
    return None if take_claim(claim, ulid) else read_claim(claim)


def _run_engine(name: str, directory: Path, started_at: float) -> Exit:
    engine: Any = engines.get(name)
    try:
        engine.run(directory)
    except Exception as error:  # noqa: BLE001 - a failed calculation is a value
        with contextlib.suppress(OSError):
            (directory / "stderr").write_text(traceback.format_exc(), encoding="utf-8")
        message = f"{type(error).__name__}: {error}"
        return Exit(1, None, started_at, time.time(), message=message)
    return Exit(0, None, started_at, time.time())
