"""What is known of a submission at a scheduler, and what that proves: the submission protocol as decisions, no I/O.

Evidence comes from four sides: the answer of the submission itself, the spool (claims and journals), the live queue and
the accounts. Each is handed in by a `take_*` method, which returns what it newly says of the attempts; `wants` says
which evidence is needed next. The rules, in order of weight:

- What a journal says counts. What has ended stays ended.
- A task that nobody claimed can be buried (its claim taken as a tombstone): then it never ran and never will.
- A terminal state at the scheduler counts only after the journal has been read once more.
- Absence from the queue proves nothing about a task that has begun. It stays in doubt until accounts or a person settle
  it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.remote_spool import SubmissionFiles
from penstock.clusters.scheduler import ACTIVE, JobRow, Phase, Placed, Refused, Submitted
from penstock.clusters.spool import Barred, End, Finish, Host, Line, Start
from penstock.clusters.task import (
    ABSENT_LOOKS,
    Task,
    described,
    exit_without_a_word,
    lost,
    not_run,
    resolved,
    span,
    unclaimed_end,
)
from penstock.domain.calculation import Exit
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Seen, Submission

_HOPELESS_LOOKS: Final = 2
_ENDED: Final = frozenset({Seen.ENDED, Seen.NOT_RUN})
CANCELLED_FIRST: Final = "cancelled before it started"


class Stage(StrEnum):
    """How far a submission has come."""

    WAITING = "waiting"  # it has not left us
    FINDING = "finding"  # from an earlier life: the spool will tell
    MISSING = "missing"  # the spool knows nothing of it; the queue will tell
    SUBMITTING = "submitting"  # it has left; nobody knows yet
    PLACED = "placed"  # the scheduler has it
    DOUBT = "doubt"  # nobody can say whether the scheduler has it
    ENDED = "ended"


class Patience(msgspec.Struct, frozen=True):
    """How long to wait before absence means something, in seconds.

    `grace_s`: for queue, accounts and spool to know of a submission. `lag_s`: for what a compute node wrote to be seen
    from here, after the scheduler called its job over (NFS keeps old listings for up to a minute).
    """

    grace_s: float
    lag_s: float
    has_accounting: bool


class Wants(msgspec.Struct, frozen=True):
    """The evidence a submission needs next. `bury` are tasks whose claims are to be taken as tombstones."""

    files: bool = False
    queue: bool = False  # soon; otherwise now and then
    accounts: bool = False
    bury: tuple[int, ...] = ()


class Tracked:
    """One submission."""

    def __init__(self, submission: Submission, stage: Stage, now: float, *, acknowledged: bool = False) -> None:
        self.submission = submission
        self.stage = stage
        self.stage_since = now
        self.job_id: str | None = None
        self.refused: str | None = None
        self.duplicates = 0
        self.told: dict[int, AttemptSeen] = {}
        self.cancelling: set[int] = set()
        self.doubt_reason = ""
        self.attention = True  # whether `wants` may have something to say
        self._open = submission.size
        self.tasks = {
            k: Task(range(k, submission.size, submission.width)) for k in range(min(submission.width, submission.size))
        }
        self._files_wanted = stage is Stage.FINDING
        self._accounts_wanted = False
        self._empty_looks = 0  # how often the queue was asked in vain since the doubt began
        self._acknowledged = acknowledged  # an earlier life was told that the scheduler has it
        self._is_spool_missing = False  # the spool knows nothing of what the scheduler has, or had
        self._failed_submission = ""  # what was said when submitting seemed to fail

    # ---- what is known ----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether every attempt has come to its end."""
        return self._open == 0

    def open_positions(self, task: Task) -> list[int]:
        """The attempts of a task that have not ended."""
        return [n for n in task.positions if not self._has_ended(n)]

    def _has_ended(self, position: int) -> bool:
        return position in self.told and self.told[position].seen in _ENDED

    def jobs_of(self, tasks: Iterable[int]) -> list[tuple[str, tuple[int, ...] | None]]:
        """The jobs at the scheduler that work through tasks, or would: their ids, and these tasks or None for all.

        Mostly one; a submission that seemed to fail may have made two, and one of them holds the claim.
        """
        wanted = set(tasks)
        held: dict[str, set[int]] = {self.job_id: set(wanted)} if self.job_id is not None else {}
        for k in wanted:
            if (holder := self.tasks[k].holder) is not None:
                held.setdefault(holder, set()).add(k)
        return [(job, None if len(own) == len(self.tasks) else tuple(sorted(own))) for job, own in held.items()]

    def open_tasks(self) -> list[int]:
        """The tasks with such attempts."""
        return [k for k, task in self.tasks.items() if self.open_positions(task)]

    @property
    def is_spool_missing(self) -> bool:
        """Whether the spool knows nothing of what the scheduler has, or had: then only a person can settle a doubt."""
        return self._is_spool_missing

    @property
    def in_doubt(self) -> bool:
        """Whether nobody can say what became of some of it."""
        return self.stage is Stage.DOUBT or any(self.tasks[k].in_doubt_since is not None for k in self.open_tasks())

    def wants(self, now: float, patience: Patience) -> Wants:
        """What to look at next."""
        wants = Wants()
        if self.attention and self.stage not in (Stage.WAITING, Stage.ENDED):
            tasks = [(k, self.tasks[k]) for k in self.open_tasks()]
            bury = tuple(k for k, task in tasks if task.fate is not None)
            queue = self.stage in (Stage.DOUBT, Stage.MISSING) or any(self._is_urgent(task) for _, task in tasks)
            ended = [task.end_seen_at + patience.lag_s for _, task in tasks if task.end is not None]
            files = self._files_wanted or any(due <= now for due in ended)
            wants = Wants(files, queue, self._accounts_wanted, bury)
            self.attention = wants != Wants() or bool(ended)
        return wants

    def _is_urgent(self, task: Task) -> bool:
        unsure = (task.absent_looks or task.hopeless_looks) and task.in_doubt_since is None
        return bool(unsure) or (self._is_being_cancelled(task) and task.in_doubt_since is None)

    def notes(self) -> dict[int, str]:
        """What is to be said of each attempt that has not ended."""
        notes = {n: self.note(n) for k in self.open_tasks() for n in self.open_positions(self.tasks[k])}
        return {n: note for n, note in notes.items() if note is not None}

    def note(self, position: int) -> str | None:
        """What the scheduler says of an attempt that has not ended; None when it says nothing."""
        task = self.tasks.get(position % self.submission.width)
        if self.stage is Stage.DOUBT or task is None or task.in_doubt_since is not None:
            return self.doubt_reason or None
        row = task.row
        if row is None:
            return None
        reason = f" ({row.reason})" if row.reason and row.reason != "None" else ""
        return f"job {row.job_id}: {row.state}{reason}"

    # ---- evidence ---------------------------------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        """It is being handed to the scheduler."""
        self._to(Stage.SUBMITTING, now)

    def drop(self) -> dict[int, AttemptSeen]:
        """It has not left and never will."""
        return self._tell({n: self._left_over(n, "it was not submitted") for n in range(self.submission.size)})

    def take_answer(self, answer: Submitted, now: float) -> dict[int, AttemptSeen]:
        """The answer to the submission."""
        self.attention = True
        match answer:
            case Placed(job_id):
                return self._place(job_id, now)
            case Refused(reason, lasting):
                self._to(Stage.SUBMITTING, now)
                self.refused = reason if lasting else None
                self._doom(self.open_tasks(), not_run(f"the scheduler refused it: {reason}"))
                return {}
        self._failed_submission = answer.reason
        return self._doubt(f"the answer to its submission is unclear: {answer.reason}", now)

    def take_silence(self, reason: str, now: float) -> dict[int, AttemptSeen]:
        """The submission was begun, and nobody knows how that ended."""
        return self._doubt(reason, now)

    @property
    def failed_submission(self) -> str | None:
        """What was said when it was submitted, where that proved true: it never reached the scheduler."""
        never_came = self.closed and self.job_id is None
        return self._failed_submission or None if never_came else None

    def take_journals(self, journals: Mapping[int, Iterable[Line]], now: float) -> dict[int, AttemptSeen]:
        """The journals of several tasks."""
        news: dict[int, AttemptSeen] = {}
        for task_index, lines in journals.items():
            news |= self.take_journal(task_index, lines, now)
        return news

    def take_journal(self, task_index: int, lines: Iterable[Line], now: float) -> dict[int, AttemptSeen]:
        """A task's journal, whole or from anywhere on; what was known already is passed over."""
        task = self.tasks.get(task_index)
        if task is None:
            return {}
        news: dict[int, AttemptSeen] = {}
        for line in lines:
            self._take_line(task, line, news)
        news = {n: seen for n, seen in news.items() if not self._has_ended(n)}
        if news:
            task.present()
        if news and self.stage in (Stage.DOUBT, Stage.FINDING, Stage.SUBMITTING):
            news = self._place(self.job_id, now) | news
        return self._tell(news)

    def take_files(
        self, files: SubmissionFiles, answer: Submitted | None, asked_at: float, now: float, patience: Patience
    ) -> dict[int, AttemptSeen]:
        """Everything the spool holds of it; `answer` is what its file with the scheduler's answer means."""
        self.attention, self._files_wanted = True, False
        self.duplicates = max(self.duplicates, len(files.duplicates))
        news: dict[int, AttemptSeen] = {}
        for k, said in files.words.items():
            if k in self.tasks:
                self.tasks[k].words = said
        self._is_spool_missing = not files.exists and (self._is_spool_missing or self.stage is Stage.FINDING)
        if answer is not None and self.job_id is None and self.stage in (Stage.FINDING, Stage.DOUBT):
            news |= self.take_answer(answer, now)
        for k, token in files.claims.items():
            if k in self.tasks:
                news |= self._take_claim(self.tasks[k], token, now)
        news |= self.take_journals(files.journals, now)
        if self.stage is Stage.FINDING:
            news |= self._find(files, now)
        for k in self.open_tasks():
            news |= self._look_at(self.tasks[k], asked_at, now, patience)
        return news

    def _find(self, files: SubmissionFiles, now: float) -> dict[int, AttemptSeen]:
        """From an earlier life, and neither claims nor an answer tell what became of it."""
        if files.submitting:
            return self._doubt("the daemon ended while it was being submitted, and no answer has come", now)
        if self._acknowledged:
            return self._doubt("the scheduler had it, but the spool knows nothing of it; was the spool moved?", now)
        self._to(Stage.MISSING, now)
        return {}

    def _take_claim(self, task: Task, token: str, now: float) -> dict[int, AttemptSeen]:
        if token != TOMBSTONE:
            task.claimed(token)
            return self._place(task.holder, now)
        if task.claim is None and task.fate is None:  # taken while it was on its way: it can never run
            return self._tell({n: self._left_over(n, "its claim is taken") for n in self.open_positions(task)})
        return {}

    def _look_at(self, task: Task, asked_at: float, now: float, patience: Patience) -> dict[int, AttemptSeen]:
        """A task that has no end of its own, though its files have been read."""
        if task.end is not None and not task.is_of(task.end):
            task.end = None
        if task.end is not None:
            seen_in_time = asked_at >= task.end_seen_at + patience.lag_s
            return self._conclude(task, task.end, now) if seen_in_time or task.claim is None else {}
        return self._look_elsewhere(task, now, patience) if task.is_absent else {}

    def take_queue(self, rows: Sequence[JobRow], asked_at: float, now: float) -> dict[int, AttemptSeen]:
        """What the live queue says of it: rows, or nothing at all."""
        self.attention = True
        if self.stage in (Stage.WAITING, Stage.FINDING, Stage.ENDED) or asked_at <= self.stage_since:
            return {}
        rows = self._relevant(rows)
        if rows and self.stage is Stage.MISSING:
            where = f"the queue has it as job {rows[0].job_id}, but the spool knows nothing of it; was the spool moved?"
            return self._doubt(where, now)
        if rows and self._is_spool_missing:
            return {}  # only its own spool, or a person, can say more
        news = self._take_rows(rows, now)
        if rows:
            shown = {k for row in rows for k in row.tasks}
            for k in self.open_tasks():
                if k not in shown:
                    self._miss(self.tasks[k], now)
        elif self.stage is Stage.PLACED:
            for k in self.open_tasks():
                self._miss(self.tasks[k], now)
        elif self.stage is Stage.DOUBT:
            self._empty_looks += 1
            self._files_wanted = self._accounts_wanted = True
        elif self.stage is Stage.MISSING:
            self._doom(self.open_tasks(), not_run("it never reached the scheduler"))
        return news

    def take_accounts(
        self, rows: Sequence[JobRow], asked_at: float, now: float, patience: Patience
    ) -> dict[int, AttemptSeen]:
        """What the accounts say of it; no rows where they do not know it (or where there are no accounts)."""
        self.attention, self._accounts_wanted = True, False
        if self.stage in (Stage.WAITING, Stage.FINDING, Stage.ENDED) or asked_at <= self.stage_since:
            return {}
        rows = self._relevant(rows) if not self._is_spool_missing else []
        ended = [row for row in rows if row.phase not in ACTIVE]  # accounts may call a job running long after its end
        news = self._place(rows[0].job_id, now) if rows else {}
        news |= self._take_rows(ended, now)
        known = {k for row in ended for k in row.tasks}
        for k in self.open_tasks():
            if k not in known and self.tasks[k].is_absent:
                self.tasks[k].unaccounted_looks += 1
                news |= self._unaccounted(self.tasks[k], now, patience)
        if self.stage is Stage.DOUBT and not self._is_spool_missing:
            has_waited = now - self.stage_since >= patience.grace_s
            if has_waited and self._empty_looks >= ABSENT_LOOKS:
                self._doom(self.open_tasks(), not_run("neither queue nor accounts nor spool know it"))
        return news

    def take_burial(self, holders: Mapping[int, str], now: float) -> dict[int, AttemptSeen]:
        """Who holds the claims that we tried to take."""
        self.attention = True
        news: dict[int, AttemptSeen] = {}
        for k, holder in holders.items():
            task = self.tasks.get(k)
            if task is None or (task.fate is None and (holder != TOMBSTONE or task.claim is not None)):
                continue
            fate, task.fate = task.fate or not_run("its claim is taken"), None
            if holder == TOMBSTONE:
                news |= {n: self._fated(n, fate, now) for n in self.open_positions(task)}
            else:
                self.refused = None
                task.claimed(holder)
                self._files_wanted = True
                news |= self._place(task.holder, now)
        return self._tell(news)

    # ---- what people want -------------------------------------------------------------------------------------------

    def cancel(self, positions: Iterable[int]) -> tuple[list[int], list[int]]:
        """These attempts shall end. Tasks that are wholly to end, and those of which only a part is.

        The former are buried if nobody has claimed them; what is claimed is left to the scheduler and its journal.
        """
        self.attention = True
        self.cancelling |= set(positions)
        whole, part = [], []
        for k in self.open_tasks():
            live = set(self.open_positions(self.tasks[k]))
            if live <= self.cancelling:
                whole.append(k)
            elif live & self.cancelling:
                part.append(k)
        self._doom([k for k in whole if self.tasks[k].claim is None], not_run(CANCELLED_FIRST))
        self._files_wanted |= any(self.tasks[k].claim is not None for k in whole)  # whose job is it?
        return whole, part

    def resolve(self, verdicts: Mapping[int, Resolution], now: float) -> dict[int, AttemptSeen]:
        """A person says what became of attempts in doubt. Where nobody has claimed them, that is made certain first."""
        self.attention = True
        news: dict[int, AttemptSeen] = {}
        for n, verdict in verdicts.items():
            k = n % self.submission.width
            task = self.tasks[k]
            if n not in self.told or self.told[n].seen is not Seen.IN_DOUBT:
                continue
            seen = resolved(verdict, task.started.get(n), now)
            if task.claim is None:
                self._doom([k], seen)
            else:
                news[n] = seen
        return self._tell(news)

    # ---- rules ------------------------------------------------------------------------------------------------------

    def _take_line(self, task: Task, line: Line, news: dict[int, AttemptSeen]) -> None:
        task.claim = task.claim or self.job_id or "unknown"
        if isinstance(line, Start | End | Barred) and line.position not in task.positions:
            return  # not of this task: damaged
        match line:
            case Host(name):
                task.host = name
            case Start(position, at) if position not in task.started:
                task.started[position] = at
                news[position] = AttemptSeen(Seen.RUNNING, at)
            case End(position, exit_):
                task.started.setdefault(position, exit_.started_at)
                news[position] = AttemptSeen(Seen.ENDED, exit_.started_at, exit_)
            case Barred(position, holder):
                news[position] = not_run(f"its claim was held by {holder}")
            case Finish():
                task.through = True
        if task.through:
            left = [n for n in self.open_positions(task) if n not in news]
            news.update({n: self._left_over(n, "its task ended before it") for n in left})

    def _left_over(self, position: int, reason: str) -> AttemptSeen:
        return not_run(CANCELLED_FIRST if position in self.cancelling else reason)

    def _relevant(self, rows: Sequence[JobRow]) -> list[JobRow]:
        """Without what is about jobs that found their tasks claimed: a scheduler may make two of one submission."""
        relevant = []
        for row in rows:
            tasks = tuple(k for k in row.tasks if k not in self.tasks or self.tasks[k].is_of(row))
            if tasks == row.tasks:
                relevant.append(row)
            elif tasks:
                relevant.append(msgspec.structs.replace(row, tasks=tasks))
        return relevant

    def _take_rows(self, rows: Sequence[JobRow], now: float) -> dict[int, AttemptSeen]:
        news: dict[int, AttemptSeen] = {}
        if rows and (self.stage is not Stage.PLACED or self.job_id is None):
            news |= self._place(rows[0].job_id, now)
        for row in rows:
            for k in row.tasks:
                if (task := self.tasks.get(k)) is not None and self.open_positions(task):
                    news |= self._take_row(task, row, now)
        return news

    def _take_row(self, task: Task, row: JobRow, now: float) -> dict[int, AttemptSeen]:
        task.row = row
        if row.phase in ACTIVE:
            was_in_doubt = task.in_doubt_since is not None
            task.present()
            task.hopeless_looks = task.hopeless_looks + 1 if row.phase is Phase.HOPELESS else 0
            if task.hopeless_looks >= _HOPELESS_LOOKS and task.claim is None:
                self.refused = f"{row.state}, and can never start: {row.reason}"
                task.fate = not_run(self.refused)
            return self._tell(self._as_before(task)) if was_in_doubt else {}
        if task.end is None:
            task.end, task.end_seen_at = row, now
            self._files_wanted = True
        return {}

    def _as_before(self, task: Task) -> dict[int, AttemptSeen]:
        """What is to be said of attempts that are not in doubt any more."""
        running = {
            n: AttemptSeen(Seen.RUNNING, task.started[n]) for n in self.open_positions(task) if n in task.started
        }
        return {n: AttemptSeen(Seen.QUEUED) for n in self.open_positions(task)} | running

    def _miss(self, task: Task, now: float) -> None:
        task.absent_since = task.absent_since if task.absent_looks else now
        task.absent_looks += 1
        self._files_wanted |= task.is_absent

    def _look_elsewhere(self, task: Task, now: float, patience: Patience) -> dict[int, AttemptSeen]:
        """The queue does not show the task, and its journal has no end."""
        if patience.has_accounting:
            self._accounts_wanted = True
            return {}
        return self._unaccounted(task, now, patience)

    def _unaccounted(self, task: Task, now: float, patience: Patience) -> dict[int, AttemptSeen]:
        """Neither queue nor accounts know the task."""
        waited = now - task.absent_since >= patience.grace_s
        if task.claim is None:
            if waited or not patience.has_accounting or task.unaccounted_looks >= ABSENT_LOOKS:
                task.fate = lost("it vanished from the queue before it started", now)
            return {}
        if not waited or task.in_doubt_since is not None:
            return {}
        task.in_doubt_since = now
        self.doubt_reason = (
            f"it began as job {self.job_id} on {task.host or 'an unknown node'}, the queue does not show it any more, "
            "and neither its journal nor accounts tell its end"
        )
        return self._tell({n: AttemptSeen(Seen.IN_DOUBT, reason=self.doubt_reason) for n in self.open_positions(task)})

    def _conclude(self, task: Task, row: JobRow, now: float) -> dict[int, AttemptSeen]:
        """The scheduler says that the task is over, and the journal has been read since."""
        open_positions = self.open_positions(task)
        if task.claim is None:
            task.fate = unclaimed_end(task, row, now)
            return {}
        task.end = None
        progressed = bool(task.started)
        news = {}
        for n in open_positions:
            if n in task.started:
                news[n] = AttemptSeen(Seen.ENDED, task.started[n], self._exit(task, n, row, now))
            elif progressed or n in self.cancelling:
                news[n] = self._left_over(n, f"its task ended before it ({row.state})")
            else:
                news[n] = lost(f"its task ended before it began: {described(row, task)}", now)
        return self._tell(news)

    def _exit(self, task: Task, position: int, row: JobRow, now: float) -> Exit:
        """How an attempt ended that could not say so itself."""
        if row.phase is Phase.CANCELLED and position in self.cancelling:
            began, ended = span(task, position, row, now)
            return Exit(None, None, began, ended, "cancelled")
        is_certain = not self.duplicates  # else a good end could be that of a second copy, which did nothing
        return exit_without_a_word(
            task, position, row, self.submission.resources.walltime_s, now, is_certain=is_certain
        )

    def _fated(self, position: int, fate: AttemptSeen, now: float) -> AttemptSeen:
        if position in self.cancelling:
            return not_run(CANCELLED_FIRST)
        return fate if fate.exit is None else lost(fate.exit.message or "", now)

    def _doom(self, tasks: Iterable[int], fate: AttemptSeen) -> None:
        for k in tasks:
            if self.tasks[k].fate is None:
                self.tasks[k].fate = fate

    def _place(self, job_id: str | None, now: float) -> dict[int, AttemptSeen]:
        self.job_id = job_id or self.job_id
        if self.stage is Stage.PLACED:
            return {}
        self._to(Stage.PLACED, now)
        for k in self.open_tasks():
            if not self._is_being_cancelled(self.tasks[k]):
                self.tasks[k].fate = None
        news = {n: AttemptSeen(Seen.QUEUED) for k in self.open_tasks() for n in self.open_positions(self.tasks[k])}
        return self._tell({n: seen for n, seen in news.items() if self._moves(n)})

    def _moves(self, position: int) -> bool:
        """Whether telling that it is queued says anything new."""
        return position not in self.told or self.told[position].seen is Seen.IN_DOUBT

    def _doubt(self, reason: str, now: float) -> dict[int, AttemptSeen]:
        if self.stage not in (Stage.SUBMITTING, Stage.FINDING, Stage.MISSING):
            return {}  # known better already
        self._to(Stage.DOUBT, now)
        self.doubt_reason = reason
        self._empty_looks = 0
        self._files_wanted = True
        news = AttemptSeen(Seen.IN_DOUBT, reason=reason)
        return self._tell({n: news for k in self.open_tasks() for n in self.open_positions(self.tasks[k])})

    def _is_being_cancelled(self, task: Task) -> bool:
        live = self.open_positions(task)
        return bool(live) and self.cancelling.issuperset(live)

    def _to(self, stage: Stage, now: float) -> None:
        if self.stage is not stage:
            self.stage, self.stage_since = stage, now

    def _tell(self, news: dict[int, AttemptSeen]) -> dict[int, AttemptSeen]:
        """What of `news` is new; from now on it is told."""
        fresh = {n: seen for n, seen in news.items() if not self._has_ended(n)}
        self.told |= fresh
        self._open -= sum(seen.seen in _ENDED for seen in fresh.values())
        if self.closed:
            self.stage = Stage.ENDED
        return fresh
