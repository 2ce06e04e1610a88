"""A lock held by a process of a library user for as long as it wants: its lease is renewed from a thread beside it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

from penstock.domain.errors import StoreError
from penstock.domain.locks import Lease, LockLostError, has_run_out
from penstock.store.lock_table import LockTable

_RENEWALS: Final = 3  # in the time of one lease


class HeldLock:
    """A lock that is held. `token` goes with whatever is written under it: a later holder's is higher."""

    def __init__(self, table: LockTable, lease: Lease, lease_s: float) -> None:
        self.lease = lease
        self._table = table
        self._lease_s = lease_s
        self._pid = os.getpid()
        self._over = threading.Event()
        self._lost: LockLostError | None = None
        self._thread = threading.Thread(target=self._renew, name=f"lock {lease.resource}", daemon=True)
        self._thread.start()

    @property
    def token(self) -> int:
        """The fencing token."""
        return self.lease.token

    @property
    def is_lost(self) -> bool:
        """Whether the lease is over, so that another may hold the lock."""
        return self._lost is not None or has_run_out(self.lease, time.time())

    def check(self) -> None:
        """LockLostError when the lock is not held any more; to be called before what must not be done by two."""
        if self._lost is not None:
            raise self._lost
        if has_run_out(self.lease, time.time()):
            raise LockLostError(
                f"lock {self.lease.resource} is lost: its lease could not be renewed in {self._lease_s:g} s, and "
                "another may hold it"
            )

    def release(self) -> None:
        """Gives the lock back. LockLostError when it was lost before; in a child of a fork nothing happens."""
        if self._pid != os.getpid():
            return
        self._over.set()
        self._thread.join()
        if not self._table.release(self.lease) or self._lost is not None:
            raise self._lost or LockLostError(f"lock {self.lease.resource} was lost while it was being used")

    def _renew(self) -> None:
        while not self._over.wait(self._lease_s / _RENEWALS):
            try:
                self.lease = self._table.renew(self.lease, self._lease_s)
            except LockLostError as error:
                self._lost = error
                return
            except StoreError:
                if has_run_out(self.lease, time.time()):
                    return  # `check` says so


@contextlib.contextmanager
def hold(
    table: LockTable,
    name: str,
    holder: str,
    *,
    count: int = 1,
    lease_s: float = 30.0,
    wait_s: float | None = None,
    priority: int = 0,
) -> Iterator[HeldLock]:
    """Holds `name` inside. Raises as `LockTable.acquire` does, and LockLostError on leaving when it was lost.

    An error that leaves the block goes before that of the lock.
    """
    lease = table.acquire(name, holder, count=count, lease_s=lease_s, wait_s=wait_s, priority=priority)
    held = HeldLock(table, lease, lease_s)
    try:
        yield held
    except BaseException:
        with contextlib.suppress(LockLostError, StoreError):
            held.release()
        raise
    held.release()
