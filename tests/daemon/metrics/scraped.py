"""A scrape without a daemon: sources of values in memory, and what Prometheus would read of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from penstock.actors.board import Board
from penstock.actors.clock import Clock, SystemClock
from penstock.actors.locks import Locks
from penstock.actors.workers import WorkerPool
from penstock.daemon.metrics.registry import Metrics
from penstock.daemon.metrics.sources import Sources
from penstock.daemon.metrics.survey import Survey
from penstock.domain.views import WorkflowInfo

WORKFLOW: Final = WorkflowInfo(
    id="g2",
    recipe="campaign",
    state="running",
    directory="/w/.penstock/g2",
    mode="isolated",
    cluster="local",
    engine="tblite",
    slots=2,
    priority=0,
    jobs=40,
    statuses={"running": 9, "completed": 31},
    states={"running": 9, "completed": 31},
    rejected=3,
    ingesting=False,
    reason=None,
    created_at=0.0,
    updated_at=1_700_000_000.0,
)
NOWHERE: Final = Path("/nonexistent")


def sources_of(board: Board, clock: Clock | None = None, **others: Any) -> Sources:
    """Sources around a board; `others` are fields of them."""
    clock = clock or SystemClock()
    plain = Sources(
        board=board,
        clock=clock,
        clusters=dict,
        workflows=dict,
        supervisors=(),
        workers=WorkerPool(2, clock),
        locks=Locks(NOWHERE, clock),
        survey=Survey(NOWHERE, list, clock),
    )
    return msgspec.structs.replace(plain, **others)


def read(page: bytes | Metrics) -> dict[str, float]:
    """Every series as `name{label="value"}`, labels in the order of their names, without `penstock_`.

    Read by the client library's parser, which fails for what Prometheus could not read.
    """
    text = (page.render() if isinstance(page, Metrics) else page).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name.removeprefix("penstock_") + _shown(sample.labels)
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def _shown(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inner}}}" if inner else ""
