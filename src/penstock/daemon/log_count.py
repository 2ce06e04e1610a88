"""How many lines the log has, by level. Threads log, too, so a lock keeps count."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

_NAMES: Final = {"warn": "warning", "exception": "error", "err": "error", "critical": "error", "fatal": "error"}
_counts: Final = {"debug": 0, "info": 0, "warning": 0, "error": 0}
_lock: Final = threading.Lock()


def count_line(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: counts a line that will be written, and leaves it as it is."""
    level = _NAMES.get(method, method)
    with _lock:
        _counts[level if level in _counts else "info"] += 1
    return event


def log_lines() -> Mapping[str, int]:
    """Lines by level since the process began."""
    with _lock:
        return _counts.copy()
