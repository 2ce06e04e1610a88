"""A lock taken and given back, beside the least that could do it: `flock` on a file, two durable commits of SQLite.

The commits insert and delete one row with the synchronous setting that the lock table has. `flock` survives no power
cut, knows no counts, no line and no tokens; it shows what those cost.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

from benchmarks.report import Figure, Options, Report, compare, ratio_at_most
from penstock.store.lock_table import LockTable

_CONTENDERS: Final = 4
_CONTEND: Final = """
import sys
from pathlib import Path
from penstock.store.lock_table import LockTable

table, rounds = LockTable(Path(sys.argv[1])), int(sys.argv[2])
table.standing()
print(flush=True)
sys.stdin.read(1)
for _ in range(rounds):
    table.release(table.acquire("lock", "benchmark"))
"""


def run(options: Options) -> Report:
    """All three in turns, then several processes at one lock."""
    rounds, turns = (50, 1) if options.quick else (500, 5)
    scratch = options.scratch
    table = LockTable(scratch / "locks.db")
    with closing(table), closing(_plain(scratch / "plain.db")) as plain, (scratch / "file").open("w") as file:
        acts: list[Callable[[], object]] = [
            lambda: table.release(table.acquire("lock", "benchmark")),
            lambda: _two_commits(plain),
            lambda: _flock(file.fileno()),
        ]
        series: list[list[float]] = [[] for _ in acts]
        for _ in range(turns):
            for times, act in zip(series, acts, strict=True):
                times.append(_each_ms(act, rounds))
        held = _each_ms(table.standing, rounds)
    ours, commits, flock = series
    contended, tokens = _contended_ms(scratch / "contended.db", rounds // 5)
    figures = [
        compare("acquire and release, beside two commits", "ms", ours, commits, ratio_at_most(2.0)),
        compare("the same, beside flock", "ms", ours, flock),
        Figure(f"the same, {_CONTENDERS} processes at one lock", "ms", contended, statistics.median(ours)),
        Figure("looking who holds what", "ms", held),
    ]
    wanted = _CONTENDERS * (rounds // 5)
    faults = [] if tokens == wanted else [f"{wanted} leases were taken, and {tokens} tokens given"]
    return Report("locks", "one lock", {"rounds": rounds, "turns": turns}, figures, faults)


def _plain(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE held (name TEXT PRIMARY KEY, holder TEXT) WITHOUT ROWID")
    return db


def _two_commits(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO held VALUES ('lock', 'benchmark')")
    db.execute("DELETE FROM held WHERE name = 'lock'")


def _flock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _each_ms(act: Callable[[], object], rounds: int) -> float:
    began = time.perf_counter()
    for _ in range(rounds):
        act()
    return (time.perf_counter() - began) / rounds * 1e3


def _contended_ms(path: Path, rounds: int) -> tuple[float, int]:
    """Milliseconds a turn, over all processes, and the last token that was given."""
    argv = [sys.executable, "-c", _CONTEND, str(path), str(rounds)]
    contenders = [Popen(argv, stdin=PIPE, stdout=PIPE, env=dict(os.environ)) for _ in range(_CONTENDERS)]
    for contender in contenders:
        assert contender.stdout is not None
        contender.stdout.readline()
    began = time.perf_counter()
    for contender in contenders:
        contender.communicate(b"\n")
    took_s = time.perf_counter() - began
    with closing(LockTable(path)) as table:
        last = table.acquire("lock", "benchmark").token - 1
    return took_s / (rounds * _CONTENDERS) * 1e3, last
