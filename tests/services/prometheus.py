"""A real Prometheus on this machine: loopback only, with a directory and a port of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .daemons import SYSTEM_PATH, Home, ServiceError, free_ports, not_installed, programs_missing

_PROGRAMS = {"prometheus": "prometheus", "promtool": "prometheus"}


class RealPrometheus:
    """A Prometheus with a given configuration, whose HTTP interface answers at `url`. `promtool` needs none running."""

    host = "127.0.0.1"

    def __init__(self, configuration: str) -> None:
        """`configuration` is the text of a prometheus.yml; files that it names must be named absolutely."""
        self._configuration = configuration

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        return programs_missing(_PROGRAMS)

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, or None."""
        packages = cls.packages_missing()
        return not_installed(packages) if packages else None

    @staticmethod
    def promtool(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run promtool to its end."""
        argv = [_program("promtool"), *map(str, arguments)]
        return subprocess.run(argv, input=stdin, cwd=cwd, capture_output=True, text=True, check=False)

    # ---- life ----

    def start(self) -> None:
        """Start it and wait until it is ready. ServiceError with its log if that fails."""
        self.home = Home()
        try:
            [self.port] = free_ports(1)
            settings = {
                "config.file": self.home.file("prometheus.yml", self._configuration),
                "storage.tsdb.path": self.home.directory("data"),
                "web.listen-address": f"{self.host}:{self.port}",
            }
            flags = [f"--{name}={value}" for name, value in settings.items()]
            self.home.launch("prometheus", [_program("prometheus"), *flags])
            self.home.wait_for(self._is_ready, "Prometheus is ready")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and remove all of it."""
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
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{self.host}:{self.port}"

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The vector that an expression has now, or at a time. ServiceError says what is wrong with it."""
        found = self.get("query", {"query": expression} | ({} if at is None else {"time": str(at)}))
        if found["resultType"] != "vector":
            raise ServiceError(f"{expression}: a {found['resultType']}, no vector")
        vector: list[dict[str, Any]] = found["result"]
        return vector

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """`data` of what the HTTP interface answers for /api/v1/`path`."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters or {})}"
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ServiceError(f"{path} {parameters}: {error.read().decode(errors='replace')}") from None

    # ---- inside ----

    def _is_ready(self) -> bool:
        if self.home.pid("prometheus") is None:
            raise ServiceError(f"Prometheus has ended\n{self.home.logged()}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH]))
    assert found is not None
    return found
