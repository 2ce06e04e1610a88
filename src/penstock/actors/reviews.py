"""Reviews of a workflow's job directories: rescan, recompute-metrics, reset-missing; and a person's word on a job.

Worker processes look, a page of jobs a task, and as many pages are out as keep them busy; the workflow's supervisor
commits what they found, a run of jobs in one transaction. So a review that is killed has lost nothing but what was not
committed, and running it again does the rest.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import aiosqlite
import msgspec
import structlog
from anyio.abc import TaskGroup

from penstock.actors.clock import Clock
from penstock.actors.ledger import Ledger
from penstock.actors.mailbox import Answer, Ref
from penstock.actors.worker_tasks import LookAtJobs
from penstock.actors.workers import WorkerLostError, Workers
from penstock.actors.workflow_messages import JobsSeen, SetJob, Touched
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, PenstockError
from penstock.domain.states import WorkflowState
from penstock.domain.views import Selection
from penstock.store import reviews as store_reviews
from penstock.store.events import Event
from penstock.store.resuming import run_if_changed
from penstock.store.reviews import Amendment, Look, ReviewKind, Seen
from penstock.store.selection import RUN_HERE, Where, where_selected
from penstock.store.workflow_store import timestamp

Change = Callable[[aiosqlite.Connection], Awaitable[Amendment]]
_PAGE: Final = 250
_PAGES_OUT: Final = 4  # two for two workers, two that wait for them
_SHOWN: Final = 100
_MOVED_ON: Final = "began meanwhile"
_NUMBERS: Final = itertools.count(1)
_COMMANDS: Final = {
    ReviewKind.RESCAN: "rescan",
    ReviewKind.RECOMPUTE: "recompute-metrics",
    ReviewKind.RESET_MISSING: "reset-missing",
}


class LeftAlone(msgspec.Struct, frozen=True):
    """A job that a review left as it was, and why."""

    job: int
    reason: str
    detail: str


class Reviewed(msgspec.Struct, frozen=True):
    """What a review came to. `left`: how many jobs were left as they were, by reason; `shown`: the first of them."""

    looked_at: int
    changed: int
    unchanged: int
    left: dict[str, int]
    shown: tuple[LeftAlone, ...]


class _Review:
    """A review that is under way."""

    def __init__(self, kind: ReviewKind, where: Where) -> None:
        self.number = next(_NUMBERS)
        self.kind = kind
        self.where = where & store_reviews.where_looked(kind)
        self.answer = Answer()
        self.after = 0  # the last job that was handed out
        self.exhausted = False
        self.pages_out = 0
        self.trouble: Exception | None = None
        self.looked_at = self.changed = self.unchanged = 0
        self.left: Counter[str] = Counter()
        self.shown: list[LeftAlone] = []

    def leave(self, job: int, reason: str, detail: str = "") -> None:
        """Counts a job that stays as it is."""
        self.left[reason] += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(LeftAlone(job, reason, detail))

    def count(self, seen: Sequence[Seen], amendment: Amendment) -> None:
        """Counts jobs that were looked at, and what came of it."""
        self.looked_at += len(seen)
        self.changed += len(amendment.changed)
        self.unchanged += len(amendment.unchanged)
        moved_on = set(amendment.moved_on)
        for one in seen:
            if one.job in moved_on:
                self.leave(one.job, _MOVED_ON)
            elif one.reason:
                self.leave(one.job, one.reason, one.detail)
            elif not one.found:
                self.unchanged += 1

    def result(self) -> Reviewed:
        """What it came to."""
        return Reviewed(self.looked_at, self.changed, self.unchanged, dict(self.left), tuple(self.shown))


class Reviews:
    """At most one review at a time. Everything but the looking is done in the workflow actor's own turn."""

    def __init__(self, me: Ref[Any], ledger: Ledger, workers: Workers, clock: Clock) -> None:
        self._me = me
        self._ledger = ledger
        self._workers = workers
        self._clock = clock
        self._review: _Review | None = None
        self._log = structlog.get_logger().bind(workflow=ledger.workflow_id)

    @property
    def under_way(self) -> bool:
        """Whether a review has not ended."""
        return self._review is not None

    async def begin(self, kind: ReviewKind, selection: Selection, tasks: TaskGroup) -> Answer:
        """Starts a review; ConflictError while another is under way. The answer will be `Reviewed`."""
        workflow_id = self._ledger.workflow_id
        if self._review is not None:
            raise ConflictError(
                f"a {_COMMANDS[self._review.kind]} of workflow {workflow_id} is under way; try again when it has ended"
            )
        if kind is ReviewKind.RESET_MISSING:
            self._ledger.refuse_record()
        where = where_selected(workflow_id, selection) & RUN_HERE
        review = _Review(kind, where)
        reason, barred = store_reviews.where_barred(kind)
        if barred is not None and (jobs := await self._ledger.store.count(where & barred)):
            review.left[reason] = jobs
        self._review = review
        await self._hand_out(review, tasks)
        return review.answer

    async def take(self, news: JobsSeen, tasks: TaskGroup) -> bool:
        """Commits what was found and hands out more; returns whether results changed."""
        review = self._review
        if review is None or news.review != review.number:
            return False  # of a life before this one
        if news.trouble is not None:
            review.trouble, review.exhausted = news.trouble, True
        changed = bool(news.seen) and await self._commit(review, news.seen)
        review.pages_out -= news.done
        await self._hand_out(review, tasks)
        return changed

    def break_off(self) -> None:
        """The workflow's actor ends: whoever waits for a review is told so."""
        if self._review is not None:
            command = f"penstockctl {_COMMANDS[self._review.kind]} {self._ledger.workflow_id}"
            message = f"it broke off after {self._review.looked_at} jobs; say '{command}' again, it will do the rest"
            self._review.answer.fail(BusyError(message))
            self._review = None

    async def set_job(self, word: SetJob) -> Touched:
        """Records a job's state and metrics as somebody gives them; ConflictError for a job that is active."""
        ledger = self._ledger
        where = Where("id = ? AND workflow_id = ?", (word.job, ledger.workflow_id))
        if not await ledger.store.count(where):
            hint = f"see 'penstockctl jobs {ledger.workflow_id}'"
            raise NotFoundError(f"workflow {ledger.workflow_id} has no job {word.job}; {hint}")
        given = {"status": word.state} if word.state else {}
        shown = given | {name: value for name, value in word.columns.items() if value is not None}
        event = Event("job_set", word.job, {"set": shown, "by": word.by, "reason": word.reason})
        columns = word.columns | {"updated_at": timestamp()}
        amendment = await self._amend(lambda db: store_reviews.set_job(db, word.job, word.state, columns, event))
        if amendment.moved_on:
            raise ConflictError(
                f"job {word.job} is active; wait for its end or cancel it: "
                f"penstockctl cancel {ledger.workflow_id} --job {word.job}"
            )
        await self._reconsider()
        return Touched(1)

    # ---- the way of a page ------------------------------------------------------------------------------------------

    async def _hand_out(self, review: _Review, tasks: TaskGroup) -> None:
        """Keeps so many pages out that no worker waits; when all have come back, the review has ended."""
        while review.pages_out < _PAGES_OUT and not review.exhausted:
            looks = await store_reviews.page(self._ledger.store.fetch, review.kind, review.where, review.after, _PAGE)
            review.exhausted = len(looks) < _PAGE
            if looks:
                review.after = looks[-1].job
                review.pages_out += 1
                tasks.start_soon(self._look, review, looks)
        if review.exhausted and not review.pages_out:
            await self._conclude(review)

    async def _look(self, review: _Review, looks: list[Look]) -> None:
        """A task of its own: has a page looked at, and reports what was found as it comes."""
        trouble: Exception | None = None
        try:
            while looks:
                seen = await self._ask_workers(review.kind, looks)
                looks = looks[len(seen) :]
                self._tell(review, seen, done=not looks)
        except PenstockError as error:
            trouble = error
        if trouble is not None:
            self._tell(review, [], done=True, trouble=trouble)

    def _tell(self, review: _Review, seen: list[Seen], *, done: bool, trouble: Exception | None = None) -> None:
        self._me.post(("seen", review.number, next(_NUMBERS)), JobsSeen(review.number, seen, done, trouble))

    async def _ask_workers(self, kind: ReviewKind, looks: list[Look]) -> list[Seen]:
        """Outputs that take their reader down are found by halving."""
        ledger = self._ledger
        engine, parameters = ledger.spec.engine_name, ledger.row.parameters.encode()
        try:
            return await self._workers.run(LookAtJobs(kind, engine, parameters, str(ledger.directory), looks))
        except WorkerLostError as error:
            self._log.warning("worker lost over job directories", jobs=len(looks), error=str(error))
            if len(looks) == 1:
                look = looks[0]
                detail = f"{look.directory}: {error}"
                return [Seen(look.job, look.attempts, look.directory, found=False, reason="unreadable", detail=detail)]
        return await self._ask_workers(kind, looks[: len(looks) // 2])

    async def _commit(self, review: _Review, seen: list[Seen]) -> bool:
        if review.kind is ReviewKind.RESET_MISSING and any(one.found for one in seen):
            await self._run_again()
        amendment = await self._amend(self._change(review.kind, seen))
        review.count(seen, amendment)
        return bool(amendment.changed)

    async def _amend(self, change: Change) -> Amendment:
        """Carries out a change of rows. Where something is derived from results, that is done anew for other ones."""
        ledger = self._ledger
        if not ledger.derived or ledger.state not in (WorkflowState.COMPLETED, WorkflowState.FAILED):
            amendment, events = await ledger.store.amend(change)
        else:
            amendment, events = await ledger.store.amend(partial(run_if_changed, change, ledger.workflow_id))
            if amendment.changed:
                ledger.note_running()
        ledger.emit(events)
        return amendment

    def _change(self, kind: ReviewKind, seen: list[Seen]) -> Change:
        workflow_id, cluster = self._ledger.workflow_id, self._ledger.spec.cluster
        now = self._clock.time()
        match kind:
            case ReviewKind.RESCAN:
                return lambda db: store_reviews.adopt(db, workflow_id, cluster, seen, now, timestamp())
            case ReviewKind.RECOMPUTE:
                return lambda db: store_reviews.recompute(db, workflow_id, seen, timestamp())
            case ReviewKind.RESET_MISSING:
                return lambda db: store_reviews.reset_missing(db, seen, timestamp())

    async def _run_again(self) -> None:
        """The workflow runs before its jobs are ready: killed in between, it finds that it has ended once more."""
        if self._ledger.state not in (WorkflowState.RUNNING, WorkflowState.PAUSED):
            await self._ledger.set_state(WorkflowState.RUNNING, None)

    async def _conclude(self, review: _Review) -> None:
        self._review = None
        if review.kind is ReviewKind.RESCAN:
            await self._reconsider()
        if review.trouble is not None:
            review.answer.fail(review.trouble)
        else:
            review.answer.give(review.result())

    async def _reconsider(self) -> None:
        """A workflow that had ended may have ended otherwise, by what is known now."""
        ledger = self._ledger
        if ledger.state in (WorkflowState.COMPLETED, WorkflowState.FAILED) or ledger.is_settled_record:
            state, reason = await ledger.verdict()
            if (state, reason) != (ledger.state, ledger.row.reason):
                await ledger.set_state(state, reason)
