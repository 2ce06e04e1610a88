"""A daemon of a benchmark's own: temporary state, started, killed and stopped at will; the user's is not touched."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from benchmarks.process import end_marked
from penstock.control.client import Client
from penstock.domain.errors import PenstockError, UnreachableError
from penstock.domain.views import Selection, WorkflowInfo

NICE: Final = 5
"""What the daemon adds to the niceness of attempts by default; baselines run with the same."""
ENDED: Final = frozenset({"completed", "failed", "cancelled", "faulted"})
_MARK: Final = "PENSTOCK_BENCHMARK"
_ON_THEIR_WAY: Final = Selection(statuses=("submitting", "queued", "running", "collecting"))
_START_S: Final = 30.0
_POLL_S: Final = 0.02
_PENSTOCKD: Final = (sys.executable, "-c", "from penstock.daemon.main import main; main()")


class WrongOutcomeError(Exception):
    """The work that was to be timed did not end as it must."""


class BenchDaemon:
    """`penstockd` in a process of its own; as a context manager it is started, and in the end nothing of it is left.

    `config` is the text of its configuration, `environment` what it sees beyond what this process does.
    """

    def __init__(self, root: Path, config: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._environment = dict(environment or {})
        self.state_dir = root / "state"
        self.log = root / "penstockd.log"
        self.mark = f"{_MARK}={uuid.uuid4().hex}"
        self.client = Client(self.state_dir / "penstockd.sock")
        self._process: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True, exist_ok=True)
        (root / "penstockd.toml").write_text(config, encoding="utf-8")

    def __enter__(self) -> Self:
        self.spawn()
        self.wait_until_up()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with contextlib.suppress(PenstockError):
                self._end_work()
            self.terminate()
        finally:
            end_marked(self.mark)

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """What the daemon, and a ctl that is to find it, see."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        name, _, value = self.mark.partition("=")
        return inherited | self._environment | {"PENSTOCK_STATE_DIR": str(self.state_dir), name: value}

    def spawn(self) -> None:
        """Starts the process and does not wait for it to be ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_PENSTOCKD, "--config", str(self.root / "penstockd.toml")],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self) -> None:
        """Returns when the daemon answers. WrongOutcomeError with its last words when it does not come up."""
        deadline = time.monotonic() + _START_S
        while not self.is_up():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise WrongOutcomeError(f"penstockd does not come up: {self._last_words()}")
            time.sleep(_POLL_S)

    def is_up(self) -> bool:
        """Whether the daemon answers now. On a connection of its own, so that no other call is waited for."""
        try:
            with Client(self.client.path) as client:
                client.ping()
        except UnreachableError:
            return False
        return True

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, and waits. WrongOutcomeError when it does not end well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_START_S)
        self.client.close()
        if code:
            raise WrongOutcomeError(f"penstockd ended with code {code}: {self._last_words()}")

    def submit(self, spec: str) -> str:
        """Submits the spec and returns the workflow's id; relative sources are taken from the daemon's `root`."""
        return self.client.submit(spec, str(self.root / "spec.toml"), str(self.root)).id

    def info(self, workflow_id: str) -> WorkflowInfo:
        """The workflow at a glance."""
        return self.client.status(workflow_id).workflow

    def wait(self, workflow_id: str, every_s: float = _POLL_S) -> WorkflowInfo:
        """The workflow when it has ended, asked for often enough to be timed by. WrongOutcomeError unless completed."""
        while (info := self.info(workflow_id)).state not in ENDED:
            time.sleep(every_s)
        if info.state != "completed":
            raise WrongOutcomeError(f"{workflow_id} is {info.state}: {info.reason}; {info.states}")
        return info

    def wait_until_ingested(self, workflow_id: str, every_s: float = _POLL_S) -> WorkflowInfo:
        """The workflow when its source has been read to the end. WrongOutcomeError when it does not come to that."""
        while (info := self.info(workflow_id)).ingesting and info.state == "running":
            time.sleep(every_s)
        if info.ingesting or info.state in {"faulted", "failed", "cancelled"}:
            raise WrongOutcomeError(f"{workflow_id} is {info.state}: {info.reason}; {info.states}")
        return info

    def _end_work(self) -> None:
        """Pauses what runs and ends the jobs that are on their way, so that no runner is left with work."""
        live = [info.id for info in self.client.list_workflows("running").workflows]
        for workflow_id in live:
            self.client.pause(workflow_id)
            self.client.cancel(workflow_id, _ON_THEIR_WAY)
        deadline = time.monotonic() + _START_S
        while self._is_working() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _is_working(self) -> bool:
        return any(c.submissions_running or c.submissions_waiting for c in self.client.clusters().clusters)

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def bench_daemon(root: Path, config: str = "", environment: Mapping[str, str] | None = None) -> Iterator[BenchDaemon]:
    """A running daemon below `root`."""
    with BenchDaemon(root, config, environment) as daemon:
        yield daemon


def render_spec(
    workflow_id: str,
    source: str,
    engine: dict[str, object],
    *,
    slots: int = 2,
    cluster: str = "local",
    tables: Mapping[str, Mapping[str, object]] | None = None,
) -> str:
    """A campaign's spec. A CSV source has the columns that `sources.write_molecules` writes.

    `tables` are further ones, or take the place of `[resources]`.
    """
    structures: dict[str, object] = {"source": source}
    if source.endswith(".csv"):
        structures |= {"geometry_column": "aligned_csd_core", "charge_column": "charge", "unpaired_column": "uhf"}
    needs = {"cores": 1, "memory": "100MB", "walltime": "1d"}
    content: dict[str, Mapping[str, object]] = {"structures": structures, "engine": engine, "resources": needs}
    lines = [f'id = "{workflow_id}"', 'recipe = "campaign"', f'cluster = "{cluster}"', f"slots = {slots}"]
    for name, table in (content | dict(tables or {})).items():
        lines += ["", f"[{name}]", *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
