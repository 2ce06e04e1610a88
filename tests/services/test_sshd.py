"""The real OpenSSH server is what tests of SSH take it for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .account import Account
from .daemons import listens
from .sshd import RealSshd


def test_runs_a_command_for_each_account(real_sshd: RealSshd) -> None:
    assert {user: real_sshd.run("id", "-un", user=user).strip() for user in real_sshd.users} == {
        user: user for user in real_sshd.users
    }


def test_only_the_key_opens_it(real_sshd: RealSshd) -> None:
    settings = real_sshd.config.read_text().replace(str(real_sshd.client_key), str(real_sshd.home.path / "host_key"))
    config = real_sshd.home.file("other_config", settings)
    refused = subprocess.run(["ssh", "-F", config, "127.0.0.1"], capture_output=True, text=True, check=False)
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


@contextmanager
def session(sshd: RealSshd) -> Iterator[subprocess.Popen[str]]:
    """A client whose remote command runs, and ends with the connection."""
    pipe = subprocess.PIPE
    argv = sshd.argv("echo started; exec cat")
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "started\n"
        yield client


def test_a_new_server_keeps_the_port_and_the_sessions(real_sshd: RealSshd) -> None:
    before = real_sshd.pid
    with session(real_sshd) as client:
        real_sshd.restart()
        assert real_sshd.pid != before
        assert real_sshd.run("echo", "there") == "there\n"
        assert client.poll() is None
        assert real_sshd.kill_sessions() > 0
        assert client.wait() == 255


def test_killed_sessions_break_their_clients(real_sshd: RealSshd) -> None:
    with session(real_sshd) as client:
        assert real_sshd.kill_sessions() > 0
        assert client.wait() == 255
    assert real_sshd.run("true") == ""


def test_its_environment_reaches_the_session_and_nothing_stays(real_sshd: RealSshd) -> None:
    with RealSshd(environment={"GREETING": "good day"}) as sshd:
        assert sshd.run("echo", "$GREETING") == "good day\n"
        assert sshd.port != real_sshd.port
        port, path, user = sshd.port, sshd.home.path, sshd.user
    assert not listens(port)
    assert not path.exists()
    if os.geteuid() == 0:
        with pytest.raises(KeyError):
            Account(user)


def test_what_a_command_leaves_behind_is_known_as_the_tests(real_sshd: RealSshd) -> None:
    marks = {"PENSTOCK_TEST_SESSION": os.environ["PENSTOCK_TEST_SESSION"], **real_sshd.home.mark}
    shown = real_sshd.run("env").splitlines()
    assert {f"{name}={value}" for name, value in marks.items()} <= set(shown)
