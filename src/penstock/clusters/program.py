"""The programs that attempts call, looked for on this host as what runs the attempts looks for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple


class Whereabouts(NamedTuple):
    """Where a program is; `path` is None where there is none of that name."""

    path: str | None
    is_executable: bool

    def complaint(self, program: str, place: str) -> str | None:
        """Why it cannot be called, None where it can; `place` is who looks along the PATH."""
        if self.is_executable:
            return None
        if self.path is not None:
            return f"the program {self.path} is not executable; chmod +x it"
        if "/" in program:
            return f"there is no program {program}"
        return f"there is no program {program!r} where {place} looks (PATH)"


def is_of_attempt(program: str) -> bool:
    """Whether it is in the directory of the attempt, which is not there before."""
    return "/" in program and not Path(program).is_absolute()


def find_program(program: str, search_path: str | None = None) -> Whereabouts:
    """The program, by its full path or along `search_path` (as PATH has it; None: this process's own)."""
    if found := shutil.which(program, path=search_path):
        return Whereabouts(found, is_executable=True)
    return Whereabouts(shutil.which(program, os.F_OK, search_path), is_executable=False)
