"""How much of the disk a workflow takes, and what may be removed of it because it is no result."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.context import DATABASE_NAME
from penstock.domain.errors import StoreError
from penstock.domain.states import JobState
from penstock.domain.views import UsageInfo
from penstock.store.connection import reading

_BLOCK: Final = 512  # what st_blocks counts in, whatever the file system's own are
_ENDED_BADLY: Final = (JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.SKIPPED)
_PARTIAL: Final = (".partial",)


class Cleaning(msgspec.Struct, frozen=True):
    """What is removed beside attempts that a completed job does not need: all but the newest of other jobs, exports."""

    failed: bool = False
    exports: bool = False


class Cleaned(msgspec.Struct, frozen=True, array_like=True):
    """What was removed, or would be."""

    attempts: int
    files: int
    bytes: int


def measure(workflow_id: str, directory: Path, database: Path) -> UsageInfo:
    """Bytes as the disk gives them out; a file with several names counts once."""
    try:
        steps = _steps(database, workflow_id)
    except StoreError:  # of what is broken the size is asked for most
        steps = {}
    seen: set[tuple[int, int]] = set()
    parts: Counter[str] = Counter()
    of_steps: Counter[str] = Counter(dict.fromkeys(dict.fromkeys(steps.values()), 0))
    files = 0
    for entry in _entries(directory):
        found = entry.stat(follow_symlinks=False)
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        files += not stat.S_ISDIR(found.st_mode)
        taken = found.st_blocks * _BLOCK
        below = Path(entry.path).relative_to(directory).parts
        step = steps.get(_number(below[2])) if below[0] == "jobs" and len(below) > 2 else None
        if step is not None:
            of_steps[step] += taken
        else:
            parts[_part(below[0])] += taken
    is_own = database.is_relative_to(directory)
    own = 0 if is_own else sum(_size(database.with_name(f"{database.name}{e}")) for e in ("", "-wal", "-shm"))
    return UsageInfo(
        id=workflow_id,
        bytes=sum(parts.values()) + sum(of_steps.values()),
        files=files,
        database=parts["database"] if is_own else own,
        database_is_inside=is_own,
        steps=dict(of_steps),
        source=parts["source"],
        exports=parts["exports"],
        storage=parts["storage"],
        other=parts["other"],
    )


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a directory; no link is followed, and what vanishes meanwhile is passed over."""
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            yield entry


def _part(name: str) -> str:
    if name.startswith(DATABASE_NAME):
        return "database"
    return name if name in ("source", "exports", "storage") else "other"


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * _BLOCK
    except OSError:
        return 0


def _steps(database: Path, workflow_id: str) -> dict[int, str]:
    """By job, the key of its step."""
    with reading(database) as db:
        return dict(
            db.execute(
                "SELECT j.id, s.key FROM job j JOIN step s ON s.id = j.step_id WHERE j.workflow_id = ?", (workflow_id,)
            )
        )


# ---- cleaning -------------------------------------------------------------------------------------------------------


def clean(workflow_id: str, directory: Path, database: Path, cleaning: Cleaning, *, dry_run: bool) -> Cleaned:
    """Removes what is no result; doing it again after a crash does the rest. `dry_run`: only says what it is."""
    attempts = list(_superfluous(workflow_id, directory, database, cleaning))
    others = _leftovers(directory, cleaning)
    files = taken = 0
    for place in (*attempts, *others):
        found = [place] if not place.is_dir() or place.is_symlink() else [Path(e.path) for e in _entries(place)]
        for path in found:
            status = path.lstat()
            files += not stat.S_ISDIR(status.st_mode)
            taken += status.st_blocks * _BLOCK
        if not dry_run:
            _remove(place)
    return Cleaned(len(attempts), files, taken)


def _superfluous(workflow_id: str, directory: Path, database: Path, cleaning: Cleaning) -> Iterator[Path]:
    """Directories of attempts that gave no result and that nothing goes on from."""
    with reading(database) as db:
        beside = f"../{workflow_id}/"
        needed = {
            row[0].removeprefix(beside)
            for row in db.execute(_NEEDED, {"id": workflow_id, "length": len(beside), "beside": beside})
        }
        rows = db.execute(
            "SELECT a.directory, j.state, a.number = j.attempts FROM attempt a JOIN job j ON j.id = a.job_id "
            "WHERE a.workflow_id = ? ORDER BY a.job_id, a.number",
            (workflow_id,),
        )
        for name, state, is_newest in rows:
            ended_badly = cleaning.failed and state in _ENDED_BADLY and not is_newest
            wanted = state == JobState.COMPLETED or ended_badly
            if wanted and name not in needed and is_inside(name) and (directory / name).is_dir():
                yield directory / name


_NEEDED: Final = """
    SELECT job_dir FROM job WHERE workflow_id = :id AND job_dir IS NOT NULL
    UNION SELECT json_extract(handed, '$.directory') FROM job WHERE workflow_id = :id AND handed IS NOT NULL
    UNION SELECT json_extract(resume, '$.directory') FROM job WHERE workflow_id = :id AND resume IS NOT NULL
    UNION SELECT job_dir FROM job WHERE origin IS NOT NULL AND substr(job_dir, 1, :length) = :beside
"""


def is_inside(path: str) -> bool:
    """Whether a directory that a row names is the workflow's own: imported and taken-over ones are elsewhere."""
    return not path.startswith("/") and ".." not in Path(path).parts


def _leftovers(directory: Path, cleaning: Cleaning) -> list[Path]:
    found: list[Path] = [path for path in directory.iterdir() if path.name.endswith(_PARTIAL)]
    exports = directory / "exports"
    if exports.is_dir():
        every = list(exports.iterdir())
        found += every if cleaning.exports else [path for path in every if ".partial" in path.name]
    return found


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def cleaning_of(options: dict[str, Any]) -> Cleaning:
    """As it was recorded."""
    return msgspec.convert(options, Cleaning)
