"""`penstockd [--config FILE]`: runs the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import structlog

from penstock import __version__
from penstock.actors.supervisor import innermost
from penstock.daemon.config import load_config
from penstock.daemon.daemon import run_daemon
from penstock.daemon.logs import configure_logs, log_what_breaks
from penstock.domain.errors import PenstockError
from penstock.domain.settings import find_config

_BROKE: Final = 1
_WRONG: Final = 2


def main() -> None:
    """The entry point. Exit codes: 0 stopped on request, 1 broke, 2 cannot start as it is asked to."""
    parser = argparse.ArgumentParser(prog="penstockd", description="Runs simulation workflows; stop it with SIGTERM.")
    parser.add_argument(
        "--config", type=Path, help="configuration file (default: $PENSTOCK_CONFIG, ~/.config/penstock)"
    )
    parser.add_argument("--version", action="version", version=f"penstockd {__version__}")
    options = parser.parse_args()
    logs = None
    try:
        config = load_config(options.config or find_config(os.environ))
        table = config.daemon
        logs = configure_logs(table.log_format, table.log_level, table.log_keep)
        log_what_breaks()
        run_daemon(config, options.config, os.environ, logs)
    except Exception as error:
        cause = innermost(error)
        if not isinstance(cause, (PenstockError, OSError)):
            if logs is None:
                raise
            structlog.get_logger().critical("penstockd broke", error=str(cause), exc_info=error)
            sys.exit(_BROKE)
        sys.stderr.write(f"penstockd: {cause}\n")
        sys.exit(_WRONG)
    finally:
        if logs is not None:
            logs.flush()
