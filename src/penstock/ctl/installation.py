"""The installation of Penstock that runs, as a service manager and another account see it."""

from __future__ import annotations

import os
import pwd
import stat
import sys
import sysconfig
from pathlib import Path

import msgspec

import penstock
from penstock.domain.errors import NotFoundError


class Reader(msgspec.Struct, frozen=True):
    """An account that has to read files; without a uid, one that nothing is known of."""

    uid: int | None = None
    gids: frozenset[int] = frozenset()


def find_penstockd() -> Path:
    """The program beside the Python that runs. NotFoundError where there is none."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / "penstockd", os.X_OK):
            return folder / "penstockd"
    raise NotFoundError(
        f"there is no penstockd beside {sys.executable}; install Penstock with pip, so that it has its programs"
    )


def parts(penstockd: Path) -> list[Path]:
    """What has to be readable for it to run: program, Python, its library, this package and one of those it needs."""
    return [penstockd, Path(sys.executable), Path(os.__file__), Path(penstock.__file__), Path(msgspec.__file__)]


def find_reader(account: str) -> Reader:
    """The account if it exists, else one that nothing is known of."""
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return Reader()
    return Reader(entry.pw_uid, frozenset(os.getgrouplist(account, entry.pw_gid)))


def first_closed(path: Path, reader: Reader) -> Path | None:
    """The first directory on the way to `path`, or the file itself, that `reader` cannot pass or read; None: all open.

    Goes by modes alone. Links are followed: what they lead to has a way of its own.
    """
    for way in (path.absolute(), path.resolve()):
        for step in (*reversed(way.parents), way):
            found = step.stat()
            needed = 0o1 if stat.S_ISDIR(found.st_mode) else 0o4
            if not found.st_mode & needed << _shift(found, reader):
                return step
    return None


def _shift(found: os.stat_result, reader: Reader) -> int:
    """Which three bits of a mode hold for the reader."""
    if found.st_uid == reader.uid:
        return 6
    return 3 if found.st_gid in reader.gids else 0
