"""What SQLite's `database is locked` is answered with: patience, and when that ends a word on who has the file."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import anyio

from penstock.domain.errors import StoreError
from penstock.store.lock_holders import describe_holders

T = TypeVar("T")
PATIENCE_S: Final = 120.0
"""How long a lock is waited for in all."""
SQLITE_WAITS_MS: Final = 250
"""How long SQLite itself waits in one try. It asks ever less often; a new try gives who waits long a fair chance."""

_PAUSE_S: Final = 0.004
_PAUSE_MAX_S: Final = 0.064
_CONTENDED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_PRIMARY: Final = 0xFF  # an extended code has the primary one in its lowest byte


def is_contention(error: BaseException) -> bool:
    """Whether SQLite only says that somebody else is at work."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _CONTENDED


def contention_error(path: Path, waited_s: float = 0.0) -> StoreError:
    """What a person is told when a lock was never to be had."""
    waited = f" for {waited_s:.0f} s" if waited_s >= 1 else ""
    return StoreError(
        f"{path} was kept busy by others{waited}; it is tried again by itself. {describe_holders(path)}", healable=True
    )


class Patience:
    """One wait for a file, from the first refusal on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began: float | None = None
        self._pause_s = _PAUSE_S

    def pause_after(self, error: sqlite3.Error) -> float:
        """How long to wait before the next try, in seconds.

        Raises `error` itself when it is no contention, StoreError (healable) when it has lasted too long.
        """
        if not is_contention(error):
            raise error
        now = time.monotonic()
        began = self._began = now if self._began is None else self._began
        if now - began >= PATIENCE_S:
            raise contention_error(self._path, now - began) from error
        pause_s = self._pause_s * random.uniform(0.25, 1.0)  # noqa: S311 - so that waiters do not march in step
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
        return pause_s


def patiently(path: Path, step: Callable[[], T]) -> T:
    """The result of `step`, which is called again while others have the file; what it did halfway must be harmless."""
    patience = Patience(path)
    while True:
        try:
            return step()
        except sqlite3.Error as error:
            pause_s = patience.pause_after(error)
        time.sleep(pause_s)


async def patiently_async(path: Path, step: Callable[[], Awaitable[T]]) -> T:
    """As `patiently`, for a step that waits in a thread: the event loop goes on, and a pause can be cancelled.

    Locks are a matter of real time, whatever clock actors have.
    """
    patience = Patience(path)
    while True:
        try:
            return await step()
        except sqlite3.Error as error:
            pause_s = patience.pause_after(error)
        await anyio.sleep(pause_s)
