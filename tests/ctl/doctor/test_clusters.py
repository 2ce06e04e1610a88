"""What is said of clusters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.control.reported import HPC
from tests.ctl.conftest import CLUSTER

from penstock.ctl.doctor.clusters import judge_cluster, judge_clusters, unasked

CALM = msgspec.structs.replace(HPC, jobs_in_doubt=0, excluded_nodes=())


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({}, "ok", "up, slurm 22.05.8"),
        ({"state": "down", "reason": "Permission denied"}, "problem", "down: Permission denied"),
        ({"connected": False}, "problem", "down: no reason given"),
        ({"jobs_in_doubt": 2}, "warning", "2 in doubt"),
        ({"reason": "the disk is full"}, "warning", "the disk is full"),
        ({"excluded_nodes": ("n7",)}, "note", "left out as they failed often: n7"),
    ],
)
def test_a_cluster(changed: dict[str, Any], level: str, said: str) -> None:
    finding = judge_cluster(msgspec.structs.replace(CALM, **changed))
    assert (finding.what, finding.level) == ("cluster hpc", level)
    assert said in finding.detail
    assert bool(finding.remedy) == (level != "ok")


def test_the_local_one_has_no_check_of_its_own() -> None:
    down = msgspec.structs.replace(CLUSTER, state="down", reason="no spool")
    assert "cluster check" not in judge_cluster(down).remedy
    assert [finding.level for finding in judge_clusters((CLUSTER, CALM))] == ["ok", "ok"]


def test_nobody_to_ask() -> None:
    [finding] = unasked(["local", "hpc"])
    assert (finding.level, finding.detail) == ("note", "hpc, local: looked at by a running daemon only")
