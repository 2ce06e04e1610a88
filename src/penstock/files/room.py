"""Room for so many at a time, in each file system apart: who waits in one that hangs takes no place from the others."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import anyio

from penstock.files.threads import where_is


class Room:
    """`most` at a time for each file system. Needs a running event loop."""

    def __init__(self, most: int) -> None:
        self._places = defaultdict[str, anyio.Semaphore](lambda: anyio.Semaphore(most))

    def at(self, path: str | Path) -> anyio.Semaphore:
        """The places in the file system that `path` (absolute) is on: `async with` has one of them."""
        return self._places[where_is(path)]
