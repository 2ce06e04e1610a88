"""What a scrape says of clusters: attempts and submissions there, schedulers and how they are asked, connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from penstock.actors.board import Connection
from penstock.actors.call_log import BUCKETS_S, CallLog
from penstock.daemon.cluster_tables import LOCAL
from penstock.daemon.metrics import families as f
from penstock.daemon.metrics.exposition import Family, Page
from penstock.daemon.metrics.sources import Sources
from penstock.domain.calculation import FailureClass
from penstock.domain.states import AttemptState
from penstock.domain.views import ClusterInfo, Doubt

Gauges = tuple[tuple[Family, Callable[[ClusterInfo], float]], ...]
_MB: Final = 1e6

_ALL: Final[Gauges] = (
    (f.CLUSTER_UP, lambda info: float(info.state == "up")),
    (f.SUBMISSIONS_RUNNING, lambda info: info.submissions_running),
    (f.SUBMISSIONS_WAITING, lambda info: info.submissions_waiting),
)
_LOCAL: Final[Gauges] = (
    (f.CLUSTER_CORES, lambda info: info.cores),
    (f.CLUSTER_CORES_USED, lambda info: info.cores_used),
    (f.CLUSTER_MEMORY, lambda info: info.memory_mb * _MB),
    (f.CLUSTER_MEMORY_USED, lambda info: info.memory_used_mb * _MB),
)
_SCHEDULER: Final[Gauges] = (
    (f.JOBS_QUEUED, lambda info: info.jobs_queued),
    (f.JOBS_RUNNING, lambda info: info.jobs_running),
    (f.IN_DOUBT, lambda info: info.jobs_in_doubt),
)


def add_clusters(page: Page, sources: Sources) -> None:
    """All families of clusters."""
    board = sources.board
    infos = list(board.clusters.copy().values())
    with_scheduler = [info for info in infos if info.kind != LOCAL]
    _add_gauges(page, _ALL, infos)
    _add_gauges(page, _LOCAL, [info for info in infos if info.kind == LOCAL])
    _add_gauges(page, _SCHEDULER, with_scheduler)
    page.add(f.QUESTIONS_OPEN, _questions(with_scheduler, board.doubts.copy(), sources.clock.time()))
    _add_counts(page, sources, [info.name for info in infos])
    _add_calls(page, board.calls.copy(), sources.clock.monotonic())
    _add_connections(page, board.connections.copy())


def _add_gauges(page: Page, gauges: Gauges, infos: list[ClusterInfo]) -> None:
    for family, value in gauges:
        page.add(family, (((info.name,), value(info)) for info in infos))


def _questions(
    clusters: Iterable[ClusterInfo], doubts: Mapping[str, Doubt], now: float
) -> Iterable[tuple[tuple[str], int]]:
    asked = [d.cluster for d in doubts.values() if d.question_at is not None and d.question_at <= now]
    return (((info.name,), asked.count(info.name)) for info in clusters)


def _add_counts(page: Page, sources: Sources, clusters: list[str]) -> None:
    """Every way that an attempt may end is there from the first scrape, at 0: an increase from nothing is not seen."""
    figures = sources.board.figures
    attempts = {(name, end, failure): 0 for name in clusters for end, failure in _POSSIBLE}
    page.add(f.ATTEMPTS_ENDED, (attempts | dict(figures.attempts)).items())
    retries = {(name, str(failure)): 0 for name in clusters for failure in _FAILURES}
    page.add(f.RETRIES, (retries | dict(figures.retries)).items())
    page.add(f.REMEDIES, figures.remedies.counts().items())
    for family, counts in ((f.SUBMISSIONS, figures.submissions), (f.REFUSALS, figures.refusals)):
        told = dict.fromkeys(clusters, 0) | dict(counts)
        page.add(family, (((name,), count) for name, count in told.items()))
    for family, histograms in (
        (f.SUBMISSION_SECONDS, figures.placing_s),
        (f.JOB_WAIT_SECONDS, figures.waiting_s),
        (f.JOB_RECORD_SECONDS, figures.recording_s),
    ):
        page.add_histograms(family, histograms.bounds, histograms.filled())


def _add_calls(page: Page, logs: Mapping[str, CallLog], now: float) -> None:
    by_name = sorted(logs.items())
    page.add(
        f.SCHEDULER_CALLS,
        (((name, t.command, t.outcome), t.calls) for name, log in by_name for t in log.totals()),
    )
    seconds = [((name, command), filled) for name, log in by_name for command, filled in log.histograms().items()]
    page.add_histograms(f.SCHEDULER_CALL_SECONDS, BUCKETS_S, seconds)
    page.add(f.POLLS, (((name, *key), count) for name, log in by_name for key, count in dict(log.polls).items()))
    polls = [((name, *key), filled) for name, log in by_name for key, filled in log.polls_s.filled()]
    page.add_histograms(f.POLL_SECONDS, BUCKETS_S, polls)
    budgets = [((name, kind), budget) for name, log in by_name for kind, budget in log.budgets.items()]
    page.add(f.CALL_BUDGET, ((key, max(budget.peek(now), 0.0)) for key, budget in budgets))
    page.add(f.CALLS_ALLOWED, ((key, budget.per_min) for key, budget in budgets))
    waits = {key: 0.0 for key, _ in budgets}
    waits |= {(name, kind): s for name, log in by_name for kind, s in log.budget_waits_s.copy().items()}
    page.add(f.BUDGET_WAIT_SECONDS, waits.items())


def _add_connections(page: Page, connections: Mapping[str, Connection]) -> None:
    ways = [((name,), found.way()) for name, found in sorted(connections.items())]
    page.add(f.SSH_CONNECTED, ((key, float(way.is_up)) for key, way in ways))
    page.add(f.SSH_SESSIONS, ((key, way.sessions) for key, way in ways))
    page.add(f.SSH_SESSIONS_MAX, ((key, way.sessions_max) for key, way in ways))
    connects = [((name,), found.connects()) for name, found in sorted(connections.items())]
    page.add(f.SSH_CONNECTS, connects)
    page.add(f.SSH_RECONNECTS, ((key, max(count - 1, 0)) for key, count in connects))


_FAILURES: Final = tuple(failure for failure in FailureClass if failure is not FailureClass.CANCELLED)
_POSSIBLE: Final = (
    (str(AttemptState.COMPLETED), ""),
    (str(AttemptState.NOT_RUN), ""),
    (str(AttemptState.CANCELLED), ""),
    (str(AttemptState.CANCELLED), str(FailureClass.CANCELLED)),
    (str(AttemptState.TIMEOUT), str(FailureClass.WALLTIME)),
    *((str(AttemptState.FAILED), str(failure)) for failure in _FAILURES if failure is not FailureClass.WALLTIME),
)
