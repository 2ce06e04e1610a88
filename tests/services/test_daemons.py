"""What a run that was killed leaves is ended by the next one."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .daemons import LIMIT_S, Home, ServiceError, free_ports, listens, sweep

SLEEPER = [shutil.which("sleep") or "sleep", "600"]
KILLED = """
import os
from tests.services.daemons import Home
home = Home()
home.launch("sleep", ["sleep", "600"])
print(home.path, home.pid("sleep"), flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_next_run_sweeps_what_a_killed_one_left() -> None:
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=root, capture_output=True, text=True, check=False)
    path, pid = killed.stdout.split()
    assert Path(path).is_dir()
    watch = os.pidfd_open(int(pid))
    try:
        sweep()
        assert not Path(path).exists()
        assert select.select([watch], [], [], LIMIT_S)[0], "it has not ended"
    finally:
        os.close(watch)


def test_a_living_run_is_left_alone() -> None:
    home = Home()
    sweep()
    assert home.path.is_dir()
    home.end()
    assert not home.path.exists()


def test_a_pid_file_is_believed_only_of_what_was_started_here() -> None:
    home = Home()
    with subprocess.Popen(SLEEPER) as stranger:
        home.pid_file("sleep").write_text(f"{stranger.pid}\n")
        assert home.pid("sleep") is None
        home.end()
        assert stranger.poll() is None
        stranger.kill()


def test_what_bears_the_mark_ends_with_the_service() -> None:
    home = Home()
    with subprocess.Popen(SLEEPER, env=home.mark) as child:
        home.end()
        assert child.wait() == -9


def test_a_daemon_that_does_not_start_shows_its_log() -> None:
    home = Home()
    home.file("log/it.log", "it said why\n")
    with pytest.raises(ServiceError, match=r"false failed \(1\)[\s\S]*it said why"):
        home.run(["false"])
    home.end()


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(map(listens, ports))
