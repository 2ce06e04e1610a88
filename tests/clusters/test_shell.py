"""One contract for every shell: the local one, the scripted one with its lines, the one behind a real SSH server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from penstock.clusters.shell import Completed, LocalShell, Shell
from penstock.domain.errors import ClusterError, NotFoundError
from penstock.testing.scripted_shell import Expected, ScriptedShell
from penstock.testing.virtual_clock import VirtualClock

from .spooled import wait_for_end, wait_for_file
from .ssh_hosts import shell_on, target_of

ECHO = ("sh", "-c", "cat; echo err >&2; exit 3")
SLEEP = ("sleep", "1000")
ODD = ("printf", "%s|", "a b", "$HOME", "`id`", "*", "", "ü\n")
SCRIPT = [
    Expected(("sh", "-c", "cat*"), Completed(3, b"in", b"err\n"), stdin=b"in"),
    Expected(("printf", "..."), Completed(0, "a b|$HOME|`id`|*||ü\n|".encode(), b"")),
    Expected(SLEEP, latency_s=1000.0),
    Expected(("no-such-program",), NotFoundError("no-such-program does not exist on this host")),
]


@pytest.fixture(params=["local", "scripted", "ssh"])
async def shell(request: pytest.FixtureRequest) -> AsyncIterator[Shell]:
    if request.param == "ssh":
        async with shell_on(target_of(request.getfixturevalue("real_sshd"))) as ssh:
            yield ssh
        return
    shell: Shell = LocalShell() if request.param == "local" else ScriptedShell(SCRIPT)
    yield shell
    await shell.close()


async def test_the_contract_of_running(shell: Shell) -> None:
    assert await shell.run(ECHO, stdin=b"in", timeout_s=10.0) == Completed(3, b"in", b"err\n")
    assert (await shell.run(ODD, timeout_s=10.0)).stdout == "a b|$HOME|`id`|*||ü\n|".encode()
    with pytest.raises(ClusterError, match=r"sleep did not end within 0\.05 s") as caught:
        await shell.run(SLEEP, timeout_s=0.05)
    assert caught.value.transient
    with pytest.raises(NotFoundError, match="no-such-program does not exist on"):
        await shell.run(["no-such-program"], timeout_s=10.0)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_the_contract_of_files(shell: Shell, tmp_path: Path) -> None:
    directory = tmp_path / "there"
    await shell.put(
        f"{directory}/a", {"b/one": b"1", "b/two words": b"\0\xff", ".hidden": b"", "c/d/e": b"deep", "f/": b""}
    )
    await shell.put(f"{directory}/a", {"b/one": b"new"})
    assert await shell.get(f"{directory}/a/b/one") == b"new"
    assert await shell.get(f"{directory}/a/b/two words") == b"\0\xff"
    assert await shell.get(f"{directory}/a/c/d/e") == b"deep"
    assert await shell.list(f"{directory}/a") == [".hidden", "b", "c", "f"]
    assert await shell.list(f"{directory}/a/f") == []
    assert await shell.list(f"{directory}/a/b") == ["one", "two words"]
    for missing in (shell.get(f"{directory}/none"), shell.list(f"{directory}/none")):
        with pytest.raises(NotFoundError, match="none does not exist"):
            await missing
    await shell.fetch(f"{directory}/a", ["b/one", "none", "no/ne", "b", "c/d/e"], tmp_path / "here")
    fetched = {str(path.relative_to(tmp_path / "here")): path for path in files_below(tmp_path / "here")}
    assert {name: path.read_bytes() for name, path in fetched.items()} == {"b/one": b"new", "c/d/e": b"deep"}
    await shell.fetch(f"{directory}/a", [], tmp_path / "here")


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "../x", "a/../x", "a//b", "a//", "/", "./a", "a\0", "a\nb"])
async def test_names_that_might_lead_elsewhere(shell: Shell, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no relative path of a file"):
        await shell.put(str(tmp_path), {"fine": b"", name: b""})
    with pytest.raises(ValueError, match="is no relative path of a file"):
        await shell.fetch(str(tmp_path), ["fine", name], tmp_path / "here")
    assert files_below(tmp_path) == []


@pytest.fixture(params=["local", "ssh"])
async def real_shell(request: pytest.FixtureRequest) -> AsyncIterator[Shell]:
    if request.param == "local":
        yield LocalShell()
        return
    async with shell_on(target_of(request.getfixturevalue("real_sshd"))) as ssh:
        yield ssh


async def test_only_regular_files_are_fetched(real_shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    await real_shell.fetch(str(tmp_path), ["file", "link", "pipe"], tmp_path / "here")
    assert [path.name for path in files_below(tmp_path / "here")] == ["file"]


async def test_a_link_in_the_place_of_a_file_is_replaced(real_shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").symlink_to("../outside")
    await real_shell.put(str(tmp_path / "tree"), {"file": b"new"})
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert (tmp_path / "tree" / "file").read_bytes() == b"new"


async def test_what_lasts_is_not_transient(real_shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    calls = [
        real_shell.list(str(tmp_path / "file")),
        real_shell.list(str(tmp_path / "file" / "below")),
        real_shell.get(str(tmp_path)),
        real_shell.put(str(tmp_path / "file"), {"x": b""}),
        real_shell.put(str(tmp_path), {"file/x": b""}),
    ]
    for call in calls:
        with pytest.raises(ClusterError) as caught:
            await call
        assert not caught.value.transient


async def test_a_directory_that_leads_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "way").symlink_to("../outside")
    for name in ("way/file", "way/deeper/", "way/deeper/still/file"):
        with pytest.raises(ClusterError, match="leads out of"):
            await LocalShell().put(str(tmp_path / "tree"), {name: b""})
    assert list((tmp_path / "outside").iterdir()) == []


async def test_a_directory_that_leads_to_another_one_of_the_tree_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "way").symlink_to("there")
    await LocalShell().put(str(tmp_path), {"way/deeper/file": b"1"})
    assert (tmp_path / "there" / "deeper" / "file").read_bytes() == b"1"


async def test_fetching_to_the_same_place_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    before = (tmp_path / "file").stat()
    await LocalShell().fetch(str(tmp_path), ["file"], tmp_path)
    assert (tmp_path / "file").stat() == before


async def test_a_timeout_kills_all_that_was_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {pid}; trap '' TERM; wait; sleep 1000"
    for timeout_s in (0.3, 3.0, 30.0):  # the last where it takes that long to begin
        with pytest.raises(ClusterError):
            await LocalShell().run(["sh", "-c", script], timeout_s=timeout_s)
        if pid.exists() and pid.read_text():
            break
    wait_for_end(int(pid.read_text()))


async def test_cancellation_kills_all_that_was_started(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        script = f"sleep 1000 & echo $! > {tmp_path}/pid; wait"

        async def run() -> None:
            await LocalShell().run(["sh", "-c", script], timeout_s=1000.0)

        group.start_soon(run)
        pid = int(await anyio.to_thread.run_sync(wait_for_file, tmp_path / "pid", "\n"))
        group.cancel_scope.cancel()
    wait_for_end(pid)


async def test_much_output_and_input_do_not_block_each_other() -> None:
    data = os.urandom(1_000_000)
    assert await LocalShell().run(["cat"], stdin=data, timeout_s=20.0) == Completed(0, data, b"")
    assert (await LocalShell().run(["true"], stdin=data, timeout_s=20.0)).exit_code == 0


async def test_a_signal_is_a_negative_exit_code() -> None:
    assert (await LocalShell().run(["sh", "-c", "kill -KILL $$"], timeout_s=10.0)).exit_code == -9


async def test_a_script_insists_on_its_lines() -> None:
    with ScriptedShell([Expected(("squeue", "--me"))]) as shell:
        with pytest.raises(AssertionError, match="called: squeue; expected: squeue --me"):
            await shell.run(["squeue"], timeout_s=1.0)
        await shell.run(["squeue", "--me"], timeout_s=1.0)
        with pytest.raises(AssertionError, match="expected: nothing more"):
            await shell.run(["squeue", "--me"], timeout_s=1.0)
    assert shell.calls == [("squeue",), ("squeue", "--me"), ("squeue", "--me")]


def test_a_script_is_spoken_to_its_end() -> None:
    with (
        pytest.raises(AssertionError, match="never called: sbatch x; scancel"),
        ScriptedShell([Expected(("sbatch", "x")), Expected(("scancel",))]),
    ):
        pass
    with pytest.raises(ZeroDivisionError), ScriptedShell([Expected(("sbatch",))]):
        raise ZeroDivisionError


async def test_scripted_latency_passes_in_virtual_time() -> None:
    clock = VirtualClock()
    shell = ScriptedShell([Expected(("sbatch", "*"), Completed(0, b"17\n", b""), latency_s=30.0)], clock)
    answers: list[Completed] = []

    async def submit() -> None:
        answers.append(await shell.run(["sbatch", "job.sh"], timeout_s=60.0))

    async with anyio.create_task_group() as group:
        group.start_soon(submit)
        await clock.advance(29.0)
        assert answers == []
        await clock.advance(1.0)
    assert answers == [Completed(0, b"17\n", b"")]
