"""Clusters for a storm: real Slurms on this machine, reached over SSH by an ordinary account or on the same host.

A site knows how to harm itself and remembers whom it struck, so that nobody is blamed for that in the end.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from tests.services.daemons import ServiceError
from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd

from benchmarks.faults import Shims

_LOOK_S: Final = 0.1
_FORGOTTEN_S: Final = 15.0
_NAME: Final = "penstock-"
_BARRED: Final = ".by-hand"
_PATIENCE: Final[dict[str, object]] = {
    "lag": "1s",
    "grace": "3s",
    "question_after": "8s",
    "queries_active_per_min": 60,
}
"""Short, since the storm is; everything else is as it comes."""


class Task(NamedTuple):
    """A task of a submission: what a strike hits."""

    ulid: str
    task: int


class Site:
    """One cluster of the daemon's configuration, named as its folder. `sshd` is None for the daemon's own host.

    `struck` are the tasks that the storm harmed, anywhere: sites may share a Slurm.
    """

    def __init__(self, home: Path, slurm: RealSlurm, sshd: RealSshd | None, shims: Shims, struck: set[Task]) -> None:
        self.name, self.slurm, self.sshd, self.shims, self.struck = home.name, slurm, sshd, shims, struck
        self.spools, self.work = home / "spools", home / "work"

    def table(self) -> dict[str, object]:
        """Its table in the daemon's configuration."""
        table: dict[str, object] = {"kind": "slurm", "spool": str(self.spools), **_PATIENCE}
        if self.sshd is not None:
            table |= {"host": self.sshd.host, "port": self.sshd.port, "user": self.sshd.user}
            table |= {"identity": str(self.sshd.client_key), "known_hosts": str(self.sshd.known_hosts)}
            table |= {"work_dir": str(self.work)}
        return table

    def spool(self) -> Path | None:
        """The daemon's spool, once there is one."""
        with contextlib.suppress(FileNotFoundError):
            return next((folder for folder in self.spools.glob("*/*") if not folder.name.endswith(".away")), None)
        return None

    # ---- strikes ----------------------------------------------------------------------------------------------------

    def cancel_one(self, moments: random.Random) -> bool:
        """scancel of one of our tasks, behind the daemon's back; False when there is none."""
        tasks = self._tasks("PENDING,RUNNING")
        if not tasks:
            return False
        job, task = moments.choice(tasks)
        self.struck.add(task)
        with contextlib.suppress(ServiceError):
            self.slurm.run(["scancel", job])
        return task in [task for _, task in self._tasks("CANCELLED,COMPLETING")]

    def kill_unseen(self, moments: random.Random) -> bool:
        """Kills a task so that it leaves no word, and lets the scheduler forget it while nobody can look.

        False when nothing runs. Without accounts only a person can know what became of it.
        """
        tasks = self._tasks("RUNNING")
        if not tasks:
            return False
        with self.frozen_ssh():
            job, task = moments.choice(tasks)
            self.struck.add(task)
            with contextlib.suppress(ServiceError):
                self.slurm.run(["scancel", "--full", "--signal=KILL", job])
            until = time.monotonic() + _FORGOTTEN_S
            while time.monotonic() < until and self._tasks("all", f"--jobs={job}"):
                time.sleep(_LOOK_S)
        return True

    @contextlib.contextmanager
    def node_down(self) -> Iterator[bool]:
        """A dead node; what ran there is lost. False when nothing did."""
        node = max(self.slurm.nodes, key=lambda node: len(self._on(node)))
        found = self._on(node)
        if not found:
            yield False
            return
        self.struck.update(found)
        self.slurm.node_down(node)
        try:
            for _ in range(5):  # they may be forgotten in two seconds
                self.struck.update([task for _, task in self._tasks("NODE_FAIL")])
            yield True
            self.struck.update([task for _, task in self._tasks("NODE_FAIL")])
        finally:
            self.slurm.node_up(node)

    @contextlib.contextmanager
    def without_controller(self) -> Iterator[None]:
        """Nobody answers for the scheduler; jobs go on."""
        self.slurm.stop_controller()
        try:
            yield
        finally:
            self.slurm.start_controller()

    @contextlib.contextmanager
    def without_ssh(self) -> Iterator[None]:
        """sshd is stopped and every connection cut."""
        assert self.sshd is not None
        self.sshd.kill_sessions()
        self.sshd.home.signal(["sshd"])
        try:
            yield
        finally:
            self.sshd.restart()

    @contextlib.contextmanager
    def frozen_ssh(self) -> Iterator[None]:
        """Connections hang."""
        assert self.sshd is not None
        self.sshd.freeze()
        try:
            yield
        finally:
            self.sshd.thaw()

    @contextlib.contextmanager
    def without_spool(self) -> Iterator[None]:
        """Permissions taken away from an ordinary account; root, whom they do not stop, finds a file in the way."""
        spool = self.spool()
        if spool is None:
            yield
        elif self.sshd is not None:
            modes = [folder for folder in (spool, spool / "news", *spool.glob("0*")) if folder.is_dir()]
            for folder in modes:
                with contextlib.suppress(FileNotFoundError):
                    folder.chmod(0o500)
            try:
                yield
            finally:
                for folder in modes:
                    with contextlib.suppress(FileNotFoundError):
                        folder.chmod(0o700)
        else:
            away = spool.with_name(f"{spool.name}.away")
            spool.rename(away)
            spool.touch()
            try:
                yield
            finally:
                spool.unlink()
                away.rename(spool)

    def submit_again(self) -> bool:
        """sbatch of a script that has been submitted already, by hand; False when there is none."""
        spool = self.spool()
        scripts = sorted(spool.glob("0*/script")) if spool else []
        placed = [script for script in scripts if (script.parent / "jobid").exists()]
        if not placed:
            return False
        folder = placed[-1].parent
        options = [f"--job-name={_NAME}{folder.name}", f"--chdir={folder}", "--no-requeue"]
        options += [f"--output={self.shims.folder}/taken/%j{_BARRED}"]
        width = len(list(folder.glob("run.*")))
        options += [f"--array=0-{width - 1}"] if width > 1 else []
        with contextlib.suppress(ServiceError):  # the submission may just have been forgotten
            user = self.sshd.user if self.sshd else None
            self.slurm.run(["sbatch", "--time=5", "--mem=100M", *options, folder / "script"], user=user)
            return True
        return False

    def barred(self) -> int:
        """How many of the jobs submitted again by hand found their task claimed, and said so."""
        outputs = [file.read_text(encoding="utf-8") for file in (self.shims.folder / "taken").glob(f"*{_BARRED}")]
        return sum("nothing is done twice" in output for output in outputs)

    def _on(self, node: str) -> list[Task]:
        return [task for _, task in self._tasks("RUNNING,COMPLETING", f"--nodelist={node}")]

    def _tasks(self, states: str, *more: str) -> list[tuple[str, Task]]:
        """Our tasks in the queue, by what scancel calls them."""
        asked = ["squeue", "--noheader", "--array", f"--states={states}", "--format=%i|%j", *more]
        try:
            lines = self.slurm.run(asked).splitlines()
        except ServiceError:
            return []
        rows = [line.strip().split("|", 1) for line in lines]
        owned = [(job, name.removeprefix(_NAME)) for job, name in rows if name.startswith(_NAME)]
        return [(job, Task(ulid, int(job.partition("_")[2] or 0))) for job, ulid in owned if "[" not in job]


