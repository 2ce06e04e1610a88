"""The overview: for the person who runs the head node. Is it alive, what does it do, who waits, what fails?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import BAD, GOOD, ODD, UP, Column, Query, Section, bars, board, figure, lines, rows, variable
from .expression import ENDED, FAILED, JUDGED, or_zero, per_minute, quantile

_EACH: Final = "by (instance, workflow, cluster)"
_JOBS: Final = f"sum {_EACH} (penstock_jobs{{$here%s}})"
_NONE_IS_GOOD: Final = [(0, GOOD), (1, BAD)]

_GLANCE: Final = Section(
    "At a glance",
    [
        figure(
            "Daemon",
            "short",
            "Whether Prometheus reaches the daemon. If not, nothing below is newer than its last scrape; calculations "
            "that run go on without it.",
            Query("min(up{$daemon})"),
            steps=[(0, BAD), (1, GOOD)],
            words=UP,
        ),
        figure(
            "Alerts",
            "short",
            "Alerts of Penstock that fire now. Each has a page in docs/runbooks that says how to look and how to mend.",
            Query(or_zero('count(ALERTS{$daemon,alertname=~"Penstock.*",alertstate="firing"})')),
            steps=_NONE_IS_GOOD,
        ),
        figure(
            "Workflows faulted",
            "short",
            "Workflows whose database cannot be used. A full disk or a lock heals by itself, damage does not.",
            Query(or_zero('sum(penstock_workflows{$daemon,state="faulted"})')),
            steps=_NONE_IS_GOOD,
        ),
        figure(
            "Clusters down",
            "short",
            "Clusters that cannot be used. What runs there runs on; nothing new is submitted and no end is noticed.",
            Query(or_zero("count(penstock_cluster_up{$here} == 0)")),
            steps=_NONE_IS_GOOD,
        ),
        figure(
            "Questions open",
            "short",
            "Submissions of which no evidence tells whether they run. They wait for `penstockctl resolve`.",
            Query(or_zero("sum(penstock_questions_open{$here})")),
            steps=[(0, GOOD), (1, ODD)],
        ),
        figure(
            "Failed, last hour",
            "percentunit",
            "Share of the attempts of the last hour that failed or ran out of time. What is retried counts each time.",
            Query(f"sum(increase({FAILED}[1h])) / sum(increase({JUDGED}[1h]))"),
            steps=[(0, GOOD), (0.2, ODD), (0.5, BAD)],
        ),
        figure(
            "Workflows running",
            "short",
            "Workflows that are at work. Paused, faulted and ended ones are not counted.",
            Query(or_zero('sum(penstock_workflows{$daemon,state="running"})')),
        ),
        figure(
            "Jobs running",
            "short",
            "Calculations that run now, on all clusters chosen above.",
            Query(or_zero('sum(penstock_jobs{$here,state="running"})')),
        ),
        figure(
            "Jobs queued",
            "short",
            "Jobs that a cluster has and has not begun.",
            Query(or_zero('sum(penstock_jobs{$here,state="queued"})')),
        ),
        figure(
            "Jobs ready",
            "short",
            "Jobs that wait for a free slot of their workflow.",
            Query(or_zero('sum(penstock_jobs{$here,state="ready"})')),
        ),
        figure(
            "Completed",
            "opm",
            "Attempts that end well, a minute.",
            Query(or_zero(per_minute("penstock_attempts_ended_total", matchers='$here,end="completed"'))),
        ),
        figure(
            "Least room on a disk",
            "percentunit",
            "Free share of the fullest file system that the daemon or its workflows use. At none, workflows fault.",
            Query("min(penstock_disk_free_bytes{$daemon} / penstock_disk_size_bytes{$daemon})"),
            steps=[(0, BAD), (0.05, ODD), (0.15, GOOD)],
        ),
    ],
)
_WORK: Final = Section(
    "Work",
    [
        lines(
            "Jobs by state",
            "short",
            "Jobs of running, paused and faulted workflows by exact state. Many `ready` beside few `running`: slots or "
            "the cluster are full. `in_doubt` should never last.",
            Query("sum by (state) (penstock_jobs{$here})", "{{state}}"),
            stacked=True,
        ),
        lines(
            "Attempts ended",
            "opm",
            "Attempts a minute by how they ended. Where red grows, the failures below name the cause.",
            Query(per_minute("penstock_attempts_ended_total", "end"), "{{end}}"),
            stacked=True,
        ),
        bars(
            "Failures, last six hours",
            "short",
            "Attempts that failed, by the class that their engine gave them. One class alone usually has one cause.",
            Query(f"sort_desc(sum by (failure) (increase({FAILED}[6h])) > 0)", "{{failure}}"),
            steps=[(0, ODD)],
        ),
        lines(
            "Waiting to be submitted",
            "s",
            "From ready to submitted, half of the jobs and nineteen of twenty. It grows when slots, cores, locks or "
            "the budget of calls are short.",
            Query(quantile(0.5, "penstock_job_wait_seconds"), "half"),
            Query(quantile(0.95, "penstock_job_wait_seconds"), "95 %"),
            width=8,
        ),
        lines(
            "From end to record",
            "s",
            "From an attempt's end to its commit, half of them and nineteen of twenty. It grows when the cluster's "
            "file system hides what nodes write, when workers are short, or when a disk is slow.",
            Query(quantile(0.5, "penstock_job_record_seconds"), "half"),
            Query(quantile(0.95, "penstock_job_record_seconds"), "95 %"),
            width=8,
        ),
        lines(
            "Workflows paused",
            "short",
            "By cluster and reason. `request`: somebody asked for it; `refused`: the scheduler refuses their jobs, an "
            "alert tells of it; `other`: restored or imported, and not resumed yet.",
            Query("sum by (cluster, reason) (penstock_workflows_paused{$here})", "{{cluster}}: {{reason}}"),
        ),
        lines(
            "Waiting for another's calculation",
            "short",
            "Jobs of workflows in shared mode that wait for the result which another workflow calculates now.",
            Query("sum by (workflow) (penstock_jobs_awaiting{$here})", "{{workflow}}"),
        ),
    ],
)
_TABLES: Final = Section(
    "Workflows and clusters",
    [
        rows(
            "Workflows",
            "Running, paused and faulted workflows; beyond a configured number the small ones are summed up as "
            "`(others)`. Click a name for its dashboard.",
            ["workflow", "cluster", "state"],
            [
                Column("", "max by (instance, workflow, cluster, state) (penstock_workflow_state{$here} > 0)"),
                Column("jobs", _JOBS % ""),
                Column("ended", f"{_JOBS % (',' + ENDED)} / {_JOBS % ''}", "percentunit"),
                Column("running", _JOBS % ',state="running"'),
                Column("failed", _JOBS % ',state=~"failed|timeout"', steps=_NONE_IS_GOOD),
                Column("slots used", f"max {_EACH} (penstock_workflow_slots_used{{$here}})"),
                Column("slots", f"max {_EACH} (penstock_workflow_slots{{$here}})"),
                Column(
                    "since progress",
                    f"time() - max {_EACH} (penstock_workflow_progress_timestamp_seconds{{$here}})",
                    "s",
                    steps=[(0, GOOD), (3600, ODD), (86400, BAD)],
                ),
            ],
        ),
        rows(
            "Clusters",
            "Every cluster of the configuration. Click a name for its dashboard.",
            ["cluster"],
            [
                Column(
                    "up",
                    "min by (instance, cluster) (penstock_cluster_up{$here})",
                    steps=[(0, BAD), (1, GOOD)],
                    words=UP,
                ),
                Column("our jobs running", "sum by (instance, cluster) (penstock_scheduler_jobs_running{$here})"),
                Column("our jobs queued", "sum by (instance, cluster) (penstock_scheduler_jobs_queued{$here})"),
                Column(
                    "in doubt",
                    "sum by (instance, cluster) (penstock_attempts_in_doubt{$here})",
                    steps=[(0, GOOD), (1, ODD)],
                ),
                Column(
                    "questions",
                    "sum by (instance, cluster) (penstock_questions_open{$here})",
                    steps=[(0, GOOD), (1, ODD)],
                ),
                Column(
                    "submissions waiting", "sum by (instance, cluster) (penstock_cluster_submissions_waiting{$here})"
                ),
                Column(
                    "queries left", 'min by (instance, cluster) (penstock_scheduler_call_budget{$here,kind="query"})'
                ),
                Column("ended a minute", per_minute("penstock_attempts_ended_total", "instance, cluster")),
            ],
            height=7,
        ),
    ],
)


def overview() -> Dashboard:
    """The dashboard."""
    return board(
        "penstock-overview",
        "Penstock: overview",
        "Everything a daemon does, at a glance.",
        'cluster=~"$cluster"',
        [variable("cluster", "penstock_cluster_up", "Cluster", among="$daemon")],
        [_GLANCE, _WORK, _TABLES],
    )
