"""The state directory and its lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.file_facts import (
    FileFacts,
    Room,
    judge_room,
    look_at,
    measure_room,
    readers,
    user_name,
    writers,
)
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.doctor.process import Process, look_at_process
from penstock.domain.context import LOCK_NAME
from penstock.domain.errors import SpecError
from penstock.domain.views import Finding
from penstock.files.kinds import file_system_of, network_types
from penstock.store.lock_holders import parse_locks
from penstock.store.placement import check_state_dir

_LOCKS: Final = Path("/proc/locks")
_PID_BYTES: Final = 32


class StateLock(msgspec.Struct, frozen=True):
    """The daemon's lock: the pid that is written in it, who holds it by the kernel's word, and what that pid is now."""

    path: str
    written: int | None
    holders: tuple[int, ...]
    process: Process | None

    @property
    def holder(self) -> int | None:
        """Who has it; None: nobody. Some file systems do not show their locks: then a living daemon is believed."""
        if self.holders:
            return self.holders[0]
        is_alive = self.process is not None and self.process.is_penstockd
        return self.written if is_alive else None


class StateDirectory(msgspec.Struct, frozen=True):
    """What was seen of it; `writable` is None where only its own account can say."""

    path: str
    facts: FileFacts | None
    parent_writable: bool
    writable: bool | None
    file_system: str
    room: Room
    lock: StateLock | None


def look_at_state_directory(path: Path, uid: int) -> StateDirectory:
    """What is to be seen from outside: the permission to write is asked for, and nothing is written."""
    facts = look_at(path)
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return StateDirectory(
        str(path),
        facts,
        os.access(parent, os.W_OK | os.X_OK),
        os.access(path, os.W_OK | os.X_OK) if facts is not None and os.geteuid() == uid else None,
        file_system_of(path),
        measure_room(path),
        look_at_lock(path / LOCK_NAME),
    )


def look_at_lock(path: Path) -> StateLock | None:
    """The lock's state; None where no daemon has been, or others' lock is hidden.

    It is not tried: that might keep a daemon from starting.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        word = path.read_bytes()[:_PID_BYTES].decode("ascii", "replace").strip()
    except PermissionError:
        word = ""
    written = int(word) if word.isdecimal() else None
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        holders = parse_locks(_LOCKS.read_text(encoding="utf-8"), [name])
    except OSError:
        holders = []
    return StateLock(str(path), written, tuple(holders), look_at_process(written) if written else None)


def judge_state_directory(
    seen: StateDirectory, uid: int, *, group: str, force_network: bool, network: Collection[str] | None = None
) -> list[Finding]:
    """What is said of it; `uid` is the daemon's account, `group` the group that may give orders (or empty)."""
    findings = [_itself(seen, uid)]
    if seen.facts is not None and findings[0].ok:
        findings.append(_permissions(seen.facts, group))
    findings.append(_file_system(seen, network_types() if network is None else network, force=force_network))
    findings.append(judge_room("room", seen.room))
    if seen.lock is not None:
        findings.append(judge_lock(seen.lock))
    return findings


def _itself(seen: StateDirectory, uid: int) -> Finding:
    what, move = "state directory", "set PENSTOCK_STATE_DIR (or state_dir in [daemon]) to one of your own"
    if seen.facts is None:
        if seen.parent_writable:
            return note(what, f"{seen.path} is not there yet; the first daemon makes it")
        return problem(what, f"{seen.path} is not there and cannot be made", f"make it, or {move}")
    if not stat.S_ISDIR(seen.facts.mode):
        return problem(what, f"{seen.path} is no directory", f"move it away, or {move}")
    if seen.facts.uid != uid:
        owner = user_name(seen.facts.uid)
        return problem(what, f"{seen.path} belongs to {owner}, not to {user_name(uid)}", f"chown it, or {move}")
    if seen.writable is False:
        return problem(what, f"{seen.path} cannot be written ({seen.facts.permissions})", f"chmod u+rwx {seen.path}")
    return well(what, f"{seen.path}, {user_name(uid)}'s")


def _permissions(facts: FileFacts, group: str) -> Finding:
    what, mend = "permissions", f"chmod 700 {facts.path}"
    if who := writers(facts):
        detail = f"{who} may write to it ({facts.permissions}), and so put another catalogue or socket in its place"
        return problem(what, detail, f"chmod go-w {facts.path}")
    if (who := readers(facts)) and who != f"group {group}":
        detail = f"{who} may look into it ({facts.permissions}): names and places of workflows"
        return note(what, detail, f"unless that is meant: {mend}")
    return well(what, facts.permissions)


def _file_system(seen: StateDirectory, network: Collection[str], *, force: bool) -> Finding:
    try:
        said = check_state_dir(Path(seen.path), seen.file_system, network, force=force)
    except SpecError as error:
        return problem("file system", error.message, "move the state directory while no daemon runs")
    if said is not None:
        return warning("file system", said, "a directory on a local disk is faster and safer")
    return well("file system", seen.file_system)


def judge_lock(lock: StateLock) -> Finding:
    """Who has the directory."""
    what = "lock"
    if lock.holder is None:
        left = f"; pid {lock.written}, which is in it, is gone" if lock.written and lock.process is None else ""
        return well(what, f"nobody has it{left}")
    who = lock.process if lock.process is not None and lock.process.pid == lock.holder else None
    if who is not None and not who.is_penstockd:
        detail = f"held by pid {lock.holder}, which is no penstockd: {who.command}"
        return problem(
            what, detail, f"end it if it has no business there; no daemon starts as long as it has {lock.path}"
        )
    return well(what, f"held by pid {lock.holder}{f' ({who.command})' if who is not None else ''}")
