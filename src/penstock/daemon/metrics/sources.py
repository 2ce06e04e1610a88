"""Where a scrape looks: values in memory, and cheap functions of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.actors.locks import Locks
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Supervisor
from penstock.actors.workers import WorkerPool
from penstock.daemon.metrics.survey import Survey

Refs = Mapping[str, Ref[Any]]


class Sources(msgspec.Struct, frozen=True):
    """All of it is written by the event loop (the survey by threads) while a scrape's thread reads.

    So who reads copies dictionaries in one step (`dict.copy`, `dict(...)`) and never loops over one that may grow.
    """

    board: Board
    clock: Clock
    clusters: Callable[[], Refs]
    workflows: Callable[[], Refs]
    supervisors: Sequence[Supervisor]
    workers: WorkerPool
    locks: Locks
    survey: Survey
    log_lines: Callable[[], Mapping[str, int]] = dict
    silent: Callable[[], Mapping[str, int]] = dict  # by supervisor: actors that have not answered the health check
