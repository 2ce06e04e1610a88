"""Supervision.

An actor that breaks is started anew, so often in so long and no more; what then is said by its policy.

A child's own tasks live in its task group, so an actor and everything it started fail and restart as one (one_for_all);
children of a supervisor restart alone (one_for_one). Restarting repairs our own process. Retrying a job is another
matter, see `penstock.domain.retry`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.abc
import msgspec
import structlog

from penstock.actors.clock import Clock
from penstock.actors.mailbox import Envelope, Mailbox, Ref
from penstock.actors.pulse import Pulse, PulseBook, Signs
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, SpecError

M = TypeVar("M")
_ANSWERS: Final = (SpecError, NotFoundError, ConflictError, BusyError)
"""Errors that are the answer to an ask and leave the actor as it was; any other breaks it."""
_STRAY: Final = "it was cancelled, and not by its supervisor"


class Policy(msgspec.Struct, frozen=True):
    """Restart intensity.

    `restarts` within `period_s`, waiting `backoff_s` (doubling, at most `backoff_max_s`) before each. A child that
    needs more is given up.
    """

    restarts: int
    period_s: float
    backoff_s: float = 0.0
    backoff_max_s: float = 60.0
    again_after_s: float | None = None  # a child given up is started anew after this, its mailbox kept; None: never


class Actor(Generic[M]):
    """Owns a resource and handles one message at a time.

    `tasks` is for its own slow work; what fails there breaks it.
    """

    tasks: anyio.abc.TaskGroup
    finished = False  # set by the actor itself when its work is done: it then ends without being restarted

    async def started(self) -> None:
        """Called before the first message."""

    async def handle(self, message: M) -> object:
        """Handles a message; the result answers an ask."""
        raise NotImplementedError

    async def stopped(self) -> None:
        """Called when it ends, for whatever reason; must not raise."""


GivenUp = Callable[[str, BaseException], Coroutine[Any, Any, None]]


class Supervisor:
    """Runs children in its own task group. Enter it with `async with`."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        policy: Policy,
        given_up: GivenUp,
        hopeless: Callable[[BaseException], bool] = lambda _error: False,
        *,
        child: str = "",
    ) -> None:
        self.name = name
        self._child = child  # what a child is called in the log, beside `actor`
        self._hopeless = hopeless  # errors that starting anew cannot mend
        self.restarts: dict[str, int] = {}
        self.restarts_total = 0  # those of children that are forgotten too
        self._clock = clock
        self._policy = policy
        self._given_up = given_up
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._ended: dict[str, anyio.Event] = {}
        self._mailboxes: dict[str, Mailbox[Any]] = {}
        self._pulses = PulseBook()
        self._log = structlog.get_logger().bind(supervisor=name)

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()  # the children, and whoever waits to start one again
        return await self._group.__aexit__(kind, error, traceback)

    def start_child(self, name: str, factory: Callable[[Ref[M]], Actor[M]], capacity: int = 1000) -> Ref[M]:
        """Starts an actor under `name`; `factory` makes it, and makes it again for each restart."""
        if name in self._scopes:
            raise ConflictError(f"{name} is running already")
        mailbox: Mailbox[M] = Mailbox(name, capacity, self._clock.monotonic)
        ref = Ref(mailbox)
        self._scopes[name] = anyio.CancelScope()
        self._ended[name] = anyio.Event()
        self._mailboxes[name] = mailbox
        self._pulses.began(name)
        self._group.start_soon(self._keep, name, mailbox, lambda: factory(ref))
        return ref

    def could_not_start(self, name: str, error: BaseException) -> None:
        """A child that could not even be made counts as one that was given up."""
        self._group.start_soon(self._given_up, name, error)

    def has_child(self, name: str) -> bool:
        """Whether an actor runs (or is being restarted) under `name`."""
        return name in self._scopes

    async def stop_child(self, name: str) -> None:
        """Stops an actor and waits until it has."""
        if name in self._scopes:
            self._scopes[name].cancel()
            await self._ended[name].wait()

    def ask_for_signs(self) -> None:
        """Asks itself and every child for a sign of life, unless they owe one. Never blocks; see `signs`."""
        now = self._clock.monotonic()
        if self._pulses.ask_own(now):
            self._group.start_soon(self._answer_for_itself)
        for name, mailbox in self._mailboxes.items():
            if self._pulses.ask(name, now):
                mailbox.post(Pulse, Pulse(partial(self._pulses.heard, name)))

    def signs(self) -> Signs:
        """Who owes an answer, and since when."""
        return self._pulses.signs(self.name)

    async def _answer_for_itself(self) -> None:
        """That its tasks start and run is all there is to a supervisor."""
        self._pulses.heard_own()

    async def _keep(self, name: str, mailbox: Mailbox[M], make: Callable[[], Actor[M]]) -> None:
        """Runs an actor again and again within the policy."""
        _name_in_log(name, self._child)
        scope, ended = self._scopes[name], self._ended[name]
        failures: deque[float] = deque()
        reason, last_error = "stopped", None
        try:
            with scope:
                while True:
                    self._pulses.goes_on(name)
                    try:
                        await _run(make(), mailbox)
                    except Exception as error:  # noqa: BLE001 - whatever breaks an actor, its supervisor decides
                        last_error = innermost(error)
                    except anyio.get_cancelled_exc_class():
                        if not _was_stray():
                            raise
                        last_error = RuntimeError(_STRAY)
                    else:
                        return
                    self._pulses.rests(name)
                    if self._hopeless(last_error) or not self._may_restart(failures):
                        reason = f"given up after {len(failures)} failures: {last_error}"
                        if self._policy.again_after_s is None:
                            break
                        self._log.error("actor given up for a while", actor=name, error=str(last_error))
                        await self._given_up(name, last_error)
                        await self._clock.sleep(self._policy.again_after_s)
                        failures.clear()
                        continue
                    self.restarts[name] = self.restarts.get(name, 0) + 1
                    self.restarts_total += 1
                    self._log.warning(
                        "actor restarted",
                        actor=name,
                        error=str(last_error),
                        failures=len(failures),
                        exc_info=last_error,
                    )
                    await self._clock.sleep(self._backoff(len(failures)))
        finally:
            mailbox.close(reason)
            self._pulses.ended(name)
            del self._scopes[name], self._ended[name], self._mailboxes[name]
            ended.set()
        if last_error is not None and not scope.cancelled_caught:
            self._log.error("actor given up", actor=name, error=str(last_error))
            await self._given_up(name, last_error)

    def _may_restart(self, failures: deque[float]) -> bool:
        now = self._clock.monotonic()
        failures.append(now)
        while failures and failures[0] < now - self._policy.period_s:
            failures.popleft()
        return len(failures) <= self._policy.restarts

    def _backoff(self, failures: int) -> float:
        doubled: float = self._policy.backoff_s * 2.0 ** min(failures - 1, 60)
        return min(doubled, self._policy.backoff_max_s)


