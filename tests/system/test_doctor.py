"""The doctor beside a real daemon, after one, and in front of what people get wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import LIMIT_S, Gate, Penstockd, eventually

ROOM = {"room", "work directory", "temporary files", "shared memory"}
"""What depends on how full the machine is that the suite runs on."""
Finding = dict[str, Any]


def examine(daemon: Penstockd, *arguments: object) -> list[Finding]:
    """What the doctor says; its exit code fits to it."""
    ran = daemon.ctl("doctor", "--json", *arguments)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == (0 if all(finding["ok"] for finding in found) else 1), ran.stderr
    return found


def one(found: list[Finding], group: str, what: str, level: str | None = None) -> Finding:
    """The one finding of that name (and level)."""
    named = [f for f in found if (f["group"], f["what"]) == (group, what) and level in {None, f["level"]}]
    assert len(named) == 1, found
    return named[0]


def problems(found: list[Finding]) -> list[Finding]:
    """What must be mended, but for the machine's own lack of room."""
    return [finding for finding in found if finding["level"] == "problem" and finding["what"] not in ROOM]


def pictured(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a directory."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(directory.rglob("*"))}


def test_beside_a_daemon_that_is_well(daemon: Penstockd) -> None:
    daemon.submit_command("some", "exit 0", jobs=2)
    daemon.wait("some")
    found = examine(daemon)
    assert problems(found) == []
    assert f"pid {daemon.pid}" in one(found, "daemon", "daemon")["detail"]
    assert one(found, "daemon", "versions")["level"] == "ok"
    assert one(found, "configuration", "file")["detail"] == f"{daemon.config} (the running daemon's)"
    assert one(found, "configuration", "taken over")["level"] == "ok"
    assert f"held by pid {daemon.pid}" in one(found, "state", "lock")["detail"]
    assert one(found, "state", "catalogue")["detail"].startswith("1 workflow, schema ")
    assert one(found, "state", "work directory")["detail"].startswith(str(daemon.work / ".penstock"))
    assert " in use, about " in one(found, "limits", "open files")["detail"]
    assert one(found, "clusters", "cluster local")["level"] == "ok"
    assert one(found, "clock", "records")["level"] == "ok"


def test_after_a_daemon(daemon: Penstockd) -> None:
    daemon.submit_command("some", "exit 0")
    daemon.wait("some")
    daemon.stop()
    found = examine(daemon)
    assert problems(found) == []
    assert one(found, "daemon", "daemon")["level"] == "warning"
    assert one(found, "state", "lock")["detail"].startswith("nobody has it")
    assert one(found, "clusters", "clusters")["detail"] == "local: looked at by a running daemon only"


def test_after_a_killed_daemon_and_without_changing_anything(daemon: Penstockd) -> None:
    daemon.submit_command("some", "exit 0")
    daemon.wait("some")
    daemon.kill()
    assert (daemon.state / "catalogue.db-wal").exists()
    before = pictured(daemon.state)
    found = examine(daemon)
    after = pictured(daemon.state)
    index = str(daemon.state / "catalogue.db-shm")  # SQLite's own memory of the WAL, made anew by whoever comes first
    assert {name: seen for name, seen in before.items() if name != index} == {
        name: seen for name, seen in after.items() if name != index
    }
    assert problems(found) == []
    assert one(found, "state", "catalogue")["detail"].startswith("1 workflow, ")
    assert "was left by a daemon that is gone" in one(found, "state", "control socket", "note")["detail"]


def test_a_daemon_that_hangs_is_told_from_one_that_is_not_there(daemon: Penstockd) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        found = examine(daemon)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    silent = one(found, "daemon", "daemon")
    assert silent["level"] == "problem"
    assert silent["detail"].startswith(f"pid {daemon.pid} has the state directory and does not answer")


def test_what_changed_in_the_configuration_since(daemon: Penstockd) -> None:
    assert daemon.process is not None
    daemon.config.write_text("[daemon]\nlog_level = 'debug'\n\n[clusters.other]\nkind = 'local'\n")
    found = examine(daemon)
    assert f"kill -HUP {daemon.pid}" in one(found, "configuration", "taken over")["remedy"]
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.logged("configuration reloaded"), "it is reloaded")
    found = examine(daemon)
    assert one(found, "configuration", "taken over")["level"] == "ok"
    assert one(found, "configuration", "clusters")["detail"] == "the daemon does not have other"
    assert problems(found) == []
    daemon.config.write_text("[daemon]\nlog_level = 'loud'\n")
    daemon.config.chmod(0o666)
    found = examine(daemon)
    assert [finding["what"] for finding in problems(found)] == ["file", "permissions"]
    assert f"{daemon.config}:2: daemon.log_level" in one(found, "configuration", "file")["detail"]
    assert one(found, "configuration", "permissions")["remedy"] == f"chmod go-w {daemon.config}"


