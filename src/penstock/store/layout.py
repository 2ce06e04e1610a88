"""A workflow's directory: built aside, then given its name at once, so that nobody ever sees half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Final

from penstock.domain.context import CONTEXT_NAME, Context, render_context
from penstock.domain.ids import new_ulid

_STALE_S: Final = 3600.0
MARK: Final = "@"
"""Begins a mark; no id has it in it."""


def aside_of(directory: Path, mark: str = "") -> Path:
    """Where a workflow is built; the name cannot be a workflow's. `mark` tells several apart who build the same."""
    return directory.with_name(f".new-{directory.name}{mark}")


def passing_aside_of(directory: Path) -> Path:
    """The same for a process that will not look for it again."""
    return aside_of(directory, f"{MARK}{os.getpid()}-{new_ulid()}")


def sweep_asides(directory: Path) -> None:
    """Removes what such processes have left of this workflow that were killed long ago."""
    with contextlib.suppress(OSError):
        for left in directory.parent.glob(f"{aside_of(directory, MARK).name}[0-9]*"):
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def lay_out(aside: Path, context: Context) -> None:
    """Makes the directories that a workflow begins with, below `aside` what is its own. Raises OSError."""
    shutil.rmtree(aside, ignore_errors=True)  # of a creation that was killed
    aside.parent.mkdir(exist_ok=True)
    aside.mkdir()
    (aside / CONTEXT_NAME).write_text(render_context(context), encoding="utf-8")
    for name in ("jobs", "exports"):
        (aside / name).mkdir()
    for place in (context.storage, context.locks):
        own = Path(place).is_relative_to(context.directory)
        (aside / Path(place).name if own else Path(place)).mkdir(parents=True, exist_ok=True)
    if not Path(context.database).is_relative_to(context.directory):
        Path(context.database).parent.mkdir(parents=True, exist_ok=True)


def discard_aside(aside: Path) -> None:
    """Removes what is built aside, if it has not got its name."""
    shutil.rmtree(aside, ignore_errors=True)


def reveal(aside: Path, directory: Path) -> None:
    """Gives the directory its name, for good, or not at all. OSError where something of that name is there.

    Its entries and its name are on disk before anybody is told.
    """
    sync_directory(aside)
    aside.rename(directory)
    try:
        sync_directory(directory.parent)
    except BaseException:
        directory.rename(aside)
        raise


def sync_directory(directory: Path) -> None:
    """The names in a directory are on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
