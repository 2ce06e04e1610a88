"""Processes of this machine, known by pid *and* start time, so that a reused pid is never taken for an old friend."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
_FIELDS_AFTER_NAME: Final = {"state": 0, "session": 3, "start": 19}
_FENCE_PAUSE_S: Final = 0.01
_FENCE_ROUNDS: Final = 500


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
        fields = _stat(pid)
        if fields is None or fields[_FIELDS_AFTER_NAME["state"]] in "ZX":
            return None
        return cls(pid, int(fields[_FIELDS_AFTER_NAME["start"]]), boot_id())

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return ProcessId.of(self.pid) == self


def boot_id() -> str:
    """A word that changes with every boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def fence(runner: ProcessId, marker: str) -> None:
    """Kills whatever a dead runner left behind and returns when nothing of it lives.

    That is every process of its session, and every process that carries `marker` (`NAME=value`) in its environment.
    Raises TimeoutError when something cannot be killed (stuck in the kernel).
    """
    needle = marker.encode()
    for _ in range(_FENCE_ROUNDS):
        left = list(_leftovers(runner, needle))
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_FENCE_PAUSE_S)
    raise TimeoutError(f"processes {left} of runner {runner.pid} cannot be killed")


def _leftovers(runner: ProcessId, needle: bytes) -> Iterator[int]:
    """Our processes of the runner's session or with its marker.

    The kernel reuses no pid that is a session's id while the session has members; a new leader under that pid shows by
    its start time and owns its session itself.
    """
    leader = ProcessId.of(runner.pid)
    session_is_foreign = runner.boot != boot_id() or (leader is not None and leader != runner)
    for name in (entry.name for entry in _PROC.iterdir()):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        fields = _stat(int(name))
        if fields is None or fields[_FIELDS_AFTER_NAME["state"]] in "ZX":
            continue
        in_session = int(fields[_FIELDS_AFTER_NAME["session"]]) == runner.pid and not session_is_foreign
        if in_session or needle in _environment(name):
            yield int(name)


def _environment(pid: str) -> list[bytes]:
    try:
        return (_PROC / pid / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name, which may itself contain blanks and parentheses."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
