"""Values as people read them in a terminal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from penstock.domain import printable

clean: Final = printable.clean
"""`text` on one line, with every control character written as an escape."""
clean_block: Final = printable.clean_block
"""`text` with control characters written as escapes, but for line ends and tabs."""


def duration(seconds: float | None) -> str:
    """A time span: `0.12 s`, `5.3 s`, `1m 05s`, `2h 03m`, `3d 04h`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def local_time(epoch_s: float | None) -> str:
    """A moment in the reader's own time zone."""
    return "-" if epoch_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))


def local_time_of(text: str) -> str:
    """A moment given as ISO 8601 text (UTC if it names no zone) in the reader's time zone; other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return local_time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def number(value: float | None, digits: int = 6) -> str:
    """A measured value with `digits` decimals, or `-` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def percentage(part: int, whole: int) -> str:
    """`part` of `whole` with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def bar(part: int, whole: int, width: int, full: str) -> str:
    """A bar of at most `width` characters; what is there at all shows as at least one."""
    filled = round(width * part / whole) if whole else 0
    return full * max(filled, 1 if part else 0)


def counts(statuses: dict[str, int]) -> str:
    """The counts that are not zero: `completed 12, failed 1`."""
    return ", ".join(f"{status} {count}" for status, count in statuses.items() if count) or "none"


def size(count: int) -> str:
    """A number of bytes: `512 B`, `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":
            break
    return f"{value:.1f} {unit}"
