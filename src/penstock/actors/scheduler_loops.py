"""The loops of a cluster with a scheduler: each fetches one kind of evidence, or carries out one kind of decision.

Each is a task of its own, so that a command that hangs holds up nothing but its like. What they find goes to the actor
as messages; what stands in their way is told, and tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.abc

from penstock.actors import scheduler_messages as m
from penstock.actors.call_budget import Budget, QueryBudget
from penstock.actors.clock import Clock
from penstock.actors.mailbox import Ref
from penstock.actors.node_record import NodeRecord
from penstock.actors.scheduler_book import Book
from penstock.actors.scheduler_link import Link, Place
from penstock.clusters.order_files import Site, allocation, is_warm, order_files
from penstock.clusters.scheduler import (
    JobRequest,
    Limits,
    RateLimitedError,
    Refused,
    Submitted,
    UnreadableAnswerError,
)
from penstock.clusters.tracking import Patience, Tracked
from penstock.domain.errors import ClusterError, NotFoundError
from penstock.domain.ids import ulid_time_s
from penstock.domain.submission import Submission

R = TypeVar("R")
TROUBLE: Final = (ClusterError, NotFoundError, UnreadableAnswerError)
_LOOK_EVERY_S: Final = 1.0
_BREATH_S: Final = 0.05
_RETRY_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_SUBMITTING_AT_ONCE: Final = 4
_KILL_AGAIN_S: Final = 30.0
_ACCOUNTS_AT_ONCE: Final = 200
_READ_AT_ONCE: Final = 200
_MARGIN_S: Final = 600.0


class NotYetError(Exception):
    """There is something to do, but it has to wait: nothing is known of how it would go."""


class Loops:
    """They read the book and never write it but for what they have carried out."""

    def __init__(self, me: Ref[Any], config: m.SchedulerConfig, link: Link, book: Book, clock: Clock) -> None:
        self.link = link
        self.place: Place | None = None
        self.limits: Limits | None = None
        self.jobs_max = 0
        self.nodes = NodeRecord()
        self._me = me
        self._book = book
        self._clock = clock
        self._changed = anyio.Event()
        self._resume_at = 0.0
        self._failures: Counter[str] = Counter()  # in a row, by errand
        self.configure(config)

    def configure(self, config: m.SchedulerConfig) -> None:
        """New rates."""
        now = self._clock.monotonic()
        self._config = config
        self.queries = QueryBudget(config.queries_idle_per_min, config.queries_active_per_min, now)
        self._submits = Budget(config.submits_per_min, now)

    def wake(self) -> None:
        """There may be something to do."""
        self._changed.set()
        self._changed = anyio.Event()

    def hold_submissions(self, seconds: float) -> None:
        """The scheduler takes no more for now."""
        self._resume_at = self._clock.monotonic() + seconds

    def patience(self) -> Patience:
        """How long to wait before absence means something."""
        has_accounting = self.limits is not None and self.limits.has_accounting
        return Patience(self._config.grace_s, self._config.lag_s, has_accounting)

    async def run(self, tasks: anyio.abc.TaskGroup) -> None:
        """Connects, then begins with everything else."""
        await self._patiently("connect", self._connect)
        tasks.start_soon(self._listen)
        tasks.start_soon(self._repeat, "keep the spool", self._keep_spool)
        tasks.start_soon(self._repeat, "ask the scheduler", self._ask_scheduler)
        tasks.start_soon(self._repeat, "cancel", self._end_what_shall_end)
        tasks.start_soon(self._repeat, "fetch outputs", self._fetch)
        tasks.start_soon(self._submit_all, tasks)

    async def _connect(self) -> None:
        found = await self.link.prepare(self._config.spool)
        limits = await self.link.read_limits()
        work = self._config.work
        if work is not None and not work.startswith("/"):
            work = f"{found.home}/{work}"
        self.place, self.limits = Place(found.spool, work, found.host), limits
        self._me.post("ready", m.Ready(self.place, limits))

    # ---- the spool --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Lists the spool: often while something of ours may happen there, not at all otherwise."""
        failures = 0
        while True:
            if not self._book.out():
                await self._changed.wait()
                continue
            pause = self._config.listing_s
            try:
                journals = await self.link.take_news(self._spool)
            except TROUBLE as error:
                pause = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                failures += 1
                self._tell("listen to the spool", str(error))
            else:
                if failures:
                    failures = 0
                    self._tell("listen to the spool", None)
                    await self._patiently("read the spool", self._read_all)  # hints may have been taken and lost
                if journals:
                    self._me.post("news", m.News(journals), m.both_news)
            await self._clock.sleep(pause)

    async def _read_all(self) -> None:
        """Everything that the spool holds of what is open."""
        await self._read(self._book.out())

    async def _keep_spool(self) -> bool:
        """Reads what is in question, takes claims, removes what is done with."""
        now, patience = self._clock.time(), self.patience()
        attentive = {ulid: tracked for ulid, tracked in self._book.tracked.items() if tracked.attention}
        wants = {ulid: tracked.wants(now, patience) for ulid, tracked in attentive.items()}
        await self._read([ulid for ulid, wanted in wants.items() if wanted.files])
        for ulid, wanted in wants.items():
            if wanted.bury and ulid in self._book.tracked:
                warm = is_warm(attentive[ulid].submission)
                holders = await self.link.bury(self._spool, ulid, wanted.bury, warm=warm)
                self._me.post(("buried", ulid, wanted.bury), m.Buried(ulid, holders))
        if forgotten := sorted(self._book.forgotten)[:_READ_AT_ONCE]:
            await self.link.forget(self._spool, forgotten)
            self._book.forgotten.difference_update(forgotten)
        return any(wanted.files or wanted.bury for wanted in wants.values()) or bool(forgotten)

    async def _read(self, ulids: list[str]) -> None:
        for first in range(0, len(ulids), _READ_AT_ONCE):
            asked_at = self._clock.time()
            files = await self.link.read(self._spool, ulids[first : first + _READ_AT_ONCE])
            answers = {
                ulid: self.link.scheduler.parse_submit(found.answer)
                for ulid, found in files.items()
                if found.answer is not None
            }
            self._me.post(("files", *files), m.Files(files, answers, asked_at))

    async def _fetch(self) -> bool:
        """Brings the outputs of ended attempts here, in one stream for each workflow."""
        waiting = {ulid: dict(ended) for ulid, ended in self._book.unfetched.items() if ulid in self._book.tracked}
        if not waiting or self.place is None:
            return False
        by_workflow: dict[tuple[str, str], list[str]] = {}
        for ulid, ended in waiting.items():
            submission = self._book.tracked[ulid].submission
            names = by_workflow.setdefault((submission.workflow_id, submission.workflow_dir), [])
            names += [f"{submission.directories[n]}/{name}" for n in ended for name in submission.outputs]
        for (workflow_id, directory), names in by_workflow.items():
            await self.link.fetch(self.place.workflow_dir(workflow_id, directory), names, Path(directory))
        for ulid, ended in waiting.items():
            self._me.post(("fetched", ulid, *ended), m.Fetched(ulid, tuple(ended)))
        return True

    # ---- the scheduler ----------------------------------------------------------------------------------------------

    async def _ask_scheduler(self) -> bool:
        """One query for everything, and the accounts for what the queue does not know."""
        now, patience = self._clock.time(), self.patience()
        if not self._book.has_questions:
            return False
        accounts = [t.submission.ulid for t in self._book.asked_about() if t.wants(now, patience).accounts]
        if accounts and not patience.has_accounting:
            self._me.post(("accounts", now), m.Accounts(tuple(accounts), (), now))
            return True
        urgent = bool(accounts) or self._book.is_urgent(now, patience)
        if self.queries.wait_s(self._clock.monotonic(), urgent=urgent) > 0:
            raise NotYetError
        if accounts:
            await self._ask_accounts(accounts[:_ACCOUNTS_AT_ONCE])
        else:
            await self._ask_queue()
        return True

    async def _ask_queue(self) -> None:
        asked_at = self._clock.time()
        view = await self._query(self.link.queue)
        self._me.post(("queue", asked_at), m.Queue(view, asked_at))

    async def _ask_accounts(self, ulids: list[str]) -> None:
        asked_at = self._clock.time()
        rows = await self._query(partial(self.link.accounts, ulids, min(map(ulid_time_s, ulids)) - _MARGIN_S))
        self._me.post(("accounts", asked_at), m.Accounts(tuple(ulids), tuple(rows), asked_at))

    async def _query(self, query: Callable[[], Awaitable[R]]) -> R:
        """A query within the budget; what the scheduler thinks of it slows the next."""
        began = self._clock.monotonic()
        self.queries.take(began)
        try:
            answer = await query()
        except RateLimitedError:
            self.queries.answered(self._clock.monotonic() - began, complained=True)
            raise
        self.queries.answered(self._clock.monotonic() - began, complained=False)
        return answer

    async def _end_what_shall_end(self) -> bool:
        """Leaves word in the spool first, so that what is ended knows why; then tells the scheduler, in one call."""
        marks = {ulid: set(positions) for ulid, positions in self._book.marks.items() if ulid in self._book.tracked}
        for ulid, positions in marks.items():
            tracked = self._book.tracked[ulid]
            await self.link.mark_cancelled(self._spool, ulid, sorted(positions), warm=is_warm(tracked.submission))
            self._book.marks.get(ulid, set()).difference_update(positions)  # it may be forgotten by now
            await self._signal_parts(tracked, positions)
        self._book.marks = {ulid: positions for ulid, positions in self._book.marks.items() if positions}
        due = self._book.due_to_be_killed(self._clock.time(), _KILL_AGAIN_S)
        if due:
            await self.link.cancel(list(due.values()))
            self._book.told_to_kill(due, self._clock.time())
        return bool(marks) or bool(due)

    async def _signal_parts(self, tracked: Tracked, positions: set[int]) -> None:
        """Tasks that go on, though one of their attempts shall not."""
        submission = tracked.submission
        if is_warm(submission) or tracked.job_id is None:
            return
        for k in sorted({n % submission.width for n in positions}):
            task = tracked.tasks[k]
            running = positions & set(task.started) & set(tracked.open_positions(task))
            if running and not self._book.is_killing(submission.ulid, k):
                await self.link.signal(tracked.job_id, k if submission.width > 1 else None, "USR2")

    # ---- submitting -------------------------------------------------------------------------------------------------

    async def _submit_all(self, tasks: anyio.abc.TaskGroup) -> None:
        """Hands waiting orders to the scheduler, a few at a time and within the budget."""
        room = anyio.CapacityLimiter(_SUBMITTING_AT_ONCE)
        while True:
            now = self._clock.monotonic()
            pause = max(self._submits.wait_s(now), self._resume_at - now)
            if self._book.next_order(self.jobs_max) is None:
                await self._changed.wait()
            elif pause > 0:
                await self._clock.sleep(min(pause, _LOOK_EVERY_S))
            else:
                borrower = object()
                await room.acquire_on_behalf_of(borrower)
                ulid = self._book.next_order(self.jobs_max)
                if ulid is None:
                    room.release_on_behalf_of(borrower)
                    continue
                self._submits.take(self._clock.monotonic())
                self._book.tracked[ulid].leave(self._clock.time())
                tasks.start_soon(self._submit, ulid, self._book.waiting.pop(ulid), room, borrower)

    async def _submit(self, ulid: str, manifest: bytes, room: anyio.CapacityLimiter, borrower: object) -> None:
        """Stages an order and submits it. Asked again after a failure, the spool tells what came of it before."""
        try:
            answer = await self._patiently("submit", partial(self._try_to_submit, self._book.tracked[ulid], manifest))
            self._me.post(("answered", ulid), m.Answered(ulid, answer))
        finally:
            room.release_on_behalf_of(borrower)

    async def _try_to_submit(self, tracked: Tracked, manifest: bytes) -> Submitted | None:
        assert self.place is not None
        submission, scheduler = tracked.submission, self.link.scheduler
        directory = self.place.workflow_dir(submission.workflow_id, submission.workflow_dir)
        if self.place.work is None and not await self.link.is_there(f"{directory}/context.toml"):
            reason = f"{directory} is not seen on the cluster; give it a work_dir in config.toml, or a shared directory"
            return Refused(reason, lasting=True)
        site = Site(self.place.spool, directory, self._config.python, own_timer=not scheduler.warns)
        options = submission.options.over(self._config.options)
        try:
            inputs, spool = order_files(
                submission, manifest, site, options, scheduler.task_variables, sorted(tracked.cancelling)
            )
        except ClusterError as error:
            return Refused(str(error), lasting=True)
        await self.link.stage(directory, inputs)
        await self.link.stage(self.place.spool, spool)
        return await self.link.submit(self.place.spool, self._request(submission))

    def _request(self, submission: Submission) -> JobRequest:
        allocation_s, warn_s = allocation(submission)
        directory = f"{self._spool}/{submission.ulid}"
        return JobRequest(
            ulid=submission.ulid,
            width=min(submission.width, submission.size),
            script=f"{directory}/script",
            directory=directory,
            resources=submission.resources,
            walltime_s=allocation_s,
            warn_s=warn_s if self.link.scheduler.warns else 0,
            options=submission.options.over(self._config.options),
            exclude_nodes=self.nodes.excluded(self._clock.time()),
        )

    # ---- patience ---------------------------------------------------------------------------------------------------

    @property
    def _spool(self) -> str:
        assert self.place is not None
        return self.place.spool

    def _tell(self, errand: str, reason: str | None) -> None:
        self._me.post(("trouble", errand), m.Trouble(errand, reason))

    async def _repeat(self, errand: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Does an errand whenever there may be something to do."""
        while True:
            try:
                worked = await self._patiently(errand, work)
            except NotYetError:
                worked = False
            if not worked:
                await self._change_within(_LOOK_EVERY_S)
            await self._clock.sleep(_BREATH_S)

    async def _change_within(self, seconds: float) -> None:
        """Waits until there may be something to do, but no longer than this."""
        changed = self._changed
        async with anyio.create_task_group() as either:
            either.start_soon(self._cancel_after, seconds, either.cancel_scope)
            await changed.wait()
            either.cancel_scope.cancel()

    async def _cancel_after(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(seconds)
        scope.cancel()

    async def _patiently(self, errand: str, work: Callable[[], Awaitable[R]]) -> R:
        """Until it works; what stands in the way is told meanwhile, also while the next try has to wait."""
        while True:
            try:
                result = await work()
            except TROUBLE as error:
                pause = _RETRY_S[min(self._failures[errand], len(_RETRY_S) - 1)]
                self._failures[errand] += 1
                self._tell(errand, str(error))
                await self._clock.sleep(pause)
            else:
                if self._failures.pop(errand, 0):
                    self._tell(errand, None)
                return result
