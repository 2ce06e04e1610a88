"""The limits of a control group and of all above it: of memory, cores and processes, version 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

N = TypeVar("N", int, float)

ROOT: Final = Path("/sys/fs/cgroup")
_HUGE: Final = 1 << 60  # version 1 writes "no limit" as a very large number of bytes


class GroupLimits(msgspec.Struct, frozen=True):
    """The tightest limits on the way up; None: there is none, or nobody says."""

    memory_bytes: int | None = None
    cores: float | None = None
    processes_left: int | None = None
    processes_max: int | None = None


def parse_cgroup(text: str) -> dict[str, str]:
    """The paths of `/proc/PID/cgroup` by controller; that of version 2 has the empty name."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def read_limits(cgroup: str, root: Path = ROOT) -> GroupLimits:
    """The limits that hold for a process whose `/proc/PID/cgroup` is `cgroup`."""
    paths = parse_cgroup(cgroup)
    memory = [
        *_values(root, paths.get(""), "memory.max", _whole),
        *_values(root / "memory", paths.get("memory"), "memory.limit_in_bytes", _whole),
    ]
    cores = [
        *_values(root, paths.get(""), "cpu.max", _share),
        *_shares_of_version_1(root / "cpu", paths.get("cpu")),
    ]
    tasks = [*_tasks(root, paths.get("")), *_tasks(root / "pids", paths.get("pids"))]
    left, most = min(tasks, default=(None, None))
    return GroupLimits(min(memory, default=None), min(cores, default=None), left, most)


def _upwards(root: Path, path: str | None) -> Iterator[Path]:
    """The group's folder and all above it. In a container the first ones may not be there."""
    if path is None:
        return
    folder = root / path.lstrip("/")
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def _values(root: Path, path: str | None, name: str, parse: Callable[[str], N | None]) -> list[N]:
    found = (parse(_text(folder / name)) for folder in _upwards(root, path))
    return [value for value in found if value is not None]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) < _HUGE else None


def _share(text: str) -> float | None:
    """Of `QUOTA PERIOD`, both in microseconds."""
    quota, _, period = text.partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _shares_of_version_1(root: Path, path: str | None) -> list[float]:
    folders = list(_upwards(root, path))
    texts = (f"{_text(f / 'cpu.cfs_quota_us')} {_text(f / 'cpu.cfs_period_us')}" for f in folders)
    return [share for share in map(_share, texts) if share is not None]


def _tasks(root: Path, path: str | None) -> list[tuple[int, int]]:
    """How many more there may be and how many in all, for each group that limits them."""
    found = []
    for folder in _upwards(root, path):
        most, now = _whole(_text(folder / "pids.max")), _whole(_text(folder / "pids.current"))
        if most is not None and now is not None:
            found.append((most - now, most))
    return found
