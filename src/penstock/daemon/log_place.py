"""Where the log is when the daemon is not there to be asked: written down in the state directory at each start."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.daemon.logs import is_journal
from penstock.domain.context import LOG_PLACE_NAME

_UNIT: Final = re.compile(r"/([\w@:.\\-]+\.service)(?:/|$)")


def describe_place(target: str, *, in_journal: bool, cgroup: str) -> str:
    """How to see what is written to `target` (the link of a file descriptor), empty where nobody can tell.

    `cgroup` is the text of /proc/self/cgroup: it names the unit that the journal keeps the lines of.
    """
    if in_journal:
        units = _UNIT.findall(cgroup)
        if not units:
            return "journalctl _COMM=penstockd"
        user = "--user " if len(units) > 1 and units[0].startswith("user@") else ""
        return f"journalctl {user}-u {units[-1]}"
    return target if target.startswith("/") and not target.startswith(("/dev/", "/proc/")) else ""


def leave_log_place(state_dir: Path, environ: Mapping[str, str]) -> None:
    """Writes it down. It is a hint, so nothing stops the daemon here."""
    with contextlib.suppress(OSError):
        place = describe_place(
            str(Path(f"/proc/self/fd/{sys.stderr.fileno()}").readlink()),
            in_journal=is_journal(sys.stderr, environ),
            cgroup=Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace"),
        )
        (state_dir / LOG_PLACE_NAME).write_text(f"{place}\n", encoding="utf-8")
