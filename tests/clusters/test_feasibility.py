"""What no site could ever run is said before it is submitted."""

from __future__ import annotations

import pytest

from penstock.clusters import kinds
from penstock.clusters.feasibility import impossible, reserved_directive
from penstock.clusters.scheduler import Limits, Partition
from penstock.domain.errors import NotFoundError
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions

SMALL = Partition(
    "small", True, True, nodes=2, cores_per_node=16, memory_mb_per_node=64000, gpus_per_node=0, walltime_s=1800
)
LARGE = Partition("large", False, True, nodes=100, cores_per_node=64, memory_mb_per_node=256000, gpus_per_node=4)
DOWN = Partition("down", False, False, nodes=1000)
SITE = Limits(partitions=(SMALL, LARGE, DOWN))


def why(partition: str = "", walltime_s: int = 600, site: Limits = SITE, qos: str = "", **amounts: int) -> str | None:
    return impossible(Resources(**amounts), walltime_s, SchedulerOptions(partition=partition, qos=qos), site)


def test_what_fits_is_possible() -> None:
    assert why() is None
    assert why(cores=16, memory_mb=64000, nodes=2, tasks=2, walltime_s=1800) is None
    assert why("large", cores=64, gpus=4, walltime_s=10**7) is None
    assert why("small,large", cores=64) is None
    assert why("down", cores=1000, memory_mb=10**7) is None


def test_where_nothing_is_known_everything_is_possible() -> None:
    assert why("nowhere", site=Limits(), cores=10**6) is None
    nobody_knows = Limits(partitions=(Partition("any", True, True, nodes=5),))
    assert why(site=nobody_knows, cores=10**6, gpus=9, walltime_s=10**9) is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"cores": 17}, "the largest node of partition 'small' has 16 cores, 17 are asked for on one"),
        ({"cores": 9, "tasks": 4, "nodes": 2}, "has 16 cores, 18 are asked for on one"),
        ({"memory_mb": 64001}, "has 64000 MB of memory, 64001 are asked for on one"),
        ({"gpus": 1}, "has 0 GPUs, 1 are asked for on one"),
        ({"nodes": 3, "tasks": 3}, "partition 'small' has 2 nodes, 3 are asked for"),
        ({"walltime_s": 5400}, "partition 'small' allows 30 min of walltime, 1 h 30 min is asked for"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(wanted: dict[str, int], message: str) -> None:
    reason = why(**wanted)  # type: ignore[arg-type]
    assert reason is not None
    assert message in reason
    assert reason.endswith("; partition 'large' would do")


def test_where_nothing_fits_that_is_said() -> None:
    reason = why("small,large", cores=65)
    assert reason is not None
    assert "'small'" in reason
    assert "'large'" in reason
    assert reason.endswith("no other partition would do; ask for less")


def test_an_unknown_partition_is_named_with_those_there_are() -> None:
    assert why("large,tiny") == "there is no partition 'tiny'; there are 'small', 'large', 'down'"


def test_a_qos_may_lift_limits_but_makes_no_node_larger() -> None:
    assert why(qos="long", walltime_s=10**6, nodes=3, tasks=3) is None
    assert why(qos="long", cores=17) is not None


def test_without_a_default_any_partition_may_be_meant() -> None:
    routed = Limits(partitions=(Partition("a", False, True, nodes=1, cores_per_node=4), LARGE))
    assert why(site=routed, cores=64) is None
    assert why(site=routed, cores=65) is not None


@pytest.mark.parametrize("kind", ["slurm", "flux"])
@pytest.mark.parametrize("directive", ["--job-name=x", "--output", "--outp=x", "--", "-n4", "--comment a", "plain"])
def test_directives_that_cannot_be_given(kind: str, directive: str) -> None:
    reason = reserved_directive(SchedulerOptions(directives=(directive,)), kinds.get(kind).reserved_options)
    assert reason is not None
    assert directive.partition("=")[0] in reason


def test_other_directives_can_be_given() -> None:
    options = SchedulerOptions(directives=("--comment=a b", "--nodelist=n1", "--wait-all-nodes=1", "--exclusive"))
    assert reserved_directive(options, kinds.get("slurm").reserved_options) is None


def test_only_known_kinds_are_found() -> None:
    assert [kinds.get(kind).kind for kind in sorted(kinds.KINDS)] == ["flux", "slurm"]
    with pytest.raises(NotFoundError, match="there are flux and slurm"):
        kinds.get("pbs")
