"""A real Slurm to measure on, and the daemon's settings for it.

The services are those of the test suite (tests/services): loopback only, 256 pretended CPUs. Both sides of every
comparison run on them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd

from benchmarks.daemon import BenchDaemon
from benchmarks.report import LeftOutError

CLUSTER: Final = "slurm"
NEEDS: Final = {"resources": {"cores": 1, "memory": "100MB", "walltime": "10min"}}
"""The table of a spec; what a raw `sbatch` is given for the same is RAW_NEEDS."""
RAW_NEEDS: Final = ("--ntasks=1", "--cpus-per-task=1", "--mem=96M", "--time=11")


@contextlib.contextmanager
def real_slurm() -> Iterator[RealSlurm]:
    """A Slurm with accounting. LeftOutError where there can be none."""
    if why := RealSlurm.missing():
        raise LeftOutError(f"there is no Slurm to measure on: {why}")
    with RealSlurm("kind") as slurm:
        yield slurm


@contextlib.contextmanager
def real_sshd(environment: Mapping[str, str] | None = None) -> Iterator[RealSshd]:
    """A server on this host whose sessions see `environment`. LeftOutError where there can be none."""
    if why := RealSshd.missing():
        raise LeftOutError(f"there is no SSH server to measure on: {why}")
    with RealSshd(environment=environment) as sshd:
        yield sshd


def render_config(table: Mapping[str, object]) -> str:
    """The daemon's configuration with one cluster of Slurm; all that is not in `table` is as by default."""
    given = {"kind": "slurm"} | dict(table)  # strings and numbers are written alike in JSON and TOML
    return f"[clusters.{CLUSTER}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


def same_host(root: Path) -> str:
    """The configuration for a Slurm of this host; the spool is below `root` like everything else."""
    return render_config({"spool": str(root / "spool")})


def calls(daemon: BenchDaemon) -> dict[str, int]:
    """How often the daemon has run each of the scheduler's commands since its start."""
    found: dict[str, int] = {}
    for total in daemon.client.report_cluster(CLUSTER).report.totals:
        found[total.command] = found.get(total.command, 0) + total.calls
    return found
