"""How orders reach a scheduler: few at a time, within a budget, and never twice whatever breaks in between."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc

from penstock import __version__, engines
from penstock.actors import scheduler_messages as m
from penstock.actors.call_budget import Budget
from penstock.actors.clock import Clock
from penstock.actors.mailbox import Ref
from penstock.actors.node_record import NodeRecord
from penstock.actors.scheduler_book import Book
from penstock.actors.scheduler_link import Place
from penstock.clusters.feasibility import largest
from penstock.clusters.order_files import Site, allocation, order_files
from penstock.clusters.scheduler import JobRequest, Limits, Placed, Refused, Submitted
from penstock.clusters.shell import Shell
from penstock.clusters.tracking import Tracked
from penstock.domain.errors import ClusterError
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.submission import Submission
from penstock.files.room import Room

if TYPE_CHECKING:
    from penstock.actors.scheduler_loops import Loops

_AT_ONCE: Final = 4
_LOOK_EVERY_S: Final = 1.0
_SECOND_LOOK_S: Final = 5.0
_COMMAND_S: Final = 60.0


class Submissions:
    """Hands waiting orders to the scheduler."""

    def __init__(self, me: Ref[Any], loops: Loops, book: Book, clock: Clock) -> None:
        self.jobs_max = 0
        self.nodes = NodeRecord()
        self.leaving: set[str] = set()  # on their way: their traces stay
        self.budget: Budget
        self._me = me
        self._loops = loops
        self._book = book
        self._clock = clock
        self._resume_at = 0.0
        self._pythons: set[str] = set()  # on the cluster, that have our version of Penstock
        self._room = anyio.Semaphore(_AT_ONCE)
        self._staging = Room(_AT_ONCE)

    def hold(self, seconds: float) -> None:
        """The scheduler takes no more for now."""
        self._resume_at = self._clock.monotonic() + seconds

    async def run(self, tasks: anyio.abc.TaskGroup) -> None:
        """One order after another; what takes long goes on beside."""
        while True:
            now = self._clock.monotonic()
            wait_s = self.budget.wait_s(now)
            pause = max(wait_s, self._resume_at - now)
            ulid = self._book.next_order(self.jobs_max)
            if ulid is None:
                await self._loops.change()
            elif pause > 0:
                await self._clock.sleep(min(pause, _LOOK_EVERY_S))
                if wait_s > 0:
                    self._loops.link.calls.record_wait("submit", self._clock.monotonic() - now)
            else:
                self.budget.take(now)
                self._loops.link.calls.record_spent("submit")
                self._book.tracked[ulid].leave(self._clock.time())
                self.leaving.add(ulid)
                tasks.start_soon(self._submit, self._book.tracked[ulid], self._book.waiting.pop(ulid))

    async def _submit(self, tracked: Tracked, manifest: bytes) -> None:
        """Stages an order and submits it. Asked again after a failure, the spool tells what came of it before."""
        ulid = tracked.submission.ulid
        attempt = _Attempt(tracked, manifest)
        try:
            answer = await self._loops.patiently(f"submit {ulid}", partial(self._try, attempt))
            if isinstance(answer, Placed) and tracked.closed:  # all of it was buried while it was being submitted
                await self._loops.patiently(f"cancel {ulid}", partial(self._loops.link.cancel, [(answer.job_id, None)]))
            elif answer is not None or not tracked.closed:
                self._me.post(("answered", ulid), m.Answered(ulid, answer))
        finally:
            self.leaving.discard(ulid)

    async def _try(self, attempt: _Attempt) -> Submitted | None:
        place, link = self._loops.place, self._loops.link
        assert place is not None
        submission = attempt.tracked.submission
        if attempt.may_be_there:
            async with self._room:
                left = (await link.read(place.spool, [submission.ulid]))[submission.ulid]
                if left.submitting:  # its job may run by now: the files stay as they are
                    return await link.submit(place.spool, self._request(place, submission))
        async with self._staging.at(submission.workflow_dir):
            if attempt.is_dropped():
                return None
            staged = await self._stage(place, attempt)
            if isinstance(staged, Refused):
                return staged
        async with self._room:
            if attempt.is_dropped():
                return None
            await link.stage(place.spool, staged)
            if attempt.is_dropped():
                return None
            attempt.may_be_there = True
            return await link.submit(place.spool, self._request(place, submission))

    async def _stage(self, place: Place, attempt: _Attempt) -> Refused | dict[str, bytes]:
        """Writes an order's files in its work directory, where a file server may hang; those for the spool are left.

        Why it can never be done, where it cannot.
        """
        link, submission = self._loops.link, attempt.tracked.submission
        directory = place.workflow_dir(submission.workflow_id, submission.workflow_dir)
        if place.work is None and not await self._is_seen(directory):
            reason = f"{directory} is not seen on the cluster; give it a work_dir in config.toml, or a shared directory"
            return Refused(reason, lasting=True)
        if (trouble := await self._why_not(submission)) is not None:
            return Refused(trouble, lasting=True)
        site = Site(place.spool, directory, self._loops.config.python, own_timer=not link.scheduler.warns)
        cancelled = sorted(attempt.tracked.cancelling)
        asked_s, _ = self._allocation(submission)
        try:
            inputs, spool = order_files(
                submission,
                attempt.manifest,
                site,
                self._options(submission),
                link.scheduler.task_variables,
                cancelled,
                asked_s,
            )
            await link.stage(directory, inputs)
        except ClusterError as error:
            if error.transient:
                raise
            return Refused(f"its files cannot be written there ({error}); mend work_dir in config.toml", lasting=True)
        return spool

    async def _why_not(self, submission: Submission) -> str | None:
        """Why its script could not even begin: set-up lines that are no shell, a Python without Penstock."""
        shell, python = self._loops.link.shell, self._loops.config.python
        setup = self._options(submission).setup
        if setup:
            read = await shell.run(["/bin/sh", "-n"], stdin=setup.encode(), timeout_s=_COMMAND_S)
            if read.exit_code:
                words = read.stderr.decode(errors="replace").strip()
                return f"setup is no shell script: {words}; mend it in config.toml or in the spec"
        if engines.get(submission.engine).kind == "python" and python not in self._pythons:
            there = await penstock_of(shell, python)
            if there != __version__:
                return f"{python} has {there or 'no Penstock'} there, this daemon is {__version__}: install it there"
            self._pythons.add(python)
        return None

    async def _is_seen(self, directory: str) -> bool:
        """Whether the cluster sees a workflow's directory; a file system that stumbles is asked again."""
        path = f"{directory}/context.toml"
        if await self._loops.link.is_there(path):
            return True
        await self._clock.sleep(_SECOND_LOOK_S)
        return await self._loops.link.is_there(path)

    def _options(self, submission: Submission) -> SchedulerOptions:
        return submission.options.over(self._loops.config.options)

    def _allocation(self, submission: Submission) -> tuple[int, int]:
        most = largest(self._options(submission), self._loops.limits or Limits())
        return allocation(submission, most.walltime_s if most else None)

    def _request(self, place: Place, submission: Submission) -> JobRequest:
        asked_s, warn_s = self._allocation(submission)
        most = largest(self._options(submission), self._loops.limits or Limits())
        directory = f"{place.spool}/{submission.ulid}"
        return JobRequest(
            ulid=submission.ulid,
            width=min(submission.width, submission.size),
            script=f"{directory}/script",
            directory=directory,
            resources=submission.resources,
            walltime_s=asked_s,
            warn_s=warn_s if self._loops.link.scheduler.warns else 0,
            options=self._options(submission),
            exclude_nodes=self.nodes.excluded(self._clock.time(), most.nodes if most else None),
        )


async def penstock_of(shell: Shell, python: str) -> str:
    """The version of Penstock that a Python on the cluster has, as a job would see it; empty where it has none."""
    program = [python, "-c", "import penstock; print(penstock.__version__)"]
    answer = await shell.run(["env", "-u", "PYTHONPATH", "-u", "PYTHONHOME", *program], timeout_s=_COMMAND_S)
    return "" if answer.exit_code else answer.stdout.decode(errors="replace").strip().rpartition("\n")[2]


class _Attempt:
    """An order on its way."""

    def __init__(self, tracked: Tracked, manifest: bytes) -> None:
        self.tracked = tracked
        self.manifest = manifest
        self.may_be_there = False  # the scheduler may have been told

    def is_dropped(self) -> bool:
        """Whether it was cancelled meanwhile."""
        return self.tracked.closed
