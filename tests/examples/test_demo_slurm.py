"""The demo through Slurm writes a configuration that the daemon takes."""

from __future__ import annotations

import sys
from pathlib import Path

from examples.demo_slurm import render_config
from tests.services.sshd import RealSshd

from penstock.daemon.cluster_tables import SlurmTable
from penstock.daemon.config import parse_config


def test_the_cluster_is_the_server_that_was_started(tmp_path: Path, real_sshd: RealSshd) -> None:
    table = parse_config(render_config(tmp_path, real_sshd), "config.toml").clusters["slurm"]
    assert isinstance(table, SlurmTable)
    assert (table.host, table.port) == (real_sshd.host, real_sshd.port)
    assert (table.user in real_sshd.users, table.identity) == (True, str(real_sshd.client_key))
    assert table.known_hosts == str(real_sshd.known_hosts)
    assert (table.work_dir, table.python) == (f"{tmp_path}/penstock/work", sys.executable)
