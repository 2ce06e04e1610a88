"""What is to be known of a file or directory: whose it is, who may write to it, how much room is around it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.finding import problem, warning, well
from penstock.ctl.text import size
from penstock.domain.views import Finding

_LEAST_BYTES: Final = 100_000_000
_FEW_BYTES: Final = 1_000_000_000
_LEAST_INODES: Final = 1000
_FEW_SHARE: Final = 0.02


class FileFacts(msgspec.Struct, frozen=True):
    """A file as it is: `mode` with its kind, `group` its group's name where others may be in that group."""

    path: str
    uid: int
    gid: int
    mode: int
    changed_at: float
    group: str = ""

    @property
    def permissions(self) -> str:
        """Such as 0640."""
        return f"{stat.S_IMODE(self.mode):04o}"


class Room(msgspec.Struct, frozen=True):
    """What is left for an ordinary account; `inodes` is 0 where the file system does not count them."""

    directory: str
    free_bytes: int
    bytes: int
    free_inodes: int
    inodes: int


def look_at(path: Path) -> FileFacts | None:
    """What is known of `path`, links followed; None when it is not there. OSError when it cannot be looked at."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    shared = "" if _is_private(found.st_uid, found.st_gid) else group_name(found.st_gid)
    return FileFacts(str(path), found.st_uid, found.st_gid, found.st_mode, found.st_mtime, shared)


def _is_private(uid: int, gid: int) -> bool:
    """Whether the group is the owner's own, as many systems make one for each account."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return False
    return user.pw_gid == gid and user.pw_name == group_name(gid)


def group_name(gid: int) -> str:
    """A group's name, its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_name(uid: int) -> str:
    """An account's name, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def writers(facts: FileFacts) -> str:
    """Who may write to it beside its owner: `everybody`, `group NAME` or nobody (empty)."""
    if facts.mode & stat.S_IWOTH:
        return "everybody"
    return f"group {facts.group}" if facts.mode & stat.S_IWGRP and facts.group else ""


def readers(facts: FileFacts) -> str:
    """Who may read it beside its owner, as `writers`."""
    if facts.mode & stat.S_IROTH:
        return "everybody"
    return f"group {facts.group}" if facts.mode & stat.S_IRGRP and facts.group else ""


def measure_room(directory: Path) -> Room:
    """The room where `directory` is, or will be. OSError when its file system does not tell."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    return Room(
        str(directory), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files
    )


def judge_room(
    what: str, room: Room, *, least_bytes: int = _LEAST_BYTES, few_bytes: int = _FEW_BYTES, whose: str = "workflows"
) -> Finding:
    """Whether there is enough; a full disk makes workflows `faulted`, and no file can be made without inodes."""
    detail = f"{room.directory}: {size(room.free_bytes)} of {size(room.bytes)} free"
    few_inodes = bool(room.inodes) and room.free_inodes < _FEW_SHARE * room.inodes
    if few_inodes:
        detail += f", {room.free_inodes} of {room.inodes} inodes"
    remedy = "make room: penstockctl du shows what workflows take, clean, archive and delete make less of it"
    if whose != "workflows":
        remedy = f"make room in {room.directory}"
    scarce = bool(room.inodes) and room.free_inodes < _LEAST_INODES
    if room.free_bytes < least_bytes or scarce:
        return problem(what, detail, remedy)
    if room.free_bytes < few_bytes or few_inodes:
        return warning(what, detail, remedy)
    return well(what, detail)
