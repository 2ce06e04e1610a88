"""What a process has done of late, as the kernel tells: whether it works, or only waits for a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from penstock.domain.process_id import STAT_FIELDS, read_stat

_PROC: Final = Path("/proc")
_CPU: Final = slice(11, 15)  # utime stime cutime cstime, behind the state: see proc_pid_stat(5)
_WAKES: Final = "voluntary_ctxt_switches:"
_WAKES_A_SECOND: Final = 2.0
"""Who waits for a lock looks for it more often; who waits for a disk is woken by its answer."""


class Effort(NamedTuple):
    """What a process and its children have done so far.

    `cpu_ticks` counts all of them and all their threads; `wakes` is how often the main thread has begun to wait.
    """

    cpu_ticks: int
    wakes: int
    is_running: bool = False  # or would be, if the machine had a core for it


class Rest(NamedTuple):
    """Since when a process has done nothing, in s, and what it had done until then."""

    effort: Effort
    since_s: float


def rest_after(rest: Rest, effort: Effort, now_s: float) -> Rest:
    """What is known when the process is seen once more: the same rest, or another that begins now."""
    often = effort.wakes - rest.effort.wakes > _WAKES_A_SECOND * (now_s - rest.since_s)
    if effort.is_running or often or effort.cpu_ticks != rest.effort.cpu_ticks:
        return Rest(effort, now_s)
    return rest


def read_effort(pid: int) -> Effort | None:
    """What a process has done; None when it is gone. It asks the kernel only, never a disk."""
    fields = read_stat(pid)
    try:
        status = (_PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return None
    wakes = [line.split()[1] for line in status.splitlines() if line.startswith(_WAKES)]
    if fields is None or not wakes:
        return None
    return Effort(_ticks(fields) + _ticks_below(pid), int(wakes[0]), fields[STAT_FIELDS["state"]] == "R")


def _ticks(fields: list[str]) -> int:
    return sum(int(ticks) for ticks in fields[_CPU])


def _ticks_below(pid: int) -> int:
    """Those of its children that have not ended; none where the kernel does not tell of children."""
    return sum(
        _ticks(fields) + _ticks_below(child) for child in _children(pid) if (fields := read_stat(child)) is not None
    )


def _children(pid: int) -> list[int]:
    try:
        listings = [listing.read_text() for listing in (_PROC / str(pid) / "task").glob("*/children")]
    except OSError:  # it, or a thread of it, has just ended
        return []
    return [int(child) for listing in listings for child in listing.split()]
