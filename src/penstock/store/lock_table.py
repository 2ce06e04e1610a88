"""Locks and counted resources in a small SQLite file that several processes share: leases, fencing tokens, the line.

Every method is one transaction and may be called from any thread. The daemon's workflows hold by evidence (`take`,
`keep`, `settle`), library users for a time (`acquire`, `renew`, `release`, or `held_lock.hold`).
"""

from __future__ import annotations

import itertools
import math
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import BusyError, ConflictError, SpecError
from penstock.domain.locks import (
    COUNT_MAX,
    PATIENCE_S,
    Lease,
    LockLostError,
    Standing,
    Waiter,
    Wish,
    can_ever,
    check_lock_name,
    holders_of,
    next_in_line,
    tasks_granted,
    without,
)
from penstock.domain.process_id import ProcessId, is_known_dead, process_space
from penstock.store.lock_file import LockFile

LOCKS_NAME: Final = "locks.db"
_PAUSE_LEAST_S: Final = 0.002
_PAUSE_MOST_S: Final = 0.05
_NUMBERS: Final = itertools.count()


class LockTable:
    """The locks in one file, made when it is first used. `otherwise`: how much there is of what nobody has spoken of.

    `now` gives seconds since the epoch. `close` may be called at any time; the next use opens the file again.
    """

    def __init__(self, path: Path, *, otherwise: int = 1, now: Callable[[], float] = time.time) -> None:
        self._file = LockFile(path)
        self._otherwise = otherwise
        self._now = now
        self._space = process_space()
        self._me: ProcessId | None = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    def close(self) -> None:
        """Closes the connection until the next use."""
        self._file.close()

    # ---- for a time -------------------------------------------------------------------------------------------------

    def acquire(
        self,
        name: str,
        holder: str,
        *,
        count: int = 1,
        lease_s: float = 30.0,
        wait_s: float | None = None,
        priority: int = 0,
    ) -> Lease:
        """Waits for `count` of `name` and holds it for `lease_s` seconds, or until `release` or this process's end.

        BusyError when it cannot be had within `wait_s` (None: for ever), ConflictError when there is not so much,
        SpecError for a name or a number that cannot be.
        """
        check_lock_name(name)
        if not 1 <= count <= COUNT_MAX or not lease_s > 0:
            raise SpecError(f"cannot hold {count} of {name} for {lease_s} s; both are more than 0")
        give_up = math.inf if wait_s is None else time.monotonic() + wait_s
        process = self._process()
        line_name = f"{process} {next(_NUMBERS)}"
        wish = Wish(line_name, holder, {name: count}, priority=priority, lease_s=lease_s, process=process)
        pause_s = _PAUSE_LEAST_S
        try:
            while not (leases := self.take(wish, waits=time.monotonic() < give_up)):
                self._refuse(wish, give_up)
                time.sleep(max(0.0, min(pause_s, give_up - time.monotonic())))
                pause_s = min(2 * pause_s, _PAUSE_MOST_S)
        except BaseException:
            self.withdraw(line_name)
            raise
        return leases[0]

    def _refuse(self, wish: Wish, give_up: float) -> None:
        """Raises when waiting is of no use or over."""
        standing = self.standing()
        name, count = next(iter(wish.needs.items()))
        if not can_ever(standing, wish.needs):
            raise ConflictError(f"there is only {standing.capacity(name)} of {name}, not {count}")
        if time.monotonic() >= give_up:
            held = ", ".join(lease.holder for lease in holders_of(standing, [name]))
            ahead = f"held by {held}" if held else "others wait for it"
            raise BusyError(f"lock {name} could not be had in time: {ahead}; try again later")

    def renew(self, lease: Lease, lease_s: float) -> Lease:
        """Holds on for `lease_s` seconds from now. LockLostError when the lease is over."""
        now = self._now()
        with self._file.transaction() as db:
            changed = db.execute(
                "UPDATE lease SET expires_at = ? WHERE resource = ? AND token = ? AND expires_at > ?",
                (now + lease_s, lease.resource, lease.token, now),
            ).rowcount
        if not changed:
            raise LockLostError(
                f"lock {lease.resource} is lost: the lease of {lease.holder} (token {lease.token}) is over, and "
                "another may hold it"
            )
        return msgspec.structs.replace(lease, expires_at=now + lease_s)

    def release(self, lease: Lease) -> bool:
        """Gives a lease back; False when it was over already."""
        with self._file.transaction() as db:
            return bool(
                db.execute("DELETE FROM lease WHERE resource = ? AND token = ?", (lease.resource, lease.token)).rowcount
            )

    def check(self, name: str, token: int) -> bool:
        """Whether the lease of that token is valid now. Who is written to asks this: an older holder is told no."""
        now = self._now()
        with self._file.reading() as db:
            row = db.execute("SELECT expires_at FROM lease WHERE resource = ? AND token = ?", (name, token)).fetchone()
        return row is not None and (row[0] is None or row[0] > now)

    # ---- both -------------------------------------------------------------------------------------------------------

    def take(self, wish: Wish, *, waits: bool = True) -> tuple[Lease, ...]:
        """One lease for each resource of the wish, as much as can be had; none, and a place in the line, when nothing.

        Without `waits`, nothing is nothing. Who waits asks again at least every few seconds: who does not, has left.
        """
        now = self._now()
        with self._file.transaction() as db:
            standing = self._swept(db, now)
            mine = next((waiter for waiter in standing.waiters if waiter.name == wish.name), None)
            since = max([now, *(waiter.since for waiter in standing.waiters)])
            fresh = Waiter(wish.name, wish.needs, wish.priority, 0, since, now, wish.process)
            rank = mine.rank if mine else (fresh.rank[0], math.inf)
            tasks = tasks_granted(standing, wish.needs, wish.most, rank)
            if not tasks and self._bury(db, standing, now):
                standing = self._read(db)
                tasks = tasks_granted(standing, wish.needs, wish.most, rank)
            if tasks:
                if mine:
                    db.execute("DELETE FROM waiter WHERE name = ?", (wish.name,))
                return tuple(self._grant(db, wish, name, count * tasks, now) for name, count in wish.needs.items())
            if waits:
                self._stand(db, mine, fresh)
            return ()

    def withdraw(self, name: str) -> None:
        """Leaves the line."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM waiter WHERE name = ?", (name,))

    def standing(self) -> Standing:
        """Everything, as it is now; what has run out is left out."""
        with self._file.reading() as db:
            standing = self._read(db)
        leases, waiters = without(standing, self._now(), self._is_dead)
        return msgspec.structs.replace(
            standing,
            leases=tuple(lease for lease in standing.leases if lease not in leases),
            waiters=tuple(waiter for waiter in standing.waiters if waiter not in waiters),
        )

    def next_names(self) -> list[str]:
        """Who in the line would get something now."""
        return [waiter.name for waiter in next_in_line(self.standing())]

    # ---- by evidence ------------------------------------------------------------------------------------------------

    def keep(self, holder: str, needs: Mapping[str, int], tasks: int) -> None:
        """Gives back what is more than `needs` `tasks` times; with no tasks, everything."""
        with self._file.transaction() as db:
            for name, count in needs.items():
                _lower(db, holder, name, count * tasks)

    def settle(self, owner: str, wanted: Sequence[Lease]) -> None:
        """Makes the leases that `owner` (the part of a holder before the slash) has by evidence those of `wanted`.

        Others are given back. What is missing is written down with its token even where that is more than there is: it
        is held, whatever this file had forgotten, so that nobody gets it until it is given back.
        """
        with self._file.transaction() as db:
            kept = {(lease.resource, lease.token): lease for lease in wanted}
            for lease in self._read(db).leases:
                if lease.expires_at is None and lease.holder.partition("/")[0] == owner:
                    found = kept.pop((lease.resource, lease.token), None)
                    _lower(db, lease.holder, lease.resource, found.count if found else 0)
            for lease in kept.values():
                db.execute(
                    "INSERT INTO resource (name, token) VALUES (?, ?) "
                    "ON CONFLICT DO UPDATE SET token = max(token, excluded.token)",
                    (lease.resource, lease.token),
                )
                db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(lease))

    def set_capacities(self, capacities: Mapping[str, int]) -> None:
        """How much there is of each resource from now on; there is none of what is not named.

        Whoever waits is taken to have asked just now: nobody could while nobody served this table.
        """
        with self._file.transaction() as db:
            db.execute("UPDATE resource SET capacity = 0")
            db.executemany(
                "INSERT INTO resource (name, capacity) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET capacity = excluded.capacity",
                capacities.items(),
            )
            db.execute("UPDATE waiter SET seen_at = ?", (self._now(),))

    def release_holder(self, name: str, holder: str) -> int:
        """Takes a lock away from a holder, whatever that thinks; how much it held."""
        with self._file.transaction() as db:
            rows = db.execute("DELETE FROM lease WHERE resource = ? AND holder = ? RETURNING count", (name, holder))
            return sum(count for (count,) in rows.fetchall())

    # ---- inside a transaction ---------------------------------------------------------------------------------------

    def _read(self, db: sqlite3.Connection) -> Standing:
        capacities = db.execute("SELECT name, capacity FROM resource WHERE capacity IS NOT NULL").fetchall()
        leases = db.execute("SELECT * FROM lease").fetchall()
        waiters = db.execute(
            "SELECT name, needs, priority, ticket, since, seen_at, process FROM waiter ORDER BY ticket"
        ).fetchall()
        return Standing(
            dict(capacities),
            tuple(Lease(*row) for row in leases),
            tuple(Waiter(name, msgspec.json.decode(needs), *rest) for name, needs, *rest in waiters),
            self._otherwise,
        )

    def _swept(self, db: sqlite3.Connection, now: float) -> Standing:
        """The standing after what the clock ends is gone."""
        standing = self._read(db)
        return self._read(db) if self._remove(db, *without(standing, now)) else standing

    def _bury(self, db: sqlite3.Connection, standing: Standing, now: float) -> bool:
        """Removes what the dead have left; whether there was any."""
        return self._remove(db, *without(standing, now, self._is_dead))

    def _remove(self, db: sqlite3.Connection, leases: Sequence[Lease], waiters: Sequence[Waiter]) -> bool:
        db.executemany(
            "DELETE FROM lease WHERE resource = ? AND token = ?", [(lease.resource, lease.token) for lease in leases]
        )
        db.executemany("DELETE FROM waiter WHERE name = ?", [(waiter.name,) for waiter in waiters])
        return bool(leases or waiters)

    def _grant(self, db: sqlite3.Connection, wish: Wish, name: str, count: int, now: float) -> Lease:
        token = db.execute(
            "INSERT INTO resource (name, token) VALUES (?, 1) ON CONFLICT DO UPDATE SET token = token + 1 "
            "RETURNING token",
            (name,),
        ).fetchall()[0][0]
        expires_at = None if wish.lease_s is None else now + wish.lease_s
        lease = Lease(name, token, wish.holder, count, now, expires_at, wish.process)
        db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(lease))
        return lease

    def _stand(self, db: sqlite3.Connection, mine: Waiter | None, fresh: Waiter) -> None:
        """A place in the line, or a sign of life from who has one; that costs a write only now and then."""
        needs = msgspec.json.encode(fresh.needs).decode()
        if mine is None:
            db.execute(
                "INSERT INTO waiter (name, needs, priority, since, seen_at, process) VALUES (?, ?, ?, ?, ?, ?)",
                (fresh.name, needs, fresh.priority, fresh.since, fresh.seen_at, fresh.process),
            )
        elif (fresh.needs, fresh.priority) != (mine.needs, mine.priority) or not (
            0 <= fresh.seen_at - mine.seen_at < PATIENCE_S / 8
        ):
            db.execute(
                "UPDATE waiter SET needs = ?, priority = ?, seen_at = ? WHERE name = ?",
                (needs, fresh.priority, fresh.seen_at, fresh.name),
            )

    # ---- processes --------------------------------------------------------------------------------------------------

    def _process(self) -> str:
        """Our process, as one word that others on this machine can judge."""
        pid = os.getpid()
        if self._me is None or self._me.pid != pid:
            self._me = ProcessId.of(pid)
        return f"{self._me.token() if self._me else ''}@{self._space}"

    def _is_dead(self, process: str) -> bool:
        """Whether a process is known to have ended; of one elsewhere nothing is known."""
        token, _, space = process.partition("@")
        found = ProcessId.from_token(token)
        return found is not None and space == self._space and is_known_dead(found)


def _lower(db: sqlite3.Connection, holder: str, name: str, count: int) -> None:
    if count:
        db.execute(
            "UPDATE lease SET count = ? WHERE holder = ? AND resource = ? AND count > ?", (count, holder, name, count)
        )
    else:
        db.execute("DELETE FROM lease WHERE holder = ? AND resource = ?", (holder, name))