def _name_in_log(name: str, kind: str) -> None:
    """Whatever is logged from here on in this task, and in those that it starts, says which actor it was."""
    structlog.contextvars.clear_contextvars()  # whoever had it started is not who speaks
    structlog.contextvars.bind_contextvars(actor=name, **({kind: name} if kind else {}))


def innermost(error: BaseException) -> BaseException:
    """The first real error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _was_stray() -> bool:
    """Whether a cancellation is nobody's: no scope around us has been cancelled. It is taken back then.

    A task group takes a child that ends so for a reason to end all its children, in silence.
    """
    if anyio.current_effective_deadline() == float("-inf"):
        return False
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    return True


async def _run(actor: Actor[M], mailbox: Mailbox[M]) -> None:
    async with anyio.create_task_group() as tasks:
        actor.tasks = tasks
        try:
            await actor.started()
            while not actor.finished:
                envelope = await mailbox.get()
                if isinstance(envelope.message, Pulse):
                    envelope.message.answer()
                else:
                    await _deliver(actor, envelope)
            tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await actor.stopped()
    if not actor.finished:  # a task of its own was cancelled by nobody, and its group ends all for that in silence
        raise RuntimeError(_STRAY)


async def _deliver(actor: Actor[M], envelope: Envelope[M]) -> None:
    answer = envelope.answer
    try:
        result = await actor.handle(envelope.message)
    except _ANSWERS as error:
        if answer is None:
            raise
        answer.fail(error)
    except BaseException as error:
        if answer is not None:
            answer.fail(BusyError(f"the request broke off: {innermost(error)}"))
        raise
    else:
        if answer is not None:
            answer.give(result)
