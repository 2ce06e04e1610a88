"""Job scripts, run by real shells: whatever happens to a task, its journal tells it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from penstock.clusters.claim import TOMBSTONE, take_claim
from penstock.clusters.job_script import RunEntry, WarmRunner, render_run
from penstock.clusters.spool import End, Finish, Host, Start

from .scripted import SHELL_NAMES, SHELLS, Job, RunningJob, is_recent, stubs, without_deaths
from .spooled import wait_for_end, wait_for_file

POLITE = ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; (sleep 1000) & while :; do sleep 0.05; done"]
SLEEP = ["sh", "-c", "echo ready; exec sleep 1000"]
LOST = "ended by the scheduler (SIGTERM)"
NASTY = ["", " ", "a b", "$HOME", "`id`", "$(id)", "'", '"', "\\", "*", "a\nb", "ü", "-n", ";", "&", "#", "~"]


@pytest.fixture(params=SHELLS, ids=SHELL_NAMES)
def shell(request: pytest.FixtureRequest) -> Sequence[str]:
    found: list[str] = request.param
    return found


def test_an_array_task_runs_its_attempt(tmp_path: Path, shell: Sequence[str]) -> None:
    script = "pwd; echo $PENSTOCK_JOB_ID $PENSTOCK_ATTEMPT_DIR $PENSTOCK_WORKFLOW_ID $PENSTOCK_ISOLATION_MODE "
    script += "$PENSTOCK_WORKFLOW_DIR $OMP_NUM_THREADS; cat; echo oops >&2; exit 5"
    job = Job(tmp_path, ["true"], ["sh", "-c", script], width=2)
    began = time.time()
    done = job.run(shell, TASK="1", JOB="12")
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")
    home = job.attempt(1)
    assert (home / "stdout").read_text() == f"{home}\n2 {home} w isolated {job.work} 3\n"
    assert (home / "stderr").read_text() == "oops\n"
    host, start, end, finish = job.lines(1)
    assert host == Host(os.uname().nodename)
    assert isinstance(start, Start)
    assert isinstance(end, End)
    assert isinstance(finish, Finish)
    assert (start.position, end.position) == (1, 1)
    assert (end.exit.code, end.exit.signal, end.exit.verdict, end.exit.message) == (5, None, None, None)
    assert start.at == end.exit.started_at <= end.exit.ended_at
    assert is_recent(start.at, began)
    assert is_recent(end.exit.ended_at, began)
    assert job.claim(1) == f"12:0:{os.uname().nodename}"
    assert job.news() == [f"{job.ulid}.1"]
    assert not (job.home / "journal.0").exists()


def test_a_bundle_runs_its_attempts_one_after_another(tmp_path: Path, shell: Sequence[str]) -> None:
    commands = [["sh", "-c", f"echo {n} >> ../order; exit {n}"] for n in range(12)]
    job = Job(tmp_path, *commands)
    done = job.run(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert job.short() == {n: (n, None, None) for n in range(12)}
    assert (job.attempt(0).parent / "order").read_text().split() == [str(n) for n in range(12)]
    assert job.kinds() == "h" + "se" * 12 + "f"
    ends = list(job.ends().values())
    assert all(one.ended_at <= two.started_at for one, two in itertools.pairwise(ends))


def test_tasks_share_attempts_by_their_position(tmp_path: Path) -> None:
    job = Job(tmp_path, *[["true"]] * 5, width=2)
    for task in "01":
        job.run(SHELLS[0], TASK=task)
    assert [list(job.ends(task)) for task in (0, 1)] == [[0, 2, 4], [1, 3]]


def test_nothing_of_a_user_is_ever_read_by_the_shell(tmp_path: Path, shell: Sequence[str]) -> None:
    show = ["sh", "-c", 'printf "%s|" "$@" "$PENSTOCK_WORKFLOW_DIR"', "sh"]
    job = Job(tmp_path, [*show, *NASTY], name='it\'s "$HOME" `id`\n; *')
    done = job.run(shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (job.attempt(0) / "stdout").read_text() == "".join(f"{word}|" for word in [*NASTY, str(job.work)])


@pytest.mark.parametrize(
    ("command", "code", "number"),
    [
        ("exit 1", 1, None),
        ("exit 126", 126, None),
        ("exit 127", 127, None),
        ("exit 128", 128, None),
        ("exit 193", 193, None),
        ("exit 255", 255, None),
        ("exit 130", None, signal.SIGINT),  # no shell can tell this from a program that SIGINT ended
        ("kill -SEGV $$", None, signal.SIGSEGV),
        ("kill -KILL $$", None, signal.SIGKILL),
        ("kill -TERM $$", None, signal.SIGTERM),
    ],
)
def test_how_programs_end(
    tmp_path: Path, shell: Sequence[str], command: str, code: int | None, number: int | None
) -> None:
    job = Job(tmp_path, ["sh", "-c", command])
    done = job.run(shell)
    assert job.short() == {0: (code, number, None)}
    assert (done.returncode, done.stderr) == (128 + number if number else code, "")


def test_what_cannot_be_started_is_told_in_words(tmp_path: Path, shell: Sequence[str]) -> None:
    nowhere = 'no/"such\\program\n'
    job = Job(tmp_path, ["penstock-has-none"], [nowhere], ["./plain"], ["true"], ["true"], ["true"])
    (job.attempt(2) / "plain").write_text("no program")
    job.attempt(3).rmdir()
    (job.attempt(4) / "stdout").mkdir()
    done = job.run(shell)
    assert done.returncode == 0
    assert job.short() == {
        0: (127, None, None),
        1: (127, None, None),
        2: (126, None, None),
        3: (None, None, None),
        4: (None, None, None),
        5: (0, None, None),
    }
    messages = [end.message or "" for end in job.ends().values()]
    assert messages[0] == "penstock-has-none: no such program"
    assert messages[1] == 'no/"such\\program : no such program'
    assert messages[2] == "./plain: not a program that may be run"
    assert messages[3] == f"[Errno 2] cannot enter the attempt's directory: {job.attempt(3)}"
    assert "stdout" in messages[4]
    assert messages[5] == ""


def test_a_cancelled_attempt_is_not_begun(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"], ["true"], ["true"])
    (job.home / "cancel.1").touch()
    assert job.run(shell).returncode == 0
    assert job.kinds() == "hsesef"
    assert list(job.ends()) == [0, 2]


def test_only_what_has_its_whole_walltime_is_begun_but_the_first_always(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"], ["true"], walltime_s=100, allocation_s=99)
    assert job.run(shell).returncode == 0
    assert job.kinds() == "hsef"


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "number"), [(POLITE, 3, None), (SLEEP, None, 15), (STUBBORN, None, 9)], ids="abc"
)
def test_the_schedulers_term_ends_the_attempt_and_the_task(
    tmp_path: Path, shell: Sequence[str], command: list[str], code: int | None, number: int | None
) -> None:
    job = Job(tmp_path, command, ["true"])
    with RunningJob(job, shell) as running:
        wait_for_file(job.attempt(0) / "stdout", "ready")
        running.send(signal.SIGTERM)
        assert running.wait() == (143, "")
    assert job.short() == {0: (code, number, "lost")}
    assert job.ends()[0].message == LOST
    assert job.kinds() == "hse"


def test_term_to_program_and_script_alike_is_the_schedulers(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "echo $$; exec sleep 1000"])
    with RunningJob(job, shell) as running:
        program = int(wait_for_file(job.attempt(0) / "stdout", "\n"))
        os.kill(program, signal.SIGTERM)
        wait_for_end(program)
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 143
    assert job.short() == {0: (None, 15, "lost")}


def test_term_after_a_cancellation_is_ours(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, SLEEP)
    with RunningJob(job, shell) as running:
        wait_for_file(job.attempt(0) / "stdout", "ready")
        (job.home / "cancel.0").touch()
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 143
    assert job.short() == {0: (None, 15, "cancelled")}


def test_one_position_of_a_bundle_is_cancelled(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, SLEEP, SLEEP, ["true"])
    with RunningJob(job, shell) as running:
        wait_for_file(job.attempt(0) / "stdout", "ready")
        (job.home / "cancel.1").touch()
        running.send(signal.SIGUSR2)  # not the one that runs
        (job.home / "cancel.0").touch()
        running.send(signal.SIGUSR2)
        assert running.wait() == (0, "")
    assert {n: end.verdict for n, end in job.ends().items()} == {0: "cancelled", 2: None}
    assert job.ends()[0].signal is not None  # bash may tell of the signal that interrupted it
    assert job.kinds() == "hsesef"


def test_a_bundle_minds_the_walltime_of_its_attempts(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, POLITE, STUBBORN, ["true"], walltime_s=1)
    done = job.run(shell)
    assert (done.returncode, without_deaths(done.stderr)) == (0, "")
    assert job.short() == {0: (3, None, "timeout"), 1: (None, 9, "timeout"), 2: (0, None, None)}
    assert all(end.ended_at - end.started_at >= 0.9 for n, end in job.ends().items() if n < 2)


def test_a_warning_that_comes_early_leaves_the_attempt_its_walltime(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, SLEEP, walltime_s=2)
    with RunningJob(job, shell) as running:
        wait_for_file(job.attempt(0) / "stdout", "ready")
        running.send(signal.SIGUSR1)
        assert running.wait() == (143, "")
    assert job.short() == {0: (None, 15, "timeout")}
    end = job.ends()[0]
    assert end.ended_at - end.started_at >= 1.9
    assert job.kinds() == "hsef"


def test_a_program_that_ends_after_the_warning_has_its_own_end(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "echo ready; read line <fifo; exit 4"])
    os.mkfifo(job.attempt(0) / "fifo")
    slept = tmp_path / "slept"
    path = stubs(tmp_path, sleep=f"echo >>{slept}; PATH=$REAL exec sleep 60")
    with RunningJob(job, shell, {"PATH": path}) as running:
        wait_for_file(job.attempt(0) / "stdout", "ready")
        running.send(signal.SIGUSR1)
        wait_for_file(slept, "\n")  # the warning has been understood
        (job.attempt(0) / "fifo").write_text("go\n")
        assert running.wait() == (4, "")
    assert job.short() == {0: (4, None, None)}


def test_the_checkpoint_hook_runs_before_the_end(tmp_path: Path, shell: Sequence[str]) -> None:
    hook = ("sh", "-c", 'kill -0 "$PENSTOCK_PID" && echo "$PENSTOCK_ATTEMPT_DIR" >"$1"; pwd >>"$1"', "sh", "it's saved")
    job = Job(tmp_path, POLITE, walltime_s=1, checkpoint=hook, own_timer=True)
    assert job.run(shell).returncode == 3
    assert job.short() == {0: (3, None, "timeout")}
    assert (job.attempt(0) / "it's saved").read_text() == f"{job.attempt(0)}\n" * 2


def test_a_program_may_end_while_the_hook_runs(tmp_path: Path, shell: Sequence[str]) -> None:
    hook = ("sh", "-c", "echo >stop; exec sleep 1000")
    program = ["sh", "-c", "while [ ! -e stop ]; do sleep 0.05; done; exit 6"]
    job = Job(tmp_path, program, walltime_s=1, checkpoint=hook, own_timer=True)
    assert job.run(shell).returncode == 6
    assert job.short() == {0: (6, None, None)}


def test_a_hook_that_hangs_does_not_keep_the_program(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, SLEEP, walltime_s=1, allocation_s=5, checkpoint=("sleep", "1000"), own_timer=True)
    assert job.run(shell).returncode == 143
    assert job.short() == {0: (None, 15, "timeout")}


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "sleep 1000 & echo $!"])
    assert job.run(shell).returncode == 0
    wait_for_end(int((job.attempt(0) / "stdout").read_text()))


def test_without_setsid_the_program_is_still_told(tmp_path: Path, shell: Sequence[str]) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ln", "date", "sleep", "sh", "uname", "readlink"):
        (folder / name).symlink_to(f"/bin/{name}")
    job = Job(tmp_path, SLEEP, ["true"], walltime_s=1)
    with RunningJob(job, ["/usr/bin/env", *shell], {"PATH": f"{folder}:{os.environ['PATH']}"}) as running:
        assert running.wait()[0] == 0
    text = job.script.read_text().replace("command -v setsid", "command -v no-setsid-here")
    other = Job(tmp_path, POLITE, ["true"], name="other")
    other.script.write_text(text.replace(job.ulid, other.ulid).replace("pk_walltime=1\n", "pk_walltime=60\n"))
    with RunningJob(other, shell) as running:
        wait_for_file(other.attempt(0) / "stdout", "ready")
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 143
    assert other.short() == {0: (3, None, "lost")}


def test_a_script_that_is_killed_leaves_a_start_without_an_end(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "echo $$; exec sleep 1000"])
    with RunningJob(job, shell) as running:
        program = int(wait_for_file(job.attempt(0) / "stdout", "\n"))
        running.send(signal.SIGKILL)
        assert running.wait()[0] == -9
    os.kill(program, signal.SIGKILL)
    wait_for_end(program)
    assert job.kinds() == "hs"


# ---- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["8:0:elsewhere", TOMBSTONE])
def test_the_loser_of_a_claim_leaves_word_and_does_nothing(tmp_path: Path, shell: Sequence[str], holder: str) -> None:
    job = Job(tmp_path, ["touch", "ran"])
    assert take_claim(job.home / "claim.0", holder)
    done = job.run(shell, JOB="7/8")
    assert done.returncode == 0
    assert f"task 0 belongs to {holder}; nothing is done twice" in done.stderr
    assert not (job.attempt(0) / "ran").exists()
    assert job.lines() == []
    assert (job.home / f"duplicate.7_8:0:{os.uname().nodename}").exists()
    assert job.news() == [f"{job.ulid}.0"]


def test_a_winner_that_is_told_it_lost_goes_on(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    assert take_claim(job.home / "claim.0", f"7:0:{os.uname().nodename}")
    assert job.run(shell).returncode == 0
    assert job.short() == {0: (0, None, None)}


def test_a_requeued_job_meets_its_own_claim(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "echo ran >>../ran"])
    for restarts in "012":
        assert job.run(shell, RESTARTS=restarts).returncode == 0
    assert (job.attempt(0).parent / "ran").read_text() == "ran\n"
    assert len(list(job.home.glob("duplicate.*"))) == 2


def test_of_many_copies_one_runs(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "echo ran >>../ran"])
    running = [RunningJob(job, shell, {"RESTARTS": str(n)}) for n in range(8)]
    assert [one.wait()[0] for one in running] == [0] * 8
    assert (job.attempt(0).parent / "ran").read_text() == "ran\n"
    assert job.kinds() == "hsef"


def test_a_forgotten_submission_is_none_of_our_business(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    script = tmp_path / "script"
    job.script.rename(script)
    job.script = script
    (job.home / "run.0").unlink()
    job.home.rmdir()
    done = job.run(shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not job.home.exists()
    assert job.news() == []


# ---- a file system that refuses --------------------------------------------------------------------------------------


def test_a_claim_is_tried_for_a_while(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    tries = tmp_path / "tries"
    fail_twice = f'echo >>{tries}; [ $(PATH=$REAL wc -l <{tries}) -gt 2 ] || exit 1; PATH=$REAL exec ln "$@"'
    path = stubs(tmp_path, ln=fail_twice, sleep="PATH=$REAL exec sleep 0.01")
    assert job.run(shell, PATH=path).returncode == 0
    assert job.kinds() == "hsef"


def test_a_spool_that_never_takes_the_claim_ends_the_task(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    done = job.run(shell, PATH=stubs(tmp_path, ln="exit 1", sleep=":"))
    assert done.returncode == 75
    assert done.stderr == f"penstock: {job.home} cannot be written\n"
    assert job.lines() == []


def test_without_its_run_file_a_task_says_so(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    (job.home / "run.0").unlink()
    done = job.run(shell, PATH=stubs(tmp_path, sleep=":"))
    assert (done.returncode, done.stderr) == (75, f"penstock: {job.home}/run.0 cannot be read\n")


def repaired_when_waited_for(tmp_path: Path, job: Job, shell: Sequence[str], repair: Callable[[], object]) -> None:
    """Runs the job; once it waits for the file system, repairs that."""
    slept = tmp_path / "slept"
    path = stubs(tmp_path, sleep=f"echo >>{slept}; PATH=$REAL exec sleep 0.05")
    with RunningJob(job, shell, {"PATH": path}) as running:
        wait_for_file(slept, "\n")
        repair()
        assert running.wait() == (0, "")
    assert job.kinds().lstrip("h") == "sef"
    assert job.short() == {0: (0, None, None)}


def test_a_start_is_written_when_the_disk_has_room_again(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    (job.home / "journal.0").symlink_to("/dev/full")
    repaired_when_waited_for(tmp_path, job, shell, (job.home / "journal.0").unlink)
    assert (job.home / "journal.0").read_bytes().startswith(b"\n")


def test_an_end_is_written_when_the_spool_is_back_after_a_torn_line(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", f"mv {tmp_path}/spool {tmp_path}/away"])

    def repair() -> None:
        away = tmp_path / "away"
        with (away / job.ulid / "journal.0").open("ab") as journal:
            journal.write(b'["end",0,[0,nu')
        away.rename(tmp_path / "spool")

    repaired_when_waited_for(tmp_path, job, shell, repair)


def test_term_while_the_end_waits_to_be_written_does_not_lose_it(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", f"mv {tmp_path}/spool {tmp_path}/away; exit 2"])
    slept = tmp_path / "slept"
    path = stubs(tmp_path, sleep=f"echo >>{slept}; PATH=$REAL exec sleep 0.05")
    with RunningJob(job, shell, {"PATH": path}) as running:
        wait_for_file(slept, "\n")
        running.send(signal.SIGTERM)
        (tmp_path / "away").rename(tmp_path / "spool")
        assert running.wait()[0] == 143
    assert job.short() == {0: (2, None, None)}
    assert job.kinds() == "hse"


def test_a_journal_that_is_refused_to_the_end_ends_the_task(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"], allocation_s=0)
    (job.home / "journal.0").mkdir()
    done = job.run(shell)
    assert done.returncode == 75
    assert 'journal.0 cannot be written: ["start",0,' in done.stderr


# ---- time, setup, launcher, files carried on -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uptime", ["8.09 1.00\n", "08.9 1\n", "12 3\n", "1234567.08 9\n", "0.00 0\n", "x y\n", "", None]
)
def test_clocks_of_every_kind(tmp_path: Path, shell: Sequence[str], uptime: str | None) -> None:
    job = Job(tmp_path, ["true"], ["true"])
    clock = tmp_path / "uptime"
    if uptime is not None:
        clock.write_text(uptime)
    job.script.write_text(job.script.read_text().replace("/proc/uptime", str(clock)))
    began = time.time()
    done = job.run(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(is_recent(end.ended_at, began) for end in job.ends().values())
    assert len(job.ends()) == 2


def test_setup_runs_once_and_reaches_the_programs(tmp_path: Path, shell: Sequence[str]) -> None:
    setup = f"export GREETING='it is me'\necho once >>{tmp_path}/once\nOMP_NUM_THREADS=8\nset -eufC; IFS=,; cd /; false"
    job = Job(
        tmp_path, *[["sh", "-c", 'echo "$GREETING" $OMP_NUM_THREADS; exit 1']] * 2, setup=setup.replace("; false", "")
    )
    assert job.run(shell).returncode == 0
    assert (job.attempt(1) / "stdout").read_text() == "it is me 8\n"
    assert (tmp_path / "once").read_text() == "once\n"
    assert len(job.ends()) == 2


@pytest.mark.parametrize("setup", ["echo 'unclosed", "if true", "exit 3"])
def test_a_setup_that_breaks_never_passes_for_a_finished_task(tmp_path: Path, shell: Sequence[str], setup: str) -> None:
    job = Job(tmp_path, ["true"], setup=setup)
    done = job.run(shell)
    assert done.returncode != 0
    assert job.lines() == []


def test_a_launcher_goes_before_the_program(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["printf", "%s|", "a b"], launcher=("env", "--", "LAUNCHED=it's"))
    assert job.run(shell).returncode == 0
    assert (job.attempt(0) / "stdout").read_text() == "a b|"


def test_programs_are_never_taken_for_functions_of_ours(tmp_path: Path, shell: Sequence[str]) -> None:
    path = stubs(tmp_path, attempt='echo "my own: $*"')
    job = Job(tmp_path, ["attempt", "0", "1", "/"])
    assert job.run(shell, PATH=path).returncode == 0
    assert (job.attempt(0) / "stdout").read_text() == "my own: 0 1 /\n"


def test_files_are_carried_on(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", "cat *"], ["sh", "-c", "ls"])
    old = tmp_path / "old one"
    old.mkdir()
    for name in ("a.chk", "b.chk"):
        (old / name).write_text(f"old {name}\n")
    (old / "link").symlink_to("/etc/passwd")
    (job.attempt(0) / "b.chk").write_text("new b\n")
    carry = {"a.chk": "c.chk", "b.chk": "b.chk", "link": "link", "missing": "missing"}
    job.write_runs(
        [
            RunEntry(0, 1, str(job.attempt(0)), ["sh", "-c", "cat *.chk; ls"], str(old), carry),
            RunEntry(1, 2, str(job.attempt(1)), ["ls"]),
        ]
    )
    assert job.run(shell).returncode == 0
    assert (job.attempt(0) / "stdout").read_text().splitlines() == [
        "new b",
        "old a.chk",
        "b.chk",
        "c.chk",
        "stderr",
        "stdout",
    ]
    assert (job.attempt(1) / "stdout").read_text().split() == ["stderr", "stdout"]


def test_what_cannot_be_written_down_is_refused() -> None:
    for bad in (
        RunEntry(0, 1, "relative", ["true"]),
        RunEntry(0, 1, "/tmp", ["a\0b"]),
        RunEntry(0, 1, "/tmp", ["true"], "/tmp", {"../x": "x"}),
        RunEntry(0, 1, "/tmp", ["true"], "/tmp", {"x": "../x"}),
        RunEntry(0, 1, "/tmp", ["true"], "old", {"x": "x"}),
    ):
        with pytest.raises(ValueError, match=r"is no absolute directory|NUL|cannot name"):
            render_run([bad], 1)


def test_a_task_index_that_is_none_is_an_error(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"])
    assert job.run(shell, TASK="x").returncode == 64
    assert job.claim() is None


def test_the_script_is_syntax_for_every_shell(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["true"], warm=WarmRunner("/no python's", "emt"), checkpoint=("a b",), launcher=("srun",))
    subprocess.run([*shell, "-n", str(job.script)], check=True)


def test_a_program_that_survives_the_death_of_its_child_is_judged_by_the_signal(
    tmp_path: Path, shell: Sequence[str]
) -> None:
    """A scheduler signals process by process: the child dies, the program goes on and ends well."""
    job = Job(tmp_path, ["sh", "-c", "echo $$ >pid; echo ready; sh -c 'kill -s TERM $PPID_OF_SCRIPT; exit 1'; exit 0"])
    (job.home / "run.0").write_text("PPID_OF_SCRIPT=$$\nexport PPID_OF_SCRIPT\n" + (job.home / "run.0").read_text())
    job.run(shell)
    assert job.ends()[0].verdict == "lost"


def test_what_is_marked_cancelled_is_no_success(tmp_path: Path, shell: Sequence[str]) -> None:
    job = Job(tmp_path, ["sh", "-c", 'touch "$MARK"; exit 0'])
    job.run(shell, MARK=str(job.home / "cancel.0"))
    assert job.ends()[0].verdict == "cancelled"
