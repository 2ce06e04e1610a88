"""Prometheus metrics.

A scrape reads memory only: the board, the supervisors' counters, and what was counted on the way.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from penstock import __version__
from penstock.actors.board import Board
from penstock.actors.call_log import BUCKETS_S
from penstock.daemon.cluster_tables import LOCAL
from penstock.domain.states import WorkflowState
from penstock.domain.views import ClusterInfo
from penstock.store.database import BusyGuard

_WORKFLOWS_MAX: Final = 200
_OTHERS: Final = "(others)"
_ACTIVE: Final = frozenset({WorkflowState.RUNNING, WorkflowState.PAUSED, WorkflowState.FAULTED})
_LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class Sources(msgspec.Struct, frozen=True):
    """Where a scrape looks; each is a value or a cheap function of memory."""

    board: Board
    mailboxes: Callable[[], Mapping[str, int]]
    restarts: Callable[[], Mapping[str, int]]
    workers_busy: Callable[[], int]


class Metrics:
    """The registry and the instruments that others count with."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_BoardCollector(sources))
        self.loop_lag = Histogram(
            "penstock_event_loop_lag_seconds",
            "How late a timer of the event loop fires",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self.database = Counter("penstock_database_seconds", "Time spent waiting for databases", registry=self.registry)
        self.requests = Counter(
            "penstock_control_requests", "Requests over the control socket", ["request"], registry=self.registry
        )
        Gauge("penstock_info", "Version of the daemon", ["version"], registry=self.registry).labels(__version__).set(1)

    def timed(self, guard: BusyGuard) -> BusyGuard:
        """`guard`, with the time it is held counted as database time."""

        @contextlib.contextmanager
        def timed_guard() -> Iterator[None]:
            began = time.perf_counter()
            try:
                with guard():
                    yield
            finally:
                self.database.inc(time.perf_counter() - began)

        return timed_guard

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serves /metrics from a thread; the result stops it."""
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _BoardCollector:
    """Gauges made at scrape time, so that the series of a workflow vanish with it."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        yield from self._workflows()
        yield from self._clusters()
        yield from self._counts()
        yield from self._calls()
        mailboxes = GaugeMetricFamily("penstock_mailbox_depth", "Messages waiting", labels=["actor"])
        for kind, depth in self._sources.mailboxes().items():
            mailboxes.add_metric([kind], depth)
        yield mailboxes
        restarts = CounterMetricFamily("penstock_actor_restarts", "Restarts of actors", labels=["supervisor"])
        for supervisor, count in self._sources.restarts().items():
            restarts.add_metric([supervisor], count)
        yield restarts
        yield GaugeMetricFamily("penstock_workers_busy", "Worker processes at work", value=self._sources.workers_busy())

    def _workflows(self) -> Iterable[Metric]:
        everything = list(self._sources.board.workflows.values())
        by_state = GaugeMetricFamily("penstock_workflows", "Workflows by state", labels=["state"])
        for state, count in sorted(Tally(info.state for info in everything).items()):
            by_state.add_metric([state], count)
        yield by_state
        active = sorted((info for info in everything if info.state in _ACTIVE), key=lambda info: -info.jobs)
        jobs: Tally[tuple[str, str, str]] = Tally()
        rejected: Tally[str] = Tally()
        slots: Tally[str] = Tally()
        for rank, info in enumerate(active):
            name = info.id if rank < _WORKFLOWS_MAX else _OTHERS
            for state, count in info.states.items():
                jobs[name, info.cluster, state] += count
            rejected[name] += info.rejected
            slots[name] += info.slots
        family = GaugeMetricFamily(
            "penstock_jobs", "Jobs of active workflows by exact state", labels=["workflow", "cluster", "state"]
        )
        for labels, count in jobs.items():
            family.add_metric(labels, count)
        yield family
        yield _family("penstock_rejected_records", "Records of sources not taken in", rejected)
        yield _family("penstock_workflow_slots", "Slot budgets", slots)

    def _counts(self) -> Iterable[Metric]:
        attempts = CounterMetricFamily(
            "penstock_attempts_ended", "Attempts that ended, by how", labels=["cluster", "end"]
        )
        submissions = CounterMetricFamily("penstock_submissions", "Submissions told to a cluster", labels=["cluster"])
        for (kind, *labels), count in list(self._sources.board.counts.items()):
            (attempts if kind == "attempt" else submissions).add_metric(labels, count)
        yield attempts
        yield submissions

    def _calls(self) -> Iterable[Metric]:
        logs = list(self._sources.board.calls.items())
        calls = CounterMetricFamily(
            "penstock_scheduler_calls",
            "Commands run for a scheduler, by how they ended",
            labels=["cluster", "command", "outcome"],
        )
        seconds = HistogramMetricFamily(
            "penstock_scheduler_call_seconds", "How long these commands took", labels=["cluster", "command"]
        )
        for cluster, log in logs:
            for total in log.totals():
                calls.add_metric([cluster, total.command, total.outcome], total.calls)
            for command, (counts, sum_s) in log.histograms().items():
                bounds = (*map(str, BUCKETS_S), "+Inf")
                buckets = list(zip(bounds, itertools.accumulate(counts), strict=True))
                seconds.add_metric([cluster, command], buckets, sum_s)
        yield calls
        yield seconds

    def _clusters(self) -> Iterable[Metric]:
        for name, text, value in _CLUSTER_GAUGES:
            family = GaugeMetricFamily(name, text, labels=["cluster"])
            for info in list(self._sources.board.clusters.values()):
                family.add_metric([info.name], value(info))
            yield family
        connects = CounterMetricFamily("penstock_ssh_connects", "Connections made", labels=["cluster"])
        for name, text, value in _SCHEDULER_GAUGES:
            family = GaugeMetricFamily(name, text, labels=["cluster"])
            for info in self._with_scheduler():
                family.add_metric([info.name], value(info))
            yield family
        for info in self._with_scheduler():
            connects.add_metric([info.name], info.connects)
        yield connects

    def _with_scheduler(self) -> list[ClusterInfo]:
        return [info for info in list(self._sources.board.clusters.values()) if info.kind != LOCAL]


_CLUSTER_GAUGES: Final[tuple[tuple[str, str, Callable[[ClusterInfo], float]], ...]] = (
    ("penstock_cluster_up", "Whether the cluster can be used", lambda info: float(info.state == "up")),
    ("penstock_cluster_cores", "Cores that attempts may use", lambda info: info.cores),
    ("penstock_cluster_cores_used", "Cores in use", lambda info: info.cores_used),
    ("penstock_cluster_submissions_running", "Submissions being worked through", lambda info: info.submissions_running),
    ("penstock_cluster_submissions_waiting", "Submissions that wait for room", lambda info: info.submissions_waiting),
)
_SCHEDULER_GAUGES: Final[tuple[tuple[str, str, Callable[[ClusterInfo], float]], ...]] = (
    ("penstock_scheduler_call_budget", "Queries that may be sent at once", lambda info: info.budget_left),
    ("penstock_scheduler_jobs_queued", "Our jobs that wait at the scheduler", lambda info: info.jobs_queued),
    ("penstock_scheduler_jobs_running", "Our jobs that run at the scheduler", lambda info: info.jobs_running),
    ("penstock_attempts_in_doubt", "Attempts nobody can say the fate of", lambda info: info.jobs_in_doubt),
    ("penstock_ssh_connected", "Whether the cluster's host can be reached", lambda info: float(info.connected)),
)


def _family(name: str, text: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["workflow"])
    for workflow, value in values.items():
        family.add_metric([workflow], value)
    return family
