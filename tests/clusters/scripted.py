"""Job scripts before a spool of their own, run by the shells of this machine as a scheduler would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from penstock.clusters.claim import read_claim
from penstock.clusters.job_script import RunEntry, ScriptPlan, render_run, render_script
from penstock.clusters.spool import End, parse_lines
from penstock.domain.calculation import Exit
from penstock.domain.ids import new_ulid

VARIABLES = ("${TASK:-0}", "${JOB:-7}", "${RESTARTS:-0}")
SHELLS = [
    shell
    for shell in (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"])
    if shutil.which(shell[0])  # dash and bash are everywhere
]
SHELL_NAMES = [" ".join(shell) for shell in SHELLS]


class Job:
    """One submission in a spool: its script, and what its attempts run."""

    def __init__(self, root: Path, *commands: Sequence[str], width: int = 1, name: str = "w", **plan: Any) -> None:
        self.ulid = new_ulid()
        self.spool = root / "spool"
        self.home = self.spool / self.ulid
        self.work = root / name
        (self.spool / "news").mkdir(parents=True, exist_ok=True)
        self.home.mkdir()
        entries = []
        for n, argv in enumerate(commands):
            self.attempt(n).mkdir(parents=True)
            entries.append(RunEntry(n, n + 1, str(self.attempt(n)), argv))
        self.plan = ScriptPlan(
            **{
                "ulid": self.ulid,
                "spool": str(self.spool),
                "width": width,
                "size": len(commands),
                "workflow_id": "w",
                "mode": "isolated",
                "workflow_dir": str(self.work),
                "cores": 3,
                "walltime_s": 60,
                "allocation_s": 3600,
                "kill_grace_s": 1,
                **plan,
            }
        )
        self.write_runs(entries)
        self.script = self.home / "script"
        self.script.write_text(render_script(VARIABLES, self.plan))

    def write_runs(self, entries: Sequence[RunEntry]) -> None:
        """What the tasks run."""
        for task, text in render_run(entries, self.plan.width).items():
            (self.home / f"run.{task}").write_text(text)

    def attempt(self, position: int) -> Path:
        """An attempt's directory."""
        return self.work / self.ulid / str(position)

    def run(self, shell: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs one task to its end."""
        return subprocess.run(
            [*shell, str(self.script)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
        )

    def lines(self, task: int = 0) -> list[Any]:
        """The journal's lines."""
        journal = self.home / f"journal.{task}"
        return list(parse_lines(journal.read_bytes())) if journal.is_file() else []

    def ends(self, task: int = 0) -> dict[int, Exit]:
        """How attempts ended."""
        return {line.position: line.exit for line in self.lines(task) if isinstance(line, End)}

    def short(self, task: int = 0) -> dict[int, tuple[int | None, int | None, str | None]]:
        """Code, signal and verdict of each."""
        return {n: (end.code, end.signal, end.verdict) for n, end in self.ends(task).items()}

    def kinds(self, task: int = 0) -> str:
        """The journal in one word: h(ost), s(tart), e(nd), f(inish)."""
        letters = {"Host": "h", "Start": "s", "End": "e", "Finish": "f"}
        return "".join(letters[type(line).__name__] for line in self.lines(task))

    def claim(self, task: int = 0) -> str | None:
        """Who holds a task."""
        return read_claim(self.home / f"claim.{task}")

    def news(self) -> list[str]:
        """The hints."""
        return sorted(path.name for path in (self.spool / "news").iterdir())


class RunningJob:
    """A task that runs in the background. Enter it with `with`; it is gone afterwards."""

    def __init__(self, job: Job, shell: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*shell, str(job.script)],
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, signal: int) -> None:
        """To the shell alone, as a scheduler does."""
        self.process.send_signal(signal)

    def wait(self) -> tuple[int, str]:
        """Exit code and what it said."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, without_deaths(said)


def without_deaths(said: str) -> str:
    """`said` without what bash may say of programs that were killed."""
    return "".join(line for line in said.splitlines(keepends=True) if "Killed" not in line)


def stubs(root: Path, **programs: str) -> str:
    """A PATH on which these programs are shell scripts of ours; `REAL` in them is the PATH without."""
    folder = root / "stubs"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\nREAL='{os.environ['PATH']}'\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def is_recent(moment: float, began: float) -> bool:
    """Whether a journal's time lies between `began` and now, as exactly as `date +%s` tells it."""
    return began - 1.5 <= moment <= time.time() + 0.5
