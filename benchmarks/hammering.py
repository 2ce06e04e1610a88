"""Processes that write to one shared database as fast as they can.

`python -m benchmarks.hammering DATABASE NAME SECONDS KIND` is one of them: it says `ready`, waits for a line, writes,
and tells as JSON how many transactions were committed, the longest one, and every error that reached it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import PenstockError
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.rows import WorkflowRow
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare
from penstock.store.workflow_store import WorkflowStore

ROWS: Final = 5  # of one transaction
KIND: Final = "jobs_ingested"
INSERT: Final = f"INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, ?, '{KIND}', 0, '{{}}')"
COUNT: Final = f"SELECT count(*) FROM event WHERE workflow_id = ? AND kind = '{KIND}'"


class Tally(msgspec.Struct):
    """What came of it."""

    commits: int = 0
    longest_s: float = 0.0
    errors: list[str] = msgspec.field(default_factory=list)
    missing: int = 0  # rows that it had committed and did not find again, when it looked


def workflow_row(name: str) -> WorkflowRow:
    """A workflow that shares its database."""
    return WorkflowRow(
        workflow_id=name,
        recipe="campaign",
        recipe_version=1,
        spec="{}",
        parameters="{}",
        mode="shared",
        namespace="shared",
        state="running",
        reason=None,
        slots=1,
        slots_origin="spec",
        priority=0,
        created_at=time.time(),
        updated_at=time.time(),
    )


async def actor(database: Path, name: str, seconds: float) -> Tally:
    """As a workflow's actor: its own connection, opened anew every now and then, and questions on the side."""
    tally = Tally()
    store = WorkflowStore(database, name, contextlib.nullcontext)
    try:
        await store.create(workflow_row(name), [], among_others=True)

        async def write() -> None:
            async with store._db.transaction() as db:  # noqa: SLF001 - one size of transaction for all
                await db.executemany(INSERT, [(name, time.time())] * ROWS)

        async def look() -> None:
            await store.close()
            found = await asyncio.to_thread(count, database, name)
            tally.missing = max(tally.missing, tally.commits * ROWS - found)

        await hammer(tally, seconds, write, look)
    finally:
        await store.close()
    return tally


async def writer(database: Path, name: str, seconds: float) -> Tally:
    """As a library user without a daemon: blocking, the connection kept."""
    tally = Tally()
    with open_writer(database) as db:

        async def write() -> None:
            with transaction(db, database):
                db.executemany(INSERT, [(name, time.time())] * ROWS)

        async def look() -> None:
            tally.missing = max(tally.missing, tally.commits * ROWS - count(database, name))

        await hammer(tally, seconds, write, look)
    return tally


async def plain(database: Path, name: str, seconds: float, *, reads_first: bool = False) -> Tally:
    """Without our store: SQLite's own waiting, 5 s. `reads_first` as most programs do, which look before they write."""
    tally = Tally()
    db = sqlite3.connect(database, timeout=5, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")

    async def write() -> None:
        try:
            db.execute("BEGIN" if reads_first else "BEGIN IMMEDIATE")
            if reads_first:
                db.execute("SELECT state FROM workflow WHERE workflow_id = ?", [name]).fetchone()
            db.executemany(INSERT, [(name, time.time())] * ROWS)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    async def look() -> None:
        tally.missing = max(tally.missing, tally.commits * ROWS - db.execute(COUNT, [name]).fetchone()[0])

    await hammer(tally, seconds, write, look)
    db.close()
    return tally


def count(database: Path, name: str) -> int:
    """How many rows of `name` are there now."""
    with reading(database) as db:
        return int(db.execute(COUNT, [name]).fetchone()[0])


async def hammer(
    tally: Tally, seconds: float, write: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[None]]
) -> None:
    """Writes again and again, and looks now and then whether all is there."""
    end = time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        try:
            await write()
            tally.commits += 1
            if tally.commits % 50 == 0:
                await look()
        except (PenstockError, sqlite3.Error) as error:
            tally.errors.append(str(error))
        tally.longest_s = max(tally.longest_s, time.monotonic() - begin)


KINDS: Final[dict[str, Callable[[Path, str, float], Coroutine[None, None, Tally]]]] = {
    "actor": actor,
    "writer": writer,
    "plain": plain,
    "plain-reads-first": partial(plain, reads_first=True),
}


def run_processes(database: Path, kinds: Sequence[str], seconds: float) -> dict[str, Tally]:
    """One process for each of `kinds`, all let go at once; what they tell, by the names that their rows have."""
    prepare(database, load_migrations(WORKFLOW_MIGRATIONS), create=True)
    processes = {f"w{number}": _start(database, f"w{number}", seconds, kind) for number, kind in enumerate(kinds)}
    try:
        for process in processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = {name: process.communicate(timeout=seconds + 200)[0] for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return {name: msgspec.json.decode(text, type=Tally) for name, text in told.items()}


def _start(database: Path, name: str, seconds: float, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.hammering", str(database), name, str(seconds), kind],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def count_all(database: Path) -> dict[str, int]:
    """How many rows each process has in the end, as plain SQLite finds them."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        return dict(db.execute("SELECT workflow_id, count(*) FROM event WHERE kind = ? GROUP BY 1", [KIND]).fetchall())


def main() -> None:
    """One process."""
    database, name, seconds, kind = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    tally = asyncio.run(KINDS[kind](Path(database), name, float(seconds)))
    json.dump(msgspec.to_builtins(tally), sys.stdout)


if __name__ == "__main__":
    main()
