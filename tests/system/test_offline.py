"""A workflow made without a daemon, copied, adopted and run elsewhere, and its results brought back."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from .conftest import Penstockd, command_spec, query

STAND_IN = """#!/bin/sh
while [ "$#" -gt 0 ]; do case "$1" in -o) shift 2;; --) shift; break;; -*) shift;; *) break;; esac; done
shift; exec sh -c "$*"
"""


def make_offline(daemon: Penstockd, laptop: Path) -> None:
    """On a machine without a daemon: a directory `laptop`/water."""
    laptop.mkdir()
    (laptop / "water.csv").write_text("name,geometry\na,H 0 0 0\nb,H 0 0 1\n")
    spec = command_spec("water", "echo $PENSTOCK_JOB_ID > out; pwd > where", cluster="hpc")
    (laptop / "spec.toml").write_text(spec)
    made = daemon.ctl("create", "spec.toml", "--offline", cwd=laptop)
    assert made.returncode == 0, made.stderr
    assert "penstockctl adopt water" in made.stdout


def test_made_here_run_there_and_brought_back(stopped_daemon: Penstockd, home: Path) -> None:
    daemon, laptop, head = stopped_daemon, home / "laptop", home / "head"
    make_offline(daemon, laptop)
    assert query(laptop / "water", "SELECT state, daemon FROM workflow") == [("paused", None)]
    again = daemon.ctl("create", "spec.toml", "--offline", cwd=laptop)
    assert again.returncode == 2
    assert "water exists; move it away" in again.stderr

    shutil.copytree(laptop / "water", head / "water")
    daemon.start()
    refused = daemon.ctl("adopt", "water", cwd=head)
    assert "unknown cluster 'hpc'; give one of local with --cluster" in refused.stderr
    adopted = daemon.ctl("adopt", "water", "--cluster", "local", "--id", "wet", "--slots", 2, cwd=head)
    assert adopted.returncode == 0, adopted.stderr
    status = daemon.wait("wet")
    assert (status.workflow.state, status.workflow.slots) == ("completed", 2)
    assert status.workflow.directory == str(head / "water")
    assert (head / "water" / "jobs/0000/1/1/out").read_text() == "1\n"
    assert "already" in daemon.ctl("adopt", "water", cwd=head).stderr
    daemon.kill()
    daemon.start()
    assert daemon.wait("wet").workflow.state == "completed"

    for _ in range(2):  # twice the same is harmless
        done = daemon.ctl("sync", "water", head / "water", "--json", cwd=laptop)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["jobs"] == 2
    assert query(laptop / "water", "SELECT workflow_id, state FROM workflow") == [("wet", "completed")]
    assert (laptop / "water" / "jobs/0000/2/1/out").read_text() == "2\n"
    assert not (laptop / "water" / ".sync").exists()
    (home / "other").mkdir()
    other = Penstockd(home / "other")
    other.start()
    try:
        twice = other.ctl("adopt", laptop / "water")
        assert "belongs to the daemon of" in twice.stderr
        assert "two daemons at one workflow run its jobs twice" in twice.stderr
        assert other.ctl("adopt", laptop / "water", "--force").returncode == 0
        assert other.wait("wet").workflow.state == "completed"
    finally:
        other.end()
    lost = daemon.ctl("sync", "water", head / "water", cwd=laptop)
    assert "and what that did would be lost" in lost.stderr


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_brought_back_over_ssh(daemon: Penstockd, home: Path) -> None:
    make_offline(daemon, home / "laptop")
    shutil.copytree(home / "laptop" / "water", home / "head" / "water")
    assert daemon.ctl("adopt", home / "head" / "water", "--cluster", "local").returncode == 0
    daemon.wait("water")
    folder = home / "bin"
    folder.mkdir()
    for name, text in (
        ("ssh", STAND_IN),
        ("pctl", f'#!/bin/sh\nexec {sys.executable} -m penstock.ctl.main "$@"\n'),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    remote = f"head:{home / 'head' / 'water'}"
    done = daemon.ctl("sync", home / "copy", remote, "--penstockctl", "pctl", env=path)
    assert done.returncode == 0, done.stderr
    assert "water is as it was there: completed, 2 jobs" in done.stdout
    assert query(home / "copy", "SELECT count(*) FROM job WHERE state = 'completed'") == [(2,)]
    assert (home / "copy" / "jobs/0000/1/1/out").read_text() == "1\n"
    assert not list((home / "head" / "water").glob(".sync*"))
    broken = daemon.ctl("sync", home / "copy", "head:/nowhere", env=path)
    assert broken.returncode == 1
    assert "the same command again goes on from here" in broken.stderr
