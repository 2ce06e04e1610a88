"""Processes of this machine, known by pid *and* start time, so that a reused pid is never taken for an old friend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
STAT_FIELDS: Final = {"state": 0, "session": 3, "start": 19}
"""Where `read_stat` has what."""


class ProcessId(msgspec.Struct, frozen=True):
    """A process that cannot be confused with another: pid, start time in clock ticks since boot, and which boot."""

    pid: int
    start_ticks: int
    boot: str

    def token(self) -> str:
        """As one word, for claims."""
        return f"{self.pid}:{self.start_ticks}:{self.boot}"

    @classmethod
    def from_token(cls, token: str) -> ProcessId | None:
        """The process a token names, None when it names none."""
        parts = token.split(":")
        if len(parts) != 3 or not (parts[0].isdigit() and parts[1].isdigit()):
            return None
        return cls(int(parts[0]), int(parts[1]), parts[2])

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has `pid` now; None when there is none or it is dead but not reaped."""
        fields = read_stat(pid)
        if fields is None or fields[STAT_FIELDS["state"]] in "ZX":
            return None
        return cls(pid, int(fields[STAT_FIELDS["start"]]), boot_id())

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return ProcessId.of(self.pid) == self


def boot_id() -> str:
    """A word that changes with every boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_space() -> str:
    """A word for everything whose pids mean the same as ours: this boot, and this container where we are in one."""
    try:
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{boot_id()}/{space}"


def is_known_dead(process: ProcessId) -> bool:
    """Whether exactly this process of our own process space has ended.

    Where other people's processes are hidden from /proc, only a pid that nobody has is proof.
    """
    if process.alive():
        return False
    if read_stat(process.pid) is not None:
        return True
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return ProcessId.of(process.pid) not in (None, process)


def read_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name, which may itself contain blanks and parentheses."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
