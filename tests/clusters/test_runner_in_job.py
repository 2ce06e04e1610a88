"""The warm runner as a job script starts it: one order, hints in place of a bell, and SIGTERM from the scheduler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.job_script import WarmRunner
from penstock.clusters.spool import End, Finish, Host, Start, parse_lines
from penstock.domain.calculation import Calculation, Rendered
from penstock.domain.submission import Entry, Manifest
from penstock.engines import get_python

from .scripted import SHELL_NAMES, SHELLS, Job, RunningJob
from .spooled import wait_for_file

LOST = "ended by the scheduler (SIGTERM)"
SLEEP = ["sh", "-c", "echo ready; exec sleep 1000"]
COPPER = '2\nLattice="3.6 0 0 0 3.6 0 0 0 3.6" pbc="T T T"\nCu 0 0 0\nCu 1.8 1.8 0\n'


def warm_job(tmp_path: Path, *rendered: Rendered, engine: str = "command", walltime_s: int = 60, **plan: Any) -> Job:
    job = Job(tmp_path, ["true"], walltime_s=walltime_s, warm=WarmRunner(sys.executable, engine), **plan)
    entries = [Entry(n, f"jobs/{n}", n + 1, one) for n, one in enumerate(rendered)]
    manifest = Manifest(job.ulid, "w", str(job.work), "isolated", engine, 1, walltime_s, entries, 100)
    spooling.write_manifest(job.home, job.ulid, msgspec.msgpack.encode(manifest))
    return job


def journal(job: Job) -> list[Any]:
    return list(parse_lines((job.home / f"{job.ulid}.journal").read_bytes()))


def ends(job: Job) -> dict[int, tuple[int | None, int | None, str | None, str | None]]:
    found = {line.position: line.exit for line in journal(job) if isinstance(line, End)}
    return {n: (end.code, end.signal, end.verdict, end.message) for n, end in found.items()}


@pytest.mark.parametrize("shell", SHELLS, ids=SHELL_NAMES)
def test_a_script_hands_over_to_a_warm_runner(tmp_path: Path, shell: list[str]) -> None:
    engine = get_python("emt")
    rendered = engine.render(Calculation("x", COPPER, 0, 1, 1, 100), engine.parameters({"task": "energy"}, str))
    job = warm_job(tmp_path, *[rendered] * 3, engine="emt")
    done = job.run(shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = journal(job)
    assert [type(line) for line in lines] == [Host, *[Start, End] * 3, Finish]
    assert [end[:3] for end in ends(job).values()] == [(0, None, None)] * 3
    assert job.news() == [f"{job.ulid}.w"]
    assert job.claim() == f"7:0:{os.uname().nodename}"
    assert (job.work / "jobs/2/result.json").is_file()


def test_a_buried_runner_runs_nothing(tmp_path: Path) -> None:
    job = warm_job(tmp_path, Rendered({}, ["touch", "ran"]))
    assert take_claim(job.home / f"{job.ulid}.claim", TOMBSTONE)
    assert job.run(SHELLS[0]).returncode == 0
    assert ends(job) == {}
    assert not (job.work / "jobs").exists()


@pytest.mark.parametrize(("cancelled", "verdict"), [(False, "lost"), (True, "cancelled")])
def test_the_schedulers_term_ends_attempt_and_runner(tmp_path: Path, cancelled: bool, verdict: str) -> None:
    job = warm_job(tmp_path, Rendered({}, SLEEP), Rendered({}, ["true"]))
    with RunningJob(job, SHELLS[0]) as running:
        wait_for_file(job.work / "jobs/0/stdout", "ready")
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            running.send(number)  # means nothing to it
        if cancelled:
            spooling.request_cancel(job.home, job.ulid, [0])
        (job.spool / "news" / f"{job.ulid}.w").unlink(missing_ok=True)
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 143
    assert {n: end[:3] for n, end in ends(job).items()} == {0: (None, 15, verdict)}
    assert not any(isinstance(line, Finish) for line in journal(job))
    assert job.news() == [f"{job.ulid}.w"]


_SLOW = """
import sys, time
from pathlib import Path
from penstock.engines.emt import EmtEngine
def run(self, directory):
    (directory / "stdout").write_text("ready")
    time.sleep(1000)
EmtEngine.run = run
import penstock.clusters.runner as runner
runner.main()
"""


@pytest.mark.parametrize("whom", ["keeper", "worker"])
def test_term_ends_a_calculation_in_the_worker_whoever_gets_it(tmp_path: Path, whom: str) -> None:
    job = warm_job(tmp_path, Rendered({}), Rendered({}), engine="emt")
    argv = [sys.executable, "-c", _SLOW, "--spool", str(job.home), "--engine", "emt", "--linger", "0"]
    argv += ["--news", str(job.spool / "news")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        process.stdin.write(f"{job.ulid}\n".encode())
        process.stdin.flush()
        wait_for_file(job.work / "jobs/0/stdout", "ready")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid if whom == "keeper" else int(children[0]), signal.SIGTERM)
        assert process.wait(20.0) == 143
    assert ends(job) == {0: (None, 15, "lost", LOST)}


def test_one_order_is_all_it_takes(tmp_path: Path) -> None:
    job = warm_job(tmp_path, Rendered({}, ["true"]))
    argv = [sys.executable, "-m", "penstock.clusters.runner", "--spool", str(job.home), "--engine", "command"]
    argv += ["--linger", "0", "--news", str(job.spool / "news")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(f"{job.ulid}\n".encode())
        process.stdin.flush()
        assert process.wait(20.0) == 0  # though its standard input stays open
    assert ends(job) == {0: (0, None, None, None)}
    assert read_claim(job.home / f"{job.ulid}.claim") is not None


def test_only_what_has_its_whole_walltime_is_begun_but_the_first_always(tmp_path: Path) -> None:
    job = warm_job(tmp_path, *[Rendered({}, ["true"])] * 3, walltime_s=100, allocation_s=100)
    assert job.run(SHELLS[0]).returncode == 0
    assert list(ends(job)) == [0]
    assert isinstance(journal(job)[-1], Finish)
