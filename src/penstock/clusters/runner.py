"""The runner: a detached process that works through submissions, one attempt at a time, and outlives the daemon.

Two processes. The *keeper* leads a session of its own and only watches: it ends an attempt that is out of time or
cancelled, and starts the worker anew when a calculation takes it down. The *worker*, forked from it, imports the engine
once and runs attempt after attempt: program engines as child processes, Python engines in itself. What both know of the
current attempt is in shared memory; what they tell the daemon is in the spool's journal. Orders (a ulid and a newline)
come by standard input; when it closes, or brings nothing for a while, the runner ends.

In a scheduler's job (`--news`) it works through one submission. SIGTERM means that the scheduler ends the job: the
current attempt is ended, that is written down, and the runner ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from penstock import __version__, engines
from penstock.clusters import spool as spooling
from penstock.clusters.runner_link import CANCELLED, LOST, SPAWNING, TIMEOUT, Bell, Current, Hints, Journal, News
from penstock.clusters.runner_worker import IGNORED_SIGNALS, Worker
from penstock.domain.calculation import Exit
from penstock.domain.process_id import ProcessId

MARKER: Final = "PENSTOCK_RUNNER"
KILL_GRACE_S: Final = 5.0
_TICK_MS: Final = 250
_ENDED_BY_SCHEDULER: Final = "ended by the scheduler (SIGTERM)"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class Keeper:
    """Watches the worker."""

    def __init__(
        self, spool: Path, linger_s: float, engine: str, news: Path | None = None, allocation_s: float | None = None
    ) -> None:
        me = ProcessId.of(os.getpid())
        assert me is not None
        self._spool = spool
        self._linger_s = linger_s
        self._engine = engine
        self._token = f"{me.token()}:{os.environ.get(MARKER, '')}"
        self._current = Current()
        self._struck = 0  # the attempt over which the worker was last killed
        self._bell: News = Bell(spool) if news is None else Hints(news, spool)
        self._in_job = news is not None
        self._ends_at = None if allocation_s is None else time.monotonic() + allocation_s
        self._ending = False  # the scheduler has said so

    def end(self) -> None:
        """The scheduler ends the job."""
        self._ending = True
        self._current.stop()

    def keep(self) -> None:
        """Runs workers until one ends by itself, or the scheduler ends the job."""
        resume_after: int | None = None
        while True:
            worker = self._fork(resume_after)
            status = self._watch(worker)
            if status == 0 and not self._current.order:
                break
            if self._in_job and status == signal.SIGTERM and not self._current.verdict(self._current.serial):
                self.end()  # the scheduler told the worker first
            if self._current.serial or not self._ending:
                resume_after = self._account_for_death(status)
            if self._ending:
                break
        kill_children()
        if self._ending:
            raise SystemExit(128 + signal.SIGTERM)

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
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            worker = Worker(self._spool, self._linger_s, self._token, self._current, self._bell, self._ends_at)
            worker.work(resume_after)
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
                if not serial or self._current.group == SPAWNING:
                    continue
                if serial == judged:
                    if time.monotonic() >= kill_at:
                        self._signal(worker, serial, signal.SIGKILL)
                    continue
                if verdict := self._verdict():
                    self._current.judge(serial, verdict)
                    judged, kill_at = serial, time.monotonic() + KILL_GRACE_S
                    self._signal(worker, serial, signal.SIGTERM)
                elif self._current.order:
                    self._bell.ring(self._current.order)
            return os.waitpid(worker, 0)[1]
        finally:
            os.close(handle)

    def _verdict(self) -> int:
        if time.monotonic() >= self._current.deadline:
            return TIMEOUT
        cancelled = spooling.read_cancel(spooling.spool_path(self._spool, self._current.order, "cancel"))
        if self._current.position in cancelled:
            return CANCELLED
        return LOST if self._ending else 0

    def _signal(self, worker: int, serial: int, number: int) -> None:
        """To the program's whole group, or to the worker where the calculation is in the worker itself."""
        group = self._current.group
        if self._current.serial != serial or group == SPAWNING:
            return  # it has just ended by itself
        with contextlib.suppress(ProcessLookupError):
            if group > 0:
                os.killpg(group, number)
            else:
                self._struck = serial
                os.kill(worker, number)

    def _account_for_death(self, status: int) -> int | None:
        """Writes the end of the attempt that took the worker down; returns its position, to go on after."""
        serial, position, order = self._current.serial, self._current.position, self._current.order
        if not serial or not order:
            raise SystemExit(1)  # it broke outside any attempt: nothing to blame, and trying again would break again
        kill_children()
        code = os.waitstatus_to_exitcode(status)
        verdict, message = self._current.verdict(serial), None
        if self._struck not in (0, serial):
            verdict = "lost"  # the blow was meant for the attempt before it
        elif self._ending and verdict in (None, "lost"):
            verdict, message = "lost", _ENDED_BY_SCHEDULER
        died, by = (code, None) if code >= 0 else (None, -code)
        ended = Exit(died, by, self._current.started_at, time.time(), verdict, message)
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
    """`python -m penstock.clusters.runner --spool DIR --engine NAME [--linger S] [--nice N] [--news DIR]`..."""
    parser = argparse.ArgumentParser(prog="penstock-runner")
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--linger", type=float, default=10.0)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--version", default=__version__)
    parser.add_argument("--news", type=Path)
    parser.add_argument("--allocation", type=float)
    options = parser.parse_args(arguments)
    if options.version != __version__:
        sys.exit("Penstock was upgraded while the daemon ran; restart penstockd")
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.nice(options.nice)
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(options.spool, options.linger, options.engine, options.news, options.allocation)
    if options.news is not None:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # it minds walltime and cancellations by itself
        signal.signal(signal.SIGTERM, lambda *_: keeper.end())
    keeper.keep()


if __name__ == "__main__":
    main()
