"""`penstockd [--config FILE]`: runs the daemon in the foreground."""

from __future__ import annotations

import argparse
import errno
import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from penstock import __version__
from penstock.actors.supervisor import innermost
from penstock.daemon.config import load_config
from penstock.daemon.daemon import BrokeDownError, run_daemon
from penstock.daemon.logs import configure_logs, log_what_breaks
from penstock.daemon.systemd import ServiceManager
from penstock.domain.errors import PenstockError, StoreError
from penstock.domain.settings import find_config

_BROKE: Final = 1
_WRONG: Final = 2
_LEAVING_S: Final = 1.0
_STDERR: Final = 2
_PASSING: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EADDRINUSE}
)


def main() -> None:
    """The entry point. Exit codes: 0 stopped on request, 1 broke, 2 cannot start as it is asked to.

    After a 1 another try may have better luck; the service manager makes it. After a 2 it would not.
    """
    hold_standard_descriptors()
    manager = ServiceManager.take(os.environ, os.getpid())
    faulthandler.enable()  # so that the log says where it hung when the watchdog ends it (SIGABRT)
    parser = argparse.ArgumentParser(prog="penstockd", description="Runs simulation workflows; stop it with SIGTERM.")
    parser.add_argument(
        "--config", type=Path, help="configuration file (default: $PENSTOCK_CONFIG, ~/.config/penstock)"
    )
    parser.add_argument("--version", action="version", version=f"penstockd {__version__}")
    options = parser.parse_args()
    code = _live(options.config, manager)
    if hanging_threads():
        os._exit(code)  # the interpreter would wait for them
    if code:
        sys.exit(code)


def _live(path: Path | None, manager: ServiceManager) -> int:
    """Runs the daemon to its end; the exit code."""
    logs, last_words = None, ""
    try:
        config = load_config(path or find_config(os.environ))
        table = config.daemon
        logs = configure_logs(table.log_format, table.log_level, table.log_keep)
        log_what_breaks()
        run_daemon(config, path, os.environ, logs, manager)
    except Exception as error:
        cause = innermost(error)
        if not isinstance(cause, (PenstockError, OSError)):
            if logs is None:
                raise
            structlog.get_logger().critical("penstockd broke", error=str(cause), exc_info=error)
            return _BROKE
        last_words = f"penstockd: {cause}\n"
        if logs is None:
            sys.stderr.write(last_words)
        return _BROKE if may_pass(cause) else _WRONG
    finally:
        if logs is not None:
            logs.close(last_words)
    return 0


def hanging_threads() -> list[threading.Thread]:
    """Threads that are still in a file system which does not answer, when all that was asked of them is over."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    until = time.monotonic() + _LEAVING_S
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    return [thread for thread in others if thread.is_alive()]


def hold_standard_descriptors() -> None:
    """Opens those that are closed, lest a database get their numbers, and be written what a program prints."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(fd, True)  # noqa: FBT003 - the system call takes it so
    os.close(fd)
    sys.stderr = sys.stderr or os.fdopen(_STDERR, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def may_pass(error: PenstockError | OSError) -> bool:
    """Whether starting once more, with nothing changed by anybody, could end otherwise."""
    match error:
        case BrokeDownError():
            return True
        case StoreError(healable=healable):
            return healable
        case OSError(errno=number) | PenstockError(__cause__=OSError(errno=number)):
            return number in _PASSING
        case _:
            return False
