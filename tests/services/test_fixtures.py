"""A service that cannot be run leaves its tests out, loudly; or fails them, where a run insists on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .fixtures import REQUIRE
from .slurm import RealSlurm

CONFTEST = """
from tests.services.flux import RealFlux
from tests.services.pw import RealPw
from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd
from tests.services.tmux import RealTmux

pytest_plugins = ["tests.services.fixtures"]
RealSlurm.missing = lambda temper: f"no {temper} slurmctld"
RealSshd.missing = lambda: "no sshd"
RealPw.missing = lambda: "no pw.x"
RealFlux.missing = lambda: "no flux"
RealTmux.missing = lambda: "no tmux"
"""
TESTS = """
def test_slurm(real_slurm): raise AssertionError
def test_harsh(harsh_slurm): raise AssertionError
def test_both(harsh_slurm, real_slurm): raise AssertionError
def test_ssh(real_sshd): raise AssertionError
def test_pw(real_pw): raise AssertionError
def test_flux(real_flux): raise AssertionError
def test_tmux(real_tmux): raise AssertionError
def test_other(): pass
"""


LEAVING = """
import pytest

@pytest.fixture(scope="module")
def standing(harsh_slurm):
    job = harsh_slurm.submit("#!/bin/sh\\nsleep 600\\n", "--job-name=standing", "--output=/dev/null")
    yield str(job)
    harsh_slurm.run(["scancel", str(job)])

def test_leaves(harsh_slurm, standing):
    harsh_slurm.submit("#!/bin/sh\\nsleep 600\\n", "--job-name=forgotten", "--hold")

def test_breaks(harsh_slurm, standing):
    harsh_slurm.kill_controller()

def test_finds_order(harsh_slurm, standing):
    assert harsh_slurm.jobs() == {standing}
"""


def outcome(folder: Path, *options: str, require: bool, conftest: str = CONFTEST, tests: str = TESTS) -> list[str]:
    """The lines that a run prints."""
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    (folder / "pytest.ini").touch()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "500"}
    environment[REQUIRE] = "1" if require else ""
    argv = [sys.executable, "-m", "pytest", "-rfEs", "-p", "no:cacheprovider", *options]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("processes", [0, 2])
def test_left_out_and_named(tmp_path: Path, processes: int) -> None:
    lines = outcome(tmp_path, f"--numprocesses={processes}", require=False)
    assert [line for line in lines if line.startswith("left out: ")] == [
        "left out: harsh real Slurm (no harsh slurmctld)",
        "left out: real Flux (no flux)",
        "left out: real SSH (no sshd)",
        "left out: real Slurm (no kind slurmctld)",
        "left out: real pw.x (no pw.x)",
        "left out: real tmux (no tmux)",
    ]
    assert lines[-1].strip("= ").startswith("1 passed, 7 skipped in ")


def test_required(tmp_path: Path) -> None:
    lines = outcome(tmp_path, require=True)
    assert [line for line in lines if line.startswith("left out: ")] == ["left out: real Flux (no flux)"]
    assert lines[-1].strip("= ").startswith("1 passed, 1 skipped, 6 errors in ")
    assert f"{REQUIRE}=1, but real SSH cannot be run: no sshd" in lines


def test_a_job_that_is_left_fails_its_own_test(tmp_path: Path, harsh_slurm: RealSlurm) -> None:
    plugins = 'pytest_plugins = ["tests.services.fixtures"]'
    lines = outcome(tmp_path, require=False, conftest=plugins, tests=LEAVING)
    (error,) = (line for line in lines if line.startswith("ERROR test_it.py::"))
    assert error.startswith("ERROR test_it.py::test_leaves - Failed: left behind: job 1001 forgotten PENDING")
    assert lines[-1].strip("= ").startswith("3 passed, 1 error in ")
    assert harsh_slurm.jobs() == set()
