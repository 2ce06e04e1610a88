"""Where the directories and files are that another tool's database names."""

from __future__ import annotations

import os
from pathlib import Path


class Places:
    """Paths as the tool wrote them: absolute, or relative to where it ran, which mostly is where its database lies.

    `moved` is where they are now, if a person says so: what is not found otherwise is looked for there, by its path and
    then by its name.
    """

    def __init__(self, database: Path, moved: str | None) -> None:
        self._home = database.absolute().parent
        self._moved = Path(moved) if moved is not None else None

    def directory(self, written: str) -> tuple[str, bool]:
        """The directory (absolute), and whether it is there."""
        return self._first(written, os.path.isdir)

    def file(self, written: str) -> tuple[str, bool]:
        """The file (absolute), and whether it is there."""
        return self._first(written, os.path.isfile)

    def _first(self, written: str, exists: object) -> tuple[str, bool]:
        assert callable(exists)
        likeliest = os.path.normpath(self._home / written)
        candidates = [likeliest]
        if self._moved is not None:
            if not Path(written).is_absolute():
                candidates.insert(0, os.path.normpath(self._moved / written))
            candidates.append(str(self._moved / Path(written).name))
        for candidate in candidates:
            if "\0" not in candidate and exists(candidate):
                return candidate, True
        return likeliest, False
