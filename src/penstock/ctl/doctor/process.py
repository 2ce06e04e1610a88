"""What the system tells of a process: its account, its environment, its limits, its control group."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

PROC: Final = Path("/proc")
_NAME: Final = "penstockd"
_LIMIT: Final = re.compile(r"(Max [a-z ]+?) {2,}(\S+) +(\S+)")
_UNIT: Final = re.compile(r"/([^/]+\.service)(?:/|$)")


class Limit(msgspec.Struct, frozen=True):
    """A limit of a process; None: there is none."""

    soft: int | None
    hard: int | None


class Process(msgspec.Struct, frozen=True):
    """A process. None: the system does not say, mostly because it is another account's."""

    pid: int
    uid: int
    command: str
    environ: dict[str, str] | None
    limits: dict[str, Limit]
    open_files: int | None
    cgroup: str  # /proc/PID/cgroup
    program: str = ""  # the first word of the command line

    @property
    def is_penstockd(self) -> bool:
        """Whether it looks like a daemon."""
        return _NAME in self.command or "penstock.daemon" in self.command

    @property
    def unit(self) -> str:
        """The systemd service that it is the main process of, empty where it is none."""
        units = _UNIT.findall(self.cgroup)
        unit = next((unit for unit in reversed(units) if not unit.startswith("user@")), "")
        if (self.environ or {}).get("SYSTEMD_EXEC_PID") == str(self.pid):
            return unit or "a service"
        return unit if "penstock" in unit else ""  # a terminal of a desktop is a service, too, and not ours

    @property
    def is_of_user_manager(self) -> bool:
        """Whether its service is one of the account's own systemd."""
        return bool(self.unit) and "/user@" in self.cgroup


def look_at_process(pid: int) -> Process | None:
    """The process, None where there is none, or its number means nothing here (another container's)."""
    place = PROC / str(pid)
    try:
        uid = place.stat().st_uid
        words = os.fsdecode((place / "cmdline").read_bytes()).split("\0")
    except OSError:
        return None
    command = " ".join(words).encode(errors="surrogateescape").decode(errors="replace").strip()
    if not command:  # a zombie, or the kernel's
        return None
    environ = _read(place / "environ")
    limits = _read(place / "limits")
    cgroup = _read(place / "cgroup")
    return Process(
        pid,
        uid,
        command,
        None if environ is None else parse_environ(environ),
        parse_limits(limits or ""),
        _count(place / "fd"),
        cgroup or "",
        words[0],
    )


def _read(path: Path) -> str | None:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return None


def _count(folder: Path) -> int | None:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return None


def parse_environ(text: str) -> dict[str, str]:
    """Variables of `/proc/PID/environ`, as the process was started with."""
    pairs = (entry.partition("=") for entry in text.split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def parse_limits(text: str) -> dict[str, Limit]:
    """Limits by the kernel's names, such as `Max open files`; see proc_pid_limits(5)."""
    return {
        name: Limit(_number(soft), _number(hard))
        for name, soft, hard in (match.groups() for match in map(_LIMIT.match, text.splitlines()) if match)
        if name != "Max cpu time"
    }


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() else None


def parse_status(text: str) -> tuple[int, int] | None:
    """The real uid and the number of threads of `/proc/PID/status`."""
    uid = re.search(r"^Uid:\s+(\d+)", text, re.MULTILINE)
    threads = re.search(r"^Threads:\s+(\d+)", text, re.MULTILINE)
    return (int(uid[1]), int(threads[1])) if uid and threads else None


def count_threads(uid: int) -> int:
    """How many threads an account has; the kernel's limit of processes counts these."""
    total = 0
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and (text := _read(folder / "status")) and (found := parse_status(text)):
            total += found[1] if found[0] == uid else 0
    return total


def environment_of(process: Process | None, own: Mapping[str, str]) -> Mapping[str, str]:
    """What says where things are: the daemon's environment where it can be read, else this program's own."""
    return own if process is None or process.environ is None else process.environ
