"""What the real daemon shows of itself: every family fed by real work, and who may look."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.metrics.scraped import read
from tests.system.conftest import Gate, Penstockd, eventually

ALTERNATES = "test $((PENSTOCK_JOB_ID % 2)) = 0"
WORD = "0123456789abcdef0123"


class Scraped:
    """A daemon whose metrics are on a UNIX socket."""

    def __init__(self, daemon: Penstockd, tables: str = "", **keys: Any) -> None:
        self.daemon = daemon
        self.path = daemon.home / "m.sock"
        self.configure(tables, **keys)

    def configure(self, tables: str = "", **keys: Any) -> None:
        lines = {"metrics": f"unix:{self.path}", **keys}
        text = "".join(f"{key} = {value!r}\n" for key, value in lines.items())
        self.daemon.config.write_text(f"[daemon]\n{text}{tables}")

    def ask(self, *headers: str) -> tuple[int, bytes]:
        """Status and body."""
        return ask(self.path, *headers)

    def figures(self) -> dict[str, float]:
        status, body = self.ask()
        assert status == 200
        return read(body)


def ask(address: Path | tuple[str, int], *headers: str) -> tuple[int, bytes]:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as client:
        client.connect(str(address) if isinstance(address, Path) else address)
        lines = "".join(f"{header}\r\n" for header in headers)
        client.sendall(f"GET /metrics HTTP/1.0\r\n{lines}\r\n".encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_a_campaign_feeds_everything(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    scraped = Scraped(daemon, "[resources.licence]\ncount = 1\n")
    daemon.start()
    retry = {"max_attempts": 2}
    daemon.submit_command("odd", ALTERNATES, jobs=4, retry=retry)
    daemon.wait("odd")
    locks = {"resources": {"licence": 1}}
    daemon.submit_command("first", gate.script, *gate.paths, locks=locks)
    gate.next_started()
    daemon.submit_command("second", "true", locks=locks)
    eventually(lambda: scraped.figures().get('lock_waiters{lock="licence"}') == 1, "the second waits for the licence")
    found = scraped.figures()
    of = 'cluster="local"'
    assert {
        f'attempts_ended_total{{{of},end="completed",failure=""}}': 2,
        f'attempts_ended_total{{{of},end="failed",failure="exit_code"}}': 4,
        f'retries_total{{{of},failure="exit_code"}}': 2,
        f"job_record_seconds_count{{{of}}}": 6,
        f"job_wait_seconds_count{{{of}}}": 7,
        'workflows{state="failed"}': 1,
        'workflow_slots_used{cluster="local",workflow="first"}': 1,
        'workflow_slots_used{cluster="local",workflow="second"}': 0,
        'workflow_attempts_ended_total{cluster="local",end="completed",workflow="first"}': 0,
        'lock_held{lock="licence"}': 1,
        'actor_restarts_total{actor="local",supervisor="clusters"}': 0,
        'actor_restarts_total{actor="first",supervisor="workflows"}': 0,
        'control_requests_total{request="Submit"}': 3,
    }.items() <= found.items()
    submitted = found[f"submissions_total{{{of}}}"]
    assert found[f"submission_seconds_count{{{of}}}"] == submitted >= 3
    for name in (
        f"submission_seconds_sum{{{of}}}",
        f"job_record_seconds_sum{{{of}}}",
        "database_seconds_count",
        'worker_task_seconds_count{task="Render"}',
        'worker_task_seconds_count{task="Collect"}',
        'log_lines_total{level="info"}',
        "control_connections",
        "process_cpu_seconds_total",
        f'disk_free_bytes{{directory="{daemon.state}"}}',
        'workflow_progress_timestamp_seconds{cluster="local",workflow="first"}',
    ):
        assert found[name] > 0, name
    late = "event_loop_lag_seconds_count"  # a second after the start for the first time
    eventually(lambda: scraped.figures()[late] > 0, "the event loop is measured")
    daemon.stop()  # the first survey of the next one finds the databases
    daemon.start()
    size = 'workflow_database_bytes{workflow="first"}'
    eventually(lambda: scraped.figures().get(size, 0) > 4096, "the database is measured")
    progress = 'workflow_progress_timestamp_seconds{cluster="local",workflow="first"}'
    assert abs(scraped.figures()[progress] - found[progress]) < 5.0  # a restart is no progress
    gate.release()
    daemon.wait("first")
    daemon.wait("second")
    left = [name for name in scraped.figures() if 'workflow="' in name]
    assert left == []
    assert scraped.figures()['lock_held{lock="licence"}'] == 0


def test_lines_of_the_log_are_counted(stopped_daemon: Penstockd) -> None:
    scraped = Scraped(stopped_daemon)
    stopped_daemon.start()
    before = scraped.figures()['log_lines_total{level="error"}']
    stopped_daemon.config.write_text("[demon]\n")
    assert stopped_daemon.process is not None
    stopped_daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: scraped.figures()['log_lines_total{level="error"}'] == before + 1, "the error is counted")


def test_a_token_and_its_reload(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    token = daemon.home / "token"
    token.write_text(f"{WORD}\n")
    token.chmod(0o600)
    scraped = Scraped(daemon, metrics_token_file=str(token), metrics_workflows=1)
    daemon.start()
    assert scraped.ask()[0] == 401
    assert scraped.ask(f"Authorization: Bearer {WORD}")[0] == 200
    another = WORD[::-1]
    token.write_text(f"{another}\n")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: scraped.ask(f"Authorization: Bearer {another}")[0] == 200, "the new token counts")
    assert scraped.ask(f"Authorization: Bearer {WORD}")[0] == 401
    token.chmod(0o644)
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.logged("configuration not reloaded, the old one stays") == 1, "the file is refused")
    assert scraped.ask(f"Authorization: Bearer {another}")[0] == 200
    assert scraped.path.exists()
    assert daemon.stop() == 0
    assert not scraped.path.exists()
    log = daemon.log.read_text()
    assert WORD not in log
    assert another not in log
    with daemon.launch() as process:
        assert process.wait(30) == 2
    assert "is open to others (mode 0644)" in daemon.log.read_text()


def test_the_number_of_shown_workflows_follows_a_reload(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    scraped = Scraped(daemon, metrics_workflows=1)
    daemon.start()
    for number in (1, 2, 3):
        daemon.submit_command(f"w{number}", gate.script, *gate.paths, jobs=number)
    eventually(lambda: daemon.client.status("w3").workflow.jobs == 3, "they are taken in")
    eventually(lambda: daemon.client.status("w2").workflow.jobs == 2, "they are taken in")

    def shown() -> set[str]:
        names = [name for name in scraped.figures() if name.startswith("workflow_slots{")]
        return {name.partition('workflow="')[2].partition('"')[0] for name in names}

    assert shown() == {"w3", "(others)"}
    scraped.configure(metrics_workflows=2)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: shown() == {"w3", "w2", "(others)"}, "two are shown")
    gate.release(6)
    for number in (1, 2, 3):
        daemon.wait(f"w{number}")
    assert shown() == set()


def test_an_address_for_everybody_needs_a_token(stopped_daemon: Penstockd) -> None:
    stopped_daemon.config.write_text("[daemon]\nmetrics = '0.0.0.0:9464'\n")
    with stopped_daemon.launch() as process:
        assert process.wait(30) == 2
    assert "daemon.metrics: 0.0.0.0:9464 can be reached from other machines" in stopped_daemon.log.read_text()


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL])
def test_a_socket_left_behind_is_replaced(stopped_daemon: Penstockd, signal_: int) -> None:
    scraped = Scraped(stopped_daemon)
    for _ in range(2):
        stopped_daemon.start()
        assert scraped.ask()[0] == 200
        stopped_daemon.signal(signal_)


def test_promtool_finds_nothing_to_complain_of(stopped_daemon: Penstockd) -> None:
    program = "/usr/bin/promtool"
    if not Path(program).exists():
        pytest.skip("promtool is not here (Debian: prometheus)")
    scraped = Scraped(stopped_daemon)
    stopped_daemon.start()
    stopped_daemon.submit_command("one", "true")
    stopped_daemon.wait("one")
    done = subprocess.run([program, "check", "metrics"], input=scraped.ask()[1], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
