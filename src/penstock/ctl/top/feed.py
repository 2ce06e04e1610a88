"""Talks with the daemon: asks for what is shown, once at a time for each purpose, and no more often than it takes.

What the daemon tells by itself (`watch`) is the bell: workflows are asked for when something has happened, and else
only now and then. Whatever goes wrong with the connection becomes news, and is tried again for as long as it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import Final, TypeVar

import anyio

from penstock.control import messages
from penstock.control.aio import AsyncClient
from penstock.control.messages import Lagged, Message, Request
from penstock.ctl.top.alarm import Alarm
from penstock.ctl.top.log_feed import LogFeed
from penstock.ctl.top.picture import (
    Acted,
    Action,
    Clustered,
    Explained,
    Failure,
    Focus,
    Found,
    Gone,
    Looked,
    Lost,
    News,
    OneCluster,
    OneJob,
    Page,
    Paged,
    Refused,
    Reported,
    Slow,
    Trouble,
    failing,
    failure_of,
    failure_of_job,
)
from penstock.domain.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PenstockError,
    ProtocolError,
    UnreachableError,
    VersionError,
)
from penstock.domain.views import EventInfo, WorkflowInfo

R = TypeVar("R", bound=Message)

NO_CONVERSATION: Final = (UnreachableError, BusyError, ProtocolError, ForbiddenError, VersionError)
"""Errors after which the daemon is waited for."""
_SHARE: Final = 10
"""A pause is at least so many times as long as the answer took, so that the daemon has other things to do."""
_PAUSE_MOST_S: Final = 60.0
_IDLE: Final = 5
"""After so many intervals it is asked without a ring: not everything rings."""
_SLOW_S: Final = 5.0
_ANSWER_MOST_S: Final = 120.0
_TRY_AGAIN_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_PENDING_MOST: Final = 1000


class Feed:
    """`hear` gets every piece of news, in the event loop that `run` runs in."""

    def __init__(self, client: AsyncClient, hear: Callable[[News], None], interval_s: float) -> None:
        self._client = client
        self._hear = hear
        self._interval_s = interval_s
        self._focus: Focus = None
        self._of_workflows = Alarm()
        self._of_focus = Alarm()
        self._pending: list[Failure] = []
        self._slow = 0
        self._is_lost = False
        self._finding = anyio.Lock()

    async def run(self) -> None:
        """Talk until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                for follow in (self._watch, self._follow_workflows, self._follow_clusters, self._follow_focus):
                    group.start_soon(follow)
        finally:
            await self._client.aclose()

    def look_at(self, focus: Focus) -> None:
        """Ask for this from now on, beside workflows and clusters."""
        if focus != self._focus:
            self._focus = focus
            self._of_focus.hurry()

    async def act(self, action: Action) -> None:
        """Carry out an action, once; what came of it is news."""
        try:
            reply = await self._client.call(action.request)
        except PenstockError as error:
            self._hear(Refused(action, str(error)))
        else:
            self._hear(Acted(action, reply))
        self._of_workflows.hurry()
        self._of_focus.hurry()

    # ---- the bell ----

    async def _watch(self) -> None:
        while True:
            try:
                async with self._client.watch() as events:
                    self._of_workflows.ring()  # what happened before is not told
                    async for event in events:
                        self._take(event)
            except NO_CONVERSATION as error:
                await self._find(error)
            except PenstockError as error:
                self._hear(Trouble(str(error)))
            await anyio.sleep(_TRY_AGAIN_S[0])

    def _take(self, event: EventInfo | Lagged) -> None:
        self._of_workflows.ring()
        if isinstance(event, Lagged):
            self._of_focus.ring()
            return
        if isinstance(self._focus, Page | OneJob) and self._focus.workflow == event.workflow:
            self._of_focus.ring()
        if (failure := failure_of(event)) and len(self._pending) < _PENDING_MOST:
            self._pending.append(failure)

    # ---- what is always shown ----

    async def _follow_workflows(self) -> None:
        is_first = True
        while True:
            began = time.monotonic()
            reply = await self._ask(messages.ListWorkflows())
            pause_s = self._pause_s(time.monotonic() - began)
            if reply is not None:
                failures, self._pending = tuple(self._pending), []
                self._hear(Looked(time.monotonic(), reply.workflows, failures))
                if is_first:
                    await self._ask_for_failures(reply.workflows)
                is_first = False
            await self._of_workflows.pause(pause_s, max(pause_s, _IDLE * self._interval_s))

    async def _ask_for_failures(self, workflows: tuple[WorkflowInfo, ...]) -> None:
        """What failed before we came, of those that changed last."""
        for info in failing(workflows):
            with suppress(NotFoundError):  # deleted meanwhile
                if (reply := await self._ask(messages.GetStatus(info.id))) is not None:
                    self._pending += [failure_of_job(info.id, job) for job in reply.failures]
                    self._of_workflows.hurry()

    async def _follow_clusters(self) -> None:
        while True:
            began = time.monotonic()
            reply = await self._ask(messages.ListClusters())
            if reply is not None:
                self._hear(Clustered(reply.clusters))
            await anyio.sleep(self._pause_s(time.monotonic() - began))

    # ---- what is on top ----

    async def _follow_focus(self) -> None:
        async with anyio.create_task_group() as group:
            log = LogFeed(self._client, self._hear, self._interval_s, group)
            while True:
                focus, began = self._focus, time.monotonic()
                if not isinstance(focus, OneJob):
                    log.stop()
                try:
                    await self._show(focus, log)
                except NotFoundError as error:
                    self._hear(Gone(focus, str(error)))
                pause_s = self._pause_s(time.monotonic() - began)
                await self._of_focus.pause(pause_s, max(pause_s, _IDLE * self._interval_s))

    async def _show(self, focus: Focus, log: LogFeed) -> None:
        match focus:
            case Page(workflow=workflow, selection=selection, order=order, offset=offset, limit=limit):
                page = await self._ask(messages.ListJobs(workflow, selection, limit, offset, order))
                if page is not None:
                    self._hear(Paged(focus, page.jobs, page.total))
            case OneJob(workflow=workflow, job=job):
                why = await self._ask(messages.Explain(workflow, job))
                detail = await self._ask(messages.GetJob(workflow, job))
                if why is not None and detail is not None and focus == self._focus:
                    self._hear(Explained(focus, why, detail))
                    log.follow(focus, detail)
            case OneCluster(name=name):
                try:
                    reply = await self._ask(messages.ReportCluster(name))
                except ConflictError:  # it has no scheduler to report on
                    self._hear(Reported(focus, None))
                else:
                    self._hear(Reported(focus, reply.report if reply else None))
            case None:
                pass

    # ---- asking ----

    def _pause_s(self, took_s: float) -> float:
        return min(max(self._interval_s, _SHARE * took_s), max(self._interval_s, _PAUSE_MOST_S))

    async def _ask(self, request: Request[R]) -> R | None:
        """The daemon's answer, however long there is no daemon; None if it was an error, which has been told.

        NotFoundError and ConflictError are for the caller.
        """
        while True:
            try:
                return await self._answer(request)
            except NO_CONVERSATION as error:
                await self._find(error)
            except (NotFoundError, ConflictError):
                raise
            except PenstockError as error:
                self._hear(Trouble(str(error)))
                return None

    async def _answer(self, request: Request[R]) -> R:
        """The answer; news if it takes long, UnreachableError if it takes too long."""
        alarm = asyncio.get_running_loop().call_later(_SLOW_S, self._say_slow, 1)
        try:
            with anyio.fail_after(_ANSWER_MOST_S):
                return await self._client.call(request)
        except TimeoutError:
            raise UnreachableError(f"no answer for {_ANSWER_MOST_S:g} s") from None
        finally:
            alarm.cancel()
            if alarm.when() <= asyncio.get_running_loop().time():
                self._say_slow(-1)

    def _say_slow(self, step: int) -> None:
        self._slow += step
        self._hear(Slow(waiting=self._slow > 0))

    async def _find(self, error: PenstockError) -> None:
        """Return when the daemon answers again; only one task at a time asks whether it does."""
        if not self._is_lost:
            self._is_lost = True
            self._hear(Lost(time.time(), "" if isinstance(error, UnreachableError) else str(error)))
        async with self._finding:
            for delay_s in chain(_TRY_AGAIN_S, repeat(_TRY_AGAIN_S[-1])):
                if not self._is_lost:
                    return
                await anyio.sleep(delay_s)
                with suppress(PenstockError):
                    await self._client.ping()
                    self._is_lost = False
                    self._hear(Found())
