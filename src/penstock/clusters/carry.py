"""Carrying files of an attempt that ran out of walltime into the directory of the one that goes on from them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from penstock.domain.spec import is_file_name


def carry_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copies the files of these names from one directory to the other; those that are not there are passed over.

    Nothing is fetched or left through a symbolic link. OSError where `target` cannot be written.
    """
    try:
        folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        for name in names:
            if is_file_name(name):
                _carry(folder, name, target / name)
    finally:
        os.close(folder)


def _carry(folder: int, name: str, target: Path) -> None:
    try:
        reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return
    if not stat.S_ISREG(os.fstat(reader).st_mode):
        os.close(reader)
        return
    with os.fdopen(reader, "rb") as source:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
