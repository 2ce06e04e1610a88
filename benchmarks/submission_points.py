"""The numbered points of a submission's path, and how each is seen from outside: in the database and in the spool.

At some the storm kills when it sees a submission come to them; at others sbatch itself asks for it (`faults`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.slurm_site import Site


class Running(NamedTuple):
    """A workflow, its directory, and its site."""

    id: str
    directory: Path
    site: Site


class Point(NamedTuple):
    """Where the daemon is killed. `order` is what sbatch is told, where it is the one who asks."""

    number: int
    name: str
    order: str = ""

    @property
    def title(self) -> str:
        """As in a report."""
        return f"killed at {self.number:2}: {self.name}"


POINTS: Final = (
    Point(1, "intent committed"),
    Point(2, "inputs staged"),
    Point(3, "script staged, not `submitting`"),
    Point(4, "`submitting`"),
    Point(5, "before sbatch, which goes on", "kill-before"),
    Point(6, "before sbatch, which dies too", "die-before"),
    Point(7, "job created, no answer yet", "kill-created"),
    Point(8, "job created, no answer ever", "die-created"),
    Point(9, "`jobid`"),
    Point(10, "claimed"),
    Point(11, "`start` in the journal"),
    Point(12, "`end` in the journal"),
    Point(13, "end recorded"),
    Point(14, "submission closed"),
    Point(15, "forgotten"),
)
_OPEN: Final = "SELECT ulid FROM submission WHERE state = 'open'"
_ALL: Final = "SELECT ulid FROM submission"
_CLOSED: Final = "SELECT ulid FROM submission WHERE state = 'closed'"
_RECORDED: Final = "SELECT DISTINCT submission FROM attempt WHERE state = 'completed'"
_FIRST: Final = """
SELECT submission, directory FROM attempt JOIN submission ON ulid = submission WHERE submission.state = 'open'
"""


def passed(point: Point, running: Iterable[Running]) -> set[str]:
    """The submissions that are at this point now, or beyond it where that can be told."""
    found: set[str] = set()
    for workflow in running:
        with contextlib.suppress(sqlite3.Error, OSError):
            found |= _SEEN[point.number](workflow)
    return found


def read(directory: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """What plain SQLite finds in a workflow's database."""
    uri = f"file:{directory / 'workflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as db:
        return db.execute(sql, values).fetchall()


def _ulids(sql: str) -> Callable[[Running], set[str]]:
    return lambda workflow: {str(row[0]) for row in read(workflow.directory, sql)}


def _inputs(workflow: Running) -> set[str]:
    root = workflow.directory if workflow.site.sshd is None else workflow.site.work / workflow.id
    rows = read(workflow.directory, _FIRST)
    return {str(ulid) for ulid, directory in rows if (root / str(directory)).exists()}


def _spooled(holds: Callable[[Path], bool]) -> Callable[[Running], set[str]]:
    def look(workflow: Running) -> set[str]:
        spool = workflow.site.spool()
        return set() if spool is None else {ulid for ulid in _ulids(_OPEN)(workflow) if holds(spool / ulid)}

    return look


def _forgotten(workflow: Running) -> set[str]:
    spool = workflow.site.spool()
    return set() if spool is None else {u for u in _ulids(_CLOSED)(workflow) if not (spool / u).exists()}


def _in_journal(word: str) -> Callable[[Path], bool]:
    return lambda folder: any(f'["{word}",' in file.read_text(encoding="utf-8") for file in folder.glob("journal.*"))


def _just_staged(folder: Path) -> bool:
    return (folder / "script").exists() and not (folder / "submitting").exists()


_SEEN: Final[dict[int, Callable[[Running], set[str]]]] = {
    1: _ulids(_ALL),
    2: _inputs,
    3: _spooled(_just_staged),
    4: _spooled(lambda folder: (folder / "submitting").exists()),
    9: _spooled(lambda folder: (folder / "jobid").exists()),
    10: _spooled(lambda folder: any(folder.glob("claim.*"))),
    11: _spooled(_in_journal("start")),
    12: _spooled(_in_journal("end")),
    13: _ulids(_RECORDED),
    14: _ulids(_CLOSED),
    15: _forgotten,
}
