"""The runner: a detached process that works through submissions, one attempt at a time, and outlives the daemon.

Two processes. The *keeper* leads a session of its own and only watches: it ends an attempt that is out of time or
cancelled, and starts the worker anew when a calculation takes it down. The *worker*, forked from it, imports the engine once
and runs attempt after attempt: program engines as child processes, Python engines in itself. What both know of the current
attempt is in shared memory; what they tell the daemon is in the spool's journal. Orders (`<ulid>\\n`) come by standard input;
when it closes, or brings nothing for a while, the runner ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import mmap
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from penstock import engines
from penstock.clusters import spool as spooling
from penstock.clusters.claim import read_claim, take_claim
from penstock.clusters.process import ProcessId
from penstock.domain.calculation import Exit
from penstock.domain.submission import Entry, Manifest

MARKER: Final = "PENSTOCK_RUNNER"
ORDER_BYTES: Final = 27  # a ulid and a newline
KILL_GRACE_S: Final = 5.0
_TICK_MS: Final = 250
_BELL_EVERY_S: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_RETRY_WRITE_S: Final = 1.0
_NONE, _TIMEOUT, _CANCELLED = 0, 1, 2
_SPAWNING: Final = -1
_IGNORED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)
_VERDICTS: Final = {_TIMEOUT: "timeout", _CANCELLED: "cancelled"}


class Current:
    """The attempt that runs now, in memory shared by keeper and worker. Single aligned stores need no lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)
        self._whole = memoryview(self._memory)[:512].cast("q")
        self._real = memoryview(self._memory)[512:1024].cast("d")

    def begin(self, position: int, serial: int, deadline: float, started_at: float, group: int) -> None:
        """The worker begins an attempt; `serial` numbers all attempts of this runner."""
        self._whole[1], self._whole[3] = group, position
        self._real[0], self._real[1] = deadline, started_at
        self._whole[0] = serial

    def end(self) -> None:
        """The worker is between attempts."""
        self._whole[0] = 0

    @property
    def serial(self) -> int:
        """The current attempt's number, 0 between attempts."""
        return self._whole[0]

    @property
    def position(self) -> int:
        """The current attempt's position in its manifest."""
        return self._whole[3]

    @property
    def deadline(self) -> float:
        """When its walltime is over (monotonic)."""
        return self._real[0]

    @property
    def started_at(self) -> float:
        """When it started (since the epoch)."""
        return self._real[1]

    @property
    def group(self) -> int:
        """The process group of its program: 0 when it has none, _SPAWNING for the moment before it has one."""
        return self._whole[1]

    @group.setter
    def group(self, group: int) -> None:
        self._whole[1] = group

    def judge(self, serial: int, verdict: int) -> None:
        """The keeper is about to end attempt `serial`, and why."""
        self._whole[2] = serial * 4 + verdict

    def verdict(self, serial: int) -> str | None:
        """Why the keeper ended attempt `serial`, None when it did not."""
        judged, verdict = divmod(self._whole[2], 4)
        return _VERDICTS.get(verdict) if judged == serial else None

    @property
    def order(self) -> str:
        """The ulid of the submission at work, empty when there is none."""
        return bytes(self._memory[1024:1050]).strip(b"\0").decode()

    @order.setter
    def order(self, ulid: str) -> None:
        self._memory[1024:1050] = ulid.encode().ljust(26, b"\0")


class Bell:
    """Tells the daemon that there is news, seldom enough not to be a nuisance; nobody listening is no error."""

    def __init__(self, spool: Path) -> None:
        self._directory = os.open(spool, os.O_PATH | os.O_CLOEXEC)
        self._address = spooling.bell_address(self._directory)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._last = 0.0

    def ring(self, ulid: str, *, now: bool = False) -> None:
        """Rings unless it rang just before."""
        moment = time.monotonic()
        if now or moment - self._last >= _BELL_EVERY_S:
            self._last = moment
            with contextlib.suppress(OSError):
                self._socket.sendto(ulid.encode(), self._address)


