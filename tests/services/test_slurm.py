"""The real Slurms are what tests of the scheduler take them for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .account import Account
from .daemons import ServiceError
from .slurm import RealSlurm
from .sshd import RealSshd

SLEEP = "#!/bin/sh\nsleep 600\n"
NO_OUTPUT = "--output=/dev/null"


def ended(slurm: RealSlurm, job: int) -> Callable[[], bool]:
    return lambda: str(job) not in {row.id for row in slurm.queue()}


def state(slurm: RealSlurm, job: int) -> str:
    return next((row.state for row in slurm.queue() if row.id == str(job)), "")


def test_accounting_knows_a_job_that_ended(real_slurm: RealSlurm) -> None:
    job = real_slurm.submit("#!/bin/sh\nexit 7\n", "--job-name=short", NO_OUTPUT)
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=JobName,State,ExitCode"]
    real_slurm.home.wait_for(lambda: real_slurm.run(argv) == "short|FAILED|7:0\n", "the job is in the accounts")
    assert real_slurm.knows(job)


def test_kind_slurm_refuses_what_can_never_run(real_slurm: RealSlurm) -> None:
    with pytest.raises(ServiceError, match=r"sbatch .* failed \(1\)"):
        real_slurm.submit(SLEEP, "--partition=small", "--time=10:00:00")


def test_a_job_goes_on_while_the_controller_is_away(real_slurm: RealSlurm) -> None:
    job = real_slurm.submit(SLEEP, NO_OUTPUT)
    real_slurm.home.wait_for(lambda: state(real_slurm, job) == "RUNNING", "the job runs")
    real_slurm.stop_controller()
    real_slurm.start_controller()
    real_slurm.home.wait_for(lambda: state(real_slurm, job) == "RUNNING", "the job is known again")
    assert real_slurm.mend() != []
    assert real_slurm.queue() == []


def test_a_dead_node_fails_its_job(real_slurm: RealSlurm) -> None:
    job = real_slurm.submit(SLEEP, "--nodelist=n2", "--no-requeue", NO_OUTPUT)
    real_slurm.home.wait_for(lambda: state(real_slurm, job) == "RUNNING", "the job runs")
    real_slurm.node_down("n2")
    real_slurm.home.wait_for(ended(real_slurm, job), "the job has ended")
    assert "JobState=NODE_FAIL" in real_slurm.run(["scontrol", "show", "job", str(job)])
    real_slurm.node_up("n2")


def test_jobs_of_the_ordinary_account_run_as_that(slurm_sshd: RealSshd, real_slurm: RealSlurm) -> None:
    target = Account(slurm_sshd.user).home / "whoami"
    script = Path(target).with_name("script")
    slurm_sshd.run(f"printf '#!/bin/sh\\nid -un >{target}\\n' >{script} && sbatch --wait --quiet {NO_OUTPUT} {script}")
    assert target.read_text().strip() == slurm_sshd.user


def test_programs_run_for_another_account_as_after_its_login(slurm_sshd: RealSshd, real_slurm: RealSlurm) -> None:
    words = ["sh", "-c", "id; cd; pwd; sinfo -h -o %P"]
    assert real_slurm.run(words, user=slurm_sshd.user) == slurm_sshd.run(words[-1])


def test_harsh_slurm_forgets_and_accepts_anything(harsh_slurm: RealSlurm) -> None:
    impossible = harsh_slurm.submit(SLEEP, "--partition=small", "--time=10:00:00")
    job = harsh_slurm.submit("#!/bin/sh\n", NO_OUTPUT)
    harsh_slurm.home.wait_for(lambda: not harsh_slurm.knows(job), "the job is forgotten")
    assert [(row.id, row.state) for row in harsh_slurm.queue()] == [(str(impossible), "PENDING")]
    with pytest.raises(ServiceError, match="accounting storage is disabled"):
        harsh_slurm.run(["sacct"])
    assert harsh_slurm.mend() == [f"{impossible} sbatch PENDING"]
