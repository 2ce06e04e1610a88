"""A workflow that waits for a file system which does not answer: how its reason says so, and how to know it again."""

from __future__ import annotations

import re
from typing import Final

_SILENT: Final = re.compile(r"the file system of .+ does not answer", re.DOTALL)


def silent_reason(directory: str) -> str:
    """The reason of a workflow whose directory could not be looked at."""
    return f"the file system of {directory} does not answer; the workflow goes on when it does"


def is_silent(reason: str | None) -> bool:
    """Whether a workflow's reason, or what `files.threads.SilentError` says, is that: nobody has to resume it then."""
    return reason is not None and _SILENT.match(reason) is not None
