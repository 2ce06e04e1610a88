"""The processes of the local cluster.

Orders, the runners that work through them, and how a runner is started and let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

from penstock import __version__
from penstock.clusters import spool as spooling
from penstock.clusters.claim import read_claim
from penstock.clusters.runner import MARKER
from penstock.domain.ids import new_ulid
from penstock.domain.process_id import ProcessId
from penstock.domain.resources import Resources
from penstock.domain.submission import Submission

_LINGER_S: Final = 10.0
_LOG_TAIL_BYTES: Final = 2000

Lane = tuple[str, int]


class Order:
    """A submission at this cluster."""

    def __init__(self, submission: Submission, spool: Path, handed_at: float | None = None) -> None:
        self.submission = submission
        self.handed_at = handed_at  # by its workflow; None once a runner has it, or of an earlier life
        self.journal = spooling.JournalReader(spooling.spool_path(spool, submission.ulid, "journal"))
        self.barred: set[int] = set()
        self.closed = False

    @property
    def lane(self) -> Lane:
        """The slot it belongs to."""
        return (self.submission.workflow_id, self.submission.lane)


class Runner:
    """A runner's process: ours, or one found again (then without `stdin`)."""

    def __init__(self, name: str, process: ProcessId, workflow_id: str, stdin: int | None, spool: Path) -> None:
        self.name = name
        self.process = process
        self.workflow_id = workflow_id
        self.stdin = stdin
        self.log = _log_path(spool, name)
        self.orders: list[Order] = []
        self.has_served = False  # it got through an order: whatever ends it, it was able to start
        self.pidfd = os.pidfd_open(process.pid)

    def resources(self) -> Resources | None:
        """What it holds of the machine: nothing while it only waits for orders."""
        return self.orders[0].submission.resources if self.orders else None


def spawn_runner(order: Order, spool: Path, nice: int) -> Runner:
    """Starts a runner for the order's workflow: a session of its own, orders by standard input, its words in a log."""
    submission = order.submission
    name = new_ulid()
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    argv = [sys.executable, "-m", "penstock.clusters.runner", "--spool", str(spool), "--engine", submission.engine]
    argv += ["--linger", str(_LINGER_S), "--nice", str(nice), "--version", __version__]
    try:
        pid = os.posix_spawn(
            sys.executable,
            argv,
            runner_environment(submission, name),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(_log_path(spool, name)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(theirs)
    process = ProcessId.of(pid) or ProcessId(pid, 0, "")
    try:
        return Runner(name, process, submission.workflow_id, ours, spool)
    except OSError:
        os.close(ours)  # it takes no orders, then, and ends by itself
        raise


def runner_environment(submission: Submission, runner: str) -> dict[str, str]:
    """What a runner and everything below it finds in its environment."""
    threads = str(submission.resources.cores)
    return os.environ | {
        MARKER: runner,
        "PENSTOCK_WORKFLOW_ID": submission.workflow_id,
        "PENSTOCK_WORKFLOW_DIR": submission.workflow_dir,
        "PENSTOCK_ISOLATION_MODE": submission.mode,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def claimant(spool: Path, ulid: str) -> tuple[ProcessId | None, str]:
    """The process that holds a submission's claim, dead or alive, and its runner's name; None for a tombstone."""
    token, _, name = (read_claim(spooling.spool_path(spool, ulid, "claim")) or "").rpartition(":")
    return ProcessId.from_token(token), name


def is_held(spool: Path, ulid: str) -> bool:
    """Whether a runner may still be working on a submission."""
    process, _ = claimant(spool, ulid)
    return process is not None and process.alive()


def let_go(runner: Runner) -> None:
    """Closes what we hold of a runner; without orders to come it ends by itself."""
    if runner.stdin is not None:
        os.close(runner.stdin)
        runner.stdin = None
    if runner.pidfd >= 0:
        asyncio.get_running_loop().remove_reader(runner.pidfd)
        os.close(runner.pidfd)
        runner.pidfd = -1


def reap(pid: int) -> int | None:
    """The exit status of a child of ours, None for a runner that an earlier life started."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, os.WNOHANG)[1])
    except ChildProcessError:
        return None


def last_words(runner: Runner) -> str:
    """The last line a runner wrote before it died; its log is not needed after that."""
    with contextlib.suppress(OSError):
        lines = runner.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        runner.log.unlink()
        if lines:
            return lines[-1]
    return "it was killed, or ended without a word"


def _log_path(spool: Path, runner: str) -> Path:
    return spool / f"{runner}.log"
