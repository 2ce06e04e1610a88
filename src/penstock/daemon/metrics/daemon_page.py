"""What a scrape says of the daemon itself: actors, event loop, databases, worker processes, disks, clients, log."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any, Final

from penstock import __version__
from penstock.actors.histogram import OTHERS
from penstock.actors.mailbox import Ref
from penstock.daemon.metrics import families as f
from penstock.daemon.metrics.exposition import Page
from penstock.daemon.metrics.sources import Sources
from penstock.daemon.metrics.workflow_page import Shown
from penstock.domain.locks import has_left, has_run_out

_LOCKS_MOST: Final = 50
_WORKFLOWS: Final = "workflows"


def add_daemon(page: Page, sources: Sources, shown: Shown) -> None:
    """All families of the daemon; the restarts of workflows with series of their own are told by name."""
    figures = sources.board.figures
    page.add(f.BUILD_INFO, [((__version__, platform.python_version()), 1)])
    _add_mailboxes(page, sources)
    _add_restarts(page, sources, shown)
    page.add(f.ACTORS_SILENT, (((name,), count) for name, count in sorted(sources.silent().items())))
    page.add_histograms(f.LOOP_LAG, figures.loop_lag_s.bounds, [((), figures.loop_lag_s.filled())])
    page.add_histograms(f.DATABASE_SECONDS, figures.database_s.bounds, [((), figures.database_s.filled())])
    page.add_value(f.WORKERS, sources.workers.size)
    page.add_value(f.WORKERS_BUSY, sources.workers.busy)
    page.add_value(f.WORKERS_HUNG, sources.workers.hung)
    page.add_value(f.WORKERS_WAITING, sources.workers.waiting)
    page.add_value(f.WORKERS_LOST, sources.workers.lost)
    page.add_histograms(f.WORKER_TASK_SECONDS, figures.task_s.bounds, figures.task_s.filled())
    _add_disks(page, sources)
    _add_locks(page, sources)
    page.add(f.CONTROL_REQUESTS, (((name,), count) for name, count in sorted(dict(figures.requests).items())))
    page.add_value(f.CONTROL_CONNECTIONS, figures.connections)
    page.add(f.LOG_LINES, (((level,), count) for level, count in sorted(sources.log_lines().items())))


def _add_mailboxes(page: Page, sources: Sources) -> None:
    clusters, workflows = sources.clusters(), list(sources.workflows().values())
    waiting: list[tuple[str, list[Ref[Any]]]] = [(_WORKFLOWS, workflows)]
    waiting += [(name, [ref]) for name, ref in sorted(clusters.items())]
    page.add(f.MAILBOX_DEPTH, (((name,), sum(ref.waiting for ref in refs)) for name, refs in waiting))
    ages = (((name,), max((ref.oldest_s for ref in refs), default=0.0)) for name, refs in waiting)
    page.add(f.MAILBOX_OLDEST, ages)


def _add_restarts(page: Page, sources: Sources, shown: Shown) -> None:
    """Clusters, and the workflows that have series of their own."""
    names: Mapping[str, Iterable[str]] = {_WORKFLOWS: [info.id for info in shown.own], "clusters": sources.clusters()}
    restarts: list[tuple[tuple[str, str], int]] = []
    for supervisor in sources.supervisors:
        counts = supervisor.restarts.copy()
        restarts += (((supervisor.name, name), counts.get(name, 0)) for name in names.get(supervisor.name, ()))
    page.add(f.ACTOR_RESTARTS, restarts)
    page.add(f.SUPERVISOR_RESTARTS, (((s.name,), s.restarts_total) for s in sources.supervisors))


def _add_disks(page: Page, sources: Sources) -> None:
    disks, hanging = sources.survey.disks(sources.clock.monotonic()), sources.survey.hanging()
    silent = dict.fromkeys((disk.directory for disk in disks), 0) | dict.fromkeys(hanging, 1)
    page.add(f.FILE_SYSTEM_SILENT, (((directory,), value) for directory, value in silent.items()))
    page.add(f.DISK_FREE, (((disk.directory,), disk.free_bytes) for disk in disks))
    page.add(f.DISK_SIZE, (((disk.directory,), disk.size_bytes) for disk in disks))
    page.add(f.DISK_INODES, (((disk.directory,), disk.free_inodes) for disk in disks if disk.has_inodes))


def _add_locks(page: Page, sources: Sources) -> None:
    """Shared resources; the waits are those for the locks of namespaces, too."""
    locks, now = sources.locks, sources.clock.time()
    capacities, standing = locks.capacities, locks.standing
    leases = [lease for lease in standing.leases if not has_run_out(lease, now)] if standing else []
    waiters = [waiter for waiter in standing.waiters if not has_left(waiter, now)] if standing else []
    rows: dict[str, tuple[int, int, int]] = {}
    for rank, (name, capacity) in enumerate(sorted(capacities.items())):
        held = sum(lease.count for lease in leases if lease.resource == name)
        waits = sum(name in waiter.needs for waiter in waiters)
        key = name if rank < _LOCKS_MOST else OTHERS
        before = rows.get(key, (0, 0, 0))
        rows[key] = (before[0] + capacity, before[1] + held, before[2] + waits)
    for column, family in enumerate((f.LOCK_CAPACITY, f.LOCK_HELD, f.LOCK_WAITERS)):
        page.add(family, (((name,), row[column]) for name, row in rows.items()))
    page.add_histograms(f.LOCK_WAIT_SECONDS, locks.waits_s.bounds, [((), locks.waits_s.filled())])
