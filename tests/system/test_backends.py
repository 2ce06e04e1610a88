"""One contract for every kind of cluster: whatever runs the jobs, a campaign is the same."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.daemons import SYSTEM_PATH
from tests.system.backends import ALL, QUEUES, SLURMS, Backend, Site
from tests.system.conftest import Gate, Penstockd, eventually, query, toml

from penstock.domain.errors import SpecError
from penstock.domain.views import Selection

ENERGY = {"patterns": {"energy_hartree": r"^energy (\S+)"}}
WITNESS = 'echo "+ $PENSTOCK_JOB_ID" >> "$0"; echo "energy -$PENSTOCK_JOB_ID.5"; echo "- $PENSTOCK_JOB_ID" >> "$0"'
ENDS = """
echo "$PENSTOCK_JOB_ID" >> "$0"
echo "energy -$PENSTOCK_JOB_ID.5"
case $PENSTOCK_JOB_ID in
3) echo "no good" >&2; exit 3 ;;
4) kill -SEGV $$ ;;
esac
"""
CHECKPOINTED = """
if [ -e state ]; then cat state; exit 0; fi
echo begun > state
exec sleep 1000
"""


@pytest.fixture(scope="module", params=ALL)
def site(request: pytest.FixtureRequest) -> Site:
    """A cluster, for all tests of it."""
    return Site.start(request)


@pytest.fixture
def stopped(site: Site, stopped_daemon: Penstockd, home: Path) -> Iterator[Backend]:
    """A backend that the test starts; it fails a test that leaves jobs at the scheduler."""
    backend = Backend(site, stopped_daemon, home)
    yield backend
    left = backend.close()
    if left:
        pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)


@pytest.fixture
def backend(stopped: Backend) -> Backend:
    """A backend that is ready."""
    stopped.start()
    return stopped


def on(*names: str) -> pytest.MarkDecorator:
    """For what only some kinds of cluster have."""
    return pytest.mark.parametrize("site", names, indirect=True, scope="module")


def statuses(backend: Backend, id: str) -> dict[str, int]:
    return backend.daemon.client.status(id).workflow.statuses


def why(backend: Backend, id: str, job: int) -> str:
    return backend.daemon.ctl("why", id, job).stdout


def attempts(directory: Path) -> list[int]:
    """How many attempts each job had, in the order of the jobs; what is known never to have begun is none."""
    counts = "SELECT sum(state != 'not_run') FROM attempt GROUP BY job_id ORDER BY job_id"
    return [count for (count,) in query(directory, counts)]


def starts(gate: Gate, count: int) -> list[int]:
    """The jobs that start next."""
    return sorted(gate.next_started()[0] for _ in range(count))


def side_by_side(witness: Path) -> int:
    """How many jobs ran at the same time at most."""
    running = most = 0
    for line in witness.read_text().splitlines():
        running += 1 if line.startswith("+") else -1
        most = max(most, running)
    return most


def test_ends_are_told_apart_and_outputs_are_here(backend: Backend) -> None:
    witness = backend.witnesses("witness")
    directory = backend.submit("ends", ENDS, witness, jobs=4, slots=4, engine=engine(ENDS, witness))
    assert backend.daemon.wait("ends").workflow.statuses == {"completed": 2, "failed": 2}
    found = query(directory, "SELECT job_id, state, exit_code, exit_signal FROM attempt ORDER BY job_id")
    assert found == [
        (1, "completed", 0, None),
        (2, "completed", 0, None),
        (3, "failed", 3, None),
        (4, "failed", None, signal.SIGSEGV),
    ]
    assert query(directory, "SELECT final_energy FROM job WHERE status = 'completed' ORDER BY id") == [(-1.5,), (-2.5,)]
    assert sorted(witness.read_text().split()) == ["1", "2", "3", "4"]
    for job in range(1, 5):
        assert (directory / f"jobs/0000/{job}/1/stdout").read_text() == f"energy -{job}.5\n"
    assert "no good" in why(backend, "ends", 3)


def test_a_program_that_is_missing_is_named(backend: Backend) -> None:
    settings: dict[str, Any] = {"engine": {"name": "command", "command": ["no-such-program-anywhere"]}}
    if backend.site.kind == "local":
        with pytest.raises(SpecError, match="no-such-program-anywhere"):
            backend.submit("missing", "", **settings)
        return
    directory = backend.submit("missing", "", **settings)
    assert backend.daemon.wait("missing").workflow.statuses == {"failed": 1}
    assert query(directory, "SELECT exit_code FROM attempt") == [(127,)]
    assert "no-such-program-anywhere: no such program" in why(backend, "missing", 1)


def engine(script: str, *arguments: object) -> dict[str, object]:
    """The command engine, with an energy in what it prints."""
    command = ["sh", "-c", script.replace("$", "$$"), *map(str, arguments)]
    return {"name": "command", "command": command, "results": ENERGY}


def test_a_job_finds_its_workflow_and_no_secret(backend: Backend) -> None:
    directory = backend.submit("inside", "env; pwd", resources={"cores": 2, "memory": "10MB"})
    assert backend.daemon.wait("inside").workflow.statuses == {"completed": 1}
    lines = (directory / "jobs/0000/1/1/stdout").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    seen = backend.seen_directory(directory)
    expected = {
        "PENSTOCK_WORKFLOW_ID": "inside",
        "PENSTOCK_ISOLATION_MODE": "isolated",
        "PENSTOCK_WORKFLOW_DIR": seen,
        "PENSTOCK_JOB_ID": "1",
        "PENSTOCK_ATTEMPT_DIR": f"{seen}/jobs/0000/1/1",
        "OMP_NUM_THREADS": "2",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert lines[-1] == f"{seen}/jobs/0000/1/1"
    if backend.site.kind != "local":
        assert not [line for line in lines if "secret" in line]
        ours = {name for name in found if name.startswith("PENSTOCK_")} - {"PENSTOCK_TEST_SESSION"}
        assert ours == {name for name in expected if name.startswith("PENSTOCK_")}


def test_arrays_and_bundles_run_every_job_once_within_their_slots(backend: Backend) -> None:
    directories = {}
    slots = {"array": 4, "bundle": 2}
    for style, count in slots.items():
        witness = backend.witnesses(style)
        settings = {"slots": count, "batch": {"style": style}, "engine": engine(WITNESS, witness)}
        directories[style] = backend.submit(style, WITNESS, witness, jobs=12, **settings)
    for style, directory in directories.items():
        status = backend.daemon.wait(style)
        assert status.workflow.statuses == {"completed": 12}, style
        energies = query(directory, "SELECT final_energy FROM job ORDER BY id")
        assert energies == [(-(job + 0.5),) for job in range(1, 13)]
        lines = Counter((backend.out / style).read_text().splitlines())
        assert lines == Counter(f"{sign} {job}" for sign in "+-" for job in range(1, 13)), style
        assert side_by_side(backend.out / style) <= slots[style]
        assert attempts(directory) == [1] * 12
    if backend.site.kind != "local":
        assert query(directories["bundle"], "SELECT count(*) FROM submission")[0][0] < 6


@on("local", *QUEUES)
def test_python_engines_run_one_by_one_and_warm(stopped: Backend) -> None:
    python = stopped.python()
    if python is None:
        pytest.skip(f"{stopped.site.name}: its account can use no Python with Penstock and ASE")
    stopped.start(**({} if stopped.site.kind == "local" else {"python": python}))
    rows = [(f"Cu{n}", f"Cu 0 0 0\nCu 0 0 {2.2 + 0.1 * n}") for n in range(6)]
    for style, slots in (("array", 2), ("bundle", 1)):
        stopped.daemon.write_table(f"{style}.csv", rows)
        settings = {"engine": {"name": "emt", "task": "energy"}, "slots": slots, "batch": {"style": style}}
        stopped.daemon.submit(
            emt_spec(style, stopped.cluster, settings | {"resources": {"memory": "300MB", "walltime": "5min"}})
        )
    energies = []
    for style in ("array", "bundle"):
        assert stopped.daemon.wait(style).workflow.statuses == {"completed": 6}
        jobs = stopped.daemon.client.jobs(style).jobs
        energies.append([job.final_energy for job in jobs])
        assert [job.attempts for job in jobs] == [1] * 6
    assert energies[0] == energies[1]
    assert len(set(energies[0])) == 6


def emt_spec(id: str, cluster: str, settings: dict[str, object]) -> str:
    """A spec for a Python engine."""
    structures = {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"}
    return toml({"id": id, "recipe": "campaign", "cluster": cluster, "structures": structures} | settings)


def test_an_attempt_that_outgrows_its_walltime_goes_on_from_its_checkpoint(backend: Backend) -> None:
    settings: dict[str, Any] = {"resources": {"memory": "10MB", "walltime": "1s"}, "batch": {"style": "bundle"}}
    checkpoint: dict[str, object] = {"carry": ["state"]}
    if backend.site.kind != "local":
        checkpoint["command"] = ["sh", "-c", "echo saved >> state"]
    late = backend.submit("late", "exec sleep 1000", jobs=2, **settings)
    retry = {"max_attempts": 2, "walltime_growth": 60}
    carried = backend.submit("carried", CHECKPOINTED, jobs=2, **settings, checkpoint=checkpoint, retry=retry)
    assert backend.daemon.wait("late").workflow.statuses == {"timeout": 2}
    assert query(late, "SELECT state, failure FROM attempt") == [("timeout", "walltime")] * 2
    assert "It ran out of walltime." in why(backend, "late", 1)
    assert backend.daemon.wait("carried").workflow.statuses == {"completed": 2}
    found = query(carried, "SELECT job_id, number, state FROM attempt ORDER BY job_id, number")
    assert found == [(job, n, state) for job in (1, 2) for n, state in ((1, "timeout"), (2, "completed"))]
    saved = "begun\n" if backend.site.kind == "local" else "begun\nsaved\n"
    assert [(carried / f"jobs/0000/{job}/2/stdout").read_text() for job in (1, 2)] == [saved] * 2


def test_running_jobs_are_cancelled_and_their_siblings_go_on(backend: Backend) -> None:
    wide, deep = backend.gate(), backend.gate()
    one_by_one = backend.submit("deep", deep.script, *deep.paths, jobs=3, slots=1, batch={"style": "bundle"})
    backend.submit("wide", wide.script, *wide.paths, jobs=4, slots=3, batch={"style": "array"})
    assert starts(wide, 3) == [1, 2, 3]
    assert starts(deep, 1) == [1]
    assert backend.daemon.ctl("cancel", "wide", "--job", "2,4").stdout == "wide: cancelled, 2 jobs\n"
    assert backend.daemon.client.cancel("deep", Selection((1, 3))).changed == 2
    assert starts(deep, 1) == [2]
    eventually(lambda: statuses(backend, "wide") == {"running": 2, "cancelled": 2}, "job 2 is cancelled")
    deep.release()
    wide.release(2)
    assert backend.daemon.wait("deep").workflow.statuses == {"completed": 1, "cancelled": 2}
    assert backend.daemon.wait("wide").workflow.statuses == {"completed": 2, "cancelled": 2}
    assert not wide.starts_pending()
    ((state, _),) = query(one_by_one, "SELECT state, exit_signal FROM attempt WHERE job_id = 1")
    assert state == "cancelled"


@on(*QUEUES)
def test_a_job_that_the_scheduler_holds_says_so_and_is_cancelled(backend: Backend) -> None:
    backend.submit("held", "true", jobs=2, slots=2, **backend.held)
    eventually(lambda: "Somebody holds it at the scheduler." in why(backend, "held", 2), "it is told that it is held")
    scheduler = backend.site.scheduler
    assert scheduler is not None
    assert len(scheduler.jobs()) >= 1
    assert backend.daemon.ctl("cancel", "held", "--yes").returncode == 0
    eventually(lambda: statuses(backend, "held") == {"cancelled": 2}, "all are cancelled")
    assert backend.daemon.state_of("held") == "cancelled"
    eventually(lambda: not scheduler.jobs(), "the scheduler has let go of it")


def test_a_paused_workflow_starts_nothing(backend: Backend) -> None:
    gate = backend.gate()
    backend.submit("some", gate.script, *gate.paths, jobs=4, slots=2, batch={"style": "array"})
    starts(gate, 1)
    assert backend.daemon.ctl("pause", "some").returncode == 0
    gate.release(2)
    starts(gate, 1)
    eventually(lambda: statuses(backend, "some") == {"completed": 2, "ready": 2}, "the handed-out jobs end")
    assert "The workflow is paused." in why(backend, "some", 4)
    assert not gate.starts_pending()
    assert backend.daemon.ctl("resume", "some").returncode == 0
    gate.release(2)
    assert backend.daemon.wait("some").workflow.statuses == {"completed": 4}


def test_a_killed_daemon_loses_nothing_and_repeats_nothing(backend: Backend) -> None:
    wide, deep, daemon = backend.gate(), backend.gate(), backend.daemon
    directories = [
        backend.submit("wide", wide.script, *wide.paths, jobs=6, slots=3, batch={"style": "array"}),
        backend.submit("deep", deep.script, *deep.paths, jobs=4, slots=2, batch={"style": "bundle"}),
    ]
    begun = {"wide": starts(wide, 3), "deep": starts(deep, 2)}
    if backend.site.kind == "slurm":
        assert len(backend.site.slurm.queue()) == 5  # and so the slots are kept
    witness = backend.witnesses("fresh")
    directories.append(backend.submit("fresh", 'echo "$PENSTOCK_JOB_ID" >> "$0"', witness, jobs=5, slots=5))
    daemon.kill()
    wide.release()
    deep.release()
    if backend.site.kind != "local":
        begun["deep"] += starts(deep, 1)  # a bundle goes on without the daemon
    daemon.start()
    wide.release(2)
    begun["wide"] += starts(wide, 1)
    daemon.kill()
    daemon.start()
    wide.release(3)
    deep.release(3)
    begun["wide"] += starts(wide, 2)
    begun["deep"] += starts(deep, 4 - len(begun["deep"]))
    for id, directory, jobs in zip(("wide", "deep", "fresh"), directories, (6, 4, 5), strict=True):
        assert daemon.wait(id).workflow.statuses == {"completed": jobs}, id
        assert attempts(directory) == [1] * jobs
    assert sorted(begun["wide"]) == [1, 2, 3, 4, 5, 6]
    assert sorted(begun["deep"]) == [1, 2, 3, 4]
    assert not wide.starts_pending()
    assert not deep.starts_pending()
    assert sorted(witness.read_text().split()) == ["1", "2", "3", "4", "5"]


# ---- what only schedulers have --------------------------------------------------------------------------------------


@on(*QUEUES)
def test_a_cluster_is_checked_and_reported(stopped: Backend) -> None:
    python = stopped.python()
    stopped.start(**({"python": python} if python else {}))
    findings = stopped.findings()
    assert all(findings.values()), findings
    what = {text.partition(":")[0] for text in findings}
    assert {"connection", "spool", "clock", "scheduler", "a small job", "submission", "job"} <= what
    assert ("python" in what) == (python is not None)
    gate = stopped.gate()
    stopped.submit("some", gate.script, *gate.paths)
    starts(gate, 1)
    eventually(lambda: "the scheduler says: job " in why(stopped, "some", 1), "the scheduler tells that it runs")
    assert "It is running." in why(stopped, "some", 1)
    report = stopped.daemon.ctl("clusters", stopped.cluster, "--report")
    assert report.returncode == 0
    for words in ("1 running", "listed every 0.1 s", "in the last minute"):
        assert words in report.stdout, report.stdout
    answer = json.loads(stopped.daemon.ctl("clusters", stopped.cluster, "--report", "--json").stdout)["report"]
    assert sum(answer["jobs"].values()) >= 1
    assert answer["cluster"]["state"] == "up"
    gate.release()
    stopped.daemon.wait("some")


@on(*QUEUES)
def test_the_doctor_checks_a_cluster_whole(backend: Backend) -> None:
    ran = backend.daemon.ctl("doctor", "--cluster", backend.cluster, "--json")
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    whole = {f["what"]: f["ok"] for f in found if f["what"].startswith(f"{backend.cluster}: ")}
    assert {f"{backend.cluster}: {what}" for what in ("connection", "clock", "submission", "job")} <= whole.keys()
    assert all(whole.values()), found
    assert [f["level"] for f in found if f["what"] == f"cluster {backend.cluster}"] == ["ok"]
    assert "asyncssh " in next(f["detail"] for f in found if f["what"] == "packages")


@on(*SLURMS)
def test_an_impossible_request_is_refused_with_the_limit(backend: Backend) -> None:
    for resources, said in (
        ({"memory": "9999GB"}, "MB of memory"),
        ({"cores": 65}, "64 cores"),
        ({"walltime": "30d"}, "of walltime"),
    ):
        with pytest.raises(SpecError, match=said):
            backend.submit("huge", "true", resources=resources)
    with pytest.raises(SpecError, match="there is no partition 'nowhere'"):
        backend.submit("huge", "true", scheduler={"partition": "nowhere"})


@on(*SLURMS)
def test_a_limit_that_changed_pauses_the_workflow_until_it_is_lifted(backend: Backend) -> None:
    """Where it is refused at once, and where it pends for ever."""
    slurm, partition = backend.site.slurm, "PartitionName=late"
    slurm.run(["scontrol", "create", partition, "Nodes=n1", "MaxTime=60"])
    try:
        backend.daemon.stop()
        backend.daemon.start()
        backend.wait_up()
        slurm.run(["scontrol", "update", partition, "MaxTime=1"])
        witness = backend.witnesses("witness")
        settings = {
            "slots": 3,
            "scheduler": {"partition": "late"},
            "resources": {"memory": "10MB", "walltime": "30min"},
        }
        directory = backend.submit("late", 'echo "$PENSTOCK_JOB_ID" >> "$0"', witness, jobs=3, **settings)
        eventually(lambda: backend.daemon.state_of("late") == "paused", "the workflow is paused")
        reason = backend.daemon.client.status("late").workflow.reason or ""
        assert "refuses its jobs" in reason
        assert ("PartitionTimeLimit" if backend.site.is_harsh else "Requested time limit is invalid") in reason
        assert statuses(backend, "late") == {"ready": 3}
        eventually(lambda: not slurm.jobs(), "what can never start is not left there")
        slurm.run(["scontrol", "update", partition, "MaxTime=60"])
        assert backend.daemon.ctl("resume", "late").returncode == 0
        assert backend.daemon.wait("late").workflow.statuses == {"completed": 3}
        assert sorted(witness.read_text().split()) == ["1", "2", "3"]
        assert query(directory, "SELECT count(*) FROM attempt WHERE state = 'completed'") == [(3,)]
    finally:
        slurm.run(["scontrol", "delete", partition])


@on(*SLURMS)
def test_what_the_configuration_asks_for_is_refused_and_mended(stopped: Backend) -> None:
    stopped.start(constraint="nothing-has-this")
    stopped.submit("some", "true", jobs=2, slots=2)
    eventually(lambda: stopped.daemon.state_of("some") == "paused", "the workflow is paused")
    reason = stopped.daemon.client.status("some").workflow.reason or ""
    assert "Invalid feature specification" in reason
    assert "penstockctl resume some" in reason
    assert reason in why(stopped, "some", 1)
    stopped.configure()
    os.kill(stopped.daemon.pid, signal.SIGHUP)
    eventually(lambda: stopped.daemon.logged("configuration reloaded"), "the configuration is read again")
    assert stopped.daemon.ctl("resume", "some").returncode == 0
    assert stopped.daemon.wait("some").workflow.statuses == {"completed": 2}


@on("harsh", "harsh-ssh")
def test_what_vanished_without_a_word_is_settled_by_a_person(backend: Backend) -> None:
    gate, daemon, slurm = backend.gate(), backend.daemon, backend.site.slurm
    script = gate.script + '; case $PENSTOCK_ATTEMPT_DIR in */1) kill -9 "$PPID" $$ ;; esac'
    directory = backend.submit("gone", script, *gate.paths)
    starts(gate, 1)
    (job,) = slurm.jobs()
    daemon.kill()
    gate.release()
    eventually(lambda: not slurm.knows(int(job)), "Slurm has forgotten the job")
    daemon.start()
    eventually(lambda: daemon.client.status("gone").workflow.states == {"in_doubt": 1}, "it is in doubt")
    eventually(
        lambda: "you are asked: penstockctl resolve gone --job 1" in why(backend, "gone", 1), "a person is asked"
    )
    assert "Nobody can say yet whether it runs" in why(backend, "gone", 1)
    report = daemon.client.report_cluster(backend.cluster).report
    assert [doubt.positions for doubt in report.doubts] == [(0,)]
    assert attempts(directory) == [1]
    done = daemon.ctl("resolve", "gone", "--job", "1", "--as", "lost")
    assert done.returncode == 0, done.stderr
    starts(gate, 1)  # nobody's fault, so it is tried again
    gate.release()
    assert daemon.wait("gone").workflow.statuses == {"completed": 1}
    found = query(directory, "SELECT number, state, failure FROM attempt ORDER BY number")
    assert found == [(1, "failed", "runner_lost"), (2, "completed", None)]


@on("slurm")
def test_an_array_is_warned_before_its_walltime(backend: Backend) -> None:
    """Slurm looks at its clock every 30 s only, so this one takes its time."""
    settings: dict[str, Any] = {"resources": {"memory": "10MB", "walltime": "1s"}, "batch": {"style": "array"}}
    retry = {"max_attempts": 2, "walltime_growth": 100}
    checkpoint = {"command": ["sh", "-c", "echo saved >> state"], "carry": ["state"]}
    directory = backend.submit("late", CHECKPOINTED, **settings, checkpoint=checkpoint, retry=retry)
    assert backend.daemon.wait("late").workflow.statuses == {"completed": 1}
    assert query(directory, "SELECT state FROM attempt ORDER BY number") == [("timeout",), ("completed",)]
    assert (directory / "jobs/0000/1/2/stdout").read_text() == "begun\nsaved\n"


@on("slurm")
def test_two_workflows_share_one_poll_and_neither_starves(stopped: Backend) -> None:
    """With the budgets that a site gets by default; every call of squeue leaves a mark."""
    folder, calls = stopped.home / "bin", stopped.home / "calls"
    folder.mkdir()
    wrapped = f'#!/bin/sh\necho >> {calls}\nPATH={SYSTEM_PATH}\nexec squeue "$@"\n'
    (folder / "squeue").write_text(wrapped)
    (folder / "squeue").chmod(0o755)
    stopped.daemon.environment["PATH"] = f"{folder}:{stopped.daemon.environment['PATH']}"
    stopped.start(queries_idle_per_min=2, queries_active_per_min=12, jobs_max=4)
    witness = stopped.witnesses("order")
    script = 'echo "$PENSTOCK_WORKFLOW_ID" >> "$0"'
    many = stopped.submit("many", script, witness, jobs=24, slots=24, batch={"style": "array", "size": 2})
    few = stopped.submit("few", script, witness, jobs=4, slots=24, batch={"style": "array", "size": 2})
    assert stopped.daemon.wait("few").workflow.statuses == {"completed": 4}
    assert stopped.daemon.wait("many").workflow.statuses == {"completed": 24}
    order = witness.read_text().split()
    assert Counter(order) == {"many": 24, "few": 4}
    assert max(n for n, id in enumerate(order) if id == "few") < 20
    assert attempts(many) == [1] * 24
    assert attempts(few) == [1] * 4

    def told() -> int:
        totals = stopped.daemon.client.report_cluster(stopped.cluster).report.totals
        return sum(total.calls for total in totals if total.command == "squeue")

    def made() -> int:
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    eventually(lambda: told() == made(), "every call is told, the last once it has ended")
    report = stopped.daemon.client.report_cluster(stopped.cluster).report
    per_minute = [count.calls for count in report.calls if count.command in ("squeue", "sacct")]
    assert all(count <= 12 for count in per_minute)
