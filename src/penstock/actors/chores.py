"""Chores: work that the machine may refuse for a while, put off and tried again, one apart from the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

Chore = Callable[[], Awaitable[None]]


class Chores:
    """What an actor has been refused: no disk, no processes, no handles. One chore's trouble is never another's."""

    def __init__(self, cluster: str) -> None:
        self._put_off: dict[tuple[str, str], Chore] = {}
        self._last = ""
        self._log = structlog.get_logger().bind(cluster=cluster)

    def __bool__(self) -> bool:
        """Whether anything is put off."""
        return bool(self._put_off)

    @property
    def trouble(self) -> str | None:
        """Why something is put off, None when nothing is."""
        return self._last if self._put_off else None

    async def do(self, kind: str, subject: str, chore: Chore) -> None:
        """Does a chore, or puts it off when the machine refuses."""
        try:
            await chore()
        except (OSError, TimeoutError) as error:
            if (kind, subject) not in self._put_off:  # it is tried many times a second
                self._log.warning("put off", chore=kind, subject=subject, error=str(error))
            self._put_off[kind, subject] = chore
            self._last = f"cannot {kind} {subject}, trying again: {error}"
        else:
            self.drop(kind, subject)

    async def again(self) -> None:
        """Tries everything that was put off."""
        for (kind, subject), chore in list(self._put_off.items()):
            await self.do(kind, subject, chore)

    def drop(self, kind: str, subject: str) -> None:
        """Nobody wants it any more, or it is done."""
        self._put_off.pop((kind, subject), None)
