"""What the kernel knows of a process: memory, CPU time, threads. And ending what a benchmark started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_GRACE_S: Final = 10.0


def rss_mb(pid: int) -> float:
    """Resident memory now, MB (10^6 bytes)."""
    return _status_kib(pid, "VmRSS") * 1024 / 1e6


def peak_rss_mb(pid: int) -> float:
    """The largest resident memory since the process began, MB (10^6 bytes)."""
    return _status_kib(pid, "VmHWM") * 1024 / 1e6


def threads(pid: int) -> int:
    """How many threads the process has."""
    return _status_kib(pid, "Threads")


def cpu_s(pid: int) -> float:
    """CPU time of the process itself, user and system."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def tree_cpu_s(pid: int) -> float:
    """CPU time of the process, of its living descendants, and of those it has waited for."""
    fields = _stat(pid)
    total = sum(int(field) for field in fields[11:15]) / _TICKS_PER_S
    for child in (_PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split():
        with contextlib.suppress(OSError):
            total += tree_cpu_s(int(child))
    return total


def marked(mark: str) -> Iterator[int]:
    """The processes that carry `mark` (NAME=VALUE) in their environment, zombies left out."""
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if _stat(int(folder.name))[0] != "Z" and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def end_marked(mark: str) -> None:
    """Waits for all processes that carry `mark`, detached runners among them, and kills those that do not end."""
    deadline = time.monotonic() + _GRACE_S
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def _status_kib(pid: int, key: str) -> int:
    for line in (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise ProcessLookupError(f"process {pid} has no {key}: it has ended")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the command's name before it may itself hold blanks."""
    return (_PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
