"""What a runner's two processes share about the current attempt, and how they tell the daemon of it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import time
from pathlib import Path
from typing import Final, Protocol

from penstock.clusters import spool as spooling

SPAWNING: Final = -1
TIMEOUT, CANCELLED, LOST = 1, 2, 3
_VERDICTS: Final = {TIMEOUT: "timeout", CANCELLED: "cancelled", LOST: "lost"}
_BELL_EVERY_S: Final = 0.05
_HINT_EVERY_S: Final = 0.2
_RETRY_WRITE_S: Final = 1.0


class Current:
    """The attempt that runs now, in memory shared by keeper and worker. Single aligned stores need no lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)
        self._whole = memoryview(self._memory)[:512].cast("q")
        self._real = memoryview(self._memory)[512:1024].cast("d")

    def begin(self, position: int, deadline: float, started_at: float, group: int) -> int:
        """The worker begins an attempt; returns its number among all that this runner's workers ever began."""
        self._whole[1], self._whole[3] = group, position
        self._real[0], self._real[1] = deadline, started_at
        self._whole[4] += 1
        self._whole[0] = self._whole[4]
        return self._whole[4]

    def end(self) -> None:
        """The worker is between attempts."""
        self._whole[0] = 0

    @property
    def serial(self) -> int:
        """The current attempt's number, 0 between attempts."""
        return self._whole[0]

    @property
    def position(self) -> int:
        """The current attempt's position in its manifest."""
        return self._whole[3]

    @property
    def deadline(self) -> float:
        """When its walltime is over (monotonic)."""
        return self._real[0]

    @property
    def started_at(self) -> float:
        """When it started (since the epoch)."""
        return self._real[1]

    @property
    def group(self) -> int:
        """The process group of its program: 0 when it has none, SPAWNING for the moment before it has one."""
        return self._whole[1]

    @group.setter
    def group(self, group: int) -> None:
        self._whole[1] = group

    def judge(self, serial: int, verdict: int) -> None:
        """The keeper is about to end attempt `serial`, and why."""
        self._whole[2] = serial * 4 + verdict

    def verdict(self, serial: int) -> str | None:
        """Why the keeper ended attempt `serial`, None when it did not."""
        judged, verdict = divmod(self._whole[2], 4)
        return _VERDICTS.get(verdict) if judged == serial else None

    @property
    def stopping(self) -> bool:
        """Whether the worker shall begin no other attempt."""
        return bool(self._whole[5])

    def stop(self) -> None:
        """The keeper wants an end: the worker finishes with the current attempt."""
        self._whole[5] = 1

    @property
    def order(self) -> str:
        """The ulid of the submission at work, empty when there is none."""
        return bytes(self._memory[1024:1050]).strip(b"\0").decode()

    @order.setter
    def order(self, ulid: str) -> None:
        self._memory[1024:1050] = ulid.encode().ljust(26, b"\0")


class News(Protocol):
    """A way to tell the daemon that there is news."""

    def ring(self, ulid: str, *, now: bool = False) -> None:
        """There may be: tells it, unless it was told just before and it is not to be told `now`."""


class Hints:
    """Tells a daemon that is far away: an empty file says that a journal has grown."""

    def __init__(self, news: Path, spool: Path) -> None:
        self._news = news
        self._spool = spool
        self._last = 0.0
        self._told = 0  # the journal's size then

    def ring(self, ulid: str, *, now: bool = False) -> None:
        """See `News`. Silent while the journal has not grown."""
        moment = time.monotonic()
        if not now and moment - self._last < _HINT_EVERY_S:
            return
        with contextlib.suppress(OSError):
            size = spooling.spool_path(self._spool, ulid, "journal").stat().st_size
            if now or size != self._told:
                self._last, self._told = moment, size
                (self._news / f"{ulid}.w").touch()


class Bell:
    """Tells the daemon that there is news, seldom enough not to be a nuisance; nobody listening is no error."""

    def __init__(self, spool: Path) -> None:
        self._directory = os.open(spool, os.O_PATH | os.O_CLOEXEC)
        self._address = spooling.bell_address(self._directory)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._last = 0.0

    def ring(self, ulid: str, *, now: bool = False) -> None:
        """Rings unless it rang just before."""
        moment = time.monotonic()
        if now or moment - self._last >= _BELL_EVERY_S:
            self._last = moment
            with contextlib.suppress(OSError):
                self._socket.sendto(ulid.encode(), self._address)


class Journal:
    """Appends to a submission's journal; a full disk is waited out, since what happened must not be forgotten."""

    def __init__(self, spool: Path, ulid: str) -> None:
        self._fd = os.open(
            spooling.spool_path(spool, ulid, "journal"), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def write(self, line: spooling.Line) -> None:
        """Appends a line, whole: after a torn one, whoever wrote it, on a line of its own."""
        encoded = spooling.encode_line(line)
        while True:
            data = b"\n" + encoded if self._torn else encoded
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                written = 0
            self._torn = (self._torn or written > 0) and written < len(data)
            if written == len(data):
                return
            time.sleep(_RETRY_WRITE_S)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)
