"""Amounts a person writes ("1GB", "10min") and the resources of one attempt."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from penstock.domain.errors import SpecError

_MEMORY_MB: Final = {
    "kb": 1 / 1000,
    "mb": 1.0,
    "gb": 1e3,
    "tb": 1e6,
    "kib": 1024 / 1e6,
    "mib": 1.048576,
    "gib": 1073.741824,
}
_TIME_S: Final = {
    unit: seconds
    for units, seconds in (
        (("s", "sec", "second", "seconds"), 1),
        (("m", "min", "minute", "minutes"), 60),
        (("h", "hour", "hours"), 3600),
        (("d", "day", "days"), 86400),
    )
    for unit in units
}
# bounded digits keep every amount finite
_PART = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_CLOCK = re.compile(r"(?:(\d{1,9})-)?(\d{1,9}):(\d{2}):(\d{2})")


def parse_memory_mb(text: str, key: str = "memory") -> int:
    """Memory in megabytes (10^6 bytes), at least 1, from text such as `1GB`, `1.5 GiB` or `500MB`."""
    match = _PART.fullmatch(text.strip())
    factor = _MEMORY_MB.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise SpecError(f"{text!r} is not an amount of memory; write it like '1GB' or '500MB'", key=key)
    return max(1, round(float(match[1]) * factor))


def parse_duration_s(text: str, key: str) -> float:
    """Seconds, with their fractions, from text such as `0.5s`, `10min`, `1h 30min`, `2d`, `HH:MM:SS`, `D-HH:MM:SS`."""
    stripped = text.strip()
    if match := _CLOCK.fullmatch(stripped):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    total, end = 0.0, 0
    for part in _PART.finditer(stripped):
        if part.start() != end or part[2].lower() not in _TIME_S:
            break
        total += float(part[1]) * _TIME_S[part[2].lower()]
        end = part.end()
    if not stripped or end != len(stripped):
        raise SpecError(f"{text!r} is not a duration; write it like '10min', '1h 30min' or '02:00:00'", key=key)
    return total


def parse_walltime_s(text: str, key: str = "walltime") -> int:
    """Whole seconds, at least 1, from text as `parse_duration_s` reads it."""
    total = parse_duration_s(text, key)
    if total < 1:
        raise SpecError(f"{text!r} is shorter than one second", key=key)
    return round(total)


def render_walltime(walltime_s: int) -> str:
    """`HH:MM:SS`, or `D-HH:MM:SS` from a day on, as `parse_walltime_s` reads it."""
    days, rest = divmod(walltime_s, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one attempt may use: `cores` and `gpus` of each of its `tasks`, `memory_mb` on each of its `nodes`."""

    cores: int = 1
    memory_mb: int = 1000
    walltime_s: int = 3600
    nodes: int = 1
    tasks: int = 1
    gpus: int = 0

    @property
    def cores_in_all(self) -> int:
        """The cores of all tasks together."""
        return self.cores * self.tasks