class Journal:
    """Appends to a submission's journal; a full disk is waited out, since what happened must not be forgotten."""

    def __init__(self, spool: Path, ulid: str) -> None:
        self._fd = os.open(
            spooling.spool_path(spool, ulid, "journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def write(self, line: spooling.Line) -> None:
        """Appends a line, whole: after a partial write the rest is written on a line of its own."""
        data = encoded = spooling.encode_line(line)
        while True:
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                written = 0
            if written == len(data):
                return
            data = b"\n" + encoded  # closes the torn line, which then decodes to nothing
            time.sleep(_RETRY_WRITE_S)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


# ---- the worker -----------------------------------------------------------------------------------------------------


class Worker:
    """Works through submissions."""

    def __init__(self, spool: Path, linger_s: float, token: str, current: Current) -> None:
        self._spool = spool
        self._linger_s = linger_s
        self._token = token
        self._current = current
        self._bell = Bell(spool)
        self._serial = 0
        self._environment = dict(os.environ)

    def work(self, resume_after: int | None) -> None:
        """Finishes the submission that the last worker left, if any, then takes orders until there are no more."""
        self._serial = self._current.serial
        if self._current.order:
            self._run(self._current.order, -1 if resume_after is None else resume_after)
        while ulid := next_order(self._linger_s):
            if take_claim(spooling.spool_path(self._spool, ulid, "claim"), self._token):
                self._current.order = ulid
                self._run(ulid, -1)
            self._bell.ring(ulid, now=True)

    def _run(self, ulid: str, after: int) -> None:
        manifest = spooling.read_manifest(self._spool, ulid)
        journal = Journal(self._spool, ulid)
        try:
            if manifest is not None:
                for entry in manifest.entries:
                    if entry.index > after:
                        self._attempt(ulid, manifest, entry, journal)
                        self._bell.ring(ulid)
            journal.write(spooling.Finish())
        finally:
            journal.close()
        self._current.order = ""

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
            self._serial += 1
            deadline = time.monotonic() + manifest.walltime_s
            self._current.begin(entry.index, self._serial, deadline, started_at, _SPAWNING if entry.rendered.argv else 0)
            for name, text in entry.rendered.files.items():
                (directory / name).write_text(text, encoding="utf-8")
            ended = self._execute(manifest, entry, directory, started_at)
        except OSError as error:
            message = f"{error.strerror}: {error.filename or directory}"
            ended = Exit(None, None, started_at, time.time(), message=f"[Errno {error.errno}] {message}")
        self._current.end()
        journal.write(spooling.End(entry.index, ended))

    def _execute(self, manifest: Manifest, entry: Entry, directory: Path, started_at: float) -> Exit:
        if entry.rendered.argv is None:
            return _run_engine(manifest.engine, directory, started_at)
        environment = self._environment | {"PENSTOCK_JOB_ID": str(entry.job_id), "PENSTOCK_ATTEMPT_DIR": str(directory)}
        return self._run_program(entry.rendered.argv, directory, environment, started_at)

    def _run_program(self, argv: list[str], directory: Path, environment: dict[str, str], started_at: float) -> Exit:
        os.chdir(directory)
        program = shutil.which(argv[0])
        if program is None:
            return Exit(127, None, started_at, time.time(), message=f"{argv[0]}: no such program")
        out = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "stdout", out, 0o644),
                (os.POSIX_SPAWN_OPEN, 2, "stderr", out, 0o644),
            ],
            setpgroup=0,
            setsigdef=_IGNORED,
        )
        self._current.group = pid
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # whatever the program left running in its group
        code = os.waitstatus_to_exitcode(status)
        verdict = self._current.verdict(self._serial)
        return Exit(max(code, 0) if code >= 0 else None, -code if code < 0 else None, started_at, time.time(), verdict)


def next_order(linger_s: float) -> str | None:
    """The next submission's ulid, None when none comes within `linger_s` or none can come any more."""
    ready, _, _ = select.select([0], [], [], linger_s)
    order = os.read(0, ORDER_BYTES) if ready else b""
    return order.decode().strip() or None


def _claim_directory(directory: Path, ulid: str) -> str | None:
    """Makes an attempt's directory and takes its claim; returns the other holder's token when it is not ours."""
    try:
        directory.mkdir()
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        pass
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


# ---- the keeper -----------------------------------------------------------------------------------------------------


