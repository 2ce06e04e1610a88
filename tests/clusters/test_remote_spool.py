"""The errands to a remote spool: real shells before real files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from penstock.clusters import remote_scripts, remote_spool
from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.remote_spool import SubmissionFiles
from penstock.clusters.shell import Completed, LocalShell
from penstock.clusters.spool import End, Finish, Host, Start
from penstock.domain.calculation import Exit
from penstock.domain.errors import ClusterError
from penstock.domain.ids import new_ulid

from .scripted import SHELL_NAMES, SHELLS

DONE = End(0, Exit(0, None, 1.0, 2.0))
NASTY = "it's $HOME `id`\n; *"


class Remote:
    """A spool and one shell to reach it by."""

    def __init__(self, root: Path, shell: Sequence[str]) -> None:
        self.path = root / "a spool"
        self.spool = str(self.path)
        self._shell = shell

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Completed:
        assert argv[0] == "/bin/sh"
        return await LocalShell().run([*self._shell, *argv[1:]], stdin=stdin, timeout_s=60.0)

    async def prepared(self) -> Self:
        remote_spool.parse_prepare(await self.run(remote_spool.prepare_argv(self.spool)))
        return self

    def stage(self) -> str:
        ulid = new_ulid()
        (self.path / ulid).mkdir()
        return ulid

    def write(self, ulid: str, name: str, *lines: spooling.Line, torn: bytes = b"") -> None:
        (self.path / ulid / name).write_bytes(b"".join(map(spooling.encode_line, lines)) + torn)

    def hint(self, name: str) -> None:
        (self.path / "news" / name).touch()

    def hints(self) -> list[str]:
        return sorted(path.name for path in (self.path / "news").iterdir())

    async def submit(self, ulid: str, *argv: str, **environment: str) -> Completed | None:
        return remote_spool.parse_submit(await self.run(remote_spool.submit_argv(self.spool, ulid, argv, environment)))

    async def read(self, *ulids: str) -> dict[str, SubmissionFiles]:
        argv, stdin = remote_spool.read_submissions_argv(self.spool, ulids)
        return remote_spool.parse_submissions(await self.run(argv, stdin), ulids)

    async def news(self, limit: int = 1000) -> dict[tuple[str, int], list[spooling.Line]]:
        return remote_spool.parse_news(await self.run(remote_spool.take_news_argv(self.spool, limit)))

    async def bury(self, ulid: str, *tasks: int, warm: bool = False) -> dict[int, str]:
        return remote_spool.parse_bury(await self.run(remote_spool.bury_argv(self.spool, ulid, tasks, warm=warm)))

    async def forget(self, *ulids: str) -> None:
        argv, stdin = remote_spool.forget_argv(self.spool, ulids)
        remote_spool.check(await self.run(argv, stdin))


@pytest.fixture(params=SHELLS, ids=SHELL_NAMES)
async def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    return await Remote(tmp_path, request.param).prepared()


async def test_a_spool_is_made_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for shell in SHELLS:
        remote = Remote(tmp_path, shell)
        for wanted in (f"{tmp_path}/x y/spool", "x y/spool"):
            place = remote_spool.parse_prepare(await remote.run(remote_spool.prepare_argv(wanted)))
            assert (place.spool, place.home) == (f"{tmp_path}/x y/spool", str(tmp_path))
            assert place.host == os.uname().nodename
            assert place.time_s > 1_700_000_000
        assert (tmp_path / "x y/spool").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "x y/spool/news").is_dir()


async def test_a_spool_that_cannot_be_made_is_no_passing_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = await Remote(tmp_path, SHELLS[0]).run(remote_spool.prepare_argv(f"{tmp_path}/file/spool"))
    with pytest.raises(ClusterError, match=r"[Nn]ot a directory") as caught:
        remote_spool.parse_prepare(answer)
    assert not caught.value.transient


async def test_without_a_spool_every_errand_is_an_error(tmp_path: Path) -> None:
    remote, ulid = Remote(tmp_path, SHELLS[0]), new_ulid()
    for errand in (
        remote.submit(ulid, "true"),
        remote.read(ulid),
        remote.news(),
        remote.bury(ulid, 0),
        remote.forget(ulid),
    ):
        with pytest.raises(ClusterError, match="is no spool"):
            await errand
    assert not remote.path.exists()


# ---- submitting ------------------------------------------------------------------------------------------------------


async def test_a_submission_is_answered_once_and_for_all(remote: Remote) -> None:
    ulid = remote.stage()
    counted = f'echo x >>{remote.path.parent}/count; echo "$1 $GREETING"; echo warning >&2'
    first = await remote.submit(ulid, "sh", "-c", counted, "sh", NASTY, GREETING="it's\nme")
    assert first == Completed(0, f"{NASTY} it's\nme\n".encode(), b"warning\n")
    again = await remote.submit(ulid, "sh", "-c", counted, "sh", NASTY)
    assert again == Completed(0, first.stdout, b"")
    assert (remote.path.parent / "count").read_text() == "x\n"
    assert (await remote.read(ulid))[ulid] == SubmissionFiles(exists=True, submitting=True, answer=again)


async def test_a_refusal_is_kept_with_all_its_words(remote: Remote) -> None:
    ulid = remote.stage()
    refused = await remote.submit(ulid, "sh", "-c", "echo out; echo 'sbatch: error: no' >&2; printf '\n1x' >&2; exit 7")
    assert refused == Completed(7, b"out\n", b"sbatch: error: no\n\n1x\n")
    assert await remote.submit(ulid, "false") == refused
    assert (await remote.read(ulid))[ulid].answer == refused
    other = remote.stage()
    killed = await remote.submit(other, "sh", "-c", "kill -KILL $$")
    assert killed is not None
    assert killed.exit_code == -9
    missing = await remote.submit(remote.stage(), "penstock-has-none")
    assert missing is not None
    assert missing.exit_code == 127


async def test_what_has_begun_is_not_begun_again(remote: Remote) -> None:
    ulid = remote.stage()
    (remote.path / ulid / "submitting").touch()
    assert await remote.submit(ulid, "touch", f"{remote.path}/ran") is None
    assert not (remote.path / "ran").exists()
    assert (await remote.read(ulid))[ulid] == SubmissionFiles(exists=True, submitting=True)


async def test_what_is_not_staged_is_not_submitted(remote: Remote) -> None:
    with pytest.raises(ClusterError, match="is missing"):
        await remote.submit(new_ulid(), "touch", f"{remote.path}/ran")
    assert not (remote.path / "ran").exists()
    with pytest.raises(ValueError, match="is no name of a variable"):
        remote_spool.submit_argv(remote.spool, new_ulid(), ["true"], {"a b": "c"})
    with pytest.raises(ValueError, match="is no ulid"):
        remote_spool.submit_argv(remote.spool, "../x", ["true"], {})


# ---- news ------------------------------------------------------------------------------------------------------------


async def test_no_news_is_an_answer(remote: Remote) -> None:
    answer = await remote.run(remote_spool.take_news_argv(remote.spool, 10))
    assert answer.stdout == remote_scripts.BEGIN + remote_scripts.END + b"0\n"
    assert remote_spool.parse_news(answer) == {}


async def test_news_are_the_journals_that_were_hinted_at(remote: Remote) -> None:
    array, warm, silent = remote.stage(), remote.stage(), remote.stage()
    remote.write(array, "journal.0", Host("n1"), Start(0, 1.0), DONE, Finish())
    remote.write(array, "journal.12", Start(12, 1.0), torn=b'["end",12,[')
    remote.write(array, "journal.3", Start(3, 1.0))
    remote.write(warm, f"{warm}.journal", Start(0, 1.0))
    for name in (f"{array}.0", f"{array}.12", f"{warm}.w", f"{silent}.0", f"{new_ulid()}.0", "junk", "a b.1"):
        remote.hint(name)
    assert await remote.news() == {
        (array, 0): [Host("n1"), Start(0, 1.0), DONE, Finish()],
        (array, 12): [Start(12, 1.0)],
        (warm, 0): [Start(0, 1.0)],
    }
    assert remote.hints() == ["a b.1", "junk"]
    assert await remote.news() == {}


async def test_news_come_in_portions(remote: Remote) -> None:
    ulid = remote.stage()
    for n in range(250):
        remote.write(ulid, f"journal.{n}", Start(n, 1.0))
        remote.hint(f"{ulid}.{n}")
    found = [await remote.news(120) for _ in range(4)]
    assert [len(news) for news in found] == [120, 120, 10, 0]
    assert len({key for news in found for key in news}) == 250


async def test_a_journal_that_grows_meanwhile_is_fine_and_other_trouble_is_not(remote: Remote) -> None:
    ulid = remote.stage()
    remote.write(ulid, "journal.0", Start(0, 1.0))
    remote.hint(f"{ulid}.0")
    answer = await remote.run(remote_spool.take_news_argv(remote.spool, 10))
    assert answer.stdout.endswith(b"ends 0\n")
    grown = answer.stdout[:-2] + b"1\n"
    assert remote_spool.parse_news(Completed(0, grown, b"tar: x: file changed as we read it\n"))
    for broken in (
        Completed(0, grown, b"tar: x: Cannot open: Input/output error"),
        Completed(0, answer.stdout[:-2] + b"2\n", b""),
        Completed(0, b"", b""),
        Completed(255, answer.stdout, b"connection closed"),
    ):
        with pytest.raises(ClusterError) as caught:
            remote_spool.parse_news(broken)
        assert caught.value.transient


async def test_no_cut_of_an_answer_is_an_answer(remote: Remote) -> None:
    ulid = remote.stage()
    remote.write(ulid, "journal.0", Start(0, 1.0))
    argv, stdin = remote_spool.read_submissions_argv(remote.spool, [ulid])
    whole = (await remote.run(argv, stdin)).stdout
    for cut in [*range(0, len(whole), 97), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(ClusterError):
            remote_spool.parse_submissions(Completed(0, whole[:cut], b""), [ulid])
    noisy = b"Welcome to the machine\n" + whole + b"bye\n"
    assert remote_spool.parse_submissions(Completed(0, noisy, b""), [ulid])[ulid].exists
    with pytest.raises(ClusterError):
        remote_spool.parse_submissions(Completed(0, whole, b""), [new_ulid()])


# ---- reading, burying, cancelling, forgetting ------------------------------------------------------------------------


async def test_all_that_is_known_is_read_at_once(remote: Remote) -> None:
    full, bare, missing, warm = remote.stage(), remote.stage(), new_ulid(), remote.stage()
    await remote.submit(full, "echo", "42")
    for task, token in enumerate(["7:0:n1", TOMBSTONE]):
        assert take_claim(remote.path / full / f"claim.{task}", token)
    remote.write(full, "journal.0", Host("n1"), Start(0, 1.0), torn=b"[")
    remote.write(full, "script")
    (remote.path / full / "duplicate.7:1:n2").touch()
    assert take_claim(remote.path / warm / f"{warm}.claim", "1:2:3:x")
    remote.write(warm, f"{warm}.journal", Start(0, 1.0))
    found = await remote.read(full, bare, missing, warm)
    assert found == {
        full: SubmissionFiles(
            exists=True,
            submitting=True,
            answer=Completed(0, b"42\n", b""),
            claims={0: "7:0:n1", 1: TOMBSTONE},
            journals={0: [Host("n1"), Start(0, 1.0)]},
            duplicates=("7:1:n2",),
        ),
        bare: SubmissionFiles(exists=True),
        missing: SubmissionFiles(exists=False),
        warm: SubmissionFiles(exists=True, journals={0: [Start(0, 1.0)]}, warm_claim="1:2:3:x"),
    }
    assert await remote.read() == {}


async def test_burying_takes_what_nobody_holds(remote: Remote) -> None:
    ulid = remote.stage()
    assert take_claim(remote.path / ulid / "claim.1", "7:0:n1")
    assert await remote.bury(ulid, 0, 1, 2) == {0: TOMBSTONE, 1: "7:0:n1", 2: TOMBSTONE}
    assert await remote.bury(ulid, 0) == {0: TOMBSTONE}
    assert read_claim(remote.path / ulid / "claim.3") is None
    unknown = new_ulid()
    assert await remote.bury(unknown, *range(300)) == dict.fromkeys(range(300), TOMBSTONE)


async def test_a_warm_runner_is_buried_by_its_own_claim(remote: Remote) -> None:
    before, running = remote.stage(), remote.stage()
    for ulid in (before, running):
        assert take_claim(remote.path / ulid / "claim.0", "7:0:n1")
    assert take_claim(remote.path / running / f"{running}.claim", "1:2:3:x")
    assert await remote.bury(before, 0, warm=True) == {0: TOMBSTONE}
    assert await remote.bury(running, 0, warm=True) == {0: "7:0:n1"}
    assert read_claim(remote.path / before / f"{before}.claim") == TOMBSTONE


async def test_cancellations_add_up(remote: Remote) -> None:
    ulid = remote.stage()
    for positions in ((1, 10), (3,), ()):
        remote_spool.check(await remote.run(remote_spool.cancel_argv(remote.spool, ulid, positions, warm=True)))
    assert {path.name for path in (remote.path / ulid).iterdir()} == {
        "cancel.1",
        "cancel.10",
        "cancel.3",
        f"{ulid}.cancel",
    }
    assert spooling.read_cancel(remote.path / ulid / f"{ulid}.cancel") == {1, 3, 10}
    other = new_ulid()
    remote_spool.check(await remote.run(remote_spool.cancel_argv(remote.spool, other, [1], warm=False)))
    assert not (remote.path / other).exists()


async def test_nothing_cancelled_is_an_empty_list(remote: Remote) -> None:
    ulid = remote.stage()
    remote_spool.check(await remote.run(remote_spool.cancel_argv(remote.spool, ulid, [], warm=True)))
    assert spooling.read_cancel(remote.path / ulid / f"{ulid}.cancel") == set()


async def test_forgetting_removes_every_trace_and_nothing_else(remote: Remote) -> None:
    gone, kept = [remote.stage() for _ in range(150)], remote.stage()
    for ulid in (*gone, kept):
        remote.write(ulid, "run.0")
        remote.hint(f"{ulid}.0")
    assert take_claim(remote.path / gone[0] / "claim.0", TOMBSTONE)
    await remote.forget(*gone, new_ulid())
    await remote.forget(*gone)
    assert sorted(path.name for path in remote.path.iterdir()) == sorted([".spool", kept, "news"])
    assert remote.hints() == [f"{kept}.0"]
    inventory = await remote.run(remote_spool.inventory_argv(remote.spool))
    assert remote_spool.parse_inventory(inventory) == {kept}


async def test_only_what_is_a_ulid_is_ever_removed(remote: Remote) -> None:
    kept = remote.stage()
    for bad in ("..", ".", "news", f"{kept}/..", kept[:-1], f"{kept}X", "*"):
        with pytest.raises(ValueError, match="is no ulid"):
            remote_spool.forget_argv(remote.spool, [bad])
        argv, _ = remote_spool.forget_argv(remote.spool, [])
        with pytest.raises(ClusterError, match="is no ulid"):
            remote_spool.check(await remote.run(argv, f"{bad}\n".encode()))
    assert (remote.path / kept).is_dir()


async def test_an_unreadable_submission_is_not_a_missing_one(remote: Remote) -> None:
    if os.geteuid() == 0:
        shutil.rmtree(remote.path / "news")  # root reads everything; so it is the spool that is broken
        with pytest.raises(ClusterError):
            await remote.news()
        return
    ulid = remote.stage()
    (remote.path / ulid).chmod(0)
    with pytest.raises(ClusterError, match="cannot be read"):
        await remote.read(ulid)
    (remote.path / ulid).chmod(0o700)
