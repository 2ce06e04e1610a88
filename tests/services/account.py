"""A login of its own for a run of the suite, on machines where it may make one."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

_NAME = "penstock-test-"
_NO_SUCH_USER = 6


class Account:
    """An ordinary user with a home directory below the service's own and no password."""

    def __init__(self, name: str) -> None:
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.home = name, entry.pw_uid, Path(entry.pw_dir)

    @classmethod
    def create(cls, below: Path) -> Self:
        """A new one. The name is random: runs at the same time must not remove each other's. Needs root."""
        name = f"{_NAME}{secrets.token_hex(3)}"
        home = below / "home" / name
        home.mkdir(parents=True)  # before the account, so that remove_all knows of it whatever happens
        shell = shutil.which("bash") or "/bin/sh"
        # "*": no password fits, but unlike useradd's "!" it does not lock the account for sshd without PAM
        options = ["--no-create-home", "--no-log-init", "--home-dir", str(home), "--shell", shell, "--password", "*"]
        subprocess.run(["useradd", *options, name], check=True, capture_output=True)
        shutil.chown(home, name)
        home.chmod(0o700)
        return cls(name)

    @staticmethod
    def remove_all(below: Path) -> None:
        """Remove the accounts that were created `below` a directory, and end what still runs for them."""
        for home in (below / "home").glob(f"{_NAME}*"):
            with contextlib.suppress(KeyError):
                account = Account(home.name)
                if account.home == home:
                    account._remove()

    def _remove(self) -> None:
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and folder.stat().st_uid == self.uid:
                    os.kill(int(folder.name), signal.SIGKILL)
        # --force: those that were killed a moment ago may still be on their way out
        done = subprocess.run(["userdel", "--force", self.name], check=False, capture_output=True, text=True)
        if done.returncode not in {0, _NO_SUCH_USER}:  # another run may sweep at the same time
            raise RuntimeError(f"userdel {self.name} failed: {done.stderr}")
