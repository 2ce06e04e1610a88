"""Whether a context may be written to: by whom else the workflow is worked on, and what the file system allows."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.context import LOCK_NAME, Context, DaemonPlace
from penstock.domain.errors import StoreError
from penstock.store.connection import reading
from penstock.store.library import find_daemon

_LOCKS: Final = Path("/proc/locks")


def daemon_of(context: Context) -> DaemonPlace | None:
    """Who works on the workflow; None where nobody ever did. StoreError when the database cannot be read."""
    with reading(Path(context.database)) as db:
        try:
            found = find_daemon(db, context.workflow_id)
        except KeyError:
            message = f"{context.database} holds no workflow {context.workflow_id!r}; restore it from a backup"
            raise StoreError(message, healable=False) from None
    return None if found is None else msgspec.json.decode(found, type=DaemonPlace)


def why_read_only(context: Context, daemon: DaemonPlace | None, *, write: bool | None) -> str | None:
    """Why nothing may be written, None where it may. `write`: asked for (True), not wanted (False), as it is (None)."""
    if write is False:
        return "it was opened for reading only (write=False)"
    if write is None and daemon is not None and (running := why_running(daemon)) is not None:
        return f"{running}; open it with write=True to add results of your own beside it"
    database = Path(context.database)
    for path in (database, database.parent, Path(context.directory)):
        if not os.access(path, os.W_OK):
            return f"{path} is not writable for this account"
    return None


def why_running(daemon: DaemonPlace) -> str | None:
    """A sentence on the daemon at work; None when it is not running. On another host it is assumed to be."""
    if daemon.host != socket.gethostname():
        return f"a daemon on host {daemon.host} works on it, of which nobody can see from here whether it is running"
    pid = _lock_holder(Path(daemon.state_dir, LOCK_NAME))
    return None if pid is None else f"the daemon of {daemon.state_dir} works on it (pid {pid})"


def _lock_holder(lock: Path) -> int | None:
    """The process that holds a daemon's lock. Only looked at: to try to take it would be in a starting daemon's way."""
    try:
        inode = lock.stat().st_ino
        pid = int(lock.read_text(encoding="ascii", errors="replace").strip() or 0)
    except (OSError, ValueError):
        return None
    try:
        lines = _LOCKS.read_text(encoding="utf-8").splitlines()
    except OSError:  # it is not there everywhere; the process itself is, then, if it lives
        return pid if Path(f"/proc/{pid}").exists() else None
    for line in lines:
        fields = line.split()  # 3: FLOCK  ADVISORY  WRITE 721 fe:00:2245418 0 EOF
        if len(fields) == 8 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and fields[4] == str(pid):
            return pid
    return None
