"""The machine's clock: whether somebody keeps it right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.finding import note, warning, well
from penstock.domain.views import Finding

_TIMESYNC: Final = Path("/run/systemd/timesync/synchronized")
_TIMEDATECTL: Final = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
_CHRONY: Final = ("chronyc", "-n", "-c", "tracking")
_ASKING_S: Final = 2.0
_FAR_S: Final = 1.0


class ClockKeeping(msgspec.Struct, frozen=True):
    """Who keeps the clock, by whose word (empty: nobody says), and how far off it is (None: not said)."""

    keeper: str = ""
    synchronised: bool = False
    offset_s: float | None = None


def look_at_clock() -> ClockKeeping:
    """By what is cheap: a file, then the programs that would know."""
    if _TIMESYNC.exists():
        return ClockKeeping("systemd-timesyncd", synchronised=True)
    if (said := _ask(_CHRONY)) is not None and (found := parse_chrony(said)) is not None:
        return found
    said = _ask(_TIMEDATECTL)
    return ClockKeeping("timedatectl", said == "yes") if said in {"yes", "no"} else ClockKeeping()


def _ask(argv: tuple[str, ...]) -> str | None:
    if shutil.which(argv[0]) is None:
        return None
    try:
        ran = subprocess.run(
            argv, capture_output=True, text=True, timeout=_ASKING_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def parse_chrony(text: str) -> ClockKeeping | None:
    """The line of `chronyc -c tracking`: its fifth field is the offset in seconds, its last the state."""
    fields = text.split(",")
    if len(fields) < 14:
        return None
    try:
        return ClockKeeping("chrony", fields[-1] != "Not synchronised", float(fields[4]))
    except ValueError:
        return None


def judge_clock(seen: ClockKeeping) -> Finding:
    """Whether times of this machine can be compared with those of others."""
    what, mend = "clock", "set up NTP (systemd-timesyncd or chrony); cluster check compares it with a cluster's"
    if not seen.keeper:
        return note(what, "nobody here says whether it is kept right", mend)
    if not seen.synchronised:
        return warning(what, f"not synchronised, says {seen.keeper}", mend)
    off = f", {seen.offset_s:+.3g} s off" if seen.offset_s is not None else ""
    if seen.offset_s is not None and abs(seen.offset_s) > _FAR_S:
        return warning(what, f"kept by {seen.keeper}{off}", "wait for it, or step it: chronyc makestep")
    return well(what, f"kept by {seen.keeper}{off}")
