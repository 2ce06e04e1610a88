"""One connection, shared, lost and found again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from tests.services.sshd import RealSshd

from penstock.clusters.ssh_shell import SshShell
from penstock.domain.errors import ClusterError
from penstock.testing.virtual_clock import VirtualClock

from .ssh_hosts import OddSshd, shell_on, target_of


@pytest.fixture(scope="module")
def forwarding_sshd(real_sshd: RealSshd) -> Iterator[RealSshd]:
    with RealSshd(allow_tcp_forwarding=True) as sshd:
        yield sshd


async def hello(shell: SshShell) -> None:
    assert (await shell.run(["echo", "hello"], timeout_s=20.0)).stdout == b"hello\n"


async def refusal(shell: SshShell) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await hello(shell)
    return caught.value


async def test_one_connection_serves_all(ssh_shell: SshShell, real_sshd: RealSshd) -> None:
    assert (ssh_shell.state.name, ssh_shell.connects) == ("down", 0)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(hello, ssh_shell)
    assert (ssh_shell.state.name, ssh_shell.connects, ssh_shell.sessions_in_use) == ("up", 1, 0)
    await ssh_shell.close()
    assert (await refusal(ssh_shell)).transient is False
    assert ssh_shell.state.reason == "closed"


async def test_a_server_that_grants_few_sessions_is_enough(real_sshd: RealSshd) -> None:
    with OddSshd(max_sessions=2) as sshd:
        async with shell_on(target_of(sshd)) as shell:
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(hello, shell)
            assert shell.connects == 1


async def test_a_server_that_grants_no_session(real_sshd: RealSshd) -> None:
    with OddSshd(max_sessions=0) as sshd:
        async with shell_on(target_of(sshd)) as shell:
            error = await refusal(shell)
            assert error.transient
            assert "grants no further session" in str(error)


async def test_down_and_up_again(real_sshd: RealSshd) -> None:
    clock = VirtualClock()
    with RealSshd() as sshd:
        async with shell_on(target_of(sshd), clock) as shell:
            await hello(shell)
            sshd.home.signal(["sshd"])
            assert "cannot be connected to" in str(await first_failure_after_cut(shell))
            down = shell.state
            assert (down.name, down.since_s) == ("down", clock.time())
            for pause_s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
                await clock.advance(pause_s - 0.01)
                waiting = await refusal(shell)
                assert waiting.transient
                assert "no connection to 127.0.0.1 since 20" in str(waiting)
                assert "next attempt after 20" in str(waiting)
                await clock.advance(0.02)
                assert "no connection" not in str(await refusal(shell))
                assert shell.state.since_s == down.since_s
            sshd._listen()
            await clock.advance(60.0)
            await hello(shell)
            assert (shell.state.name, shell.connects) == ("up", 2)


async def first_failure_after_cut(shell: SshShell) -> ClusterError:
    """Cuts the connection from the server's side; what the next attempt to connect says."""
    with pytest.raises(ClusterError, match="connection was lost"):
        await shell.run(["sh", "-c", 'kill -KILL "$(ps -o ppid= -p $$)"; sleep 20'], timeout_s=20.0)
    return await refusal(shell)


async def test_a_cancelled_dial_leaves_nothing(real_sshd: RealSshd) -> None:
    async with shell_on(target_of(real_sshd)) as shell:
        real_sshd.freeze()
        try:
            with anyio.move_on_after(0.2):
                await hello(shell)
        finally:
            real_sshd.thaw()
        assert shell.state.name == "down"
        await hello(shell)


async def test_a_server_that_does_not_answer(real_sshd: RealSshd) -> None:
    async with shell_on(target_of(real_sshd, connect_timeout_s=0.2)) as shell:
        real_sshd.freeze()
        try:
            error = await refusal(shell)
        finally:
            real_sshd.thaw()
        assert error.transient
        assert "did not answer within 0.2 s" in str(error)


