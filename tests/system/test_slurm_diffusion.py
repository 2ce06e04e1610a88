"""Diffusion through a real Slurm on whose nodes something kills what runs.

Its walltime is left to the local cluster: Slurm warns a single job only to the minute.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.engines.segments import Chain, block
from tests.system import argon
from tests.system.backends import Backend, Site
from tests.system.conftest import Penstockd, query
from tests.system.test_diffusion import (
    levesque_verlet_m2_s,
    liquid,
    spec,
    steps_in,
    trajectory,
    values,
    wait_for_progress,
)


@pytest.fixture(scope="module", params=["slurm"])
def site(request: pytest.FixtureRequest) -> Site:
    """A real Slurm on this machine."""
    return Site.start(request)


@pytest.fixture
def backend(site: Site, stopped_daemon: Penstockd, home: Path) -> Iterator[Backend]:
    """A daemon before it, whose jobs have a Python that knows argon; no job may be left there."""
    backend = Backend(site, stopped_daemon, home)
    python = backend.python()
    if python is None:
        pytest.skip("jobs find no Python with ASE")
    shutil.copy(argon.__file__, home / "rahman.py")
    knowing = Path(python).read_text(encoding="utf-8").replace("PYTHONPATH=", f"OMP_NUM_THREADS=1 PYTHONPATH={home}:")
    Path(python).write_text(knowing, encoding="utf-8")
    backend.start(python=python)
    yield backend
    left = backend.close()
    assert not left, f"left behind: {'; '.join(left)}"


def test_segments_that_are_killed_on_their_node_go_on_as_one_trajectory(backend: Backend, tmp_path: Path) -> None:
    steps = steps_in(3.0)
    backend.daemon.write_table("argon.csv", [("argon", block(liquid()))])
    submitted = spec(
        "melt",
        cluster=backend.cluster,
        engine={"checkpoint_every": 50},
        resources={"walltime": "5min"},
        retry={"max_attempts": 3},
        diffusion={"temperatures_k": [130.0], "equilibrate_ps": 1.0, "produce_ps": 2 * steps / 100},
    )
    directory = Path(backend.daemon.submit(submitted).directory)
    for step in ("produce_130K_1", "produce_130K_2"):
        wait_for_progress(directory, step)
        os.kill(calculating(directory), signal.SIGKILL)
    status = backend.daemon.wait("melt").workflow
    assert status.state == "completed", status.reason
    assert len(query(directory, "SELECT DISTINCT job_id FROM attempt WHERE failure IS NOT NULL")) == 2
    table = {"calculator": "tests.system.argon.Argon", "temperature_k": 130.0, "timestep_fs": 10.0}
    table |= {"sample_every": 5, "checkpoint_every": 50}
    warm = Chain(tmp_path / "warm", liquid(), "ase", **table, thermostat="langevin", steps=100)
    warm.attempt()
    whole = Chain(tmp_path / "whole", liquid(), "ase", **table, steps=2 * steps)
    whole.goes_on_from(warm)
    whole.attempt()
    assert np.array_equal(trajectory(directory), whole.array("positions"))
    value, error = values(backend.daemon, "melt")["diffusion_coefficient"]
    assert value == pytest.approx(levesque_verlet_m2_s(130.0), rel=0.25)
    assert error < 0.15 * value


def calculating(directory: Path) -> int:
    """The process that runs an attempt of a workflow."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            here = folder.name.isdecimal() and (folder / "cwd").resolve().is_relative_to(directory.resolve())
            if here and b"penstock.engines" in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    assert found
    return max(found)
