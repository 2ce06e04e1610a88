"""What people read of clusters, and how a check ends."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from tests.control.reported import FINDING, HPC, REPORT

from penstock.control import messages
from penstock.control.messages import AnyItem
from penstock.domain.views import ClusterReport, Finding
from penstock.testing.scripted_daemon import Script, ScriptedDaemon


def words(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_clusters_of_both_kinds_in_one_table(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    _, local, hpc = words(run("clusters").out)
    assert local == ["local", "local", "up", "2/4", "2000/8000", "2", "38", "0", "-"]
    assert hpc[:8] == ["hpc", "slurm", "up", "-", "-", "8", "40", "1"]


def test_one_cluster(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    script.answers[messages.ListClusters] = lambda _: messages.Clusters((HPC,))
    pairs = dict(line.split("  ", 1) for line in run("clusters", "hpc").out.splitlines())
    assert {name: value.strip() for name, value in pairs.items()} == {
        "cluster": "hpc (slurm 22.05.8)",
        "state": "up",
        "host": "login.example.org",
        "jobs": "40 queued, 8 running, 1 in doubt",
        "submissions": "3 at the scheduler, 2 to be sent",
        "calls": "3 in the last minute; 12 queries allowed, 2.5 may be sent at once",
        "nodes left out": "n7",
    }
    assert json.loads(run("clusters", "hpc", "--json").out)["jobs_queued"] == 40
    away = msgspec.structs.replace(HPC, connected=False, down_since=1_700_000_000.0)
    script.answers[messages.ListClusters] = lambda _: messages.Clusters((away,))
    assert "down since 20" in run("clusters", "hpc").out


def test_wrong_use(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("clusters", "hpx")
    assert (ran.code, ran.err) == (2, "penstockctl: there is no cluster 'hpx'; known: local, hpc\n")
    assert run("clusters", "--report").code == 2
    assert run("cluster", "check").code == 2


def test_the_report_answers_administrators(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    out = run("clusters", "hpc", "--report").out
    lines = words(out)
    assert [line[2:] for line in lines if line[:1] == ["minute"]] == [["squeue", "all"]]
    assert ["2", "3", "5"] in [line[-3:] for line in lines]  # sbatch, squeue, all
    assert ["squeue", "rate_limited", "1"] in lines
    assert ["queries", "12", "3", "11", "2.5", "4.2", "s"] in lines  # allowed, last minute, most, left, waited
    assert ["submissions", "150", "0", "2", "30.0", "0", "s"] in lines
    assert ["squeue", "9", "0.12", "s", "0.3", "s", "1.5", "s"] in lines
    assert ["MaxArraySize", "1001"] in lines
    assert ["long", "(default)", "up", "4", "64", "-", "-", "1d", "00h"] in lines
    assert ["rate", "limit", "told", "1", "times", "that", "we", "ask", "too", "often"] in lines
    assert "5 PENDING (the account's own, not ours)" in out
    assert "01ARZ3: 1 attempt since" in out
    assert "  - squeue: not there" in out
    document = json.loads(run("clusters", "hpc", "--report", "--json").out)
    assert set(document["report"]) == set(ClusterReport.__struct_fields__)


def test_a_report_with_nothing_in_it_yet(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    empty = {
        name: type(getattr(REPORT, name))()
        for name in ("calls", "totals", "latencies", "limits", "partitions", "budgets")
    }
    report = msgspec.structs.replace(REPORT, **empty, jobs={}, doubts=())
    script.answers[messages.ReportCluster] = lambda _: messages.ClusterReported(report)
    out = run("clusters", "hpc", "--report").out
    assert ["our", "jobs", "none"] in words(out)
    assert "\n\n" not in out


def test_a_check_that_finds_something(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    async def findings(_: messages.CheckCluster) -> AsyncGenerator[AnyItem]:
        yield Finding("connecting", ok=True, detail="OpenSSH_9.2")
        yield FINDING

    script.streams[messages.CheckCluster] = findings
    ran = run("cluster", "check", "hpc")
    assert ran.code == 1
    assert ran.out == (
        "ok    connecting: OpenSSH_9.2\nFAIL  sbatch: Invalid account\n      set account in [clusters.hpc]\n"
    )
    assert ran.err == "1 of 2 checks failed\n"
    ran = run("cluster", "check", "hpc", "--json")
    assert ran.code == 1
    assert [json.loads(line)["ok"] for line in ran.out.splitlines()] == [True, False]
    assert ran.err == ""


def test_a_check_of_a_cluster_that_is_ready(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("cluster", "check", "hpc")
    assert (ran.code, ran.err) == (0, "cluster hpc is ready: 1 of 1 checks passed\n")
