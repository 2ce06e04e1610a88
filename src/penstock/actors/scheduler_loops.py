"""The loops of a cluster with a scheduler: each fetches one kind of evidence, or carries out one kind of decision.

Each is a task of its own, so that a command that hangs holds up nothing but its like. What they find goes to the actor
as messages; what stands in their way is told, and tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.abc

from penstock.actors import scheduler_messages as m
from penstock.actors.call_budget import Budget, QueryBudget
from penstock.actors.clock import Clock
from penstock.actors.mailbox import Ref
from penstock.actors.scheduler_book import Book
from penstock.actors.scheduler_link import TROUBLE, Link, Place
from penstock.actors.scheduler_submissions import Submissions
from penstock.clusters.order_files import is_warm
from penstock.clusters.scheduler import Limits, RateLimitedError
from penstock.clusters.tracking import Patience, Tracked
from penstock.domain.errors import ClusterError
from penstock.domain.ids import ulid_time_s
from penstock.files.threads import SilentError, refuse_silent, where_is

R = TypeVar("R")
S = TypeVar("S")
_LOOK_EVERY_S: Final = 1.0
_BREATH_S: Final = 0.05
_RETRY_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_ACCOUNTS_AT_ONCE: Final = 200
_READ_AT_ONCE: Final = 200
_MARGIN_S: Final = 600.0
_SUBMITS_AT_ONCE: Final = 30.0  # what Slurm's own limiter grants, before it slows to two a second
_FORGOTTEN_S: Final = 30 * 24 * 3600.0


class NotYetError(Exception):
    """There is something to do, but it has to wait: nothing is known of how it would go."""


async def _each(subjects: Iterable[S], do: Callable[[S], Awaitable[None]]) -> None:
    """Does it for each; one's trouble is not another's, and is raised when all have had their turn."""
    trouble: Exception | None = None
    for subject in list(subjects):
        try:
            await do(subject)
        except TROUBLE as error:
            trouble = trouble or error
    if trouble is not None:
        raise trouble


class Loops:
    """They read the book and never write it but for what they have carried out."""

    def __init__(self, me: Ref[Any], config: m.SchedulerConfig, link: Link, book: Book, clock: Clock) -> None:
        self.link = link
        self.place: Place | None = None
        self.limits: Limits | None = None
        self.submissions = Submissions(me, self, book, clock)
        self._me = me
        self._book = book
        self._clock = clock
        self._changed = anyio.Event()
        self._failures: Counter[str] = Counter()  # in a row, by errand
        self._fetching: set[str] = set()  # file systems to which outputs are being brought
        self._query_waits_since: float | None = None  # for the budget
        self.configure(config)

    def configure(self, config: m.SchedulerConfig) -> None:
        """New rates."""
        now = self._clock.monotonic()
        self.config = config
        self.queries = QueryBudget(config.queries_idle_per_min, config.queries_active_per_min, now)
        self.submissions.budget = Budget(config.submits_per_min, now, _SUBMITS_AT_ONCE)
        self.link.calls.budgets = {"query": self.queries, "submit": self.submissions.budget}

    def wake(self) -> None:
        """There may be something to do."""
        self._changed.set()
        self._changed = anyio.Event()

    async def change(self) -> None:
        """Waits until there may be something to do."""
        await self._changed.wait()

    def patience(self) -> Patience:
        """How long to wait before absence means something."""
        has_accounting = self.limits is not None and self.limits.has_accounting
        return Patience(self.config.grace_s, self.config.lag_s, has_accounting)

    async def run(self, tasks: anyio.abc.TaskGroup) -> None:
        """Reads the spool as soon as it is reached, whatever the scheduler does; then everything else begins."""
        self.place = await self.patiently("reach the spool", self._reach_spool)
        await self.patiently("sweep the spool", self._sweep)
        tasks.start_soon(self._listen)
        tasks.start_soon(self._repeat, "keep the spool", self._keep_spool)
        tasks.start_soon(self._repeat, "fetch outputs", partial(self._fetch, tasks))
        self.limits = await self.patiently("ask for the limits", self.link.read_limits)
        self._me.post("ready", m.Ready(self.place, self.limits))
        tasks.start_soon(self._repeat, "ask the scheduler", self._ask_scheduler)
        tasks.start_soon(self._repeat, "cancel", self._end_what_shall_end)
        tasks.start_soon(self.submissions.run, tasks)

    async def _reach_spool(self) -> Place:
        found = await self.link.prepare(self.config.spool)
        work = self.config.work
        if work is not None and not work.startswith("/"):
            work = f"{found.home}/{work}"
        return Place(found.spool, work, found.host)

    async def _sweep(self) -> None:
        """What a kill between the last word and its removal has left, once nobody can need it any more."""
        long_ago = self._clock.time() - _FORGOTTEN_S
        left = await self.link.inventory(self._spool)
        self._book.forgotten |= {u for u in left if u not in self._book.tracked and ulid_time_s(u) < long_ago}

    # ---- the spool --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Lists the spool: often while something of ours may happen there, not at all otherwise."""
        failures = 0
        while True:
            if not self._book.out():
                await self._changed.wait()
                continue
            pause = self.config.listing_s
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
                    await self.patiently("read the spool", self._read_all)  # hints may have been taken and lost
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
        buried = [(ulid, wanted.bury) for ulid, wanted in wants.items() if wanted.bury]
        await _each(buried, self._bury)
        # what says that a submission has been made stays until nobody can try to make it again
        if forgotten := sorted(self._book.forgotten - self.submissions.leaving)[:_READ_AT_ONCE]:
            await self.link.forget(self._spool, forgotten)
            self._book.forgotten.difference_update(forgotten)
        return any(wanted.files or wanted.bury for wanted in wants.values()) or bool(forgotten)

    async def _bury(self, wanted: tuple[str, tuple[int, ...]]) -> None:
        ulid, tasks = wanted
        if (tracked := self._book.tracked.get(ulid)) is not None:
            holders = await self.link.bury(self._spool, ulid, tasks, warm=is_warm(tracked.submission))
            self._me.post(("buried", ulid, tasks), m.Buried(ulid, holders))

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

    async def _fetch(self, tasks: anyio.abc.TaskGroup) -> bool:
        """Has the outputs of ended attempts brought here, to each file system by itself: one of them may hang."""
        begun = self._unfetched().keys() - self._fetching
        for where in begun:
            self._fetching.add(where)
            tasks.start_soon(self._fetch_to, where)
        return bool(begun)

    def _unfetched(self) -> dict[str, dict[str, list[str]]]:
        """By file system and workflow: submissions whose outputs are to be brought here."""
        found: dict[str, dict[str, list[str]]] = {}
        for ulid in self._book.unfetched:
            if (tracked := self._book.tracked.get(ulid)) is not None:
                submission = tracked.submission
                there = found.setdefault(where_is(submission.workflow_dir), {})
                there.setdefault(submission.workflow_id, []).append(ulid)
        return found

    async def _fetch_to(self, where: str) -> None:
        """One stream for each workflow, one after another."""

        async def fetch() -> None:
            await _each(self._unfetched().get(where, {}).values(), self._fetch_outputs)

        try:
            await self.patiently(f"fetch outputs to {where}", fetch)
        finally:
            self._fetching.discard(where)

    async def _fetch_outputs(self, ulids: list[str]) -> None:
        """Those of one workflow."""
        assert self.place is not None
        ended = {ulid: tuple(self._book.unfetched.get(ulid, ())) for ulid in ulids if ulid in self._book.tracked}
        submissions = {ulid: self._book.tracked[ulid].submission for ulid in ended}
        names = [
            f"{submission.directories[n]}/{name}"
            for ulid, submission in submissions.items()
            for n in ended[ulid]
            for name in submission.outputs
        ]
        for submission in list(submissions.values())[:1]:
            await self._refuse_silent(submission.workflow_dir)
            there = self.place.workflow_dir(submission.workflow_id, submission.workflow_dir)
            await self.link.fetch(there, names, Path(submission.workflow_dir))
        for ulid, positions in ended.items():
            self._me.post(("fetched", ulid, *positions), m.Fetched(ulid, positions))

    async def _refuse_silent(self, directory: str) -> None:
        """ClusterError where outputs would be waited for by a session to the cluster, which others need."""
        try:
            with self._clock.busy():
                await refuse_silent(directory)
        except SilentError as error:
            raise ClusterError(str(error), transient=True) from error

    # ---- the scheduler ----------------------------------------------------------------------------------------------

    async def _ask_scheduler(self) -> bool:
        """One query for everything, and the accounts for what the queue does not know."""
        now, patience = self._clock.time(), self.patience()
        if not self._book.has_questions:
            self._note_wait(waits=False)
            return False
        accounts = [t.submission.ulid for t in self._book.asked_about() if t.wants(now, patience).accounts]
        if accounts and not patience.has_accounting:
            self._me.post(("accounts", now), m.Accounts(tuple(accounts), (), now))
            return True
        urgent = self._book.is_urgent(now, patience)
        has_to_wait = self.queries.wait_s(self._clock.monotonic(), urgent=urgent) > 0
        self._note_wait(waits=has_to_wait and urgent)
        if has_to_wait:
            raise NotYetError
        if accounts:
            await self._ask_accounts(accounts[:_ACCOUNTS_AT_ONCE])
        else:
            await self._ask_queue()
        return True

    def _note_wait(self, *, waits: bool) -> None:
        """Takes down how long a query that somebody needs has waited for its budget since this was last asked."""
        now = self._clock.monotonic()
        if self._query_waits_since is not None:
            self.link.calls.record_wait("query", now - self._query_waits_since)
        self._query_waits_since = now if waits else None

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
        self.link.calls.record_spent("query")
        try:
            answer = await query()
        except RateLimitedError:
            self.queries.answered(self._clock.monotonic() - began, complained=True)
            raise
        self.queries.answered(self._clock.monotonic() - began, complained=False)
        return answer

    async def _end_what_shall_end(self) -> bool:
        """Leaves word in the spool first, so that what is ended knows why; then tells the scheduler, in one call."""
        marked = [ulid for ulid, positions in self._book.marks.items() if positions]
        await _each(marked, self._mark)
        self._book.marks = {ulid: positions for ulid, positions in self._book.marks.items() if positions}
        due = self._book.due_to_be_killed(self._clock.time())
        if due:
            await self.link.cancel([job for jobs in due.values() for job in jobs])
            self._book.told_to_kill(due, self._clock.time())
        return bool(marked) or bool(due)

    async def _mark(self, ulid: str) -> None:
        tracked = self._book.tracked.get(ulid)
        positions = set(self._book.marks.get(ulid, ()))
        if tracked is not None:
            await self.link.mark_cancelled(self._spool, ulid, sorted(positions), warm=is_warm(tracked.submission))
            await self._signal_parts(tracked, positions)
        self._book.marks.get(ulid, set()).difference_update(positions)  # more may have come, or it may be forgotten

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
                worked = await self.patiently(errand, work)
            except NotYetError:
                worked = False
            if not worked:
                await self.change_within(_LOOK_EVERY_S)
            await self._clock.sleep(_BREATH_S)

    async def change_within(self, seconds: float) -> None:
        """Waits until there may be something to do, but no longer than this."""
        changed = self._changed
        async with anyio.create_task_group() as either:
            either.start_soon(self._cancel_after, seconds, either.cancel_scope)
            await changed.wait()
            either.cancel_scope.cancel()

    async def _cancel_after(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(seconds)
        scope.cancel()

    async def patiently(self, errand: str, work: Callable[[], Awaitable[R]]) -> R:
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
