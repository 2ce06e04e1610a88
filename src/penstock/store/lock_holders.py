"""Who has locks on a database file, as far as this machine's kernel knows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")
_SHOWN: Final = 5
_COMMAND_MAX: Final = 80


def describe_holders(path: Path) -> str:
    """A sentence on which processes hold `path`; it never raises, since it is asked when there is trouble already."""
    try:
        pids = parse_locks(_LOCKS.read_text(encoding="utf-8"), _identities(path))
    except OSError:
        pids = []
    if not pids:
        return "No process of this machine holds a lock on it now: look for who has it open, here or on other machines"
    shown = ", ".join(f"{pid} ({_command(pid)})" for pid in pids[:_SHOWN])
    more = f" and {len(pids) - _SHOWN} more" if len(pids) > _SHOWN else ""
    return f"It is locked by process {shown}{more}"


def parse_locks(text: str, files: Iterable[str]) -> list[int]:
    """The processes with a lock on any of `files` (`major:minor:inode` as the kernel writes it) by `/proc/locks`.

    Those that write stand for all where there are any: who reads is in nobody's way then.
    """
    wanted = frozenset(files)
    found: dict[str, set[int]] = {"WRITE": set(), "READ": set()}
    for line in text.splitlines():
        fields = line.split()
        # 7: POSIX  ADVISORY  WRITE 4711 fd:01:786434 1073741824 1073742335; who only waits has "->" behind the number
        if len(fields) == 8 and fields[5] in wanted and fields[3] in found and int(fields[4]) > 0:
            found[fields[3]].add(int(fields[4]))
    return sorted(found["WRITE"] or found["READ"])


def _identities(path: Path) -> list[str]:
    """The database and what goes with it: in WAL mode, the locks are on `-shm`."""
    found = []
    for name in (path.name, f"{path.name}-shm"):
        try:
            status = path.with_name(name).stat()
        except OSError:
            continue
        found.append(f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}")
    return found


def _command(pid: int) -> str:
    if pid == os.getpid():
        return "this program itself"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "of another user, or gone"
    return command[:_COMMAND_MAX] or "?"
