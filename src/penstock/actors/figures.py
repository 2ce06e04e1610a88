"""What has been counted and measured since the daemon's start, for whoever draws it.

The event loop alone writes here; any thread may read, by copies that are one step for it. Nothing counted goes down.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from penstock.actors.histogram import BoundedTally, Histogram, Histograms
from penstock.store.rows import AttemptResult

_WAITS_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
_SOON_S: Final = (0.01, *_WAITS_S[:-2])
_DATABASE_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
_TASKS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0)
_LAG_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_REMEDIED: Final = "job_remedied"
_RETRIED: Final = "job_retried"


class Standing(msgspec.Struct, frozen=True):
    """Where a workflow's actor stands: slots that it may use and uses, and when a job of it last moved.

    `awaiting`: jobs that wait for other workflows' calculations of the same, None where it shares no results.
    """

    slots: int
    slots_used: int
    progressed_at: float  # seconds since the epoch
    awaiting: int | None = None


class Figures:
    """The figures. Keys are label values, in the order of the names in the comment."""

    def __init__(self) -> None:
        self.submissions: Counter[str] = Counter()  # cluster
        self.refusals: Counter[str] = Counter()  # cluster
        self.attempts: Counter[tuple[str, str, str]] = Counter()  # cluster, end, failure
        self.retries: Counter[tuple[str, str]] = Counter()  # cluster, failure
        self.remedies = BoundedTally()  # engine, rule: specs may name rules as they like
        self.placing_s = Histograms(_SOON_S)  # cluster
        self.waiting_s = Histograms(_WAITS_S)  # cluster
        self.recording_s = Histograms(_SOON_S)  # cluster
        self.task_s = Histograms(_TASKS_S, 40)  # task
        self.database_s = Histogram(_DATABASE_S)
        self.loop_lag_s = Histogram(_LAG_S)
        self.requests: Counter[str] = Counter()  # request
        self.connections = 0  # of control clients
        self.ends: dict[str, Counter[tuple[str, str]]] = {}  # workflow: cluster, end
        self.standings: dict[str, Standing] = {}  # workflow

    def count_ends(self, workflow: str, cluster: str, engine: str, results: list[AttemptResult], now: float) -> None:
        """Attempts whose end has been committed `now`, and what follows them."""
        ends = self.ends.setdefault(workflow, Counter())
        for result in results:
            end, failure = str(result.attempt_state), str(result.failure or "")
            self.attempts[cluster, end, failure] += 1
            ends[cluster, end] += 1
            kind = result.event.kind if result.event else ""
            if kind == _REMEDIED and result.event is not None:
                self.remedies.add((engine, str(result.event.data["rule"])))
            elif kind == _RETRIED:
                self.retries[cluster, failure] += 1
            if result.exit is not None:
                self.recording_s.observe((cluster,), now - result.exit.ended_at)

    def observe_task(self, task: str, seconds: float) -> None:
        """A worker process has had a task of this name for so long."""
        self.task_s.observe((task,), seconds)

    def forget(self, workflow: str) -> None:
        """The workflow is gone."""
        self.ends.pop(workflow, None)
        self.standings.pop(workflow, None)
