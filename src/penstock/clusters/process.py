"""What a dead runner left behind is found and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.domain.process_id import STAT_FIELDS, ProcessId, boot_id, read_stat

_PROC: Final = Path("/proc")
_FENCE_PAUSE_S: Final = 0.01
_FENCE_ROUNDS: Final = 500


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
        fields = read_stat(int(name))
        if fields is None or fields[STAT_FIELDS["state"]] in "ZX":
            continue
        in_session = int(fields[STAT_FIELDS["session"]]) == runner.pid and not session_is_foreign
        if in_session or needle in _environment(name):
            yield int(name)


def _environment(pid: str) -> list[bytes]:
    try:
        return (_PROC / pid / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
