"""Carrying files of one attempt into the directory of another that goes on from them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from penstock.domain.spec import is_file_name


def carry_files(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copies files from one directory to the other: name there to name here. Those not there are passed over.

    Nothing is fetched or left through a symbolic link. OSError where `target` cannot be written.
    """
    try:
        folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        for name, new_name in names.items():
            if is_file_name(name) and is_file_name(new_name):
                _carry(folder, name, target / new_name)
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
