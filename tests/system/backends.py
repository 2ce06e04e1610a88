"""The clusters that the contract is held to: how each is started, and what the daemon's configuration says of it.

The numbers are small so that tests are quick: everything here answers within milliseconds, and nothing must be spared.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.services.account import Account
from tests.services.daemons import SYSTEM_PATH, ServiceError
from tests.services.flux import RealFlux
from tests.services.slurm import RealSlurm
from tests.services.sshd import RealSshd
from tests.system.conftest import Gate, Penstockd, eventually, toml

import penstock

SLURMS: Final = ("slurm", "slurm-ssh", "harsh", "harsh-ssh")
QUEUES: Final = (*SLURMS, "flux")
ALL: Final = ("local", *QUEUES)
NAME: Final = "hpc"
_FAST: Final = {
    "listing": "0.1s",
    "lag": "0.5s",
    "grace": "2s",
    "question_after": "3s",
    "queries_idle_per_min": 60,
    "queries_active_per_min": 600,
    "submits_per_min": 600,
}
_HOLD: Final = {"slurm": "--hold", "flux": "--urgency=0"}


class Site:
    """A cluster that stands for many tests; `sshd` where it is reached by SSH, as an account that is not root."""

    def __init__(self, name: str, scheduler: RealSlurm | RealFlux | None = None, sshd: RealSshd | None = None) -> None:
        self.name, self.scheduler, self.sshd = name, scheduler, sshd

    @classmethod
    def start(cls, request: pytest.FixtureRequest) -> Site:
        """The cluster that a test is parametrised for; left out, or failed, where it cannot be had."""
        name = request.param
        if name == "local":
            return cls(name)
        if name == "flux":
            return cls(name, request.getfixturevalue("real_flux"))
        temper, _, way = name.partition("-")
        slurm: RealSlurm = request.getfixturevalue("harsh_slurm" if temper == "harsh" else "real_slurm")
        sshd_name = "harsh_sshd" if temper == "harsh" else "slurm_sshd"
        return cls(name, slurm, request.getfixturevalue(sshd_name) if way else None)

    @property
    def slurm(self) -> RealSlurm:
        """Its Slurm."""
        assert isinstance(self.scheduler, RealSlurm)
        return self.scheduler

    @property
    def kind(self) -> str:
        """What the configuration calls it."""
        return "local" if self.scheduler is None else "flux" if isinstance(self.scheduler, RealFlux) else "slurm"

    @property
    def is_harsh(self) -> bool:
        """It forgets, keeps no accounts, and takes what can never run."""
        return self.name.startswith("harsh")

    def base(self, home: Path) -> Path:
        """A directory of its own for a test, where the account that runs jobs may write; compute nodes see it."""
        return home if self.sshd is None else Account(self.sshd.user).home / home.name

    def table(self, home: Path) -> dict[str, Any]:
        """`[clusters.NAME]` for a test."""
        if self.scheduler is None:
            return {"kind": "local", "cores": 8, "memory": "4GB"}
        base = self.base(home)
        table: dict[str, Any] = {"kind": self.kind, "spool": f"{base}/spool", **_FAST}
        if self.sshd is None:
            return table
        return table | {
            "host": self.sshd.host,
            "port": self.sshd.port,
            "user": self.sshd.user,
            "identity": str(self.sshd.client_key),
            "known_hosts": str(self.sshd.known_hosts),
            "work_dir": f"{base}/work",
        }


class Backend:
    """A daemon before a cluster."""

    def __init__(self, site: Site, daemon: Penstockd, home: Path) -> None:
        self.site, self.daemon, self.home = site, daemon, home
        self.gates: list[Gate] = []
        self.cluster = "local" if site.kind == "local" else NAME
        home.chmod(0o755)
        self.out = home / "out"
        self.out.mkdir()
        self.out.chmod(0o777)
        if site.scheduler is not None and site.sshd is None:
            daemon.environment |= site.scheduler.environment
        daemon.environment["PENSTOCK_TEST_TOKEN"] = daemon.environment["TEST_TOKEN"] = "secret"

    @classmethod
    @contextlib.contextmanager
    def ready(cls, site: Site, daemon: Penstockd, home: Path, program: Path) -> Iterator[Backend]:
        """A backend that is up, with a stand-in for a program where its jobs find it; no job may be left there."""
        backend = cls(site, daemon, home)
        shutil.copy(program, home)
        backend.start()
        yield backend
        left = backend.close()
        if left:
            pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)

    def start(self, **changes: Any) -> None:
        """Configure and start the daemon, and wait until the cluster is there."""
        self.configure(**changes)
        self.daemon.start()
        self.wait_up()

    def configure(self, **changes: Any) -> None:
        """Write its configuration."""
        table = toml(self.site.table(self.home) | changes)
        self.daemon.config.write_text(f"[clusters.{self.cluster}]\n{table}", encoding="utf-8")

    def wait_up(self) -> None:
        """Wait until the cluster is connected, so that its limits are known."""

        def is_up() -> bool:
            found = {info.name: info for info in self.daemon.client.clusters().clusters}
            return found[self.cluster].state == "up"

        eventually(is_up, f"cluster {self.site.name} is up")

    def gate(self) -> Gate:
        """A gate that jobs of any account find."""
        gate = Gate(self.home / f"gate{len(self.gates)}")
        for path in gate.paths:
            path.chmod(0o666)
        self.gates.append(gate)
        return gate

    def close(self) -> list[str]:
        """Open the gates, stop the daemon; the jobs that were left at the scheduler."""
        for gate in self.gates:
            gate.close()
        self.daemon.end()
        left = self.site.scheduler.mend() if self.site.scheduler is not None else []
        if self.site.sshd is not None:
            self.site.sshd.run("rm", "-rf", shlex.quote(str(self.site.base(self.home))))
        return left

    def submit(self, id: str, script: str, *arguments: object, jobs: int = 1, **settings: Any) -> Path:
        """Submit a campaign to the cluster; see `Penstockd.submit_command`."""
        return self.daemon.submit_command(id, script, *arguments, jobs=jobs, cluster=self.cluster, **settings)

    def seen_directory(self, directory: Path) -> str:
        """A workflow's directory as its jobs see it."""
        return str(directory) if self.site.sshd is None else f"{self.site.base(self.home)}/work/{directory.name}"

    def witnesses(self, name: str) -> Path:
        """A file that jobs of any account may write to."""
        path = self.out / name
        path.touch()
        path.chmod(0o666)
        return path

    @property
    def held(self) -> dict[str, Any]:
        """Settings by which the scheduler holds a job back."""
        return {"scheduler": {"directives": [_HOLD[self.site.kind]]}}

    def python(self) -> str | None:
        """A Python with Penstock and ASE that jobs may use, if there is one: an account may not see our own."""
        mine, path = sysconfig.get_python_version(), self.home / "python"
        folders = [str(Path(penstock.__file__).parents[1]), sysconfig.get_paths()["purelib"]]
        for program in filter(None, [sys.executable, shutil.which(f"python{mine}", path=SYSTEM_PATH)]):
            exports = f"PYTHONPATH={shlex.quote(os.pathsep.join(folders))}"
            path.write_text(f'#!/bin/sh\n{exports} exec {shlex.quote(program)} "$@"\n', encoding="utf-8")
            path.chmod(0o755)
            if self._runs(f"{path} -c 'import penstock, ase'"):
                return str(path)
        return None

    def _runs(self, line: str) -> bool:
        """Whether a command line succeeds for the account of the jobs."""
        if self.site.sshd is None:
            return subprocess.run(["env", "-i", "sh", "-c", line], check=False, capture_output=True).returncode == 0
        try:
            self.site.sshd.run(line)
        except ServiceError:
            return False
        return True

    def findings(self) -> Mapping[str, bool]:
        """What `penstockctl cluster check` says of each thing."""
        done = self.daemon.ctl("cluster", "check", self.cluster, "--json")
        assert done.stdout, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {f"{line['what']}: {line.get('detail', '')}": line["ok"] for line in lines}
