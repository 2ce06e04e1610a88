"""The board: what everybody may see without asking anybody. Actors pin up values; readers and watchers take them."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import anyio

from penstock.actors.call_log import CallLog
from penstock.actors.figures import Figures
from penstock.clusters.scheduler import Limits
from penstock.clusters.shell import Way
from penstock.domain.budget import Queueing
from penstock.domain.views import ClusterInfo, Doubt, EventInfo, WorkflowInfo

_BACKLOG: Final = 10_000


class Subscription:
    """A watcher's own bounded queue; what does not fit is counted in `dropped`, never waited for."""

    def __init__(self, workflow_id: str | None) -> None:
        self.workflow_id = workflow_id
        self.dropped = 0
        self._queue: deque[EventInfo] = deque()
        self._arrived = anyio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def offer(self, event: EventInfo) -> None:
        """Queues an event of a workflow that is watched."""
        if self.workflow_id not in (None, event.workflow):
            return
        if len(self._queue) >= _BACKLOG:
            self.dropped += 1
            return
        self._queue.append(event)
        self._arrived.set()

    async def take(self) -> EventInfo:
        """The next event, waiting for it."""
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._queue.popleft()

    def take_dropped(self) -> int:
        """How many events did not fit since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Connection:
    """The connection to a cluster: how it is now, and how often it was made, by actors before this one too."""

    def __init__(self, way: Callable[[], Way], before: Connection | None) -> None:
        self.way = way
        self._connects_before = before.connects() if before is not None else 0

    def connects(self) -> int:
        """How often a connection was made since the daemon's start."""
        return self._connects_before + self.way().connects


class Board:
    """The newest state of every workflow, and the stream of events."""

    def __init__(self) -> None:
        self.workflows: dict[str, WorkflowInfo] = {}
        self.clusters: dict[str, ClusterInfo] = {}
        self.figures = Figures()  # counted since the start
        self.calls: dict[str, CallLog] = {}  # of clusters with a scheduler
        self.connections: dict[str, Connection] = {}  # connections to clusters behind SSH
        self.doubts: dict[str, Doubt] = {}  # by submission
        self.limits: dict[str, Limits] = {}  # of sites, as far as they are known
        self.queueing: dict[str, Queueing] = {}  # of clusters with a scheduler; pinned before any workflow starts there
        self.notes: dict[str, dict[int, str]] = {}  # why attempts wait: submission → position → the scheduler's reason
        self.changed: set[str] = set()  # not yet in the catalogue
        self._subscriptions: set[Subscription] = set()

    def pin(self, info: WorkflowInfo) -> None:
        """Replaces a workflow's state."""
        if self.workflows.get(info.id) != info:
            self.workflows[info.id] = info
            self.changed.add(info.id)

    def unpin(self, workflow_id: str) -> None:
        """The workflow is gone."""
        self.workflows.pop(workflow_id, None)
        self.changed.discard(workflow_id)
        self.figures.forget(workflow_id)

    def emit(self, events: Iterable[EventInfo]) -> None:
        """Tells watchers what has been committed."""
        if self._subscriptions:
            for event in events:
                for subscription in self._subscriptions:
                    subscription.offer(event)

    @contextlib.contextmanager
    def subscribe(self, workflow_id: str | None) -> Iterator[Subscription]:
        """A watcher's queue for as long as the context lasts."""
        subscription = Subscription(workflow_id)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
