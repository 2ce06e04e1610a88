"""Signs of life: who was asked for one and when, and who has answered.

An actor is asked through its mailbox, and whoever reads the mailbox answers for it, so that no actor has to know of it.
An answer proves that the actor still takes messages, one after the other; what it makes of them is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec


class Pulse(msgspec.Struct, frozen=True):
    """The message. `answer` is called once it has been taken out of the mailbox."""

    answer: Callable[[], None]


class Signs(msgspec.Struct, frozen=True):
    """What is known of one supervisor and its children. Times are those of the clock's `monotonic`.

    `own` and the values of `owed` say since when an answer is due; None where none is. Who waits to be started again
    owes none.
    """

    supervisor: str
    own: float | None
    owed: Mapping[str, float | None]


class PulseBook:
    """One supervisor's account of answers due."""

    def __init__(self) -> None:
        self._own: float | None = None
        self._due: dict[str, float | None] = {}
        self._resting: set[str] = set()

    def began(self, name: str) -> None:
        """There is a new child."""
        self._due[name] = None

    def rests(self, name: str) -> None:
        """A child has broken and will be started again after a while."""
        self._due[name] = None
        self._resting.add(name)

    def goes_on(self, name: str) -> None:
        """It is being started again."""
        self._resting.discard(name)

    def ended(self, name: str) -> None:
        """A child is no more."""
        self._due.pop(name, None)
        self._resting.discard(name)

    def ask_own(self, now: float) -> bool:
        """Notes that the supervisor itself is asked; False where it owes an answer already."""
        if self._own is not None:
            return False
        self._own = now
        return True

    def ask(self, name: str, now: float) -> bool:
        """Notes that a child is asked; False where it owes an answer already, or cannot give one."""
        if name in self._resting or self._due.get(name) is not None:
            return False
        self._due[name] = now
        return True

    def heard_own(self) -> None:
        """The supervisor has answered."""
        self._own = None

    def heard(self, name: str) -> None:
        """A child has answered."""
        if name in self._due:
            self._due[name] = None

    def signs(self, supervisor: str) -> Signs:
        """How things stand."""
        return Signs(supervisor, self._own, dict(self._due))