@contextlib.contextmanager
def sites(root: Path, kind: RealSlurm, harsh: RealSlurm) -> Iterator[list[Site]]:
    """`far` and `near` share a kind Slurm, over SSH and on this host; `harsh` is another, over SSH."""
    root.chmod(0o755)
    struck: set[Task] = set()
    near = Site(root / "near", kind, None, Shims(root / "near" / "shims"), struck)
    with contextlib.ExitStack() as stack:
        yield [_far(stack, root / "far", kind, struck), near, _far(stack, root / "harsh", harsh, struck)]


@contextlib.contextmanager
def own_slurms() -> Iterator[tuple[RealSlurm, RealSlurm]]:
    """Both, for a storm by itself."""
    with RealSlurm("kind") as kind, RealSlurm("harsh") as harsh:
        yield kind, harsh


def missing() -> str | None:
    """Why there can be no such storm here, or None."""
    return RealSlurm.missing("kind") or RealSlurm.missing("harsh") or RealSshd.missing()


def render_config(places: list[Site]) -> str:
    """The daemon's settings; strings and numbers are written alike in JSON and TOML."""
    tables = []
    for site in places:
        lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in site.table().items()]
        tables.append("\n".join([f"[clusters.{site.name}]", *lines]))
    return "\n\n".join(tables) + "\n"


def _far(stack: contextlib.ExitStack, home: Path, slurm: RealSlurm, struck: set[Task]) -> Site:
    shims = Shims(home / "shims")
    sshd = stack.enter_context(RealSshd(environment={"PATH": shims.path, **slurm.environment}))
    site = Site(home, slurm, sshd, shims, struck)
    for folder in (site.spools, site.work):
        folder.mkdir()
        shutil.chown(folder, sshd.user)
    return site


def daemon_environment(near: Site) -> dict[str, str]:
    """What a daemon needs to see of the Slurm on its own host."""
    return {**near.slurm.environment, "PATH": f"{near.shims.bin}:{os.environ.get('PATH', '')}"}
