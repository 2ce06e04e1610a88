"""One workflow: how far it is, what it waits for, what fails."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import BAD, GOOD, ODD, Query, Section, board, figure, lines, variable
from .expression import ENDED, or_zero, per_minute

_ENDED: Final = or_zero(f"sum(penstock_jobs{{$here,{ENDED}}})")

_HOW_FAR: Final = Section(
    "How far it is",
    [
        figure(
            "State",
            "short",
            "Running, paused, or faulted: its database cannot be used. Of an ended workflow there are no series; what "
            "is shown then is the past.",
            Query("max by (state) (penstock_workflow_state{$here} > 0)", "{{state}}"),
            names_only=True,
        ),
        figure(
            "Ended",
            "percentunit",
            "Share of its jobs that have ended, well or badly. A source that is still being read makes it fall.",
            Query(f"({_ENDED}) / sum(penstock_jobs{{$here}})"),
        ),
        figure(
            "Failed",
            "short",
            "Jobs that failed or ran out of time and are not tried again by themselves: `penstockctl retry` does.",
            Query(or_zero('sum(penstock_jobs{$here,state=~"failed|timeout"})')),
            steps=[(0, GOOD), (1, BAD)],
        ),
        figure(
            "Not taken in",
            "short",
            "Records of its source that could not be read as structures; `penstockctl show` lists them.",
            Query(or_zero("sum(penstock_rejected_records{$here})")),
            steps=[(0, GOOD), (1, ODD)],
        ),
        figure(
            "Since its last progress",
            "s",
            "Since a job of it changed its state. Long where calculations are long; odd with free slots and nothing on "
            "its way.",
            Query("time() - max(penstock_workflow_progress_timestamp_seconds{$here})"),
            steps=[(0, GOOD), (3600, ODD), (86400, BAD)],
        ),
        figure(
            "Database",
            "bytes",
            "The file its rows are in, measured each minute. In shared and hybrid mode others are in it too.",
            Query("max(penstock_workflow_database_bytes{$here})"),
        ),
    ],
)
_COURSE: Final = Section(
    "Its course",
    [
        lines(
            "Jobs by state",
            "short",
            "Its jobs by exact state: from ready through submitting, queued, running and collecting to an end.",
            Query("sum by (state) (penstock_jobs{$here})", "{{state}}"),
            width=24,
            stacked=True,
        ),
        lines(
            "Attempts ended",
            "opm",
            "Attempts a minute by how they ended. More attempts than jobs: there are retries.",
            Query(per_minute("penstock_workflow_attempts_ended_total", "end"), "{{end}}"),
            stacked=True,
        ),
        lines(
            "Slots",
            "short",
            "Jobs that it may have on their way at once, and those that are. Used below granted with jobs ready: its "
            "cluster, a lock or a limit holds it back; `penstockctl why` of a ready job tells which.",
            Query("max(penstock_workflow_slots{$here})", "granted"),
            Query("max(penstock_workflow_slots_used{$here})", "used"),
        ),
        lines(
            "Share of failures",
            "percentunit",
            "Of the attempts that ended by themselves, those that failed or ran out of time; of ten minutes each.",
            Query(
                'sum(rate(penstock_workflow_attempts_ended_total{$here,end=~"failed|timeout"}[10m])) '
                '/ sum(rate(penstock_workflow_attempts_ended_total{$here,end=~"completed|failed|timeout"}[10m]))',
                "failed",
            ),
            steps=[(0, GOOD), (0.5, BAD)],
        ),
        lines(
            "Time to go",
            "s",
            "Jobs that have not ended, at the pace at which attempts were completed in the last hour. What waits in a "
            "queue makes it jump.",
            Query(
                f"(sum(penstock_jobs{{$here}}) - ({_ENDED})) "
                '/ sum(rate(penstock_workflow_attempts_ended_total{$here,end="completed"}[1h]))',
                "to go",
            ),
        ),
    ],
)


def workflow() -> Dashboard:
    """The dashboard."""
    return board(
        "penstock-workflow",
        "Penstock: workflow",
        "One workflow that is running, paused or faulted.",
        'workflow="$workflow"',
        [
            variable(
                "workflow", "penstock_workflow_state", "Workflow", among='$daemon,workflow!="(others)"', several=False
            )
        ],
        [_HOW_FAR, _COURSE],
    )
