"""What a task for a worker process is."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")
_LIMIT_S: Final = 600.0
_LONG_LIMIT_S: Final = 7200.0


class Task(msgspec.Struct, Generic[T], frozen=True, tag=True):
    """Base of all tasks; `result` is the type of the answer."""

    result: ClassVar[Any]
    is_long: ClassVar[bool] = False  # may take minutes by its nature: never gets the last worker

    def run(self) -> T:
        """Does it; only ever called in a worker process."""
        raise NotImplementedError

    def paths(self) -> tuple[str, ...]:
        """Absolute paths, one on each file system that it goes into: what it may have to wait for."""
        return ()

    def limit_s(self) -> float:
        """How long it may take before its process is taken for stuck."""
        return _LONG_LIMIT_S if self.is_long else _LIMIT_S
