"""The log of a real daemon: the story of a campaign, every line of it JSON, and none with a secret."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import DAEMON, Gate, Penstockd, eventually

from penstock.domain.log_line import LEVELS

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"
FAILING = 'echo "token=$SITE_TOKEN"; exit $(( PENSTOCK_JOB_ID % 2 ))'


def log_of(daemon: Penstockd) -> list[dict[str, Any]]:
    """Every line, whatever it is: one that is no JSON fails here."""
    return [json.loads(line) for line in daemon.log_lines()]


def test_the_story_of_a_campaign_with_failures(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.config.write_text('[daemon]\nlog_level = "debug"\n')
    daemon.start()
    daemon.submit_command("g2", FAILING, jobs=8, slots=2, retry={"max_attempts": 2})
    daemon.wait("g2")
    assert daemon.ctl("retry", "g2").returncode == 0
    daemon.wait("g2")
    assert daemon.ctl("pause", "g2").returncode == 2
    daemon.client.close()
    daemon.stop()
    lines = log_of(daemon)
    for line in lines:
        assert list(line)[:3] == ["timestamp", "level", "event"]
        assert line["level"] in LEVELS
        if line.get("actor") == "g2":
            assert (line["workflow"], line["cluster"]) == ("g2", "local")
        if line["event"].startswith("job "):
            assert line["job"] in range(1, 9)
            assert line["attempt"] >= 1
    events = [line["event"] for line in lines]
    for event in (
        *("cluster up", "penstockd is up", "workflow accepted", "workflow taken up", "structures taken in"),
        *("submission placed", "job completed", "job retried", "job failed", "workflow failed"),
        *("jobs made ready again", "stopping"),
    ):
        assert event in events, event
    told = [line for line in lines if line["event"] == "job failed"]
    assert sum(line.get("repeated", 1) for line in told) == 8  # four jobs, twice
    assert {line["failure"] for line in told} == {"exit_code"}
    assert sum(line["event"] == "job completed" for line in lines) == 4
    end = next(line for line in lines if line["event"] == "workflow failed")
    assert (end["completed"], end["failed"]) == (4, 4)
    done = [(line["event"], line["request"]) for line in lines if line["event"].startswith("request ")]
    assert done == [("request carried out", "Submit"), ("request carried out", "Retry"), ("request refused", "Pause")]
    assert all(line["uid"] == 0 or line["uid"] > 0 for line in lines if "request" in line)


def test_no_secret_of_a_destination_or_of_the_environment_is_in_it(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.environment |= {"SITE_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET}
    daemon.config.write_text('[daemon]\nlog_level = "debug"\n')
    daemon.start()
    daemon.submit_command("g2", FAILING, jobs=2)
    daemon.wait("g2")
    for destination in (f"s3://key:{SECRET}@bucket/x", f"ftp://me:{SECRET}@127.0.0.1:9/x", f"/no/{SECRET}/x"):
        assert daemon.ctl("archive", "g2", destination).returncode != 0
    shown = daemon.ctl("log", "--json")
    daemon.client.close()
    daemon.stop()
    text = daemon.log.read_text()
    assert daemon.logged("request refused") == 3
    for piece in (SECRET, *SECRET.split("/")):
        assert piece not in text
        assert piece not in shown.stdout


def test_it_is_read_from_memory_filtered_and_as_text(daemon: Penstockd) -> None:
    daemon.submit_command("a", "exit 3")
    daemon.submit_command("b", "true")
    for id in ("a", "b"):
        daemon.wait(id)
    failed = json.loads(daemon.ctl("log", "a", "--job", "1", "--json", "-n", "1").stdout)
    assert (failed["event"], failed["workflow"], failed["failure"]) == ("job failed", "a", "exit_code")
    eventually(lambda: failed in log_of(daemon), "it is written, too")
    assert "job failed" in daemon.ctl("log", "a").stdout
    assert daemon.ctl("log", "b", "--job", "1").stdout == ""
    assert daemon.ctl("log", "--level", "error").stdout == ""
    assert "workflow completed" in daemon.ctl("log", "--cluster", "local", "--since", "1h").stdout
    assert len(daemon.ctl("log", "-n", "2").stdout.splitlines()) == 2


@pytest.mark.parametrize("wrong", [("c",), ("c", "-f"), ("--cluster", "hpc"), ("--cluster", "hpc", "-f")])
def test_what_is_not_there_is_refused_rather_than_waited_for(wrong: tuple[str, ...], daemon: Penstockd) -> None:
    done = daemon.ctl("log", *wrong)
    assert done.returncode == 2
    assert "there is no" in done.stderr


def test_of_a_deleted_workflow_there_still_are_lines(daemon: Penstockd) -> None:
    daemon.submit_command("a", "true")
    daemon.wait("a")
    assert daemon.ctl("delete", "a", "--yes").returncode == 0
    assert "workflow completed" in daemon.ctl("log", "a").stdout


def test_who_follows_sees_the_end_of_one_daemon_and_the_beginning_of_the_next(daemon: Penstockd) -> None:
    with daemon.ctl_process("log", "--json", "-f") as process:
        assert process.stdout is not None
        lines: list[dict[str, Any]] = []

        def heard(event: str) -> None:
            while not lines or lines[-1]["event"] != event:
                lines.append(json.loads(process.stdout.readline()))  # type: ignore[union-attr]

        heard("penstockd is up")
        daemon.client.close()
        assert daemon.stop() == 0
        heard("stopping")
        without = daemon.ctl("log")
        assert without.returncode == 3
        assert f"its log: {daemon.log}" in without.stderr
        daemon.start()
        heard("penstockd is up")
        daemon.submit_command("next", "true")
        heard("workflow completed")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    seen = [line["timestamp"] for line in lines]
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)


def test_format_and_size_follow_the_configuration(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.start()
    assert daemon.process is not None
    daemon.config.write_text('[daemon]\nlog_format = "text"\nlog_keep = 1\n')
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: " info    configuration reloaded" in daemon.log.read_text(), "the log is text")
    assert len(daemon.ctl("log").stdout.splitlines()) == 1


def test_a_reader_that_hangs_holds_up_nobody(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    command = [sys.executable, "-c", DAEMON]
    daemon.process = subprocess.Popen(command, env=daemon.environment, stderr=writer, cwd=daemon.home)
    eventually(lambda: daemon.ctl("ping").returncode == 0, "the daemon answers")
    daemon.submit_command("g2", "true", jobs=2)
    assert daemon.wait("g2").workflow.statuses == {"completed": 2}
    assert '"event":"workflow completed"' in daemon.ctl("log", "--json").stdout.replace(": ", ":")
    assert daemon.stop() == 0
    os.close(reader)
    os.close(writer)


def test_without_a_standard_error_no_other_file_takes_its_place(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    command = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c", DAEMON]
    daemon.process = subprocess.Popen(command, env=daemon.environment, cwd=daemon.home)
    eventually(lambda: daemon.ctl("ping").returncode == 0, "the daemon answers")
    assert {Path(f"/proc/{daemon.pid}/fd/{fd}").readlink() for fd in (0, 2)} == {Path("/dev/null")}
    assert daemon.stop() == 0


def test_a_workflow_whose_directory_hangs_holds_up_no_other(daemon: Penstockd, gate: Gate) -> None:
    """A FIFO nobody reads plays the file server: what opens it waits."""
    directory = daemon.submit_command("hung", gate.script, *gate.paths)
    gate.next_started()
    log, fifo = directory / "workflow.log", daemon.home / "fifo"
    os.mkfifo(fifo)
    fifo.replace(log)  # at one stroke: it is written in a thread, maybe just now
    assert daemon.ctl("pause", "hung").returncode == 0
    daemon.submit_command("well", "true")
    assert daemon.wait("well").workflow.statuses == {"completed": 1}
    log.unlink()
    gate.release()
    assert daemon.ctl("cancel", "hung").returncode == 0