class Keeper:
    """Watches the worker."""

    def __init__(self, spool: Path, linger_s: float, engine: str) -> None:
        me = ProcessId.of(os.getpid())
        assert me is not None
        self._spool = spool
        self._linger_s = linger_s
        self._engine = engine
        self._token = f"{me.token()}:{os.environ.get(MARKER, '')}"
        self._current = Current()
        self._bell = Bell(spool)

    def keep(self) -> None:
        """Runs workers until one ends by itself."""
        resume_after: int | None = None
        while True:
            worker = self._fork(resume_after)
            status = self._watch(worker)
            if status == 0 and not self._current.order:
                kill_children()
                return
            resume_after = self._account_for_death(status)

    def _fork(self, resume_after: int | None) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            _set_process_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
            engine: Any = engines.get(self._engine)
            if engine.kind == "python":
                engine.load()
            Worker(self._spool, self._linger_s, self._token, self._current).work(resume_after)
            code = 0
        except BaseException:  # noqa: BLE001 - the fork must never return into the keeper's code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _watch(self, worker: int) -> int:
        """Ends attempts that must end; returns the worker's wait status when it is gone."""
        judged, kill_at = 0, 0.0
        poll = select.poll()
        handle = os.pidfd_open(worker)
        poll.register(handle, select.POLLIN)
        try:
            while not poll.poll(_TICK_MS):
                self._reap_orphans(worker)
                serial = self._current.serial
                if not serial or self._current.group == _SPAWNING:
                    continue
                if serial == judged:
                    if time.monotonic() >= kill_at:
                        self._signal(worker, signal.SIGKILL)
                    continue
                if verdict := self._verdict():
                    self._current.judge(serial, verdict)
                    judged, kill_at = serial, time.monotonic() + KILL_GRACE_S
                    self._signal(worker, signal.SIGTERM)
                elif self._current.order:
                    self._bell.ring(self._current.order)
            return os.waitpid(worker, 0)[1]
        finally:
            os.close(handle)

    def _verdict(self) -> int:
        if time.monotonic() >= self._current.deadline:
            return _TIMEOUT
        cancelled = spooling.read_cancel(spooling.spool_path(self._spool, self._current.order, "cancel"))
        return _CANCELLED if self._current.position in cancelled else _NONE

    def _signal(self, worker: int, number: int) -> None:
        """To the program's whole group, or to the worker where the calculation is in the worker itself."""
        with contextlib.suppress(ProcessLookupError):
            if (group := self._current.group) > 0:
                os.killpg(group, number)
            else:
                os.kill(worker, number)

    def _account_for_death(self, status: int) -> int | None:
        """Writes the end of the attempt that took the worker down; returns its position, to go on after."""
        serial, position, order = self._current.serial, self._current.position, self._current.order
        if not serial or not order:
            raise SystemExit(1)  # it broke outside any attempt: nothing to blame, and trying again would break again
        kill_children()
        code = os.waitstatus_to_exitcode(status)
        verdict = self._current.verdict(serial)
        ended = Exit(
            code if code >= 0 else None, -code if code < 0 else None, self._current.started_at, time.time(), verdict
        )
        journal = Journal(self._spool, order)
        journal.write(spooling.End(position, ended))
        journal.close()
        self._current.end()
        self._bell.ring(order, now=True)
        return position

    @staticmethod
    def _reap_orphans(worker: int) -> None:
        """Collects strays that became ours; the worker itself is left to `_watch`."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != worker:
                os.waitpid(found.si_pid, 0)


def kill_children() -> None:
    """Kills and reaps every child of this process, strays that were handed down to it included."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text(encoding="ascii").split():
        for pid in map(int, pids):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _set_process_option(option: int, value: int) -> None:
    """prctl(2), which Python does not offer."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main(arguments: list[str] | None = None) -> None:
    """`python -m penstock.clusters.runner --spool DIR --engine NAME [--linger S] [--nice N]`."""
    parser = argparse.ArgumentParser(prog="penstock-runner")
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--linger", type=float, default=10.0)
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args(arguments)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.nice(options.nice)
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    Keeper(options.spool, options.linger, options.engine).keep()


if __name__ == "__main__":
    main()
