"""The daemon's clusters: each from its table, each with a spool of its own, and what the site cannot do is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.actors.board import Board
from penstock.clusters.scheduler import Limits, Partition
from penstock.clusters.shell import LocalShell
from penstock.clusters.ssh_shell import SshShell
from penstock.daemon.cluster_tables import FluxTable, LocalTable, SlurmTable
from penstock.daemon.clusters import Clusters, read_identity, scheduler_config, shell_maker
from penstock.domain.errors import NotFoundError, SpecError
from penstock.domain.resources import Resources
from penstock.domain.spec import decode_spec
from penstock.testing.virtual_clock import VirtualClock

SLURM = SlurmTable(spool="/nowhere/spool", partition="long", listing="1s")
LIMITS = Limits(
    partitions=(
        Partition("long", True, True, 4, cores_per_node=64, memory_mb_per_node=256_000, walltime_s=86_400),
        Partition("short", False, True, 4, cores_per_node=128, memory_mb_per_node=256_000, walltime_s=3600),
    )
)


def spec(**settings: Any) -> Any:
    raw = {
        "recipe": "campaign",
        "cluster": "hpc",
        "structures": {"source": "a.xyz"},
        "engine": {"name": "command", "command": "true"},
    }
    return decode_spec(raw | settings, "", "spec.toml")


@pytest.fixture
async def clusters(tmp_path: Path) -> AsyncIterator[Clusters]:
    clusters = Clusters({"local": LocalTable(), "hpc": SLURM}, tmp_path, VirtualClock(), Board())
    async with clusters.supervisor:
        clusters.start()
        yield clusters


def test_a_state_directory_keeps_its_name(tmp_path: Path) -> None:
    identity = read_identity(tmp_path)
    assert len(identity) == 12
    assert read_identity(tmp_path) == identity
    other = tmp_path / "other"
    other.mkdir()
    assert read_identity(other) != identity


def test_daemons_of_one_account_and_their_tables_share_no_spool() -> None:
    configs = [scheduler_config("hpc", SLURM, identity) for identity in ("one", "two")]
    assert [config.spool for config in configs] == ["/nowhere/spool/one/hpc", "/nowhere/spool/two/hpc"]
    assert scheduler_config("a/b", SLURM, "one").spool == "/nowhere/spool/one/a%2Fb"
    assert scheduler_config("f", FluxTable(), "one").spool == ".penstock/spool/one/f"
    assert (configs[0].kind, configs[0].options.partition, configs[0].listing_s) == ("slurm", "long", 1.0)


async def test_a_host_is_reached_by_ssh_and_this_one_is_not() -> None:
    assert isinstance(shell_maker(SLURM, VirtualClock())(), LocalShell)
    shell = shell_maker(SlurmTable(host="login.example"), VirtualClock())()
    assert isinstance(shell, SshShell)
    await shell.close()


async def test_nothing_goes_before_the_limits_are_known(clusters: Clusters) -> None:
    assert set(clusters.refs) == {"local", "hpc"}
    assert not clusters._board.queueing["hpc"].is_open
    assert "local" not in clusters._board.queueing
    clusters.refuse_impossible(spec(resources={"cores": 1000}))  # nobody knows yet


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"resources": {"cores": 65}}, "64 cores, 65 are asked for on one; partition 'short' would do"),
        ({"resources": {"walltime": "25h"}}, "allows 1 d of walltime, 1 d 1 h is asked for"),
        ({"scheduler": {"partition": "none"}}, "there is no partition 'none'"),
    ],
)
async def test_what_the_site_never_can_run_is_refused(clusters: Clusters, settings: dict[str, Any], said: str) -> None:
    clusters._board.limits["hpc"] = LIMITS
    with pytest.raises(SpecError, match=said) as caught:
        clusters.refuse_impossible(spec(**settings))
    assert "cluster hpc cannot run it" in caught.value.message
    clusters.refuse_impossible(spec(resources={"cores": 65}, scheduler={"partition": "short"}))
    clusters.refuse_impossible(spec(resources={"cores": 65}, cluster="local"))
    with pytest.raises(SpecError, match="cannot run it"):  # one step of a chain is enough
        clusters.refuse_impossible(spec(), [Resources(), Resources(cores=100_000)])


async def test_new_tables_reach_the_clusters_that_there_are(clusters: Clusters) -> None:
    clusters.reconfigure({"hpc": SlurmTable(spool="/nowhere/spool", partition="short"), "new": SLURM})
    assert set(clusters.refs) == {"local", "hpc"}
    clusters._board.limits["hpc"] = LIMITS
    clusters.refuse_impossible(spec(resources={"cores": 65}))


async def test_only_schedulers_are_checked(clusters: Clusters) -> None:
    with pytest.raises(NotFoundError, match="cluster local has no scheduler to check"):
        await anext(clusters.check("local"))
