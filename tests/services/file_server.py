"""A file server that can be made to hang: a directory seen through FUSE, whose server is stopped and let go on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .daemons import SYSTEM_PATH, Home, kill, not_installed, programs_missing

_PROGRAMS: Final = {"bindfs": "bindfs", "fusermount3": "fuse3"}
_DEVICE: Final = Path("/dev/fuse")


class RealFileServer:
    """What is in `mount` is kept by a server: between `freeze` and `thaw` whoever asks for anything there waits."""

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        return programs_missing(_PROGRAMS)

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, or None."""
        packages = cls.packages_missing()
        return not_installed(packages) if packages else cls.forbidden()

    @staticmethod
    def forbidden() -> str | None:
        """Why nothing can be mounted here, whatever is installed."""
        return None if os.access(_DEVICE, os.R_OK | os.W_OK) else f"{_DEVICE} is not there, or not for this user"

    def __enter__(self) -> Self:
        self.home = Home()
        try:
            self._kept = self.home.directory("kept")
            self.mount = self._serve("bindfs", self._kept, self.home.directory("mount"))
        except BaseException:
            self.home.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.thaw()
        self.home.end()

    def mount_relay(self) -> Path:
        """A second mount of it, by a server that goes on: what it was asked it has taken up, and asks the first.

        So whoever waits there cannot even be killed, as on a bad day of a real one.
        """
        return self._serve("relay", self.mount, self.home.directory("relay"))

    def _serve(self, name: str, kept: Path, mount: Path) -> Path:
        program = shutil.which("bindfs", path=SYSTEM_PATH)
        assert program is not None
        # Nothing is remembered of what the server has said, so that a question is one.
        forgetful = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
        self.home.launch(name, [program, "-f", "-o", forgetful, str(kept), str(mount)])
        self.home.wait_for(mount.is_mount, f"{mount} is mounted")
        return mount

    def freeze(self) -> None:
        """From now on it does not answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on with all that it was asked."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        pid = self.home.pid("bindfs")
        assert pid is not None, "the server has ended"
        kill(pid, number)
