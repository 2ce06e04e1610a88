"""The orders of a cluster with a scheduler, as values and decisions: what waits, what is there, what is to be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.scheduler import ACTIVE, JobRow
from penstock.clusters.tracking import Patience, Stage, Tracked
from penstock.domain.submission import AttemptSeen, Submission

_KILL_AGAIN_S: Final = 30.0
_KILL_AGAIN_MAX_S: Final = 1800.0
_ASKED_ABOUT: Final = (Stage.PLACED, Stage.DOUBT, Stage.MISSING)


class Book:
    """What the actor knows and its loops work off. All of it can be rebuilt from workflows and spool."""

    def __init__(self) -> None:
        self.tracked: dict[str, Tracked] = {}
        self.waiting: dict[str, bytes] = {}  # manifests of what has not left yet
        self.forgotten: set[str] = set()  # whose traces are to be removed
        self.marks: dict[str, set[int]] = {}  # attempts of which word is to be left that they shall end
        self.unfetched: dict[str, dict[int, AttemptSeen]] = {}  # ended, and their outputs are still there
        self._handed_at: dict[str, float] = {}  # of orders that the scheduler has not taken yet
        self._killing: dict[str, _Kill] = {}  # what the scheduler is to end
        self._lingering: set[str] = set()  # forgotten, but the scheduler has still to end some of it

    # ---- what waits and what is there -------------------------------------------------------------------------------

    def add(self, submission: Submission, manifest: bytes, now: float) -> None:
        """Takes an order in; told again, it changes nothing."""
        if submission.ulid not in self.tracked:
            self.tracked[submission.ulid] = Tracked(submission, Stage.WAITING, now)
            self.waiting[submission.ulid] = manifest
            self._handed_at[submission.ulid] = now

    def placed_after(self, ulid: str, now: float) -> float | None:
        """How long ago an order that has just been placed was handed over, in s; None where nobody knows any more."""
        handed_at = self._handed_at.pop(ulid, None)
        return None if handed_at is None else now - handed_at

    def next_order(self, jobs_max: int) -> str | None:
        """The order to go next: highest priority, then the workflow with least there, then the oldest.

        None when there is none that has room; one that is larger than all room goes when nothing else is there.
        """
        if not self.waiting:
            return None
        here: Counter[str] = Counter()
        for tracked in self.tracked.values():
            if tracked.stage is not Stage.WAITING:
                here[tracked.submission.workflow_id] += len(tracked.open_tasks())
        waiting = [self.tracked[ulid].submission for ulid in self.waiting]
        if jobs_max and (there := here.total()):
            waiting = [submission for submission in waiting if submission.width <= jobs_max - there]
        best = min(waiting, key=lambda s: (-s.priority, here[s.workflow_id], s.ulid), default=None)
        return best.ulid if best else None

    def out(self) -> list[str]:
        """The submissions that have left us."""
        return [ulid for ulid, tracked in self.tracked.items() if tracked.stage is not Stage.WAITING]

    def asked_about(self) -> list[Tracked]:
        """Those of which the scheduler may know something."""
        return [tracked for tracked in self.tracked.values() if tracked.stage in _ASKED_ABOUT]

    def is_urgent(self, now: float, patience: Patience) -> bool:
        """Whether something hangs on the next query."""
        fresh = any(now < kill.again_at for kill in self._killing.values() if kill.is_fresh)
        return fresh or any(tracked.wants(now, patience).queue for tracked in self.tracked.values())

    @property
    def has_questions(self) -> bool:
        """Whether the scheduler is to be asked at all."""
        return bool(self._killing) or bool(self.asked_about())

    def forget(self, ulid: str) -> None:
        """Its ends are recorded."""
        self.waiting.pop(ulid, None)
        self._handed_at.pop(ulid, None)
        self.marks.pop(ulid, None)
        self.forgotten.add(ulid)
        if ulid in self._killing:
            self._lingering.add(ulid)
        else:
            self.tracked.pop(ulid, None)

    # ---- ending what shall end --------------------------------------------------------------------------------------

    def cancel(self, ulid: str, positions: set[int]) -> tuple[Tracked, dict[int, AttemptSeen]] | None:
        """These attempts shall end. The submission and what that says of it at once; None when there is none."""
        tracked = self.tracked.get(ulid)
        if tracked is None or tracked.closed:
            return None
        if tracked.stage is Stage.WAITING:
            tracked.cancelling |= positions
            if len(tracked.cancelling) < tracked.submission.size:
                return None
            del self.waiting[ulid]
            return tracked, tracked.drop()
        whole, _ = tracked.cancel(positions)
        self.marks.setdefault(ulid, set()).update(positions)
        self.kill(tracked, whole)
        return None

    def bury(self, tracked: Tracked, holders: dict[int, str]) -> None:
        """What can never run need not wait in the queue."""
        if tracked.job_id is not None:
            self.kill(tracked, [k for k, holder in holders.items() if holder == TOMBSTONE])

    def kill(self, tracked: Tracked, tasks: Iterable[int]) -> None:
        """The scheduler is to end these tasks, and not to start them."""
        if wanted := set(tasks):
            self._killing.setdefault(tracked.submission.ulid, _Kill()).tasks.update(wanted)

    def due_to_be_killed(self, now: float) -> dict[str, list[tuple[str, tuple[int, ...] | None]]]:
        """What to tell the scheduler to end, by ulid: job ids, and tasks or None for all."""
        due = {}
        for ulid, kill in self._killing.items():
            jobs = self.tracked[ulid].jobs_of(kill.tasks)
            if jobs and now >= kill.again_at:
                due[ulid] = jobs
        return due

    def told_to_kill(self, ulids: Iterable[str], now: float) -> None:
        """The scheduler has been told; it is told again, ever more seldom."""
        for ulid in ulids:
            if (kill := self._killing.get(ulid)) is not None:
                kill.told(now)

    def is_killing(self, ulid: str, task: int) -> bool:
        """Whether the scheduler is to end the task."""
        return ulid in self._killing and task in self._killing[ulid].tasks

    def look_whether_killed(self, tracked: Tracked, rows: Sequence[JobRow], asked_at: float) -> None:
        """Drops what the scheduler was to end once it shows nothing of it that could still do anything."""
        ulid = tracked.submission.ulid
        kill = self._killing.get(ulid)
        if kill is None or (tracked.job_id is not None and asked_at <= kill.told_at):
            return
        alive = {k for row in rows if row.phase in ACTIVE for k in row.tasks}
        kill.tasks = {k for k in kill.tasks if k in alive or tracked.open_positions(tracked.tasks[k])}
        if not kill.tasks:
            del self._killing[ulid]
            if ulid in self._lingering:
                self._lingering.remove(ulid)
                del self.tracked[ulid]

    # ---- outputs ----------------------------------------------------------------------------------------------------

    def hold_back(self, tracked: Tracked, ended: dict[int, AttemptSeen]) -> None:
        """These ends are told when their outputs are here."""
        if ended:
            self.unfetched.setdefault(tracked.submission.ulid, {}).update(ended)

    def fetched(self, ulid: str, positions: Iterable[int]) -> dict[int, AttemptSeen]:
        """Their outputs are here: what is to be told now."""
        unfetched = self.unfetched.get(ulid, {})
        news = {n: unfetched.pop(n) for n in positions if n in unfetched}
        if not unfetched:
            self.unfetched.pop(ulid, None)
        return news

    def is_told_whole(self, tracked: Tracked) -> bool:
        """Whether nothing more will come of it."""
        return tracked.closed and tracked.submission.ulid not in self.unfetched

    def story(self, tracked: Tracked) -> dict[int, AttemptSeen]:
        """All that may be told of it."""
        unfetched = self.unfetched.get(tracked.submission.ulid, {})
        return {n: seen for n, seen in tracked.told.items() if n not in unfetched}


class _Kill:
    """What of a submission the scheduler is to end, and when it was told."""

    def __init__(self) -> None:
        self.tasks: set[int] = set()
        self.told_at = float("inf")  # never yet
        self.again_at = 0.0
        self._pause_s = _KILL_AGAIN_S

    @property
    def is_fresh(self) -> bool:
        """Whether it is worth looking soon whether it has helped."""
        return self._pause_s <= 4 * _KILL_AGAIN_S

    def told(self, now: float) -> None:
        """The scheduler has been told."""
        self.told_at, self.again_at = now, now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _KILL_AGAIN_MAX_S)
