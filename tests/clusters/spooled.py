"""Submissions made by hand: a spool, a workflow's directory, manifests for the `command` engine."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

import msgspec

from penstock.clusters import spool as spooling
from penstock.clusters.runner import MARKER
from penstock.domain.calculation import Rendered
from penstock.domain.ids import new_ulid
from penstock.domain.process_id import ProcessId
from penstock.domain.resources import Resources
from penstock.domain.submission import AttemptSeen, Entry, Manifest, Submission

GRACE_S = 2.0
"""Between TERM and KILL, enough for a shell's last words; the runner's own is too long to wait for."""
_RUNNER = f"import penstock.clusters.runner as runner; runner.KILL_GRACE_S = {GRACE_S}; runner.main()"
SLEEP = ["sleep", "1000"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; (trap '' TERM; sleep 1000) & wait; sleep 1000"]


class Spool:
    """A spool and the directory of one workflow."""

    def __init__(self, root: Path, workflow_id: str = "w") -> None:
        self.path = root / "spool"
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.workflow = root / workflow_id
        self.workflow.mkdir(exist_ok=True)
        self.workflow_id = workflow_id

    def submission(self, size: int = 1, *, lane: int = 0, prefetch: bool = False, cores: int = 1) -> Submission:
        """A submission that is not staged yet."""
        return Submission(
            ulid=new_ulid(),
            workflow_id=self.workflow_id,
            workflow_dir=str(self.workflow),
            mode="isolated",
            engine="command",
            lane=lane,
            priority=0,
            prefetch=prefetch,
            size=size,
            resources=Resources(cores, 100, 60),
        )

    def manifest(self, ulid: str, *commands: list[str], walltime_s: int = 60, name: str = "") -> bytes:
        """One attempt for each command."""
        entries = [
            Entry(n, self.directory(name or ulid, n), n + 1, Rendered({"input": f"{n}\n"}, argv))
            for n, argv in enumerate(commands)
        ]
        manifest = Manifest(
            ulid, self.workflow_id, str(self.workflow), "isolated", "command", 1, walltime_s, entries, 100
        )
        return msgspec.msgpack.encode(manifest)

    def directory(self, ulid: str, position: int) -> str:
        """An attempt's directory relative to the workflow's."""
        return f"jobs/{ulid}/{position}"

    def attempt(self, ulid: str, position: int = 0) -> Path:
        """An attempt's directory."""
        return self.workflow / self.directory(ulid, position)

    def stage(self, *commands: list[str], walltime_s: int = 60) -> str:
        """Stages a submission; returns its ulid."""
        ulid = new_ulid()
        spooling.write_manifest(self.path, ulid, self.manifest(ulid, *commands, walltime_s=walltime_s))
        return ulid

    def file(self, ulid: str, suffix: str) -> Path:
        """One of a submission's files."""
        return spooling.spool_path(self.path, ulid, suffix)

    def seen(self, ulid: str) -> dict[int, AttemptSeen]:
        """All that the journal tells."""
        return spooling.JournalReader(self.file(ulid, "journal")).read()


class RunnerProcess:
    """A runner in front of a spool, with a short grace. Enter it with `with`; it is gone afterwards."""

    def __init__(self, spool: Spool, *, linger_s: float = 5.0) -> None:
        self.name = new_ulid()
        argv = [sys.executable, "-c", _RUNNER, "--spool", str(spool.path), "--engine", "command"]
        argv += ["--linger", str(linger_s)]
        environment = os.environ | {MARKER: self.name}
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment, start_new_session=True)
        found = ProcessId.of(self.process.pid)
        assert found is not None
        self.id = found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    def order(self, *ulids: str) -> None:
        """Gives orders."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{ulid}\n" for ulid in ulids).encode())
        self.process.stdin.flush()

    def finish(self, *ulids: str) -> int:
        """Gives the last orders and waits for the end."""
        self.order(*ulids)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20.0)


def wait_for_file(path: Path, holds: str = "") -> str:
    """The content of `path` once it exists and holds `holds`; a runner writes it at a time of its own."""
    for _ in range(1000):
        if path.exists() and holds in (text := path.read_text()):
            return text
        select.select([], [], [], 0.01)
    raise AssertionError(f"{path} never held {holds!r}")


def wait_for_end(pid: int) -> None:
    """Returns when a process, whoever's child, has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 10.0)[0], f"process {pid} lives on"
    finally:
        os.close(handle)
