"""A real OpenSSH server on this machine: loopback only, keys only, host key and configuration of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .account import Account
from .daemons import (
    SYSTEM_PATH,
    Home,
    ServiceError,
    descendants,
    free_ports,
    kill,
    listens,
    name_of,
    not_installed,
    programs_missing,
)

_PROGRAMS = {"sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
_PRIVILEGE_SEPARATION = Path("/run/sshd")


class RealSshd:
    """`host`, `port`, `user`, `client_key`, `known_hosts` are all a client needs; `config` says them for `ssh -F`.

    As root it lets in root and an account made for it (`user`); as anybody else that very account alone.
    `environment` is what its sessions see beyond what sshd gives them. An address that is refused can be had by stop().
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        max_sessions: int = 10,
        allow_tcp_forwarding: bool = False,
    ) -> None:
        self.max_sessions = max_sessions
        self.allow_tcp_forwarding = allow_tcp_forwarding
        self._session_environment = {"PATH": SYSTEM_PATH, **(environment or {}), **_mark_of_tests()}

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        return programs_missing(_PROGRAMS)

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, or None."""
        packages = cls.packages_missing()
        return not_installed(packages) if packages else None

    # ---- life ----

    def start(self) -> None:
        """Make keys, accounts and configuration, and start it."""
        self.home = Home()
        self._older_sessions: list[int] = []  # of servers before this one
        try:
            self._configure()
            self._listen()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with all its sessions, and remove all of it, its account too."""
        self.kill_sessions()
        self.home.end()

    def restart(self) -> None:
        """A new server process at the same port; sessions go on, as they do on real hosts."""
        self._older_sessions = self.sessions()
        self.home.signal(["sshd"])
        self._listen()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- for its users ----

    @property
    def pid(self) -> int:
        """The process that listens."""
        pid = self.home.pid("sshd")
        assert pid is not None
        return pid

    def argv(self, *command: str, user: str | None = None) -> list[str]:
        """OpenSSH's own client, running a remote command line, as `user` if not the ordinary one."""
        return ["ssh", "-F", str(self.config), *(["-l", user] if user else []), self.host, *command]

    def run(self, *command: str, user: str | None = None) -> str:
        """Run a remote command line to its end; what it printed. ServiceError if it fails."""
        done = subprocess.run(self.argv(*command, user=user), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(command)} failed ({done.returncode}): {done.stderr}{self.home.logged()}")
        return done.stdout

    # ---- trouble ----

    def sessions(self) -> list[int]:
        """The server's processes for connections that are open, not what runs in them."""
        listener = self.home.pid("sshd")
        pids = [*self._older_sessions, *(descendants(listener) if listener is not None else [])]
        return [pid for pid in pids if name_of(pid).startswith("sshd")]

    def kill_sessions(self) -> int:
        """Cut every connection, as a network does; how many server processes that took."""
        pids = self.sessions()
        for pid in pids:
            kill(pid)
        return len(pids)

    def freeze(self) -> None:
        """Let connections be made but nobody answer, until `thaw`."""
        for pid in [self.pid, *self.sessions()]:
            kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        for pid in [self.pid, *self.sessions()]:
            kill(pid, signal.SIGCONT)

    # ---- inside ----

    def _configure(self) -> None:
        home = self.home
        (self.port,) = free_ports(1)
        this_account = pwd.getpwuid(os.geteuid()).pw_name
        root = os.geteuid() == 0
        self.user = Account.create(home.path).name if root else this_account
        self.users = [self.user, this_account] if root else [this_account]
        host_key, self.client_key = home.path / "host_key", home.path / "client_key"
        for key in (host_key, self.client_key):
            home.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key])
        home.file("authorized_keys", _public(self.client_key))
        self.known_hosts = home.file("known_hosts", f"[{self.host}]:{self.port} {_public(host_key)}")
        self.config = home.file("ssh_config", self._client_settings())
        home.file("sshd_config", self._server_settings(host_key))
        if root:
            # sshd was built with this path. It stays: it is empty, and other servers may use it by now
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)

    def _server_settings(self, host_key: Path) -> str:
        path = self.home.path
        environment = " ".join(
            f'"{name}={value}"' for name, value in {**self._session_environment, **self.home.mark}.items()
        )
        lines = [
            f"ListenAddress {self.host}",
            f"Port {self.port}",
            f"HostKey {host_key}",
            f"PidFile {self.home.pid_file('sshd')}",
            f"AuthorizedKeysFile {path}/authorized_keys",
            "StrictModes no",  # a folder below /tmp has a parent that everybody may write to
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            f"AllowUsers {' '.join(self.users)}",
            "UsePAM no",
            "UseDNS no",
            "X11Forwarding no",
            f"AllowTcpForwarding {'yes' if self.allow_tcp_forwarding else 'no'}",
            f"MaxSessions {self.max_sessions}",
            "MaxStartups 100",
            f"SetEnv {environment}",
            "Subsystem sftp internal-sftp",
            "LogLevel VERBOSE",
        ]
        return "\n".join(lines) + "\n"

    def _client_settings(self) -> str:
        lines = [
            f"Port {self.port}",
            f"User {self.user}",
            f"IdentityFile {self.client_key}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile none",
            "StrictHostKeyChecking yes",
            "BatchMode yes",
        ]
        return "\n".join(lines) + "\n"

    def _listen(self) -> None:
        sshd = shutil.which("sshd", path=SYSTEM_PATH)
        assert sshd is not None  # and absolute, as it insists on
        self.home.run([sshd, "-f", self.home.path / "sshd_config", "-E", self.home.path / "log" / "sshd.log"])
        self.home.wait_for(lambda: self.home.pid("sshd") and listens(self.port), "sshd listens")


def _mark_of_tests() -> dict[str, str]:
    """What a command leaves behind counts as the test's that ran it, as it would without SSH."""
    return {name: value for name, value in os.environ.items() if name == "PENSTOCK_TEST_SESSION"}


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text(encoding="utf-8")
