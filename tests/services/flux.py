"""A real Flux on this machine: one broker, unix sockets only, pretended cores."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .daemons import SYSTEM_PATH, Home, ServiceError


class RealFlux:
    """A Flux instance, where `flux` is on PATH or PENSTOCK_FLUX names it."""

    def __init__(self, *, cores: int = 256) -> None:
        self.cores = cores

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be run here, or None."""
        if _program() is None:
            return "flux is not on PATH, nor named by PENSTOCK_FLUX; Debian has no package of it"
        return None

    # ---- life ----

    def start(self) -> None:
        """Start it and wait until it has its resources."""
        self.program = Path(_program() or "flux")
        self.home = Home()
        self.home.environment["PATH"] = f"{self.program.parent}{os.pathsep}{SYSTEM_PATH}"
        try:
            self._start_broker()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with its jobs, and remove all of it."""
        self.home.signal(["flux-broker"])
        self.home.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- for its users ----

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs so that `flux` is found and talks to this one."""
        return {"FLUX_URI": self._uri, "PATH": f"{self.program.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(self, argv: Sequence[str | Path], *, stdin: str = "") -> str:
        """Run a program that talks to this Flux; what it printed. ServiceError if it fails."""
        environment = os.environ | self.environment
        done = subprocess.run(argv, input=stdin, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(map(str, argv))} failed ({done.returncode}): {done.stderr or done.stdout}")
        return done.stdout

    def jobs(self) -> set[str]:
        """The decimal ids of the jobs that have not ended."""
        return set(self.run(["flux", "jobs", "-A", "--count=0", "--no-header", "--format={id.dec}"]).split())

    def mend(self, keep: Collection[str] = ()) -> list[str]:
        """Undo what a test did: no job is left but those to `keep`. The ids of those that were are returned."""
        left = self.jobs() - set(keep)
        if left:
            self.run(["flux", "cancel", *left])
        self.home.wait_for(lambda: self.jobs() <= set(keep), "the queue is empty")
        return sorted(left)

    # ---- inside ----

    @property
    def _uri(self) -> str:
        return f"local://{self.home.path}/local"

    def _start_broker(self) -> None:
        home = self.home
        state, sockets = home.directory("state", mode=0o700), home.directory("sockets", mode=0o700)
        settings = [
            "[resource]",
            "noverify = true",
            "[[resource.config]]",
            f'hosts = "{socket.gethostname()}"',
            f'cores = "0-{self.cores - 1}"',
            "[job-manager]",
            "inactive-num-limit = 100000",
        ]
        conf = home.file("flux.toml", "\n".join(settings) + "\n")
        attributes = {
            "local-uri": self._uri,
            "statedir": state,
            "rundir": sockets,
            "broker.rc2_none": 1,
            "log-filename": home.path / "log" / "broker.log",
        }
        sets = [f"-S{name}={value}" for name, value in attributes.items()]
        home.launch("flux-broker", [self.program, "start", "-c", conf, *sets])
        home.environment["FLUX_URI"] = self._uri
        home.wait_for(self._has_cores, "Flux has its resources")

    def _has_cores(self) -> bool:
        try:
            shown = self.home.run(["flux", "resource", "list", "--states=free", "--no-header", "--format={ncores}"])
        except ServiceError:  # its socket, its scheduler: they come one by one
            return False
        return shown.strip() == str(self.cores)


def _program() -> str | None:
    named = os.environ.get("PENSTOCK_FLUX")
    return shutil.which(named or "flux")
