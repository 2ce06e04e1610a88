"""What is said again and again is said a few times, and then once how often."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import msgspec

MOST: Final = 5
"""Lines of a kind within PERIOD_S."""
PERIOD_S: Final = 60.0
KINDS_MAX: Final = 1000
"""Kinds that are counted at a time; the oldest gives way to a new one."""

Line = Mapping[str, Any]


class _Window(msgspec.Struct):
    """One kind of line since `began`."""

    began: float
    said: int = 0
    left_out: int = 0
    newest: Line = {}


class Repeats:
    """Counts lines by kind. A kind's window begins with its first line; `now` is in seconds and never runs backwards.

    When a window ends in which lines were left out, the newest of them is to be written with `repeated`, how many
    they were.
    """

    def __init__(
        self, now: Callable[[], float], most: int = MOST, period_s: float = PERIOD_S, kinds_max: int = KINDS_MAX
    ) -> None:
        self._now = now
        self._most = most
        self._period_s = period_s
        self._kinds_max = kinds_max
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()  # by their beginning: they all are as long

    def __len__(self) -> int:
        """How many kinds are counted."""
        return len(self._windows)

    def take(self, kind: Hashable, line: Line) -> list[Line]:
        """The lines that are to be written now: what has become due, and this one, unless it is left out."""
        due = self.due()
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= self._kinds_max:
                due += _told(self._windows.popitem(last=False)[1])
            window = self._windows[kind] = _Window(self._now())
        if window.said < self._most:
            window.said += 1
            return [*due, line]
        window.left_out += 1
        window.newest = line
        return due

    def due(self) -> list[Line]:
        """What is to be written of windows that have ended."""
        before, due = self._now() - self._period_s, []
        while self._windows and next(iter(self._windows.values())).began <= before:
            due += _told(self._windows.popitem(last=False)[1])
        return due

    def flush(self) -> list[Line]:
        """What is to be written of all windows, ended or not; counting begins anew."""
        due = [line for window in self._windows.values() for line in _told(window)]
        self._windows.clear()
        return due


def _told(window: _Window) -> list[Line]:
    return [{**window.newest, "repeated": window.left_out}] if window.left_out else []
