"""What SIGTERM, SIGINT and SIGHUP do."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
from tests.system.conftest import Gate, Penstockd, ended, eventually, query


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_jobs_left_running_and_the_next_one_finds_them_again(
    number: int, daemon: Penstockd, gate: Gate
) -> None:
    directory = daemon.submit_command("left", gate.script, *gate.paths, jobs=3, slots=2)
    started = dict(gate.next_started() for _ in range(2))
    assert daemon.signal(number) == 0
    assert not (daemon.state / "penstockd.sock").exists()
    assert all(Path(f"/proc/{pid}").exists() for pid in started.values())
    daemon.start()
    running = "SELECT id FROM job WHERE state = 'running'"
    eventually(lambda: set(query(directory, running)) == {(job,) for job in started}, "they are known to run")
    gate.release(3)
    assert daemon.wait("left").workflow.statuses == {"completed": 3}
    assert query(directory, "SELECT count(*) FROM attempt") == [(3,)]
    for kind in ("job_started", "job_completed"):
        assert query(
            directory, "SELECT max(n) FROM (SELECT count(*) n FROM event WHERE kind = ? GROUP BY job_id)", kind
        ) == [(1,)]


def test_what_ended_while_no_daemon_ran_is_collected(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("left", f"{gate.script}; exit 3", *gate.paths)
    _, pid = gate.next_started()
    assert daemon.stop() == 0
    gate.release()
    assert ended(pid)
    daemon.start()
    status = daemon.wait("left")
    assert status.workflow.state == "failed"
    assert [(job.failure, job.error_message) for job in status.failures] == [("exit_code", "ended with code 3")]
    assert query(directory, "SELECT exit_code FROM attempt") == [(3,)]


def test_a_drain_is_bounded(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[daemon]\ndrain_s = 0\n")
    daemon.start()
    daemon.submit_command("left", gate.script, *gate.paths, jobs=4, slots=2)
    gate.next_started()
    assert daemon.stop() == 0
    gate.release(4)
    daemon.start()
    assert daemon.wait("left").workflow.statuses == {"completed": 4}


def test_sighup_reloads_slots_and_log_level(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[clusters.local]\ncores = 8\n[workflow]\nslots = 1\n")
    daemon.start()
    daemon.submit_command("follows", gate.script, *gate.paths, jobs=4)
    gate.next_started()
    daemon.submit_command("own", "true", jobs=1, slots=1)
    daemon.wait("own")
    assert slots(daemon, "follows") == 1
    assert not gate.starts_pending()

    reload(daemon, '[daemon]\nlog_level = "error"\n[clusters.local]\ncores = 8\n[workflow]\nslots = 3\n')
    eventually(lambda: slots(daemon, "follows") == 3, "the workflow follows the configuration")
    assert {gate.next_started()[0], gate.next_started()[0]} == {3, 4}  # 2 is behind 1
    assert slots(daemon, "own") == 1
    assert daemon.logged("configuration reloaded") == 0  # the level is that of the new configuration

    assert daemon.logged("these changes wait for a restart") == 0

    reload(daemon, "[daemon]\nworkers = 3\n[clusters.local]\ncores = 8\n[workflow]\nslots = 2\n")
    eventually(lambda: daemon.logged("configuration reloaded") == 1, "the level is lowered again")
    assert daemon.logged("these changes wait for a restart") == 1
    assert '"keys":["daemon.workers"]' in daemon.log.read_text()
    eventually(lambda: slots(daemon, "follows") == 2, "the workflow follows again")
    gate.release(4)
    assert daemon.wait("follows").workflow.statuses == {"completed": 4}


def test_a_broken_configuration_changes_nothing(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[workflow]\nslots = 3\n")
    daemon.start()
    for broken in ("[workflow\n", "[workflow]\nslots = 0\n", "[workflow]\nslotz = 5\n", "[demon]\n"):
        before = daemon.logged("configuration not reloaded, the old one stays")
        reload(daemon, broken)
        eventually(partial(complains, daemon, before), f"the daemon complains of {broken!r}")
        settings = {setting.key: setting.value for setting in daemon.client.settings().settings}
        assert settings["slots"] == 3
    daemon.config.unlink()
    before = daemon.logged("configuration not reloaded, the old one stays")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    eventually(partial(complains, daemon, before), "it misses its file")
    assert daemon.client.ping().pid == daemon.pid


def complains(daemon: Penstockd, before: int) -> bool:
    return daemon.logged("configuration not reloaded, the old one stays") > before


def slots(daemon: Penstockd, id: str) -> int:
    return daemon.client.status(id).workflow.slots


def reload(daemon: Penstockd, config: str) -> None:
    assert daemon.process is not None
    daemon.config.write_text(config)
    daemon.process.send_signal(signal.SIGHUP)
