"""A daemon's own directory: of a kind that keeps what it is given, and held by one daemon at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from penstock.domain.context import LOCK_NAME
from penstock.domain.errors import PenstockError, SpecError
from penstock.files.kinds import file_system_of, network_types
from penstock.store.placement import check_state_dir


class AlreadyRunningError(PenstockError):
    """Another daemon has this state directory."""

    code = "already_running"


def check_kind(state_dir: Path, *, force: bool) -> None:
    """SpecError where its file system is none for it; with `force` that is a warning."""
    try:
        kind = file_system_of(state_dir)
    except OSError as error:
        message = f"the state directory {state_dir} cannot be used: {error.strerror}; set PENSTOCK_STATE_DIR"
        raise SpecError(message) from error
    if warning := check_state_dir(state_dir, kind, network_types(), force=force):
        structlog.get_logger().warning(warning)


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Holds the state directory for one daemon. The kernel releases it with the process, however that ends."""
    path = state_dir / LOCK_NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state directory {state_dir} cannot be used: {error.strerror}; set PENSTOCK_STATE_DIR to another"
        raise SpecError(message) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "?"
            message = f"a daemon (pid {holder}) already runs on {state_dir}; stop it, or set PENSTOCK_STATE_DIR"
            raise AlreadyRunningError(message) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
