"""The real daemon as a subprocess, with a state and a work directory of its own, that tests may kill at will."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.control.client import Client
from penstock.control.messages import Accepted, WorkflowStatus
from penstock.control.session import ENDED_WORKFLOW
from penstock.domain.errors import UnreachableError

DAEMON = "import sys; from penstock.daemon.main import main; sys.argv[0] = 'penstockd'; main()"
LIMIT_S = 90.0
"""How long anything may take before a test gives up on it; no test is meant to come near."""
_LOOK_EVERY_S = 0.02


class Penstockd:
    """A daemon and its directories: `home/s` (state), `home/w` (work), `home/config.toml`, `home/log`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state, self.work = home / "s", home / "w"
        self.config, self.log = home / "config.toml", home / "log"
        self.work.mkdir(exist_ok=True)
        self.config.touch()
        self.environment = os.environ | {"PENSTOCK_STATE_DIR": str(self.state), "PENSTOCK_CONFIG": str(self.config)}
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(self.state / "penstockd.sock", timeout_s=LIMIT_S)

    # ---- life ----

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def launch(self) -> subprocess.Popen[bytes]:
        """A daemon process, whatever becomes of it."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", DAEMON],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                cwd=self.home,
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self.process is None
        self.process = self.launch()
        eventually(self._answers, "the daemon answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.ping().pid == self.pid
        except UnreachableError:
            return False

    def signal(self, number: int) -> int:
        """Send a signal that ends the daemon, wait, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.signal(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        return self.signal(signal.SIGTERM)

    def descendants(self) -> list[int]:
        """Everything alive that was started for this daemon, whoever its parent is now."""
        mark = f"PENSTOCK_STATE_DIR={self.state}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                alive = folder.name.isdecimal() and int(folder.name) != os.getpid()
                if alive and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def end(self) -> None:
        """Stop it if it runs, and wait for its workers and runners, which end with it."""
        self.client.close()
        if self.process is not None:
            self.stop()
        left = [pid for pid in self.descendants() if not ended(pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes {left} outlived the daemon and their work\n{self.log.read_text()}"

    def log_lines(self) -> list[str]:
        """Those that are whole: a thread is writing it."""
        return self.log.read_text().rpartition("\n")[0].splitlines()

    def logged(self, event: str) -> int:
        """How many lines the log has about `event`."""
        lines = (json.loads(line) for line in self.log_lines() if line.startswith("{"))
        return sum(line["event"] == event for line in lines)

    # ---- talking to it ----

    def ctl(
        self, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run penstockctl in the work directory to its end."""
        with self.ctl_process(*arguments, cwd=cwd, env=env) as process:
            out, err = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ctl_process(
        self, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A running penstockctl with its output in pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "penstock.ctl.main", *map(str, arguments)],
            cwd=cwd or self.work,
            env=self.environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def submit(self, text: str) -> Accepted:
        """Submit a spec that stands in the work directory."""
        return self.client.submit(text, str(self.work / "spec.toml"), str(self.work))

    def submit_command(self, id: str, script: str, *arguments: object, jobs: int = 1, **settings: Any) -> Path:
        """Submit a campaign of `jobs` jobs that run `script` with sh, $0 and on being `arguments`; its directory."""
        self.write_table(f"{id}.csv", [(f"{id}-{n}", "H 0 0 0") for n in range(1, jobs + 1)])
        return Path(self.submit(command_spec(id, script, *arguments, **settings)).directory)

    def write_table(self, name: str, rows: Sequence[tuple[str, str]]) -> None:
        """A CSV file of names and geometries in the work directory."""
        with (self.work / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "geometry"))
            writer.writerows(rows)

    def wait(self, id: str) -> WorkflowStatus:
        """Wait until a workflow has ended."""
        status = self.client.status(id)

        def has_ended() -> bool:
            nonlocal status
            status = self.client.status(id)
            return status.workflow.state in ENDED_WORKFLOW

        eventually(has_ended, f"workflow {id} ends")
        return status

    def state_of(self, id: str) -> str:
        """A workflow's state."""
        return self.client.status(id).workflow.state


class Gate:
    """Two FIFOs between jobs and a test: a job says that it has started, and waits until it is let through.

    `script` is for `submit_command(..., gate.script, *gate.paths)`.
    """

    script = 'echo "$PENSTOCK_JOB_ID $$" > "$0"; read line < "$1"'

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.paths = (folder / "started", folder / "go")
        for path in self.paths:
            os.mkfifo(path)
        self._started, self._go = (os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in self.paths)
        self._text = b""

    def next_started(self) -> tuple[int, int]:
        """The next job that starts: its number and its process."""
        while b"\n" not in self._text:
            if not select.select([self._started], [], [], LIMIT_S)[0]:
                pytest.fail("no job has started")
            self._text += os.read(self._started, 4096)
        line, self._text = self._text.split(b"\n", 1)
        job, pid = map(int, line.split())
        return job, pid

    def starts_pending(self) -> bool:
        """Whether another job has said that it started."""
        return b"\n" in self._text or bool(select.select([self._started], [], [], 0)[0])

    def release(self, jobs: int = 1) -> None:
        """Let as many jobs through."""
        os.write(self._go, b"\n" * jobs)

    def close(self) -> None:
        """End it: who waits reads the end of the file, who comes later finds no gate."""
        for path in self.paths:
            path.unlink()
        os.close(self._started)
        os.close(self._go)


def command_spec(id: str, script: str, *arguments: object, **settings: Any) -> str:
    """A spec for `script`, in which `$` is the shell's; `settings` are top-level keys, tables among them."""
    argv = ["sh", "-c", script.replace("$", "$$"), *(str(argument) for argument in arguments)]
    tables: dict[str, Any] = {
        "structures": {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"},
        "engine": {"name": "command", "command": argv},
        "resources": {"memory": "10MB"},
    }
    return toml({"id": id, "recipe": "campaign"} | tables | settings)


def toml(tables: Mapping[str, Any]) -> str:
    """`tables` as TOML, every table on a line of its own."""
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in tables.items())


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml_value(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value)


def ended(pid: int) -> bool:
    """Wait for a process that is not our child to end; False if it has not within the limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LIMIT_S)[0])
    finally:
        os.close(descriptor)


def query(directory: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What plain SQLite finds in a workflow's database."""
    with contextlib.closing(sqlite3.connect(f"file:{directory}/workflow.db?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(sql, values).fetchall()


def quickest_s(runs: Iterable[Callable[[], object]]) -> float:
    """How long the quickest takes, which nothing held up."""
    took_s = []
    for run in runs:
        began = time.perf_counter()
        run()
        took_s.append(time.perf_counter() - began)
    return min(took_s)


def eventually(condition: Callable[[], object], what: str) -> None:
    """Look again and again until `condition` holds: for what tells nobody that it has happened."""
    give_up = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up, f"never happened: {what}"
        time.sleep(_LOOK_EVERY_S)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a short name, since a socket's path is limited; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="ps-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stopped_daemon(home: Path) -> Iterator[Penstockd]:
    """A daemon that the test starts."""
    daemon = Penstockd(home)
    yield daemon
    daemon.end()


@pytest.fixture
def daemon(stopped_daemon: Penstockd) -> Penstockd:
    """A daemon that answers."""
    stopped_daemon.start()
    return stopped_daemon


@pytest.fixture
def gate(home: Path, stopped_daemon: Penstockd) -> Iterator[Gate]:
    """A gate for jobs; it opens before the daemon is stopped, so that no job waits for ever."""
    gate = Gate(home / "gate")
    yield gate
    gate.close()
