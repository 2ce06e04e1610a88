"""A cluster with a scheduler: takes orders, asks seldom, and tells each workflow what became of its own.

What evidence proves is decided in `penstock.clusters.tracking`, what is to be done in `scheduler_book`;
`scheduler_loops` fetches and carries out. The actor holds them together and speaks with workflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from penstock.actors import scheduler_messages as m
from penstock.actors.board import Board, Connection
from penstock.actors.call_log import CallLog
from penstock.actors.clock import Clock
from penstock.actors.cluster_port import (
    Attach,
    Cancel,
    ClusterMessage,
    ClusterRestarted,
    Detach,
    Forget,
    Resolve,
    Submit,
)
from penstock.actors.mailbox import Ref
from penstock.actors.scheduler_book import Book
from penstock.actors.scheduler_link import Link
from penstock.actors.scheduler_loops import Loops
from penstock.actors.scheduler_view import describe, doubt, report
from penstock.actors.supervisor import Actor
from penstock.clusters.scheduler import JobRow, Limits, Placed, QueueView, Refused, Scheduler, Submitted
from penstock.clusters.shell import Shell
from penstock.clusters.spool import Line
from penstock.clusters.tracking import Stage, Tracked
from penstock.domain.budget import Queueing
from penstock.domain.ids import is_ulid
from penstock.domain.submission import AttemptSeen, Observed, Seen
from penstock.domain.views import ClusterInfo

_LATER_S: Final = (30.0, 60.0, 120.0, 300.0, 600.0)  # after the scheduler took no more for now
_FULL: Final = "submit more"
_PIN_EVERY_S: Final = 0.2
_WIDTH_MAX: Final = 1000

Owners = dict[str, Ref[Any]]
ShellMaker = Callable[[], Shell]


class SchedulerCluster(Actor[m.SchedulerMessage]):
    """The actor. `owners` outlives it, so that a restart can ask every workflow to attach again."""

    def __init__(
        self,
        me: Ref[Any],
        config: m.SchedulerConfig,
        way: tuple[ShellMaker, Scheduler],
        clock: Clock,
        board: Board,
        owners: Owners,
    ) -> None:
        self.config = config
        self.book = Book()
        self.view = QueueView(())
        self.troubles: dict[str, str] = {}
        self.connected_since: float | None = None
        calls = board.calls.setdefault(config.name, CallLog(clock))
        self.link = Link(way[0](), way[1], calls, config.command_timeout_s)
        if config.host:
            before = board.connections.get(config.name)
            board.connections[config.name] = Connection(lambda: self.link.shell.way, before)
        self.loops = Loops(me, config, self.link, self.book, clock)
        self._clock = clock
        self._board = board
        self._owners = owners
        self._refused_for_now = 0
        self._told_whole: set[str] = set()  # their owners know that nothing more will come
        self._pinned_at = -_PIN_EVERY_S
        self._pin_due = False
        self._told_state = ""
        self._log = structlog.get_logger().bind(cluster=config.name)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Connects, and asks known workflows to attach."""
        self._call_owners()
        self._pin()
        self.tasks.start_soon(self.loops.run, self.tasks)

    async def stopped(self) -> None:
        """Lets go of the connection; what runs goes on."""
        await self.link.shell.close()

    async def handle(self, message: m.SchedulerMessage) -> object:
        """One message."""
        match message:
            case m.Report():
                return report(self, self._board, self._clock)
            case Submit() | Attach() | Detach() | Cancel() | Forget() | Resolve():
                self._obey(message)
            case m.Reconfigure(config):
                self.config = config
                self.loops.configure(config)
                self._pin_queueing(self.loops.limits)
            case m.Ready():
                self._ready(message)
            case m.Trouble(errand, reason):
                self._note_trouble(errand, reason)
            case m.Fetched(ulid, positions):
                if (tracked := self.book.tracked.get(ulid)) is not None:
                    self._pass_on(tracked, self.book.fetched(ulid, positions))
            case _:
                self._weigh(message)
        self._pin()
        self.loops.wake()
        return None

    def _call_owners(self) -> None:
        for owner in self._owners.values():
            owner.post(("restarted", self.config.name), ClusterRestarted(self.config.name))

    def _ready(self, message: m.Ready) -> None:
        self.connected_since = self._clock.time()
        self._pin_queueing(message.limits)
        self._call_owners()  # now that its limits are known, they may submit

    def _pin_queueing(self, limits: Limits | None) -> None:
        """Tells workflows how much goes at once."""
        if limits is None:
            return
        widths = [width for width in (self.config.width_max, limits.width_max) if width]
        jobs = [most for most in (self.config.jobs_max, limits.submit_max, limits.jobs_max) if most]
        self.loops.submissions.jobs_max = most = min(jobs, default=0)
        self._board.limits[self.config.name] = limits
        share = max(1, most // max(1, len(self._owners))) if most else None  # nobody's order is wider than its share
        self._board.queueing[self.config.name] = Queueing(min([*widths, _WIDTH_MAX]), share, self.config.options)

    # ---- what workflows want ----------------------------------------------------------------------------------------

    def _obey(self, message: ClusterMessage) -> None:
        now = self._clock.time()
        match message:
            case Submit(submission, manifest):
                self.book.add(submission, manifest, now)
            case Attach():
                self._attach(message)
                self._pin_queueing(self.loops.limits)
            case Detach(workflow_id):
                self._owners.pop(workflow_id, None)
                self._pin_queueing(self.loops.limits)
            case Cancel(ulid, attempts):
                if (said := self.book.cancel(ulid, set(attempts))) is not None:
                    self._tell(*said)
            case Forget(ulid):
                self.book.forget(ulid)
                self._told_whole.discard(ulid)
                self._board.notes.pop(ulid, None)
                self._board.doubts.pop(ulid, None)
            case Resolve(ulid, verdicts):
                if (tracked := self._judge(ulid, Tracked.resolve, verdicts, now)) is not None:
                    # should the person be wrong, the old job must not run beside the new one
                    self.book.kill(tracked, {n % tracked.submission.width for n in verdicts})

    def _attach(self, message: Attach) -> None:
        self._owners[message.workflow_id] = message.owner
        for submission in message.open:
            tracked = self.book.tracked.get(submission.ulid)
            if tracked is None:
                known = submission.ulid in message.acknowledged
                now = self._clock.time()
                self.book.tracked[submission.ulid] = Tracked(submission, Stage.FINDING, now, acknowledged=known)
            else:
                tracked.submission = submission
                self._pass_on(tracked, self.book.story(tracked), again=True)

    # ---- evidence ---------------------------------------------------------------------------------------------------

    def _weigh(self, evidence: m.Evidence) -> None:
        """Hands evidence to the submissions it speaks of."""
        now = self._clock.time()
        match evidence:
            case m.News(journals):
                for ulid, grown in _by_task(journals).items():
                    self._judge(ulid, Tracked.take_journals, grown, now)
            case m.Files(files, answers, asked_at):
                patience = self.loops.patience()
                for ulid, found in files.items():
                    answer = answers.get(ulid)
                    self._judge(ulid, Tracked.take_files, found, answer, asked_at, now, patience)
            case m.Accounts(ulids, rows, asked_at):
                patience, by_ulid = self.loops.patience(), _by_ulid(rows)
                for ulid in ulids:
                    own = by_ulid.get(ulid, [])
                    self._judge(ulid, Tracked.take_accounts, own, asked_at, now, patience)
            case m.Buried(ulid, holders):
                if (tracked := self._judge(ulid, Tracked.take_burial, holders, now)) is not None:
                    self._follow_burial(tracked, holders)
            case m.Answered(ulid, answer):
                self._take_answer(self.book.tracked.get(ulid), answer, now)
            case m.Queue():
                self._take_queue(evidence, now)

    def _judge(self, ulid: str, take: Callable[..., dict[int, AttemptSeen]], *evidence: Any) -> Tracked | None:
        """Tells what evidence says of a submission; None where it is none of ours (any more)."""
        tracked = self.book.tracked.get(ulid)
        if tracked is not None:
            before = (tracked.job_id, tracked.stage)
            self._tell(tracked, take(tracked, *evidence))
            if before[0] is None and tracked.job_id is not None:
                self._tell_placed(tracked, is_found=before[1] is Stage.FINDING)
        return tracked

    def _follow_burial(self, tracked: Tracked, holders: dict[int, str]) -> None:
        self.book.bury(tracked, holders)
        if (reason := tracked.failed_submission) is not None:
            self._hold(reason)

    def _take_answer(self, tracked: Tracked | None, answer: Submitted | None, now: float) -> None:
        if tracked is None:
            return
        if answer is None:
            self._tell(tracked, tracked.take_silence("no answer came to its submission", now))
            return
        self._tell(tracked, tracked.take_answer(answer, now))
        match answer:
            case Placed(job_id):
                if (took_s := self.book.placed_after(tracked.submission.ulid, now)) is not None:
                    self._board.figures.placing_s.observe((self.config.name,), took_s)
                self._refused_for_now = 0
                self._tell_placed(tracked)
                self.troubles.pop(_FULL, None)
                tracked.job_id = job_id  # some of it may have been buried, or cancelled, while it was being submitted
                self.book.kill(tracked, set(tracked.tasks) - set(tracked.open_tasks()))
                if tracked.cancelling:
                    self.book.cancel(tracked.submission.ulid, set(tracked.cancelling))
            case Refused(reason, lasting=False):
                self._hold(reason)

    def _tell_placed(self, tracked: Tracked, *, is_found: bool = False) -> None:
        submission = tracked.submission
        self._log.info(
            "submission found again" if is_found else "submission placed",
            workflow=submission.workflow_id,
            submission=submission.ulid,
            scheduler_job=tracked.job_id,
            jobs=submission.size,
            width=submission.width,
        )

    def _hold(self, reason: str) -> None:
        """Leaves the scheduler alone for a while, the longer the more often it has refused in a row."""
        pause = _LATER_S[min(self._refused_for_now, len(_LATER_S) - 1)]
        self._refused_for_now += 1
        self.loops.submissions.hold(pause)
        self.troubles[_FULL] = f"the scheduler takes no more for now ({reason}); next try in {pause:.0f} s"

    def _take_queue(self, message: m.Queue, now: float) -> None:
        self.view = message.view
        by_ulid = _by_ulid(message.view.rows)
        for ulid, tracked in list(self.book.tracked.items()):
            own = by_ulid.get(ulid, [])
            for row in own:
                self.loops.submissions.nodes.take(row, now)
            self._tell(tracked, tracked.take_queue(own, message.asked_at, now))
            if not tracked.closed:
                self._board.notes[ulid] = tracked.notes()
            self.book.look_whether_killed(tracked, own, message.asked_at)

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _tell(self, tracked: Tracked, news: dict[int, AttemptSeen]) -> None:
        """What is new goes to the owner; the end of what began only when its outputs are here."""
        if self.loops.place is not None and self.loops.place.work is not None:
            begun = {n for task in tracked.tasks.values() for n in task.started}
            ended = {n: seen for n, seen in news.items() if seen.seen is Seen.ENDED and n in begun}
            self.book.hold_back(tracked, ended)
            news = {n: seen for n, seen in news.items() if n not in ended}
        self._pass_on(tracked, news)

    def _pass_on(self, tracked: Tracked, news: dict[int, AttemptSeen], *, again: bool = False) -> None:
        owner = self._owners.get(tracked.submission.workflow_id)
        closed = self.book.is_told_whole(tracked)
        if owner is not None and (news or (closed and (again or tracked.submission.ulid not in self._told_whole))):
            self._told_whole |= {tracked.submission.ulid} if closed else set()
            ulid, refused = tracked.submission.ulid, tracked.refused if closed else None
            owner.post(("observed", ulid), Observed(ulid, news, closed, refused), Observed.merged)

    def _note_trouble(self, errand: str, reason: str | None) -> None:
        if reason is None:
            if self.troubles.pop(errand, None) is not None:
                self._log.info("trouble is over", **_about(errand))
        elif self.troubles.get(errand) != reason:
            self.troubles[errand] = reason
            self._log.warning("trouble with a cluster", **_about(errand), reason=reason)

    def _pin(self) -> None:
        """Everybody sees how things stand, at most a few times a second."""
        now = self._clock.monotonic()
        if now - self._pinned_at < _PIN_EVERY_S:
            if not self._pin_due:
                self._pin_due = True
                self.tasks.start_soon(self._pin_soon)
            return
        self._pinned_at = now
        self._show(describe(self, self._board, self._clock))
        for ulid, tracked in self.book.tracked.items():
            found = doubt(tracked, self.config)
            if found is not None:
                self._board.doubts[ulid] = found
            else:
                self._board.doubts.pop(ulid, None)

    def _show(self, info: ClusterInfo) -> None:
        self._board.clusters[info.name] = info
        if info.state == self._told_state:
            return
        self._told_state = info.state
        if info.state == "up":
            self._log.info("cluster up", host=info.host, version=info.version, connects=info.connects)
        elif info.state == "down":
            self._log.warning("cluster down", host=info.host, reason=info.reason)

    async def _pin_soon(self) -> None:
        """What was too soon to be shown is shown all the same."""
        await self._clock.sleep(_PIN_EVERY_S)
        self._pin_due = False
        self._pin()


def _about(errand: str) -> dict[str, str]:
    """An errand in the log: the submission that it is about apart from it."""
    what, _, about = errand.partition(" ")
    return {"errand": what, "submission": about} if is_ulid(about) else {"errand": errand}


def _by_task(journals: dict[tuple[str, int], list[Line]]) -> dict[str, dict[int, list[Line]]]:
    """The journals of each submission, so that an owner is told of all of them at once."""
    grown: dict[str, dict[int, list[Line]]] = {}
    for (ulid, task), lines in journals.items():
        grown.setdefault(ulid, {})[task] = lines
    return grown


def _by_ulid(rows: tuple[JobRow, ...]) -> dict[str, list[JobRow]]:
    found: dict[str, list[JobRow]] = {}
    for row in rows:
        found.setdefault(row.ulid, []).append(row)
    return found
