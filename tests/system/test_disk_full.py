"""A full disk: the workflow says so and waits, and goes on by itself when there is room again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

import pytest
from tests.system.conftest import Gate, Penstockd, command_spec, eventually, query

from penstock.domain.errors import PenstockError

SIZE = "4m"


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of a few megabytes at `path`; a file-size limit would not do, since it gives another error."""
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system is needed, and may not be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def work_disk(home: Path) -> Iterator[Path]:
    """A small disk under the daemon's work directory."""
    with small_disk(home / "w") as path:
        yield path


@pytest.fixture
def state_disk(home: Path) -> Iterator[Path]:
    """A small disk under the daemon's state directory."""
    with small_disk(home / "s") as path:
        yield path


def write_forever(file: RawIOBase, size: int) -> None:
    """Write pieces of `size` bytes until it fails."""
    while True:
        file.write(b"x" * size)


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with pytest.raises(OSError, match="No space left on device"):
                write_forever(file, size)
    return filler


def submit_pages(daemon: Penstockd, gate: Gate) -> Path:
    """A campaign whose jobs need room for an input file; returns when its first job runs and its database is at rest.

    A database that is closed later would give the room of its log back, and with it perhaps enough for all the jobs.
    """
    (daemon.work / "page.tpl").write_text("x" * 5000)
    script = f'{gate.script}; echo "$PENSTOCK_JOB_ID" >> "$2"'.replace("$", "$$")
    argv = ["sh", "-c", script, *map(str, gate.paths), str(daemon.home / "out")]
    engine = {"name": "command", "command": argv, "templates": {"page": "page.tpl"}}
    directory = daemon.submit_command("full", "", jobs=8, engine=engine)
    gate.next_started()
    running = "SELECT count(*) FROM job WHERE state = 'running'"
    eventually(lambda: query(directory, running) == [(1,)], "the first job is known to run")
    eventually(lambda: not (directory / "workflow.db-wal").exists(), "the database is closed")
    return directory


def check_all_done(daemon: Penstockd, directory: Path) -> None:
    """It went on by itself, ran every job once, and blames no job for the disk."""
    eventually(lambda: daemon.state_of("full") == "completed", "it heals and ends")
    assert daemon.client.status("full").workflow.statuses == {"completed": 8}
    assert sorted(map(int, (daemon.home / "out").read_text().split())) == list(range(1, 9))
    assert query(directory, "SELECT max(blamed) FROM job") == [(0,)]
    ends = set(query(directory, "SELECT DISTINCT state, failure FROM attempt"))
    assert ends <= {("completed", None), ("failed", "disk"), ("not_run", None)}


def test_a_workflow_on_a_full_disk(work_disk: Path, daemon: Penstockd, gate: Gate) -> None:
    directory = submit_pages(daemon, gate)
    spec = daemon.home / "spec.toml"
    spec.write_text(command_spec("late", "true"))
    (daemon.home / "late.csv").write_text("geometry,name\nH 0 0 0,h\n")
    filler = fill(work_disk)
    gate.release(8)
    eventually(lambda: daemon.state_of("full") == "faulted", "the workflow cannot be recorded")
    reason = daemon.client.status("full").workflow.reason
    assert reason is not None
    assert f"{directory}/workflow.db: " in reason
    assert "it is tried again by itself" in reason
    refused = daemon.ctl("submit", spec)
    assert refused.returncode == 2, refused
    assert "database or disk is full" in refused.stderr or "No space left on device" in refused.stderr
    assert "must be writable and have room" in refused.stderr
    assert [path.name for path in directory.parent.iterdir()] == ["full"]
    assert daemon.client.ping().pid == daemon.pid
    filler.unlink()
    check_all_done(daemon, directory)
    failed = query(directory, "SELECT DISTINCT message FROM attempt WHERE failure = 'disk'")
    assert failed
    assert all("No space left on device" in message for (message,) in failed)
    assert daemon.ctl("submit", spec, "--wait").returncode == 0


def test_the_daemon_stops_while_the_disk_is_full(work_disk: Path, daemon: Penstockd, gate: Gate) -> None:
    directory = submit_pages(daemon, gate)
    filler = fill(work_disk)
    gate.release(8)
    eventually(lambda: daemon.state_of("full") == "faulted", "the workflow cannot be recorded")
    assert daemon.stop() == 0
    filler.unlink()
    daemon.start()
    check_all_done(daemon, directory)


def test_a_full_disk_under_the_state_directory(state_disk: Path, daemon: Penstockd, gate: Gate) -> None:
    directory = submit_pages(daemon, gate)
    filler = fill(state_disk)
    daemon.client.set("full", slots=2)
    eventually(lambda: daemon.logged("put off"), "the next submission cannot be staged")
    with pytest.raises(PenstockError, match=r"catalogue\.db: database or disk is full"):
        daemon.submit_command("late", "true")
    assert [path.name for path in directory.parent.iterdir()] == ["full"]
    assert daemon.client.ping().pid == daemon.pid
    assert len(daemon.client.list_workflows().workflows) == 1
    gate.release(8)
    filler.unlink()
    check_all_done(daemon, directory)
    daemon.submit_command("late", "true")
    assert daemon.wait("late").workflow.state == "completed"
