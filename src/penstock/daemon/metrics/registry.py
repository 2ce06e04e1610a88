"""All metrics of a daemon as one page, and the instruments that the daemon itself counts with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from penstock.daemon.metrics.cluster_page import add_clusters
from penstock.daemon.metrics.daemon_page import add_daemon
from penstock.daemon.metrics.exposition import Page
from penstock.daemon.metrics.sources import Sources
from penstock.daemon.metrics.workflow_page import add_workflows, choose_shown
from penstock.store.database import BusyGuard

WORKFLOWS_MOST: Final = 200


class Metrics:
    """What a scrape shows. `workflows_most` workflows at most have series of their own; it may change at any time."""

    def __init__(self, sources: Sources, workflows_most: int = WORKFLOWS_MOST) -> None:
        self.workflows_most = workflows_most
        self._sources = sources
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def page(self) -> Page:
        """Everything of ours. Any thread may ask."""
        page = Page()
        everything = list(self._sources.board.workflows.copy().values())
        shown = choose_shown(everything, self.workflows_most)
        add_workflows(page, self._sources, everything, shown)
        add_clusters(page, self._sources)
        add_daemon(page, self._sources, shown)
        return page

    def render(self) -> bytes:
        """Everything, what the client library says of the process included, as Prometheus reads it."""
        return self.page().text().encode("utf-8", "replace") + generate_latest(self._process)

    def timed(self, guard: BusyGuard) -> BusyGuard:
        """`guard`, with the time it is held counted as one wait for a database."""

        @contextlib.contextmanager
        def timed_guard() -> Iterator[None]:
            began = time.perf_counter()
            try:
                with guard():
                    yield
            finally:
                self._sources.board.figures.database_s.observe(time.perf_counter() - began)

        return timed_guard

    def count_request(self, request: object) -> None:
        """A client asks something."""
        self._sources.board.figures.requests[type(request).__name__] += 1

    def count_connections(self, connections: int) -> None:
        """So many clients are connected now."""
        self._sources.board.figures.connections = connections

    def observe_lag(self, seconds: float) -> None:
        """A timer of the event loop has fired so late."""
        self._sources.board.figures.loop_lag_s.observe(seconds)
