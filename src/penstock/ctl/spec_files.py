"""Files that commands write for people: all at once or not at all, and never over another without being told to."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.domain.errors import ConflictError, SpecError


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """ConflictError where there is a file already that is not to be overwritten."""
    if os.path.lexists(path) and not overwrite:
        raise ConflictError(f"{path} exists; choose another name or add --overwrite")


def write_file(path: Path, text: str, *, overwrite: bool) -> None:
    """The text under its name at once; ConflictError, or SpecError where nothing can be written there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            aside.write_text(text, encoding="utf-8")
            if overwrite:
                aside.replace(path)
            else:
                path.hardlink_to(aside)  # unlike a rename, it fails where something is
        finally:
            aside.unlink(missing_ok=True)
    except FileExistsError:
        refuse_existing(path, overwrite=False)
        raise
    except OSError as error:
        raise SpecError(f"cannot be written: {error.strerror}", file=str(path)) from error