async def test_an_unknown_host_key(real_sshd: RealSshd, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("")
    async with shell_on(target_of(real_sshd, known_hosts=str(known_hosts))) as shell:
        error = await refusal(shell)
    assert not error.transient
    assert f"ssh -F /dev/null -p {real_sshd.port}" in str(error)
    line = str(error).rpartition(f"add this line to {known_hosts}: ")[2]
    known_hosts.write_text(f"{line}\n")
    async with shell_on(target_of(real_sshd, known_hosts=str(known_hosts))) as shell:
        await hello(shell)


async def test_a_changed_host_key(real_sshd: RealSshd, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    other = real_sshd.client_key.with_suffix(".pub").read_text()
    known_hosts.write_text(f"[127.0.0.1]:{real_sshd.port} {other}")
    async with shell_on(target_of(real_sshd, known_hosts=str(known_hosts))) as shell:
        error = await refusal(shell)
    assert not error.transient
    assert "has CHANGED" in str(error)
    assert f"ssh-keygen -f {known_hosts} -R '[127.0.0.1]:{real_sshd.port}'" in str(error)


async def test_no_configuration_switches_the_host_key_off(real_sshd: RealSshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("UserKnownHostsFile none\nStrictHostKeyChecking no\n")
    async with shell_on(target_of(real_sshd, known_hosts=None, ssh_config=str(config))) as shell:
        assert "is not known" in str(await refusal(shell))


async def test_a_wrong_key(real_sshd: RealSshd, tmp_path: Path) -> None:
    make_key(tmp_path / "key", "")
    async with shell_on(target_of(real_sshd, identity_files=(str(tmp_path / "key"),))) as shell:
        error = await refusal(shell)
    assert not error.transient
    assert "accepts no key it was offered" in str(error)


async def test_a_key_with_a_passphrase_belongs_to_the_agent(
    real_sshd: RealSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(tmp_path / "key", "correct horse")
    async with shell_on(target_of(real_sshd, identity_files=(str(tmp_path / "key"),))) as shell:
        error = await refusal(shell)
    assert not error.transient
    assert "ssh-add" in str(error)
    with agent_with(real_sshd.client_key, tmp_path / "agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        async with shell_on(target_of(real_sshd, identity_files=(), agent=True)) as shell:
            await hello(shell)


def make_key(path: Path, passphrase: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)


@contextmanager
def agent_with(key: Path, socket: Path) -> Iterator[None]:
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        subprocess.run(["ssh-add", "-q", key], check=True, env={**os.environ, "SSH_AUTH_SOCK": str(socket)})
        yield
        agent.terminate()


def config_of(sshd: RealSshd, path: Path, *more: str) -> str:
    lines = ["Host front", "HostName 127.0.0.1", f"Port {sshd.port}", f"User {sshd.users[-1]}"]
    lines += [f"IdentityFile {sshd.client_key}", f"UserKnownHostsFile {sshd.known_hosts}", *more]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


async def test_an_alias_of_the_configuration(real_sshd: RealSshd, tmp_path: Path) -> None:
    bare = {"host": "front", "port": None, "user": None, "identity_files": (), "known_hosts": None}
    config = config_of(real_sshd, tmp_path / "config")
    async with shell_on(target_of(real_sshd, **bare, ssh_config=config)) as shell:
        await hello(shell)


@pytest.mark.parametrize("way", ["given", "configured", "command"])
async def test_through_another_host(forwarding_sshd: RealSshd, tmp_path: Path, way: str) -> None:
    sshd = forwarding_sshd
    more = (
        "Host inner",
        "HostName 127.0.0.1",
        f"Port {sshd.port}",
        *(["ProxyJump front"] if way == "configured" else []),
    )
    changes = {
        "given": {"proxy_jump": "front"},
        "configured": {},
        "command": {"proxy_command": f"ssh -F {sshd.config} -l {sshd.users[-1]} -W %h:%p 127.0.0.1"},
    }[way]
    config = config_of(sshd, tmp_path / "config", *more)
    async with shell_on(target_of(sshd, host="inner", ssh_config=config, **changes)) as shell:
        await hello(shell)


async def test_a_jump_host_that_forwards_nothing(real_sshd: RealSshd, tmp_path: Path) -> None:
    config = config_of(real_sshd, tmp_path / "config")
    async with shell_on(target_of(real_sshd, proxy_jump="front", ssh_config=config)) as shell:
        assert "cannot be connected to" in str(await refusal(shell))
