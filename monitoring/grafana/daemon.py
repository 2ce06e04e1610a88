"""The daemon's own health: its loop, its actors, its workers, its databases, its machine."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import BAD, GOOD, ODD, UP, Query, Section, bars, board, figure, lines
from .expression import or_zero, per_minute, quantile

_GLANCE: Final = Section(
    "At a glance",
    [
        figure(
            "Daemon",
            "short",
            "Whether Prometheus reaches it.",
            Query("min(up{$here})"),
            steps=[(0, BAD), (1, GOOD)],
            words=UP,
        ),
        figure(
            "Version",
            "short",
            "Of the daemon and its Python.",
            Query("max by (version, python) (penstock_build_info{$here})", "{{version}}, Python {{python}}"),
            names_only=True,
        ),
        figure(
            "Up since",
            "dateTimeAsIso",
            "When it was started. Counters begin at 0 there.",
            Query("1000 * max(process_start_time_seconds{$here})"),
        ),
        figure(
            "Actors silent",
            "short",
            "Actors that have not answered the health check. A workflow may be slow for a while; a cluster may not.",
            Query(or_zero("sum(penstock_actors_silent{$here})")),
            steps=[(0, GOOD), (1, BAD)],
        ),
        figure(
            "Restarts, last hour",
            "short",
            "Actors that broke and were started again in the last hour. The log has the reason of each.",
            Query("sum(increase(penstock_supervisor_restarts_total{$here}[1h]))"),
            steps=[(0, GOOD), (1, ODD), (10, BAD)],
        ),
        figure(
            "Workers lost, last hour",
            "short",
            "Worker processes that died while they read or rendered something.",
            Query("sum(increase(penstock_workers_lost_total{$here}[1h]))"),
            steps=[(0, GOOD), (1, ODD), (3, BAD)],
        ),
    ],
)
_LOOP: Final = Section(
    "Event loop and actors",
    [
        lines(
            "Event loop lag",
            "s",
            "How late a timer fires. Everything the daemon does waits that long.",
            Query(quantile(0.5, "penstock_event_loop_lag_seconds"), "half"),
            Query(quantile(0.99, "penstock_event_loop_lag_seconds"), "99 %"),
            width=8,
            steps=[(0, GOOD), (0.5, BAD)],
        ),
        lines(
            "Messages waiting",
            "short",
            "Messages in the mailboxes of each cluster, and of all workflows together.",
            Query("max by (actor) (penstock_mailbox_depth{$here})", "{{actor}}"),
            width=8,
        ),
        lines(
            "Oldest message",
            "s",
            "How long the oldest waiting message waits.",
            Query("max by (actor) (penstock_mailbox_oldest_seconds{$here})", "{{actor}}"),
            width=8,
        ),
        lines(
            "Restarts by supervisor",
            "short",
            "Actors started again since the daemon began.",
            Query("sum by (supervisor) (penstock_supervisor_restarts_total{$here})", "{{supervisor}}"),
            width=8,
        ),
        bars(
            "Restarts by actor",
            "short",
            "Which actors were started again, since the daemon began: clusters by name, workflows by id.",
            Query(
                "sort_desc(topk(8, sum by (supervisor, actor) (penstock_actor_restarts_total{$here})))",
                "{{supervisor}} {{actor}}",
            ),
            steps=[(0, ODD)],
        ),
        lines(
            "Log lines",
            "opm",
            "Lines a minute by level. Errors are written once, then seldom, so even a few count.",
            Query(per_minute("penstock_log_lines_total", "level"), "{{level}}"),
            width=8,
        ),
    ],
)
_WORK: Final = Section(
    "Databases, workers, locks",
    [
        lines(
            "Waiting for databases",
            "s",
            "How long actors wait for their databases, half of the waits and 99 %. A slow disk shows here first.",
            Query(quantile(0.5, "penstock_database_seconds"), "half"),
            Query(quantile(0.99, "penstock_database_seconds"), "99 %"),
            width=8,
        ),
        lines(
            "Workers",
            "short",
            "Worker processes, those at work, those that hang in a file system that does not answer, and tasks that "
            "wait for one. Waiting for long with none hung: raise `[daemon] workers`.",
            Query("sum(penstock_workers{$here})", "there"),
            Query("sum(penstock_workers_busy{$here})", "at work"),
            Query("sum(penstock_workers_hung{$here})", "hung"),
            Query("sum(penstock_workers_waiting{$here})", "tasks waiting"),
            width=8,
        ),
        lines(
            "A task takes",
            "s",
            "What workers are asked for, and how long it takes: nineteen of twenty take less.",
            Query(quantile(0.95, "penstock_worker_task_seconds", "task"), "{{task}}"),
            width=8,
        ),
        lines(
            "Remedies",
            "opm",
            "Changes a minute that were made to failed calculations, by the rule that made them.",
            Query(per_minute("penstock_remedies_total", "engine, rule"), "{{engine}} {{rule}}"),
            width=8,
        ),
        lines(
            "Locks",
            "short",
            "Licences and instruments: how many are held, and how many jobs wait for them.",
            Query("sum by (lock) (penstock_lock_held{$here})", "{{lock}} held"),
            Query("sum by (lock) (penstock_lock_capacity{$here})", "{{lock}} there"),
            Query("sum by (lock) (penstock_lock_waiters{$here})", "{{lock}} waiting"),
            width=8,
        ),
        lines(
            "Waiting for a lock",
            "s",
            "From asking for locks to having them, half and nineteen of twenty.",
            Query(quantile(0.5, "penstock_lock_wait_seconds"), "half"),
            Query(quantile(0.95, "penstock_lock_wait_seconds"), "95 %"),
            width=8,
        ),
    ],
)
_MACHINE: Final = Section(
    "The process and its machine",
    [
        lines(
            "CPU",
            "percentunit",
            "Of one core. At 100 % the event loop lags.",
            Query("sum(rate(process_cpu_seconds_total{$here}[$__rate_interval]))", "daemon"),
            width=8,
        ),
        lines(
            "Memory",
            "bytes",
            "The daemon's own, without its workers. It should be flat.",
            Query("sum(process_resident_memory_bytes{$here})", "resident"),
            width=8,
        ),
        lines(
            "Open files",
            "short",
            "Descriptors of the daemon, and how many it may have.",
            Query("sum(process_open_fds{$here})", "open"),
            Query("sum(process_max_fds{$here})", "at most"),
            width=8,
        ),
        lines(
            "Disk left",
            "bytes",
            "Free room of the file systems that are in use. One that does not answer is not shown.",
            Query("min by (directory) (penstock_disk_free_bytes{$here})", "{{directory}}"),
            width=8,
        ),
        lines(
            "Files left",
            "short",
            "Files that can still be made there.",
            Query("min by (directory) (penstock_disk_free_inodes{$here})", "{{directory}}"),
            width=8,
        ),
        lines(
            "Requests",
            "opm",
            "Requests a minute over the control socket.",
            Query(per_minute("penstock_control_requests_total", "request"), "{{request}}"),
            width=8,
        ),
        lines(
            "Connections",
            "short",
            "Clients that are connected: watchers, live views, programs.",
            Query("sum(penstock_control_connections{$here})", "connected"),
            width=8,
        ),
        lines(
            "A scrape takes",
            "s",
            "How long Prometheus waits for the metrics.",
            Query("max(scrape_duration_seconds{$here})", "scrape"),
            width=8,
        ),
        lines(
            "Series",
            "short",
            "How many a scrape brings. Bounded, whatever the number of workflows.",
            Query("sum(scrape_samples_scraped{$here})", "series"),
            width=8,
        ),
    ],
)


def daemon() -> Dashboard:
    """The dashboard."""
    return board(
        "penstock-daemon",
        "Penstock: daemon",
        "Whether the daemon itself is well.",
        "",
        [],
        [_GLANCE, _LOOP, _WORK, _MACHINE],
    )
