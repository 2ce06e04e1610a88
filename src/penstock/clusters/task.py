"""One task of a submission: what is known of it, and how its attempts ended where they could not say so themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.clusters.scheduler import JobRow, Phase
from penstock.domain.calculation import Exit
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Seen

ABSENT_LOOKS: Final = 2
_UNWRITABLE: Final = 75  # what the script ends with when its journal can never be written


class Task:
    """One task of a submission: the attempts it works through, and what is known of it."""

    def __init__(self, positions: Sequence[int]) -> None:
        self.positions = tuple(positions)
        self.claim: str | None = None
        self.holder: str | None = None  # the job that has claimed it, where the scheduler calls its jobs by numbers
        self.host = ""
        self.words = ""  # the last it said outside its journal
        self.started: dict[int, float] = {}
        self.through = False  # its journal says that it is through
        self.row: JobRow | None = None  # what the scheduler last said
        self.end: JobRow | None = None  # a terminal state, which counts after one more look at the journal
        self.end_seen_at = 0.0
        self.absent_looks = 0
        self.absent_since = 0.0
        self.unaccounted_looks = 0
        self.hopeless_looks = 0
        self.in_doubt_since: float | None = None
        self.fate: AttemptSeen | None = None  # what its attempts come to once its claim is ours

    @property
    def is_absent(self) -> bool:
        """Whether the queue has not shown it often enough to ask elsewhere."""
        return self.absent_looks >= ABSENT_LOOKS

    def claimed(self, token: str) -> None:
        """Somebody works through it."""
        job_id = token.partition(":")[0]
        self.claim, self.holder = token, job_id if job_id.isdecimal() else None

    def is_of(self, row: JobRow) -> bool:
        """Whether the row may be about it, and is not about another job of the same submission, which it barred."""
        return self.holder is None or not row.job_id.isdecimal() or row.job_id == self.holder

    def present(self) -> None:
        """It was seen: earlier absence is forgotten."""
        self.absent_looks = self.unaccounted_looks = 0
        self.in_doubt_since = None


def unclaimed_end(task: Task, row: JobRow, now: float) -> AttemptSeen:
    """What its attempts come to, if nobody has claimed it."""
    if row.phase is Phase.CANCELLED:
        return lost(f"cancelled at the scheduler before it started: {described(row, task)}", now)
    if row.phase is Phase.COMPLETED:
        return lost("its task ran and left no trace; is the spool visible from the compute nodes?", now)
    return lost(f"its task ended before it began: {described(row, task)}", now)


def span(task: Task, position: int, row: JobRow, now: float) -> tuple[float, float]:
    """When an attempt began and ended."""
    began = task.started[position]
    return began, max(began, row.ended_at if row.ended_at is not None else now)


def exit_without_a_word(
    task: Task, position: int, row: JobRow, walltime_s: int, now: float, *, is_certain: bool
) -> Exit:
    """How an attempt ended, by the scheduler's word alone; `is_certain` that a good end is that of this very task."""
    began, ended = span(task, position, row, now)
    alone, message = len(task.positions) == 1, described(row, task)
    match row.phase:
        case Phase.TIMEOUT if alone or ended - began >= walltime_s:
            return Exit(None, None, began, ended, "timeout", message)
        case Phase.OUT_OF_MEMORY:
            return Exit(None, None, began, ended, "oom", message)
        case Phase.COMPLETED if alone and is_certain:
            return Exit(0, None, began, ended)
        case Phase.FAILED if alone and row.exit_code != _UNWRITABLE:
            return Exit(row.exit_code, row.exit_signal, began, ended, message=message)
    return Exit(None, None, began, ended, "lost", message)


def not_run(reason: str) -> AttemptSeen:
    """It never ran and never will."""
    return AttemptSeen(Seen.NOT_RUN, reason=reason)


def lost(message: str, now: float) -> AttemptSeen:
    """It is lost, and nobody's fault: it may run again."""
    return AttemptSeen(Seen.ENDED, now, Exit(None, None, now, now, "lost", message))


def resolved(verdict: Resolution, started_at: float | None, now: float) -> AttemptSeen:
    """What a person's word makes of an attempt."""
    if verdict is Resolution.NOT_RUN:
        return not_run("a person says that it never ran")
    began = now if started_at is None else started_at
    said, message = None, "a person says that it ended; how well, its outputs tell"
    if verdict is Resolution.LOST:
        said, message = "lost", "a person says that it was lost"
    return AttemptSeen(Seen.ENDED, began, Exit(None if said else 0, None, began, now, said, message))


def described(row: JobRow, task: Task) -> str:
    """The scheduler's word on a task's end, and the task's own last."""
    reason = f" ({row.reason})" if row.reason and row.reason != "None" else ""
    where = f" on {row.nodes}" if row.nodes else ""
    said = f"; it said: {task.words}" if task.words else ""
    return f"job {row.job_id} ended as {row.state}{reason}{where}{said}"
