"""The way to a cluster with a scheduler: its shell, its spool and its commands. Every method is one errand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.actors.call_log import RATE_LIMITED, CallLog
from penstock.clusters import remote_spool
from penstock.clusters.remote_spool import SpoolPlace, SubmissionFiles
from penstock.clusters.scheduler import (
    JobRequest,
    JobRow,
    Limits,
    QueueView,
    Scheduler,
    Submitted,
    UnreadableAnswerError,
)
from penstock.clusters.shell import Completed, Shell
from penstock.clusters.spool import Line
from penstock.domain.errors import ClusterError, NotFoundError

TROUBLE: Final = (ClusterError, NotFoundError, UnreadableAnswerError)
"""What may go wrong on the way; anything else is a defect of ours."""
_COMMANDS: Final = frozenset({"sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "flux"})
_SPOOL_S: Final = 60.0
_NEWS_MAX: Final = 2000
_SUBMIT_S: Final = 150.0  # sbatch tries by itself for two minutes


class Place(msgspec.Struct, frozen=True):
    """Where things are on the cluster, all absolute; `work` None where the daemon's files are seen there too."""

    spool: str
    work: str | None
    host: str

    def workflow_dir(self, workflow_id: str, directory: str) -> str:
        """A workflow's directory as its jobs see it."""
        return directory if self.work is None else f"{self.work}/{workflow_id}"


class Link:
    """The way. ClusterError where it or the cluster fails, UnreadableAnswerError where an answer proves nothing."""

    def __init__(self, shell: Shell, scheduler: Scheduler, calls: CallLog, command_s: float) -> None:
        self.shell = shell
        self.scheduler = scheduler
        self.calls = calls
        self._command_s = command_s

    # ---- the scheduler ----------------------------------------------------------------------------------------------

    async def read_limits(self) -> Limits:
        """The site's limits; the scheduler's codec knows them from now on."""
        answers = [await self._call(argv) for argv in self.scheduler.limits_argv()]
        limits = self.scheduler.parse_limits(answers)
        self.scheduler = self.scheduler.with_limits(limits)
        return limits

    async def queue(self) -> QueueView:
        """All jobs of the account that the scheduler still knows."""
        with self._polled("queue"):
            return self.scheduler.parse_queue(await self._call(self.scheduler.queue_argv()))

    async def accounts(self, ulids: Sequence[str], since: float) -> list[JobRow]:
        """What the accounts say of these submissions; nothing where there are none."""
        argv = self.scheduler.accounting_argv(ulids, since)
        if argv is None:
            return []
        with self._polled("accounts"):
            return self.scheduler.parse_accounting(await self._call(argv))

    async def cancel(self, jobs: Sequence[tuple[str, tuple[int, ...] | None]]) -> None:
        """Asks the scheduler to end jobs: (job id, tasks or None for all). What it answers proves nothing."""
        await self._call(self.scheduler.cancel_argv(jobs))

    async def signal(self, job_id: str, task: int | None, signal: str) -> None:
        """Sends a signal to a job's script."""
        await self._call(self.scheduler.signal_argv(job_id, task, signal))

    async def submit(self, spool: str, request: JobRequest) -> Submitted | None:
        """Submits, once for all: asked again it tells what came of it. None: begun, and nobody knows how it ended."""
        argv = self.scheduler.submit_argv(request)
        environment = self.scheduler.environment
        command = remote_spool.submit_argv(spool, request.ulid, argv, environment)
        answer = remote_spool.parse_submit(await self._call(command, called=command_name(argv), timeout_s=_SUBMIT_S))
        return None if answer is None else self.scheduler.parse_submit(answer)

    @contextlib.contextmanager
    def _polled(self, what: str) -> Iterator[None]:
        """Notes how long a poll took, and whether it told anything."""
        began, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "ok"
        finally:
            self.calls.record_poll(what, time.monotonic() - began, outcome)

    async def _call(
        self, argv: Sequence[str], *, called: str | None = None, timeout_s: float | None = None
    ) -> Completed:
        """Runs one of the scheduler's commands, and notes how long it took and how it ended."""
        began, outcome = time.monotonic(), "unreachable"
        variables = [f"{name}={value}" for name, value in self.scheduler.environment.items()]
        command = list(argv) if called else ["env", *variables, *argv]
        try:
            answer = await self.shell.run(command, timeout_s=timeout_s or self._command_s)
            outcome = "failed" if answer.exit_code else "ok"
            if answer.exit_code and is_complaint(answer):
                outcome = RATE_LIMITED
        except NotFoundError as error:
            outcome = "failed"
            raise ClusterError(f"{argv[0]} is not there: {error}", transient=False) from error
        finally:
            self.calls.record(called or command_name(argv), time.monotonic() - began, outcome)
        return answer

    # ---- the spool --------------------------------------------------------------------------------------------------

    async def prepare(self, spool: str) -> SpoolPlace:
        """Makes the spool; `spool` is absolute or relative to the account's home."""
        return remote_spool.parse_prepare(await self._run(remote_spool.prepare_argv(spool)))

    async def inventory(self, spool: str) -> set[str]:
        """The submissions that the spool holds anything of."""
        return remote_spool.parse_inventory(await self._run(remote_spool.inventory_argv(spool)))

    async def take_news(self, spool: str) -> dict[tuple[str, int], list[Line]]:
        """The journals that have grown since the last call, by submission and task."""
        with self._polled("spool"):
            return remote_spool.parse_news(await self._run(remote_spool.take_news_argv(spool, _NEWS_MAX)))

    async def read(self, spool: str, ulids: Sequence[str]) -> dict[str, SubmissionFiles]:
        """All that the spool holds of these submissions."""
        argv, stdin = remote_spool.read_submissions_argv(spool, ulids)
        return remote_spool.parse_submissions(await self._run(argv, stdin), ulids)

    async def bury(self, spool: str, ulid: str, tasks: Sequence[int], *, warm: bool) -> dict[int, str]:
        """Takes the claims of tasks as tombstones; who holds each now."""
        return remote_spool.parse_bury(await self._run(remote_spool.bury_argv(spool, ulid, tasks, warm=warm)))

    async def mark_cancelled(self, spool: str, ulid: str, positions: Sequence[int], *, warm: bool) -> None:
        """Leaves word that these attempts shall end, or not begin."""
        remote_spool.check(await self._run(remote_spool.cancel_argv(spool, ulid, positions, warm=warm)))

    async def forget(self, spool: str, ulids: Sequence[str]) -> None:
        """Removes all traces of these submissions."""
        argv, stdin = remote_spool.forget_argv(spool, ulids)
        remote_spool.check(await self._run(argv, stdin))

    async def is_there(self, path: str) -> bool:
        """Whether there is such a file."""
        return (await self._run(["test", "-e", path])).exit_code == 0

    async def stage(self, root: str, files: Mapping[str, bytes]) -> None:
        """Writes files below `root`."""
        await self.shell.put(root, files)

    async def fetch(self, root: str, names: Sequence[str], into: Path) -> None:
        """Brings files below `root` to the same places below `into`."""
        await self.shell.fetch(root, names, into)

    async def _run(self, argv: Sequence[str], stdin: bytes = b"") -> Completed:
        return await self.shell.run(argv, stdin=stdin, timeout_s=_SPOOL_S)


def command_name(argv: Sequence[str]) -> str:
    """The scheduler's own command within what sets its environment."""
    return next((word for word in argv if word in _COMMANDS), argv[0])


def is_complaint(answer: Completed) -> bool:
    """Whether the scheduler says that it is asked too often."""
    return b"rate limit" in answer.stderr.lower()
