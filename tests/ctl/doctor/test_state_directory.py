"""What is said of the state directory and its lock."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.file_facts import FileFacts, Room
from penstock.ctl.doctor.process import Process
from penstock.ctl.doctor.state_directory import (
    StateDirectory,
    StateLock,
    judge_lock,
    judge_state_directory,
    look_at_lock,
    look_at_state_directory,
)
from penstock.domain.views import Finding

ME = 1000
FACTS = FileFacts("/s", ME, ME, stat.S_IFDIR | 0o700, 0.0, "users")
SEEN = StateDirectory("/s", FACTS, True, True, "ext4", Room("/s", 10**12, 10**13, 0, 0), None)


def judged(seen: StateDirectory, *, group: str = "", force: bool = False) -> dict[str, Finding]:
    findings = judge_state_directory(seen, ME, group=group, force_network=force, network={"nfs"})
    return {finding.what: finding for finding in findings}


def test_all_is_well() -> None:
    assert {finding.level for finding in judged(SEEN).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"facts": None}, "note", "/s is not there yet"),
        ({"facts": None, "parent_writable": False}, "problem", "cannot be made"),
        ({"writable": False}, "problem", "/s cannot be written (0700)"),
        ({"writable": None}, "ok", "/s"),
        ({"facts": msgspec.structs.replace(FACTS, mode=stat.S_IFREG | 0o600)}, "problem", "/s is no directory"),
        ({"facts": msgspec.structs.replace(FACTS, uid=4321)}, "problem", "/s belongs to 4321, not to "),
    ],
)
def test_the_directory_itself(changed: dict[str, object], level: str, said: str) -> None:
    finding = judged(msgspec.structs.replace(SEEN, **changed))["state directory"]
    assert finding.level == level
    assert said in finding.detail


@pytest.mark.parametrize(
    ("mode", "group", "level"),
    [(0o700, "", "ok"), (0o750, "", "note"), (0o750, "users", "ok"), (0o755, "", "note"), (0o770, "", "problem")],
)
def test_permissions(mode: int, group: str, level: str) -> None:
    facts = msgspec.structs.replace(FACTS, mode=stat.S_IFDIR | mode)
    assert judged(msgspec.structs.replace(SEEN, facts=facts), group=group)["permissions"].level == level


def test_a_network_file_system() -> None:
    seen = msgspec.structs.replace(SEEN, file_system="nfs")
    assert judged(seen)["file system"].level == "problem"
    assert judged(seen, force=True)["file system"].level == "warning"


def test_a_real_one(tmp_path: Path) -> None:
    state = tmp_path / "s"
    state.mkdir(mode=0o700)
    seen = look_at_state_directory(state, os.geteuid())
    assert (seen.writable, seen.lock) == (True, None)
    assert look_at_state_directory(tmp_path / "not" / "yet", os.geteuid()).facts is None
    assert look_at_state_directory(state, 54321).writable is None


# ---- the lock -------------------------------------------------------------------------------------------------------

DAEMON = Process(7, ME, "/usr/bin/python3 /usr/bin/penstockd", None, {}, None, "")


@pytest.mark.parametrize(
    ("lock", "holder", "level", "said"),
    [
        (StateLock("/l", 7, (7,), DAEMON), 7, "ok", "held by pid 7 (/usr/bin/python3"),
        (StateLock("/l", 7, (), DAEMON), 7, "ok", "held by pid 7"),  # the kernel does not show it
        (StateLock("/l", 7, (), None), None, "ok", "nobody has it; pid 7, which is in it, is gone"),
        (StateLock("/l", None, (), None), None, "ok", "nobody has it"),
        (StateLock("/l", 7, (8,), DAEMON), 8, "ok", "held by pid 8"),
        (
            StateLock("/l", 7, (), msgspec.structs.replace(DAEMON, command="vim")),
            None,
            "ok",
            "nobody has it",
        ),
        (
            StateLock("/l", 7, (7,), msgspec.structs.replace(DAEMON, command="vim")),
            7,
            "problem",
            "held by pid 7, which is no penstockd: vim",
        ),
    ],
)
def test_who_has_the_lock(lock: StateLock, holder: int | None, level: str, said: str) -> None:
    finding = judge_lock(lock)
    assert (lock.holder, finding.level) == (holder, level)
    assert said in finding.detail


def test_a_real_lock_is_seen_and_never_tried(tmp_path: Path) -> None:
    path = tmp_path / "penstockd.lock"
    assert look_at_lock(path) is None
    code = f"import fcntl, os; f = open({str(path)!r}, 'w'); fcntl.flock(f, 2); f.write(str(os.getpid())); f.flush(); "
    argv = [sys.executable, "-c", f"{code}print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        lock = look_at_lock(path)
        assert lock is not None
        assert (lock.written, lock.holders, lock.holder) == (child.pid, (child.pid,), child.pid)
        child.communicate(b"\n")
    lock = look_at_lock(path)
    assert lock is not None
    assert (lock.written, lock.holder) == (child.pid, None)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
