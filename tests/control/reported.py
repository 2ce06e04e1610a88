"""What a cluster with a scheduler is told of: examples for the tests of clients and commands."""

from __future__ import annotations

from penstock.domain.views import (
    BudgetInfo,
    CallCount,
    CallTotal,
    ClusterInfo,
    ClusterReport,
    Doubt,
    Finding,
    Latency,
    MergeConflict,
    MergeReport,
    PartitionInfo,
)

HPC = ClusterInfo(
    name="hpc",
    kind="slurm",
    state="up",
    reason=None,
    cores=0,
    cores_used=0,
    memory_mb=0,
    memory_used_mb=0,
    submissions_running=3,
    submissions_waiting=2,
    host="login.example.org",
    version="slurm 22.05.8",
    jobs_queued=40,
    jobs_running=8,
    jobs_in_doubt=1,
    calls_last_min=3,
    calls_allowed_per_min=12.0,
    budget_left=2.5,
    connects=2,
    excluded_nodes=("n7",),
)
REPORT = ClusterReport(
    cluster=HPC,
    at=1_700_000_100.0,
    calls=(CallCount(1_700_000_040.0, "sbatch", 2), CallCount(1_700_000_040.0, "squeue", 3)),
    totals=(CallTotal("sbatch", "ok", 7), CallTotal("squeue", "rate_limited", 1)),
    latencies=(Latency("squeue", 9, 0.12, 0.3, 1.5),),
    rate_limited=1,
    limits={"MaxArraySize": "1001"},
    partitions=(PartitionInfo("long", is_default=True, is_up=True, nodes=4, cores_per_node=64, walltime_s=86400),),
    jobs={"RUNNING": 8},
    others={"PENDING": 5},
    submissions={"placed": 3},
    doubts=(Doubt("01ARZ3", (0,), 1_700_000_000.0, ("squeue: not there",), "accounting", 1_700_000_900.0),),
    connected_since=1_699_999_000.0,
    sessions=2,
    sessions_max=8,
    spool="/home/me/.penstock/spool",
    listing_s=0.5,
    budgets=(BudgetInfo("query", 12.0, 2.5, 3, 11, 4.2), BudgetInfo("submit", 150.0, 30.0, 0, 2, 0.0)),
)
FINDING = Finding("sbatch", ok=False, detail="Invalid account", remedy="set account in [clusters.hpc]")

MERGED = MergeReport(
    source="g2",
    target="/w/.penstock/shared/workflow.db",
    applied=True,
    new=160,
    changed=1,
    unchanged=0,
    present=2,
    materials=160,
    conflicts=2,
    shown=(
        MergeConflict("result", "water", 3, "gold", 7, -76.4, -76.3, 0.01, None),
        MergeConflict("material", "diamond", 4, "gold", None, -5.0, None, None, None),
    ),
    left=1,
    pointless=1,
)
"""What came of a merge with conflicts."""
