"""Mailboxes: bounded, one reader, owned by the supervisor so that a reference survives its actor's restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import anyio

from penstock.domain.errors import BusyError, ConflictError

M = TypeVar("M")


class StoppedError(ConflictError):
    """The actor behind a reference has stopped for good."""


class Answer:
    """The place where the answer to an `ask` will be."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._value: object = None
        self._error: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Whether the answer is there."""
        return self._event.is_set()

    def give(self, value: object) -> None:
        """Answers."""
        if not self.settled:
            self._value = value
            self._event.set()

    def fail(self, error: BaseException) -> None:
        """Answers with an error."""
        if not self.settled:
            self._error = error
            self._event.set()

    async def wait(self) -> object:
        """The answer; raises the error it was failed with."""
        await self._event.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Envelope(Generic[M]):
    """A message, who waits for its answer (if anybody), and the key under which a newer one may be merged into it."""

    __slots__ = ("answer", "came_at", "key", "message")

    def __init__(self, message: M, answer: Answer | None, key: Hashable | None, came_at: float) -> None:
        self.came_at = came_at
        self.message = message
        self.answer = answer
        self.key = key


class Mailbox(Generic[M]):
    """A bounded queue of envelopes. Posts under a key are merged while they wait, so they need no bound.

    `now` reads a monotonic clock.
    """

    def __init__(self, owner: str, capacity: int = 1000, now: Callable[[], float] = time.monotonic) -> None:
        self.owner = owner
        self.capacity = capacity
        self._now = now
        self._queue: deque[Envelope[M]] = deque()
        self._posted: dict[Hashable, Envelope[M]] = {}
        self._arrived = anyio.Event()
        self._closed: str | None = None

    def __len__(self) -> int:
        """How many envelopes wait."""
        return len(self._queue)

    def oldest_s(self) -> float:
        """How long the message has waited that came first; 0 when none waits. Any thread may ask."""
        try:
            return max(self._now() - self._queue[0].came_at, 0.0)
        except IndexError:
            return 0.0

    def put(self, message: M, answer: Answer | None = None) -> None:
        """Adds a message. BusyError when full, StoppedError when the actor has stopped for good."""
        self._refuse_when_closed()
        if len(self._queue) - len(self._posted) >= self.capacity:
            raise BusyError(f"{self.owner} has {self.capacity} messages waiting; try again in a moment")
        self._append(Envelope(message, answer, None, self._now()))

    def post(self, key: Hashable, message: M, merge: Callable[[M, M], M] | None = None) -> None:
        """Adds a message, or merges it into the one that waits under `key` (the newer replaces it by default)."""
        if self._closed is not None:
            return
        waiting = self._posted.get(key)
        if waiting is None:
            self._posted[key] = envelope = Envelope(message, None, key, self._now())
            self._append(envelope)
        else:
            waiting.message = message if merge is None else merge(waiting.message, message)

    async def get(self) -> Envelope[M]:
        """The next envelope, waiting for one if need be."""
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        envelope = self._queue.popleft()
        if envelope.key is not None:
            del self._posted[envelope.key]
        return envelope

    def close(self, reason: str) -> None:
        """Refuses further messages and fails the asks that wait."""
        self._closed = reason
        error = StoppedError(f"{self.owner} has stopped: {reason}")
        for envelope in self._queue:
            if envelope.answer is not None:
                envelope.answer.fail(error)
        self._queue.clear()
        self._posted.clear()

    def _refuse_when_closed(self) -> None:
        if self._closed is not None:
            raise StoppedError(f"{self.owner} has stopped: {self._closed}")

    def _append(self, envelope: Envelope[M]) -> None:
        self._queue.append(envelope)
        self._arrived.set()


class Ref(Generic[M]):
    """How others reach an actor; stays valid while the actor is restarted behind it."""

    def __init__(self, mailbox: Mailbox[M]) -> None:
        self._mailbox = mailbox

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._mailbox.owner

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._mailbox)

    @property
    def oldest_s(self) -> float:
        """How long the first of them has waited."""
        return self._mailbox.oldest_s()

    def tell(self, message: M) -> None:
        """Leaves a message and goes on. BusyError when the mailbox is full."""
        self._mailbox.put(message)

    def post(self, key: Hashable, message: M, merge: Callable[[M, M], M] | None = None) -> None:
        """Leaves the newest word on `key`; never blocks, never fails, and merges with what still waits."""
        self._mailbox.post(key, message, merge)

    async def ask(self, message: M, deadline_s: float) -> object:
        """Leaves a message and waits for its answer.

        Only ever ask downward: a child its parent never. BusyError when no answer came in time (what was asked may
        still be done).
        """
        answer = Answer()
        self._mailbox.put(message, answer)
        with anyio.move_on_after(deadline_s):
            return await answer.wait()
        raise BusyError(f"{self.name} did not answer within {deadline_s:g} s; it may still do what was asked")
