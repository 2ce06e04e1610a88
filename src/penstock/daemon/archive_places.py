"""Where archives go that nobody names one by one: each to a name of its own in a folder."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.domain.errors import ConflictError
from penstock.domain.life_cycle import ARCHIVE_SUFFIX, is_url


def path_towards(place: str, directory: str) -> str:
    """A path on the file system that a question about `place` goes to; of a URL, that of the workflow's `directory`."""
    return directory if is_url(place) else place


def is_folder(place: str) -> bool:
    """Whether archives go into `place`, and not over it: it ends with a slash, or is a directory already."""
    return place.endswith("/") or (not is_url(place) and Path(place).is_dir())


def new_place_in(folder: str, workflow_id: str, now: float) -> str:
    """A name of its own for an archive made `now`; the folder exists afterwards. ConflictError where it cannot."""
    if not is_url(folder):
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConflictError(f"{folder} cannot be made: {error.strerror}; choose another destination") from error
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    return f"{folder.rstrip('/')}/{workflow_id}-{stamp}{ARCHIVE_SUFFIX}"
