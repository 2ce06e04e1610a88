"""A real terminal: one program in a tmux of its own, its keys and its screen."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .daemons import SYSTEM_PATH, ServiceError, not_installed, programs_missing

_END_S = 30.0
_KEEPS_CODE = '"$@"; echo $? > "$0.new"; mv "$0.new" "$0"'
"""tmux knows the code too, but not always: it may miss that its child has ended."""


class RealTmux:
    """`open` runs a program on a terminal of some size, `keys` presses, `screen` is what stands there."""

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        return programs_missing({"tmux": "tmux"})

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, or None."""
        packages = cls.packages_missing()
        return not_installed(packages) if packages else None

    def __enter__(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="ps-tmux-"))
        self._is_open = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        shutil.rmtree(self.home)

    # ---- for its users ----

    def open(self, argv: Sequence[str], environment: Mapping[str, str], *, width: int = 80, height: int = 24) -> None:
        """Run a program there; when it has ended, its screen stays."""
        size = ["-x", str(width), "-y", str(height)]
        (self.home / "tmux.conf").write_text("set -g remain-on-exit on\nset -g default-terminal screen\n")
        kept = ["sh", "-c", _KEEPS_CODE, str(self.home / "code"), *argv]
        self._run("new-session", "-d", *size, "--", *kept, environment=environment)
        self._is_open = True

    def keys(self, *keys: str) -> None:
        """Press keys, each named as tmux does: `Enter`, `Down`, `x`."""
        self._run("send-keys", *keys)

    def screen(self) -> str:
        """What stands on the terminal, without the blanks at the ends of lines."""
        return self._run("capture-pane", "-p")

    def resize(self, width: int, height: int) -> None:
        """Make the terminal another size."""
        self._run("resize-window", "-x", str(width), "-y", str(height))

    def exit_code(self) -> int | None:
        """The program's exit code; None while it runs."""
        code = self.home / "code"
        return int(code.read_text()) if code.exists() else None

    def close(self) -> None:
        """End the program and the terminal."""
        if not self._is_open:
            return
        server = os.pidfd_open(int(self._run("display-message", "-p", "#{pid}")))
        try:
            self._run("kill-server")
            if not select.select([server], [], [], _END_S)[0]:
                raise ServiceError("tmux does not end")
        finally:
            os.close(server)
        self._is_open = False

    # ---- inside ----

    def _run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        variables = {**(environment or os.environ), "PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{SYSTEM_PATH}"}
        variables = {**variables, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        argv = ["tmux", "-f", str(self.home / "tmux.conf"), "-S", str(self.home / "socket"), *arguments]
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, timeout=_END_S)
        if done.returncode:
            raise ServiceError(f"tmux {' '.join(arguments)} failed ({done.returncode}): {done.stderr}")
        return done.stdout
