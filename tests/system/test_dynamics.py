"""Molecular dynamics that is stopped by its walltime and by whatever else, and comes to the same end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from tests.engines.segments import Chain, block
from tests.system.conftest import Penstockd, eventually, query, quickest_s, toml

from penstock.engines.dynamics import read_facts

TABLE: dict[str, Any] = {"temperature_k": 500.0, "timestep_fs": 4.0, "sample_every": 20, "checkpoint_every": 50}


def submit(daemon: Penstockd, id: str, steps: int, walltime: str) -> Path:
    """One crystal, for so many steps."""
    daemon.write_table(f"{id}.csv", [("Cu4", block(bulk("Cu", cubic=True)))])
    spec = {
        "id": id,
        "recipe": "campaign",
        "structures": {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"},
        "engine": {"name": "emt", "task": "dynamics", "steps": steps, **TABLE},
        "resources": {"memory": "300MB", "walltime": walltime},
        "retry": {"max_attempts": 8, "walltime_growth": 1.5},
    }
    return Path(daemon.submit(toml(spec)).directory)


def attempts(directory: Path) -> list[tuple[Any, ...]]:
    return query(directory, "SELECT directory, state, failure FROM attempt ORDER BY number")


def test_a_run_longer_than_its_walltime_is_one_trajectory(daemon: Penstockd, tmp_path: Path) -> None:
    steps = steps_of(2.5, tmp_path)
    directory = submit(daemon, "long", steps, "1s")  # where that is not even enough to begin, it gets more
    assert daemon.wait("long").workflow.statuses == {"completed": 1}
    *stopped, last = attempts(directory)
    assert len(stopped) >= 1
    assert {(state, failure) for _, state, failure in stopped} == {("timeout", "walltime")}
    ((blamed, blameless),) = query(directory, "SELECT blamed, blameless FROM job")
    costly = [one for one, _, _ in stopped if not made_progress(directory / one)]
    assert (blamed, blameless) == (len(costly), 0)
    assert len(costly) < len(stopped)
    whole = Chain(tmp_path / "whole", bulk("Cu", cubic=True), **TABLE, steps=steps)
    whole.attempt()
    for name in ("positions", "samples"):
        assert np.array_equal(np.load(directory / last[0] / f"{name}.npy"), whole.array(name)), name


def test_a_killed_runner_costs_no_step_that_was_saved(daemon: Penstockd, tmp_path: Path) -> None:
    steps = steps_of(4.0, tmp_path)  # so that it is not through when it is killed
    directory = submit(daemon, "killed", steps, "1h")
    eventually(lambda: made_progress(directory / "jobs/0000/1/1"), "it has come on")
    os.kill(runner_of(daemon), signal.SIGKILL)
    assert daemon.wait("killed").workflow.statuses == {"completed": 1}
    found = attempts(directory)
    assert [failure for _, _, failure in found] == ["runner_lost", None]
    assert query(directory, "SELECT blamed, blameless FROM job") == [(0, 0)]
    whole = Chain(tmp_path / "whole", bulk("Cu", cubic=True), **TABLE, steps=steps)
    whole.attempt()
    assert np.array_equal(np.load(directory / found[-1][0] / "positions.npy"), whole.array("positions"))
    assert "it costs no attempt" in daemon.ctl("why", "killed", "1").stdout


def steps_of(seconds: float, folder: Path) -> int:
    """How many steps take at least about so long on this machine: of three runs, the one that nothing held up tells."""
    chains = [Chain(folder / f"pace-{n}", bulk("Cu", cubic=True), **TABLE, steps=500) for n in range(3)]
    took_s = quickest_s(chain.attempt for chain in chains)
    return max(1000, round(seconds / took_s * 10) * 50)


def made_progress(attempt: Path) -> bool:
    facts = read_facts(attempt / "state.npz")
    return facts is not None and facts.step > facts.attempt_start


def runner_of(daemon: Penstockd) -> int:
    """The process that keeps the runner."""
    named = [pid for pid in daemon.descendants() if b"penstock.clusters.runner" in command_of(pid)]
    return min(os.getsid(pid) for pid in named)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