def test_a_damaged_workflow_and_one_that_is_gone(daemon: Penstockd) -> None:
    damaged, gone = (daemon.submit_command(id, "exit 0") for id in ("damaged", "gone"))
    for id in ("damaged", "gone"):
        daemon.wait(id)
    daemon.stop()
    (damaged / "workflow.db").write_bytes(b"no database" * 1000)
    shutil.rmtree(gone)
    left = damaged.with_name(".deleted-elsewhere-01ARZ3")
    left.mkdir()
    os.utime(left, (1, 1))
    found = examine(daemon)
    missing = one(found, "state", "missing workflows")
    assert (missing["level"], missing["detail"]) == ("problem", f"{gone.parent} no longer has gone")
    assert one(found, "state", "left over")["remedy"] == f"if nobody works there: rm -r {left}"
    daemon.start()
    assert daemon.ctl("retry", "damaged", "--status", "completed").returncode != 0
    eventually(lambda: daemon.state_of("damaged") == "faulted", "it is faulted")
    faulted = one(examine(daemon), "daemon", "workflow damaged")
    assert faulted["level"] == "problem"
    assert faulted["remedy"] == "mend the cause, then: penstockctl resume damaged"
    assert daemon.ctl("delete", "gone", "--force", "-y").returncode == 0  # as the finding says
    assert not [finding for finding in examine(daemon) if finding["what"] == "missing workflows"]


def test_what_attempts_will_call_with_and_without_a_daemon(stopped_daemon: Penstockd, gate: Gate) -> None:
    """A program that vanishes while its workflow runs, and an engine in Python whose workflow waits for a licence."""
    daemon, code, licence = stopped_daemon, stopped_daemon.home / "code.x", {"resources": {"licence": 1}}
    daemon.config.write_text(
        "[resources.licence]\ncount = 1\n[clusters.far]\nkind = 'flux'\nhost = 'nowhere.invalid'\n"
    )
    daemon.start()
    code.write_text(f"#!/bin/sh\nexec sh -c '{gate.script}' \"$@\"\n")
    code.chmod(0o755)
    engine = {"name": "command", "command": [str(code), *map(str, gate.paths)]}
    daemon.submit_command("needs", "", engine=engine, locks=licence)
    gate.next_started()
    daemon.submit_command("waits", "", engine={"name": "emt"}, locks=licence)
    found = examine(daemon)
    assert one(found, "engines", "command on local", "ok")["detail"] == str(code)
    assert one(found, "engines", "emt on local", "ok")["detail"] == f"can be loaded by {sys.executable}"
    code.unlink()
    missing = one(examine(daemon), "engines", "command on local", "problem")
    assert missing["detail"] == f"there is no program {code}; needed by needs"
    daemon.stop()
    assert one(examine(daemon), "engines", "command on local") == missing
    daemon.start()
    daemon.client.cancel("waits")
    gate.release()
    daemon.wait("needs")
    assert one(examine(daemon), "engines", "programs")["detail"] == "no workflow that has not ended needs any"


def test_a_damaged_catalogue(daemon: Penstockd) -> None:
    daemon.submit_command("some", "exit 0")
    daemon.wait("some")
    daemon.stop()
    path = daemon.state / "catalogue.db"
    whole = path.read_bytes()
    path.write_bytes(b"not a database at all" * 500)
    assert one(examine(daemon), "state", "catalogue")["level"] == "problem"
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    assert one(examine(daemon), "state", "catalogue")["level"] == "problem"


def test_too_few_open_files(stopped_daemon: Penstockd) -> None:
    argv = ["sh", "-c", 'ulimit -n 40 && exec "$0" "$@"', sys.executable, "-m", "penstock.ctl.main", "doctor", "--json"]
    ran = subprocess.run(
        argv, env=stopped_daemon.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    files = one(found, "limits", "open files")
    assert files["level"] == "warning"
    assert files["detail"].startswith("40 allowed, about 64 needed, hard limit 40 (this shell")
    assert "LimitNOFILE=" in files["remedy"]


def test_a_state_directory_in_the_wrong_hands(stopped_daemon: Penstockd) -> None:
    stopped_daemon.state.mkdir()
    stopped_daemon.state.chmod(0o777)
    (stopped_daemon.state / "penstockd.sock").write_text("no socket")
    found = examine(stopped_daemon)
    assert [(finding["group"], finding["what"]) for finding in problems(found)] == [
        ("state", "permissions"),
        ("state", "control socket"),
    ]


def test_what_never_answers_does_not_stop_the_doctor(stopped_daemon: Penstockd) -> None:
    stopped_daemon.config.unlink()
    os.mkfifo(stopped_daemon.config)  # opened, it waits for somebody who writes
    found = examine(stopped_daemon)
    assert one(found, "configuration", "file", "problem")["detail"] == "did not answer within 5 s"
    assert one(found, "versions", "packages")["level"] == "ok"


def test_people_see_last_what_must_be_mended(stopped_daemon: Penstockd) -> None:
    stopped_daemon.config.write_text("[demon]\n")
    ran = stopped_daemon.ctl("doctor")
    assert ran.returncode == 1
    head, _, tail = ran.stdout.partition("must be mended:\n")
    assert "FAIL" not in head
    assert tail.startswith(f"FAIL  configuration, file: {stopped_daemon.config}:1: ")
    assert "warn  daemon: none runs: " in head
    assert " findings must be mended, " in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cluster", "nosuch"), "there is no cluster 'nosuch'; known: local"),
        (("--cluster", "local"), "cluster local has no scheduler to check"),
    ],
)
def test_clusters_that_cannot_be_checked(arguments: tuple[str, ...], said: str, daemon: Penstockd) -> None:
    ran = daemon.ctl("doctor", *arguments)
    assert (ran.returncode, ran.stderr) == (2, f"penstockctl: {said}\n")
