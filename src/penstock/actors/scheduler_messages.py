"""What a cluster with a scheduler is told: by its configuration, by people, and by its own loops."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.actors.cluster_port import ClusterMessage
from penstock.actors.scheduler_link import Place
from penstock.clusters.remote_spool import SubmissionFiles
from penstock.clusters.scheduler import JobRow, Limits, QueueView, Submitted
from penstock.clusters.spool import Line
from penstock.domain.scheduling import SchedulerOptions


class SchedulerConfig(msgspec.Struct, frozen=True):
    """What the daemon's configuration says of a cluster. Paths are absolute or relative to the account's home there."""

    name: str
    kind: str
    host: str
    spool: str
    work: str | None
    python: str
    options: SchedulerOptions
    width_max: int  # 0: the site's
    jobs_max: int  # 0: no limit of our own
    queries_idle_per_min: float
    queries_active_per_min: float
    submits_per_min: float
    listing_s: float
    grace_s: float
    lag_s: float
    question_after_s: float
    command_timeout_s: float


class Reconfigure(msgspec.Struct, frozen=True):
    """New rates and limits; where the cluster is stays as it was."""

    config: SchedulerConfig


class Report(msgspec.Struct, frozen=True):
    """Asks for a `ClusterReport`."""


class Ready(msgspec.Struct, frozen=True):
    """Connected: where things are, and the site's limits."""

    place: Place
    limits: Limits


class Trouble(msgspec.Struct, frozen=True):
    """An errand failed, None: it works again."""

    errand: str
    reason: str | None


class News(msgspec.Struct, frozen=True):
    """Journals that have grown."""

    journals: dict[tuple[str, int], list[Line]]


class Files(msgspec.Struct, frozen=True):
    """What the spool holds of some submissions, and what their stored answers mean."""

    files: dict[str, SubmissionFiles]
    answers: dict[str, Submitted]
    asked_at: float


class Buried(msgspec.Struct, frozen=True):
    """Who holds the claims of a submission's tasks."""

    ulid: str
    holders: dict[int, str]


class Queue(msgspec.Struct, frozen=True):
    """The live queue."""

    view: QueueView
    asked_at: float


class Accounts(msgspec.Struct, frozen=True):
    """What the accounts say of these submissions."""

    ulids: tuple[str, ...]
    rows: tuple[JobRow, ...]
    asked_at: float


class Answered(msgspec.Struct, frozen=True):
    """What came of a submission; None: nobody knows."""

    ulid: str
    answer: Submitted | None


class Fetched(msgspec.Struct, frozen=True):
    """The outputs of these attempts are here."""

    ulid: str
    positions: tuple[int, ...]


Evidence = News | Files | Buried | Queue | Accounts | Answered
SchedulerMessage = ClusterMessage | Reconfigure | Report | Ready | Trouble | Evidence | Fetched


def both_news(older: Any, newer: Any) -> News:
    """The journals of both."""
    both = dict(older.journals)
    for journal, lines in newer.journals.items():
        both[journal] = [*both.get(journal, []), *lines]
    return News(both)
