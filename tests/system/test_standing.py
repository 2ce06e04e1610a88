"""The daemon over time: what it costs at rest, what it shows of itself, and clients that stay."""

from __future__ import annotations

import contextlib
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from tests.services.daemons import free_ports
from tests.system.conftest import Gate, Penstockd, eventually

PAUSED = 20


def threads(daemon: Penstockd) -> set[str]:
    """The daemon's threads."""
    return {path.name for path in Path(f"/proc/{daemon.pid}/task").iterdir()}


def open_databases(daemon: Penstockd) -> int:
    """How many descriptors of workflow databases the daemon has."""
    found = 0
    for path in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we looked
            found += "workflow.db" in str(path.readlink())
    return found


def test_workflows_at_rest_hold_no_threads_and_no_databases(daemon: Penstockd, gate: Gate) -> None:
    for number in range(PAUSED):
        daemon.submit_command(f"rest-{number}", gate.script, *gate.paths)
        daemon.client.pause(f"rest-{number}")
    daemon.stop()
    daemon.start()
    assert {info.state for info in daemon.client.list_workflows().workflows} == {"paused"}
    eventually(lambda: open_databases(daemon) == 0, "the databases are closed")
    eventually(lambda: len(threads(daemon)) < PAUSED, "their threads have ended")
    assert len(daemon.client.list_workflows().workflows) == PAUSED


def test_metrics(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    [port] = free_ports(1)
    daemon.config.write_text(f'[daemon]\nmetrics = "127.0.0.1:{port}"\n[clusters.local]\ncores = 3\n')
    daemon.start()
    daemon.submit_command("counted", gate.script, *gate.paths, jobs=4)
    gate.next_started()

    def scrape() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"(?m)^(\w+(?:\{.*\})?) (\S+)$", text)}

    running = 'penstock_jobs{workflow="counted",cluster="local",state="running"}'
    eventually(lambda: scrape().get(running) == 1, "the running job is counted")
    figures = scrape()
    assert figures['penstock_jobs{workflow="counted",cluster="local",state="ready"}'] == 2
    assert figures['penstock_jobs{workflow="counted",cluster="local",state="queued"}'] == 1
    assert figures['penstock_workflows{state="running"}'] == 1
    assert figures['penstock_workflow_slots{workflow="counted",cluster="local"}'] == 1
    assert figures['penstock_workflow_slots_used{workflow="counted",cluster="local"}'] == 1
    assert figures['penstock_cluster_up{cluster="local"}'] == 1
    assert figures['penstock_cluster_cores{cluster="local"}'] == 3
    assert figures['penstock_cluster_cores_used{cluster="local"}'] == 1
    assert figures['penstock_control_requests_total{request="Submit"}'] == 1
    assert figures["penstock_database_seconds_sum"] > 0
    assert figures["penstock_event_loop_lag_seconds_count"] >= 0
    gate.release(4)
    daemon.wait("counted")
    assert running not in scrape()
    assert scrape()['penstock_workflows{state="completed"}'] == 1


def test_what_ended_is_counted_in_the_metrics(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    [port] = free_ports(1)
    daemon.config.write_text(f'[daemon]\nmetrics = "127.0.0.1:{port}"\n')
    daemon.start()
    daemon.submit_command("counted", "true", jobs=4)
    daemon.wait("counted")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert re.search(
        r'^penstock_attempts_ended_total\{cluster="local",end="completed",failure=""\} 4$', text, re.MULTILINE
    )
    assert re.search(r'^penstock_submissions_total\{cluster="local"\} [1-4]$', text, re.MULTILINE)


def test_a_metrics_address_that_is_taken(stopped_daemon: Penstockd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        stopped_daemon.config.write_text(f'[daemon]\nmetrics = "{address}"\n')
        with stopped_daemon.launch() as process:
            assert process.wait(30) == 1  # it may be free the next time
    assert "Address already in use" in stopped_daemon.log.read_text()


def test_a_client_waits(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("one", gate.script, *gate.paths)
    gate.next_started()
    gate.release()
    assert daemon.client.wait("one").workflow.statuses == {"completed": 1}


def test_a_wait_for_a_faulted_workflow_ends(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("one", gate.script, *gate.paths)
    gate.next_started()
    (directory / "workflow.db").unlink()
    gate.release()
    status = daemon.client.wait("one")
    assert status.workflow.state == "faulted"
    assert list(daemon.client.watch("one", until_end=True)) == []


@pytest.mark.parametrize("damage", ["missing", "emptied"])
def test_a_completed_workflow_whose_database_is_damaged_harms_nobody(damage: str, daemon: Penstockd) -> None:
    database = daemon.submit_command("old", "true") / "workflow.db"
    daemon.wait("old")
    daemon.stop()
    if damage == "missing":
        database.unlink()
    else:
        database.write_bytes(b"")
    daemon.start()
    ran = daemon.ctl("jobs", "old")
    assert ran.returncode == 1
    assert str(database.relative_to(daemon.work)) in ran.stderr
    daemon.submit_command("new", "true")
    assert daemon.wait("new").workflow.state == "completed"
