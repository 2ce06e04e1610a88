"""`penstockd [--config FILE]`: runs the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from penstock import __version__
from penstock.actors.supervisor import innermost
from penstock.daemon.config import load_config
from penstock.daemon.daemon import run_daemon
from penstock.daemon.logs import configure_logs
from penstock.domain.errors import PenstockError
from penstock.domain.settings import find_config

_WRONG: Final = 2


def main() -> None:
    """The entry point. Exit codes: 0 stopped on request, 1 broke, 2 cannot start as it is asked to."""
    parser = argparse.ArgumentParser(prog="penstockd", description="Runs simulation workflows; stop it with SIGTERM.")
    parser.add_argument(
        "--config", type=Path, help="configuration file (default: $PENSTOCK_CONFIG, ~/.config/penstock)"
    )
    parser.add_argument("--version", action="version", version=f"penstockd {__version__}")
    options = parser.parse_args()
    try:
        config = load_config(options.config or find_config(os.environ))
        configure_logs(config.daemon.log_format, config.daemon.log_level)
        run_daemon(config, options.config, os.environ)
    except Exception as error:
        cause = innermost(error)
        if not isinstance(cause, (PenstockError, OSError)):
            raise
        sys.stderr.write(f"penstockd: {cause}\n")
        sys.exit(_WRONG)
