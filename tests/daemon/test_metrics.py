"""What a scrape shows, from values in memory."""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from tests.control.reported import HPC

from penstock import __version__
from penstock.actors.board import Board
from penstock.actors.call_log import CallLog
from penstock.actors.clock import SystemClock
from penstock.daemon.metrics import Metrics, Sources
from penstock.domain.views import ClusterInfo, WorkflowInfo

WORKFLOW = WorkflowInfo(
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
    updated_at=0.0,
)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def metrics(board: Board) -> Metrics:
    return Metrics(Sources(board, lambda: {"local": 5}, lambda: {"clusters": 1}, lambda: 2))


def text(metrics: Metrics) -> list[str]:
    return generate_latest(metrics.registry).decode().splitlines()


def test_workflows_clusters_and_actors(board: Board, metrics: Metrics) -> None:
    board.pin(WORKFLOW)
    board.pin(msgspec.structs.replace(WORKFLOW, id="old", state="completed"))
    board.clusters["local"] = ClusterInfo("local", "local", "up", None, 8, 3, 16000, 3000, 3, 4)
    board.clusters["far"] = ClusterInfo("far", "local", "down", "gone", 8, 0, 16000, 0, 0, 0)
    lines = text(metrics)
    assert {
        'penstock_workflows{state="running"} 1.0',
        'penstock_workflows{state="completed"} 1.0',
        'penstock_jobs{cluster="local",state="running",workflow="g2"} 9.0',
        'penstock_jobs{cluster="local",state="completed",workflow="g2"} 31.0',
        'penstock_rejected_records{workflow="g2"} 3.0',
        'penstock_workflow_slots{workflow="g2"} 2.0',
        'penstock_cluster_up{cluster="local"} 1.0',
        'penstock_cluster_up{cluster="far"} 0.0',
        'penstock_cluster_cores_used{cluster="local"} 3.0',
        'penstock_cluster_submissions_waiting{cluster="local"} 4.0',
        'penstock_mailbox_depth{actor="local"} 5.0',
        'penstock_actor_restarts_total{supervisor="clusters"} 1.0',
        "penstock_workers_busy 2.0",
        f'penstock_info{{version="{__version__}"}} 1.0',
    } <= set(lines)
    assert not [line for line in lines if 'workflow="old"' in line]


def test_the_number_of_series_is_bounded(board: Board, metrics: Metrics) -> None:
    for number in range(250):
        board.pin(msgspec.structs.replace(WORKFLOW, id=f"w{number}", jobs=number, states={"ready": number}))
    jobs = [line for line in text(metrics) if line.startswith("penstock_jobs{")]
    assert len(jobs) == 201
    assert f'penstock_jobs{{cluster="local",state="ready",workflow="(others)"}} {sum(range(50))}.0' in jobs


def test_clusters_with_a_scheduler(board: Board, metrics: Metrics) -> None:
    board.clusters["local"] = ClusterInfo("local", "local", "up", None, 8, 3, 16000, 3000, 3, 4)
    board.clusters["hpc"] = HPC
    log = board.calls["hpc"] = CallLog(SystemClock())
    log.record("squeue", 0.02)
    log.record("squeue", 0.3)
    log.record("squeue", 300.0, "timeout")
    lines = text(metrics)
    assert {
        'penstock_scheduler_calls_total{cluster="hpc",command="squeue",outcome="ok"} 2.0',
        'penstock_scheduler_calls_total{cluster="hpc",command="squeue",outcome="timeout"} 1.0',
        'penstock_scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="0.01"} 0.0',
        'penstock_scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="0.025"} 1.0',
        'penstock_scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="120.0"} 2.0',
        'penstock_scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="+Inf"} 3.0',
        'penstock_scheduler_call_seconds_count{cluster="hpc",command="squeue"} 3.0',
        'penstock_scheduler_call_seconds_sum{cluster="hpc",command="squeue"} 300.32',
        'penstock_scheduler_call_budget{cluster="hpc"} 2.5',
        'penstock_scheduler_jobs_queued{cluster="hpc"} 40.0',
        'penstock_scheduler_jobs_running{cluster="hpc"} 8.0',
        'penstock_attempts_in_doubt{cluster="hpc"} 1.0',
        'penstock_ssh_connected{cluster="hpc"} 1.0',
        'penstock_ssh_connects_total{cluster="hpc"} 2.0',
        'penstock_cluster_submissions_waiting{cluster="hpc"} 2.0',
    } <= set(lines)
    assert not [line for line in lines if line.startswith("penstock_ssh") and 'cluster="local"' in line]


def test_the_page_names_every_metric(board: Board, metrics: Metrics) -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in page


def test_what_is_counted_on_the_way(board: Board, metrics: Metrics) -> None:
    entered = []

    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        entered.append(True)
        yield

    with pytest.raises(ZeroDivisionError), metrics.timed(guard)():
        _ = 1 / 0
    assert entered
    metrics.requests.labels("Ping").inc()
    lines = text(metrics)
    assert 'penstock_control_requests_total{request="Ping"} 1.0' in lines
    (seconds,) = (line for line in lines if line.startswith("penstock_database_seconds_total"))
    assert float(seconds.split()[1]) > 0


def test_a_scrape_over_http(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stop = metrics.serve("127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"penstock_workers_busy 2.0" in answer.read()
    finally:
        stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")
