"""What only a shell behind SSH can meet: other people's login shells, odd arguments, sessions that are cut."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.services.sshd import RealSshd

from penstock.clusters.shell import Completed
from penstock.clusters.ssh_shell import SshShell
from penstock.domain.errors import ClusterError, NotFoundError

from .spooled import wait_for_end, wait_for_file
from .ssh_hosts import OddSshd, shell_on, target_of

ODD = [
    *(
        "a b",
        "$HOME",
        "`id`",
        "*",
        "",
        "ü\n",
        "'\"!x!!",
        "%d%%s",
        "\\n\\0101\\",
        "-n",
        "~",
        "\t",
        "a\\'b",
        "#;|&<>(){}",
    ),
    os.fsdecode(bytes(range(1, 256))),
]
LOGIN_SHELLS = [shell for shell in ("bash", "dash", "zsh", "fish", "tcsh") if shutil.which(shell)]
NOISE = "printf 'Welcome to the cluster! '; echo 'quota: 99 %' >&2"


@pytest.fixture(scope="module")
def noisy_sshd(real_sshd: RealSshd) -> Iterator[OddSshd]:
    """A host where every login shell prints to both streams, without a line's end, before it does anything.

    Its users' login shell is the one that a session's first word names.
    """
    with OddSshd(f'ForceCommand {NOISE}; exec "$LOGIN" -c "$SSH_ORIGINAL_COMMAND"', "AcceptEnv LOGIN") as sshd:
        yield sshd


@pytest.mark.parametrize("login", LOGIN_SHELLS)
async def test_any_login_shell_will_do_and_may_talk(noisy_sshd: RealSshd, tmp_path: Path, login: str) -> None:
    config = tmp_path / "config"
    config.write_text(f"SetEnv LOGIN={login}\n")
    async with shell_on(target_of(noisy_sshd, ssh_config=str(config))) as shell:
        assert await shell.run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", timeout_s=20.0) == Completed(
            3, b"in", b"err\n"
        )
        printed = (await shell.run(["printf", "%s|", *ODD], timeout_s=20.0)).stdout
        assert printed == os.fsencode("".join(f"{argument}|" for argument in ODD))
        content = {"one": b"\0\xff\n" * 100_000}
        await shell.put(f"{tmp_path}/files", content)
        assert await shell.list(f"{tmp_path}/files") == ["one"]
        await shell.fetch(f"{tmp_path}/files", ["one"], tmp_path / "here")
        assert (tmp_path / "here" / "one").read_bytes() == content["one"]


async def test_a_noisy_start_file_of_bash_does_no_harm(tmp_path: Path, real_sshd: RealSshd) -> None:
    (tmp_path / "rc").write_text(f"{NOISE}\n")
    with OddSshd(
        'ForceCommand exec bash -c "$SSH_ORIGINAL_COMMAND"', environment={"BASH_ENV": f"{tmp_path}/rc"}
    ) as sshd:
        assert sshd.run("true", user=sshd.users[-1]).startswith("Welcome")
        async with shell_on(target_of(sshd)) as shell:
            assert await shell.run(["echo", "x"], timeout_s=20.0) == Completed(0, b"x\n", b"")


async def test_a_login_shell_that_refuses_is_quoted(real_sshd: RealSshd) -> None:
    with OddSshd("ForceCommand echo 'This account is closed.'; exit 1") as sshd:
        async with shell_on(target_of(sshd)) as shell:
            with pytest.raises(ClusterError, match=r"squeue was not started .* exit code 1 .*This account is closed\."):
                await shell.run(["squeue"], timeout_s=20.0)


async def test_arguments_no_program_can_have(ssh_shell: SshShell) -> None:
    with pytest.raises(ValueError, match="holds a NUL character"):
        await ssh_shell.run(["echo", "a\0b"], timeout_s=20.0)
    with pytest.raises(ClusterError, match="too long for one command; send them as input") as caught:
        await ssh_shell.run(["echo", "x" * 200_000], timeout_s=20.0)
    assert not caught.value.transient


async def test_names_that_tar_might_read_as_something_else(ssh_shell: SshShell, tmp_path: Path) -> None:
    names = ["-x", "--checkpoint=1", "a\\nb", "\\101", "*", "d/" * 60 + "deep", "n" * 200, "ü", "\udcff", " "]
    content = {name: os.fsencode(name) for name in names}
    await ssh_shell.put(str(tmp_path / "there"), content)
    await ssh_shell.fetch(str(tmp_path / "there"), names, tmp_path / "here")
    assert {name: (tmp_path / "here" / name).read_bytes() for name in names} == content


async def test_a_second_name_of_a_file_is_a_file(ssh_shell: SshShell, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    await ssh_shell.fetch(str(tmp_path), ["one", "two", "one"], tmp_path / "here")
    assert [(tmp_path / "here" / name).read_bytes() for name in ("one", "two")] == [b"1", b"1"]


async def test_five_megabytes_there_and_back(ssh_shell: SshShell, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    await ssh_shell.put(str(tmp_path / "there"), {"big": data})
    assert await ssh_shell.get(f"{tmp_path}/there/big") == data
    await ssh_shell.fetch(str(tmp_path / "there"), ["big"], tmp_path / "here")
    assert (tmp_path / "here" / "big").read_bytes() == data
    assert await ssh_shell.run(["cat"], stdin=data, timeout_s=60.0) == Completed(0, data, b"")
    assert (await ssh_shell.run(["true"], stdin=data, timeout_s=60.0)).exit_code == 0


async def test_what_cannot_be_written_here_is_told(ssh_shell: SshShell, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "here").touch()
    with pytest.raises(ClusterError, match="here") as caught:
        await ssh_shell.fetch(str(tmp_path), ["one"], tmp_path / "here")
    assert not caught.value.transient
    assert (await ssh_shell.run(["echo", "on"], timeout_s=20.0)).stdout == b"on\n"


@pytest.fixture
async def user_shell(real_sshd: RealSshd) -> AsyncIterator[SshShell]:
    """A shell for an ordinary account: OpenSSH passes signals on for everybody but root."""
    async with shell_on(target_of(real_sshd, user=real_sshd.user)) as shell:
        yield shell


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


async def test_a_timeout_kills_the_remote_process(user_shell: SshShell, open_folder: Path) -> None:
    await user_shell.run(["true"], timeout_s=20.0)  # the connection, which takes longest
    with pytest.raises(ClusterError, match=r"sh did not end within 2 s") as caught:
        await user_shell.run(["sh", "-c", f"echo $$ > {open_folder}/pid; exec sleep 1000"], timeout_s=2.0)
    assert caught.value.transient
    wait_for_end(int(wait_for_file(open_folder / "pid", "\n")))
    assert user_shell.sessions_in_use == 0


async def test_cancellation_ends_session_and_process(user_shell: SshShell, open_folder: Path) -> None:
    ssh_shell, tmp_path = user_shell, open_folder

    async def run() -> None:
        await ssh_shell.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 1000"], timeout_s=1000.0)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        pid = int(await anyio.to_thread.run_sync(wait_for_file, tmp_path / "pid", "\n"))
        assert ssh_shell.sessions_in_use == 1
        group.cancel_scope.cancel()
    wait_for_end(pid)
    assert ssh_shell.sessions_in_use == 0
    assert (await ssh_shell.run(["echo", "on"], timeout_s=20.0)).stdout == b"on\n"
    assert ssh_shell.connects == 1


async def test_a_fetch_can_be_cancelled(ssh_shell: SshShell, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # takes for ever, and no room
    async with anyio.create_task_group() as group:
        group.start_soon(ssh_shell.fetch, str(tmp_path), ["huge"], tmp_path / "here")
        partial = tmp_path / "here" / ".huge.partial"
        while not (partial.exists() and partial.stat().st_size):  # noqa: ASYNC110  a file tells no event
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert list((tmp_path / "here").iterdir()) == []
    assert ssh_shell.sessions_in_use == 0


@pytest.mark.parametrize("operation", ["run", "fetch", "put"])
async def test_a_connection_cut_in_the_middle(
    ssh_shell: SshShell, real_sshd: RealSshd, tmp_path: Path, operation: str
) -> None:
    assert (await ssh_shell.run(["true"], timeout_s=20.0)).exit_code == 0
    caught: list[ClusterError] = []
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)

    async def call() -> None:
        try:
            if operation == "run":
                await ssh_shell.run(
                    ["sh", "-c", f"> {tmp_path}/started; while echo x; do sleep 0.1; done"], timeout_s=1000.0
                )
            elif operation == "fetch":
                await ssh_shell.fetch(str(tmp_path), ["huge"], tmp_path / "here")
            else:
                await ssh_shell.put(
                    str(tmp_path / "there"), {"started": b"1", **dict.fromkeys(map(str, range(99)), zeros)}
                )
        except ClusterError as error:
            caught.append(error)

    zeros = bytes(10_000_000)
    started = {"run": "started", "fetch": "here/.huge.partial", "put": "there/started"}[operation]
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.to_thread.run_sync(wait_for_file, tmp_path / started)
        assert real_sshd.kill_sessions()
    assert [error.transient for error in caught] == [True]
    assert "the connection was lost meanwhile" in str(caught[0])
    assert ssh_shell.state.name == "down"
    assert (await ssh_shell.run(["echo", "on"], timeout_s=20.0)).stdout == b"on\n"
    assert ssh_shell.connects == 2


async def test_what_may_not_be_executed(ssh_shell: SshShell, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for path in (tmp_path, tmp_path / "data"):
        with pytest.raises(ClusterError, match="may not be executed") as caught:
            await ssh_shell.run([str(path)], timeout_s=20.0)
        assert not caught.value.transient
    with pytest.raises(NotFoundError):
        await ssh_shell.run([str(tmp_path / "none")], timeout_s=20.0)
