"""The runner, as a real process before a real spool: every way in which an attempt can end."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.clusters import runner as runners
from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.process import fence
from penstock.clusters.runner import MARKER, Keeper
from penstock.clusters.runner_link import TIMEOUT, Bell
from penstock.domain.calculation import Exit
from penstock.domain.ids import new_ulid
from penstock.domain.submission import AttemptSeen, Manifest, Seen

from .spooled import SLEEP, STUBBORN, RunnerProcess, Spool, wait_for_end, wait_for_file


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def exit_of(seen: AttemptSeen) -> Exit:
    assert seen.exit is not None
    return seen.exit


def ends(spool: Spool, ulid: str) -> dict[int, tuple[int | None, int | None, str | None]]:
    return {n: (one.exit.code, one.exit.signal, one.exit.verdict) for n, one in spool.seen(ulid).items() if one.exit}


def lines(spool: Spool, ulid: str) -> list[str]:
    return spool.file(ulid, "journal").read_text().splitlines()


def test_attempts_run_one_after_another_each_in_its_directory_with_its_files(spool: Spool) -> None:
    script = "cat input; pwd; echo $PENSTOCK_JOB_ID $PENSTOCK_ATTEMPT_DIR; echo oops >&2; exit $(cat input)"
    ulid = spool.stage(*[["sh", "-c", script]] * 3)
    with RunnerProcess(spool) as runner:
        assert runner.finish(ulid) == 0
    assert ends(spool, ulid) == {0: (0, None, None), 1: (1, None, None), 2: (2, None, None)}
    for n in range(3):
        home = spool.attempt(ulid, n)
        assert (home / "stdout").read_text() == f"{n}\n{home}\n{n + 1} {home}\n"
        assert (home / "stderr").read_text() == "oops\n"
        assert read_claim(home / spooling.ATTEMPT_CLAIM) == ulid
    assert [line.split(",")[0] for line in lines(spool, ulid)] == ['["start"', '["end"'] * 3 + ['["finish"]']
    assert read_claim(spool.file(ulid, "claim")) == f"{runner.id.token()}:{runner.name}"
    times = [exit_of(one) for one in spool.seen(ulid).values()]
    assert all(one.started_at <= one.ended_at for one in times)
    assert all(a.ended_at <= b.started_at for a, b in itertools.pairwise(times))


def test_several_orders_are_worked_through_in_order(spool: Spool) -> None:
    ulids = [spool.stage(["true"], ["false"]) for _ in range(3)]
    with RunnerProcess(spool) as runner:
        assert runner.finish(*ulids) == 0
    assert [ends(spool, ulid) for ulid in ulids] == [{0: (0, None, None), 1: (1, None, None)}] * 3


def test_a_program_that_does_not_exist_is_the_attempts_failure(spool: Spool) -> None:
    ulid = spool.stage(["penstock-has-no-such-program"], ["true"])
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    assert ends(spool, ulid) == {0: (127, None, None), 1: (0, None, None)}
    assert exit_of(spool.seen(ulid)[0]).message == "penstock-has-no-such-program: no such program"


def test_a_signal_that_ends_a_program_is_told(spool: Spool) -> None:
    ulid = spool.stage(["sh", "-c", "kill -SEGV $$"])
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    assert ends(spool, ulid) == {0: (None, signal.SIGSEGV, None)}


def test_walltime_sends_term_first(spool: Spool) -> None:
    polite = ["sh", "-c", "trap 'echo bye; exit 3' TERM; sleep 1000 & wait"]
    ulid = spool.stage(polite, ["true"], walltime_s=3)
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    assert ends(spool, ulid) == {0: (3, None, "timeout"), 1: (0, None, None)}
    assert (spool.attempt(ulid) / "stdout").read_text() == "bye\n"


def test_what_ignores_term_is_killed_with_all_its_forks(spool: Spool) -> None:
    ulid = spool.stage(STUBBORN, ["true"], walltime_s=3)
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
        assert ends(spool, ulid) == {0: (None, signal.SIGKILL, "timeout"), 1: (0, None, None)}


def test_a_running_attempt_is_cancelled_and_the_others_are_not(spool: Spool) -> None:
    ulid = spool.stage(["sh", "-c", "echo here; exec sleep 1000"], ["true"], SLEEP)
    spooling.request_cancel(spool.path, ulid, [2])
    with RunnerProcess(spool) as runner:
        runner.order(ulid)
        wait_for_file(spool.attempt(ulid) / "stdout", "here")
        spooling.request_cancel(spool.path, ulid, [0])
        runner.finish()
    cancelled = (None, signal.SIGTERM, "cancelled")
    assert ends(spool, ulid) == {0: cancelled, 1: (0, None, None), 2: cancelled}


def test_an_attempt_whose_claim_is_taken_is_barred(spool: Spool) -> None:
    ulid = spool.stage(["true"], ["true"])
    spool.attempt(ulid, 0).mkdir(parents=True)
    assert take_claim(spool.attempt(ulid, 0) / spooling.ATTEMPT_CLAIM, TOMBSTONE)
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    seen = spool.seen(ulid)
    assert seen[0] == AttemptSeen(Seen.NOT_RUN, reason="its claim was held by tombstone")
    assert seen[1].seen is Seen.ENDED
    assert not (spool.attempt(ulid, 0) / "stdout").exists()


def test_a_submission_with_a_tombstone_is_never_run(spool: Spool) -> None:
    barred, other = spool.stage(["true"]), spool.stage(["true"])
    assert take_claim(spool.file(barred, "claim"), TOMBSTONE)
    with RunnerProcess(spool) as runner:
        assert runner.finish(barred, other) == 0
    assert not spool.attempt(barred).exists()
    assert not spool.file(barred, "journal").exists()
    assert ends(spool, other) == {0: (0, None, None)}


def test_of_two_runners_one_runs_a_submission(spool: Spool) -> None:
    ulids = [spool.stage(["sh", "-c", "echo ran >> ../../../ran"]) for _ in range(20)]
    with RunnerProcess(spool) as one, RunnerProcess(spool) as two:
        one.order(*ulids)
        two.finish(*ulids)
        one.finish()
    assert (spool.workflow / "ran").read_text() == "ran\n" * 20


def test_forks_left_in_the_programs_group_end_with_it(spool: Spool) -> None:
    ulid = spool.stage(["sh", "-c", "sleep 1000 & echo $!"])
    with RunnerProcess(spool) as runner:
        runner.order(ulid)
        pid = int(wait_for_file(spool.attempt(ulid) / "stdout", "\n"))
        wait_for_end(pid)
        runner.finish()
    assert ends(spool, ulid) == {0: (0, None, None)}


DAEMON = ["sh", "-c", "setsid sh -c 'setsid sleep 1000 & echo $!' & wait"]


def test_what_daemonises_ends_with_the_runner(spool: Spool) -> None:
    ulid = spool.stage(DAEMON)
    with RunnerProcess(spool) as runner:
        runner.order(ulid)
        pid = int(wait_for_file(spool.attempt(ulid) / "stdout", "\n"))
        assert runner.finish() == 0
        wait_for_end(pid)


def test_a_runner_that_is_killed_leaves_nothing_that_fencing_does_not_find(spool: Spool) -> None:
    ulid = spool.stage(["sh", "-c", f"{DAEMON[2]}; exec sleep 1000"])
    with RunnerProcess(spool) as runner:
        runner.order(ulid)
        stray = int(wait_for_file(spool.attempt(ulid) / "stdout", "\n"))
        runner.process.kill()
        runner.process.wait()
        assert not runner.id.alive()
        os.kill(stray, 0)  # it lives on
        fence(runner.id, f"{MARKER}={runner.name}")
        wait_for_end(stray)
    assert spool.seen(ulid)[0].seen is Seen.RUNNING


def test_a_runner_nobody_needs_ends_by_itself(spool: Spool) -> None:
    with RunnerProcess(spool, linger_s=0.1) as runner:
        assert runner.process.wait(20.0) == 0


def test_an_attempt_that_cannot_write_fails_and_the_rest_goes_on(spool: Spool) -> None:
    ulid = spool.stage(["true"], ["true"])
    (spool.workflow / "jobs").mkdir()
    (spool.workflow / "jobs" / ulid).mkdir()
    spool.attempt(ulid, 0).write_text("in the way")
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    seen = spool.seen(ulid)
    assert seen[1].exit is not None
    assert seen[1].exit.code == 0
    assert seen[0].seen is Seen.ENDED
    assert "in the way" not in str(exit_of(seen[0]).message)


@pytest.fixture
def keeper(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """A keeper without a worker, in this process, whose children it must not kill."""
    monkeypatch.setattr(runners, "kill_children", lambda: None)
    keeper = Keeper(spool.path, 1.0, "command")
    yield keeper
    assert isinstance(keeper._bell, Bell)
    keeper._bell._socket.close()
    os.close(keeper._bell._directory)


@pytest.mark.parametrize(
    ("struck_earlier", "judged", "verdict"),
    [(True, False, "lost"), (False, True, "timeout"), (False, False, None)],
)
def test_a_blow_meant_for_an_earlier_attempt_is_not_blamed_on_the_next(
    spool: Spool, keeper: Keeper, struck_earlier: bool, judged: bool, verdict: str | None
) -> None:
    ulid = spool.stage(["true"], ["true"])
    keeper._current.order = ulid
    earlier = keeper._current.begin(0, 10.0, 1.0, 0)
    if struck_earlier:
        keeper._current.judge(earlier, TIMEOUT)
        keeper._struck = earlier
    serial = keeper._current.begin(1, 20.0, 2.0, 0)
    if judged:
        keeper._current.judge(serial, TIMEOUT)
        keeper._struck = serial
    assert keeper._account_for_death(signal.SIGKILL) == 1
    assert ends(spool, ulid) == {1: (None, signal.SIGKILL, verdict)}
    assert keeper._current.serial == 0


def test_a_manifest_that_cannot_be_read_is_nothing_to_run(spool: Spool) -> None:
    broken, other = new_ulid(), spool.stage(["true"])
    spooling.write_manifest(spool.path, broken, b"\xc1 rubbish")
    with RunnerProcess(spool) as runner:
        assert runner.finish(broken, other) == 0
    assert lines(spool, broken) == ['["finish"]']
    assert ends(spool, other) == {0: (0, None, None)}


def test_an_attempt_goes_on_from_the_files_of_an_earlier_one(spool: Spool) -> None:
    old = spool.attempt("earlier")
    old.mkdir(parents=True)
    (old / "restart").write_text("state\n")
    (old / "input").write_text("old\n")
    ulid = spool.stage(["cat", "restart", "input"], ["sh", "-c", "test ! -e restart"])
    manifest = msgspec.msgpack.decode(spool.file(ulid, "manifest").read_bytes(), type=Manifest)
    names = {"restart": "restart", "input": "input", "no": "no"}
    carrying = msgspec.structs.replace(manifest.entries[0].rendered, carry=names)
    first = msgspec.structs.replace(manifest.entries[0], carry_from=spool.directory("earlier", 0), rendered=carrying)
    manifest = msgspec.structs.replace(manifest, entries=[first, manifest.entries[1]])
    spooling.write_manifest(spool.path, ulid, msgspec.msgpack.encode(manifest))
    with RunnerProcess(spool) as runner:
        runner.finish(ulid)
    assert ends(spool, ulid) == {0: (0, None, None), 1: (0, None, None)}
    assert (spool.attempt(ulid) / "stdout").read_text() == "state\n0\n"  # what is rendered wins
