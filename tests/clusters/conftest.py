"""Shells that tests of this layer share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.services.sshd import RealSshd

from penstock.clusters.ssh_shell import SshShell

from .ssh_hosts import shell_on, target_of


@pytest.fixture
async def ssh_shell(real_sshd: RealSshd) -> AsyncIterator[SshShell]:
    """A shell on the real server."""
    async with shell_on(target_of(real_sshd)) as shell:
        yield shell
