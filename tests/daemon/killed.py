"""Processes that are killed at the n-th moment at which they touch the world: a file's name, or a commit."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_NAMES: Final = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink"})
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CONNECT: Final = sqlite3.connect
_KILLED: Final = 77
_BROKE: Final = 78


class _Counter:
    """Counts moments below `root`, and ends the process right before the `last`."""

    def __init__(self, root: Path, last: int) -> None:
        self._root = str(root)
        self._left = last

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NAMES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            place = arguments[0]
            name = os.fsdecode(place) if isinstance(place, str | bytes | os.PathLike) else ""
            if name.startswith(self._root) or (name and "/" not in name):  # shutil.rmtree goes by descriptors
                self._count()

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Instead of sqlite3.connect."""
        connection: sqlite3.Connection = _CONNECT(*arguments, **options)
        connection.set_trace_callback(self._statement)
        return connection

    def _statement(self, sql: str) -> None:
        if sql.startswith("COMMIT"):
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            os._exit(_KILLED)


def run_killed(act: Callable[[], None], root: Path, moment: int) -> bool:
    """Runs `act` in a process of its own that is killed right before its n-th moment; whether that came."""
    child = os.fork()
    if not child:
        code = _BROKE
        try:
            counter = _Counter(root, moment)
            sys.addaudithook(counter.hear)
            sqlite3.connect = counter.connect  # type: ignore[assignment]
            act()
            code = 0
        except BaseException:  # noqa: BLE001 - it must not go on as a second test run
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _KILLED), f"moment {moment}: the process broke"
    return code == _KILLED
