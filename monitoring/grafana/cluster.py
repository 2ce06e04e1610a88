"""One cluster: can it be used, what waits there, what do we ask of its scheduler?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import BAD, GOOD, ODD, UP, Query, Section, bars, board, figure, lines, variable
from .expression import FAILED, or_zero, per_minute, quantile

_GLANCE: Final = Section(
    "At a glance",
    [
        figure(
            "Cluster",
            "short",
            "Whether it can be used. `penstockctl clusters NAME` says why not, `cluster check NAME` what to mend.",
            Query("min(penstock_cluster_up{$here})"),
            steps=[(0, BAD), (1, GOOD)],
            words=UP,
        ),
        figure(
            "Attempts at work",
            "short",
            "Calculations of ours that run there now.",
            Query(or_zero('sum(penstock_jobs{$here,state="running"})')),
        ),
        figure(
            "In doubt",
            "short",
            "Attempts of which nobody can say yet whether they run. Looked into by themselves; a question follows.",
            Query(or_zero("sum(penstock_attempts_in_doubt{$here})")),
            steps=[(0, GOOD), (1, ODD)],
        ),
        figure(
            "Questions open",
            "short",
            "Doubts that evidence could not settle. They wait for `penstockctl resolve`.",
            Query(or_zero("sum(penstock_questions_open{$here})")),
            steps=[(0, GOOD), (1, ODD)],
        ),
        figure(
            "Submissions waiting",
            "short",
            "Submissions that wait for cores or memory, or to be sent to the scheduler.",
            Query("sum(penstock_cluster_submissions_waiting{$here})"),
        ),
        figure(
            "Calls of the last hour",
            "short",
            "Commands run for its scheduler in the last hour, for all workflows together: what administrators ask "
            "about.",
            Query(or_zero("sum(increase(penstock_scheduler_calls_total{$here}[1h]))")),
        ),
    ],
)
_WORK: Final = Section(
    "Work",
    [
        lines(
            "Jobs by state",
            "short",
            "Jobs of active workflows there, by exact state.",
            Query("sum by (state) (penstock_jobs{$here})", "{{state}}"),
            stacked=True,
        ),
        lines(
            "Jobs by workflow",
            "short",
            "Who has jobs on their way there. Click a line for its workflow.",
            Query("sum by (workflow) (penstock_workflow_slots_used{$here})", "{{workflow}}"),
            opens="workflow",
        ),
        lines(
            "Attempts ended",
            "opm",
            "Attempts a minute by how they ended.",
            Query(per_minute("penstock_attempts_ended_total", "end"), "{{end}}"),
            width=8,
            stacked=True,
        ),
        bars(
            "Failures, last six hours",
            "short",
            "Attempts that failed, by class. `runner_lost` and `disk` speak of the cluster, not of calculations.",
            Query(f"sort_desc(sum by (failure) (increase({FAILED}[6h])) > 0)", "{{failure}}"),
            steps=[(0, ODD)],
        ),
        lines(
            "Retries",
            "opm",
            "Attempts a minute that were decided to be made again, by the failure before.",
            Query(per_minute("penstock_retries_total", "failure") + " > 0", "{{failure}}"),
            width=8,
        ),
        lines(
            "Cores",
            "short",
            "Cores that attempts may use and use. Of a scheduler's nodes the scheduler alone knows.",
            Query("sum(penstock_cluster_cores{$here})", "there"),
            Query("sum(penstock_cluster_cores_used{$here})", "used"),
            width=8,
        ),
        lines(
            "Memory",
            "bytes",
            "Memory that attempts may use, and what those at work have asked for.",
            Query("sum(penstock_cluster_memory_bytes{$here})", "there"),
            Query("sum(penstock_cluster_memory_used_bytes{$here})", "used"),
            width=8,
        ),
        lines(
            "Jobs at the scheduler",
            "short",
            "Our jobs that its queue shows, each task of an array counted.",
            Query("sum(penstock_scheduler_jobs_running{$here})", "running"),
            Query("sum(penstock_scheduler_jobs_queued{$here})", "queued"),
            width=8,
        ),
    ],
)
_HOW_LONG: Final = Section(
    "How long things take",
    [
        lines(
            "Ready to submitted",
            "s",
            "Half of the jobs and nineteen of twenty.",
            Query(quantile(0.5, "penstock_job_wait_seconds"), "half"),
            Query(quantile(0.95, "penstock_job_wait_seconds"), "95 %"),
            width=8,
        ),
        lines(
            "Order to placed",
            "s",
            "From the order handed to the cluster until the scheduler took it, or a runner began: staging, waiting for "
            "the budget, submitting.",
            Query(quantile(0.5, "penstock_submission_seconds"), "half"),
            Query(quantile(0.95, "penstock_submission_seconds"), "95 %"),
            width=8,
        ),
        lines(
            "End to record",
            "s",
            "From an attempt's end to its commit.",
            Query(quantile(0.5, "penstock_job_record_seconds"), "half"),
            Query(quantile(0.95, "penstock_job_record_seconds"), "95 %"),
            width=8,
        ),
        lines(
            "Submissions",
            "opm",
            "Submissions a minute. One is an array or a bundle of many jobs where jobs are short.",
            Query(per_minute("penstock_submissions_total"), "submissions"),
            width=8,
        ),
        lines(
            "Polls",
            "opm",
            "Looks a minute at spool, queue and accounts. The spool is cheap and looked at often; the other two are "
            "calls of the scheduler.",
            Query(per_minute("penstock_polls_total", "what, outcome"), "{{what}} {{outcome}}"),
            width=8,
        ),
        lines(
            "A poll takes",
            "s",
            "Nineteen of twenty polls take less.",
            Query(quantile(0.95, "penstock_poll_seconds", "what"), "{{what}}"),
            width=8,
        ),
    ],
)
_SCHEDULER: Final = Section(
    "The scheduler and the way to it",
    [
        lines(
            "Calls by command",
            "opm",
            "Commands a minute that are run for the scheduler.",
            Query(per_minute("penstock_scheduler_calls_total", "command"), "{{command}}"),
            width=8,
        ),
        lines(
            "Calls by outcome",
            "opm",
            "How they ended. `rate_limited` is the scheduler's own complaint; pauses double after each.",
            Query(per_minute("penstock_scheduler_calls_total", "outcome"), "{{outcome}}"),
            width=8,
        ),
        lines(
            "A call takes",
            "s",
            "Nineteen of twenty calls take less. The slower the scheduler answers, the seldomer it is asked.",
            Query(quantile(0.95, "penstock_scheduler_call_seconds", "command"), "{{command}}"),
            width=8,
        ),
        lines(
            "Budget left",
            "short",
            "Calls that may be made at once. Below 1 the next one waits.",
            Query("min by (kind) (penstock_scheduler_call_budget{$here})", "{{kind}}"),
            width=8,
            steps=[(0, BAD), (1, GOOD)],
        ),
        lines(
            "Budget of a minute",
            "opm",
            "Calls that the configuration allows in a minute, beside the calls that are made.",
            Query("max by (kind) (penstock_scheduler_calls_allowed_per_minute{$here})", "{{kind}}, allowed"),
            Query(per_minute("penstock_scheduler_calls_total"), "made"),
            width=8,
        ),
        lines(
            "Waiting for the budget",
            "percentunit",
            "Share of the time in which a call that somebody needs waits for its budget.",
            Query(
                "sum by (kind) (rate(penstock_scheduler_budget_wait_seconds_total{$here}[$__rate_interval]))",
                "{{kind}}",
            ),
            width=8,
        ),
        lines(
            "SSH sessions",
            "short",
            "Sessions in use on the one connection, and how many there may be.",
            Query("sum(penstock_ssh_sessions{$here})", "in use"),
            Query("sum(penstock_ssh_sessions_max{$here})", "at most"),
            width=8,
        ),
        lines(
            "SSH connection",
            "short",
            "Whether it stands, and how often it was made anew in the last hour.",
            Query("min(penstock_ssh_connected{$here})", "connected"),
            Query("sum(increase(penstock_ssh_reconnects_total{$here}[1h]))", "reconnects"),
            width=8,
        ),
        lines(
            "Mailbox",
            "short",
            "Messages that wait for the cluster's actor. It should be empty most of the time.",
            Query('max by (actor) (penstock_mailbox_depth{$daemon,actor=~"$cluster",actor!="workflows"})', "{{actor}}"),
            width=8,
        ),
    ],
)


def cluster() -> Dashboard:
    """The dashboard."""
    return board(
        "penstock-cluster",
        "Penstock: cluster",
        "One cluster, or several together. What concerns schedulers and SSH is there where the cluster has them.",
        'cluster=~"$cluster"',
        [variable("cluster", "penstock_cluster_up", "Cluster", among="$daemon")],
        [_GLANCE, _WORK, _HOW_LONG, _SCHEDULER],
    )
