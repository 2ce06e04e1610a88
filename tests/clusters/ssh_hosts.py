"""How tests reach a real SSH server, and servers that are odd in one way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.services.sshd import RealSshd

from penstock.actors.clock import SystemClock
from penstock.clusters.ssh_dial import SshTarget
from penstock.clusters.ssh_link import Timing
from penstock.clusters.ssh_shell import SshShell


class OddSshd(RealSshd):
    """A server with more settings than usual."""

    def __init__(self, *settings: str, **options: Any) -> None:
        super().__init__(**options)
        self._more = settings

    def _server_settings(self, host_key: Path) -> str:
        return super()._server_settings(host_key) + "".join(f"{line}\n" for line in self._more)


def target_of(sshd: RealSshd, **changes: Any) -> SshTarget:
    """The way to the account of this very process, so that both sides see the same files."""
    target = SshTarget(
        sshd.host,
        port=sshd.port,
        user=sshd.users[-1],
        identity_files=(str(sshd.client_key),),
        known_hosts=str(sshd.known_hosts),
        ssh_config="/dev/null",
        agent=False,
    )
    return msgspec.structs.replace(target, **changes)


@asynccontextmanager
async def shell_on(target: SshTarget, clock: Timing | None = None, jitter: float = 1.0) -> AsyncIterator[SshShell]:
    """A shell, closed at the end; of each pause all is waited unless `jitter` says less."""
    shell = SshShell(target, clock or SystemClock(), lambda: jitter)
    try:
        yield shell
    finally:
        await shell.close()
