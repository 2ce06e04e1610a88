"""Databases and job directories that part ways: an old backup, results put there by hand, outputs that are deleted."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import Gate, Penstockd, command_spec, eventually, query, toml
from tests.system.test_kill import bulk

from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.views import Selection

PRINT = 'echo "$PENSTOCK_JOB_ID" >> "$0"; echo "energy -$PENSTOCK_JOB_ID.5"'
ENERGY = {"patterns": {"energy_hartree": "energy ([-0-9.]+)"}}
MANY = 3000


def submit(daemon: Penstockd, id: str, script: str, *arguments: object, jobs: int = 1, **settings: Any) -> Path:
    """A campaign whose outputs tell the energy; its directory."""
    daemon.write_table(f"{id}.csv", [(f"{id}-{n}", "H 0 0 0") for n in range(1, jobs + 1)])
    argv = ["sh", "-c", script.replace("$", "$$"), *map(str, arguments)]
    engine = {"name": "command", "command": argv, "results": ENERGY}
    return Path(daemon.submit(command_spec(id, script, engine=engine, **settings)).directory)


def back_up(directory: Path, to: Path) -> None:
    """A copy of the workflow's database, as a backup program takes it."""
    with (
        contextlib.closing(sqlite3.connect(directory / "workflow.db")) as source,
        contextlib.closing(sqlite3.connect(to)) as target,
    ):
        source.backup(target)


def restore(backup: Path, directory: Path) -> None:
    """Puts a copy in the place of the workflow's database."""
    for name in ("workflow.db-wal", "workflow.db-shm"):
        (directory / name).unlink(missing_ok=True)
    shutil.copy(backup, directory / "workflow.db")


def pause_all(daemon: Penstockd, id: str, then: Callable[[], object] = lambda: None) -> None:
    """Pauses a workflow when its structures are jobs, does `then`, and waits until nothing of it is on its way."""
    eventually(lambda: not daemon.client.status(id).workflow.ingesting, "all structures are jobs")
    daemon.client.pause(id)
    then()
    eventually(lambda: not set(daemon.client.status(id).workflow.states) - {"ready", "completed"}, "nothing runs")


def put_result(directory: Path, job: int, text: str, number: int = 1) -> None:
    """The output of an attempt that nobody ran."""
    attempt = directory / "jobs" / f"{job // 1000:04d}" / str(job) / str(number)
    attempt.mkdir(parents=True, exist_ok=True)
    (attempt / "stdout").write_text(text)


def test_a_database_from_an_older_backup_learns_what_has_been_done(daemon: Penstockd, gate: Gate, home: Path) -> None:
    waits = 'if [ "$PENSTOCK_JOB_ID" = 1 ]; then echo "1 $$" > "$1"; read line < "$2"; fi'
    directory = submit(daemon, "old", f"{waits}; {PRINT}", home / "out", *gate.paths, jobs=30)
    gate.next_started()  # the others are behind it: most are left when it is paused
    pause_all(daemon, "old", gate.release)
    back_up(directory, home / "backup.db")
    known = daemon.client.status("old").workflow.states.get("completed", 0)
    daemon.client.resume("old")
    assert daemon.wait("old").workflow.statuses == {"completed": 30}
    daemon.stop()
    restore(home / "backup.db", directory)
    (directory / "jobs/0000/29/1/stdout").write_text("cut off")
    shutil.rmtree(directory / "jobs/0000/30")
    daemon.start()
    eventually(lambda: daemon.state_of("old") == "paused", "its own database is heard")
    ran = daemon.ctl("rescan", "old", "--json")
    assert ran.returncode == 0, ran.stderr
    reply = json.loads(ran.stdout)
    assert (reply["looked_at"], reply["changed"]) == (30 - known, 28 - known)
    assert reply["left"] == {"output_missing": 1, "no attempt directory": 1}
    assert {left["job"] for left in reply["shown"]} == {29, 30}
    rows = query(directory, "SELECT id, state, attempts, final_energy FROM job WHERE id IN (28, 29, 30)")
    assert rows == [(28, "completed", 1, -28.5), (29, "ready", 1, None), (30, "ready", 0, None)]
    assert (
        "taken for completed by what is in jobs/0000/28/1, energy -28.50000000 Eh"
        in daemon.ctl("why", "old", 28).stdout
    )
    assert daemon.ctl("logs", "old", 28).stdout == "energy -28.5\n"
    assert daemon.client.rescan("old").changed == 0  # again: nothing more is found
    daemon.client.resume("old")
    assert daemon.wait("old").workflow.statuses == {"completed": 30}
    assert query(directory, "SELECT job_id, number FROM attempt WHERE job_id > 28 ORDER BY job_id") == [
        (29, 2),
        (30, 1),
    ]
    ran_twice = sorted(job for job in range(1, 31) if (home / "out").read_text().split().count(str(job)) > 1)
    assert ran_twice == [29, 30]


def test_a_rescan_that_is_killed_is_completed_by_another(daemon: Penstockd, home: Path) -> None:
    directory = submit(daemon, "many", PRINT, home / "out", jobs=MANY)
    pause_all(daemon, "many")
    for job in range(1, MANY + 1):
        put_result(directory, job, f"energy -{job}.5\n", number=3)
    adopted = "SELECT count(*) FROM event WHERE kind = 'job_adopted'"
    with daemon.ctl_process("rescan", "many") as process:
        eventually(lambda: query(directory, adopted) != [(0,)], "the first jobs are adopted")
        daemon.kill()
        process.communicate()
        assert process.returncode in (0, 3)  # 0 where this process was held up, and it was quicker
    assert (
        query(directory, "SELECT count(*) FROM job WHERE state = 'completed' AND attempts = 3")[0]
        == query(directory, adopted)[0]
    )
    daemon.start()
    assert daemon.ctl("rescan", "many").returncode == 0
    assert daemon.client.status("many").workflow.statuses == {"completed": MANY}
    assert query(
        directory, "SELECT max(n) FROM (SELECT count(*) n FROM event WHERE kind = 'job_adopted' GROUP BY job_id)"
    ) == [(1,)]
    assert query(directory, "SELECT count(DISTINCT final_energy) FROM job") == [(MANY,)]
    assert query(directory, "SELECT jobs FROM tally WHERE jobs") == [(MANY,)]


def test_an_attempt_that_lives_is_never_touched(daemon: Penstockd, gate: Gate) -> None:
    script = f'echo "energy -1.5"; {gate.script}'
    directory = submit(daemon, "alive", script, *gate.paths, jobs=2, slots=1)
    gate.next_started()
    eventually(lambda: daemon.client.status("alive").workflow.states.get("running") == 1, "it is known to run")
    reply = daemon.client.rescan("alive")
    assert (reply.changed, reply.left["active"]) == (0, reply.left["active"])
    assert daemon.client.status("alive").workflow.states["running"] == 1
    with pytest.raises(ConflictError, match="job 1 is active; wait for its end or cancel it"):
        daemon.client.set_job("alive", 1, "completed")
    gate.release(2)
    assert daemon.wait("alive").workflow.statuses == {"completed": 2}
    assert query(directory, "SELECT count(*) FROM event WHERE kind IN ('job_adopted', 'job_set')") == [(0,)]


def test_a_workflow_that_failed_completes_by_results_put_there_by_hand(daemon: Penstockd, home: Path) -> None:
    directory = submit(daemon, "hand", "exit 1", jobs=3, retry={"max_attempts": 1})
    assert daemon.wait("hand").workflow.state == "failed"
    reply = daemon.client.rescan("hand")
    assert (reply.looked_at, reply.changed, reply.left) == (3, 0, {"exit_code": 3})
    for job in (1, 2, 3):
        put_result(directory, job, "energy -2.25\n", number=2)
    assert daemon.client.rescan("hand", Selection(jobs=(1, 2))).changed == 2
    assert daemon.state_of("hand") == "failed"
    ran = daemon.ctl("rescan", "hand", "--status", "failed")
    assert ran.stdout == "hand: 1 looked at, 1 completed by what is in their directories\n"
    assert daemon.state_of("hand") == "completed"
    daemon.stop()
    daemon.start()
    assert daemon.client.status("hand").workflow.statuses == {"completed": 3}


def test_a_program_without_rules_is_not_judged_by_its_output(daemon: Penstockd, home: Path) -> None:
    directory = daemon.submit_command("bare", "exit 1", retry={"max_attempts": 1})
    daemon.wait("bare")
    put_result(directory, 1, "all is well\n", number=2)
    assert daemon.client.rescan("bare").left == {"nothing in the spec says what a success looks like": 1}
    assert daemon.client.retry("bare").changed == 1
    daemon.wait("bare")
    assert query(directory, "SELECT number FROM attempt ORDER BY number") == [(1,), (3,)]  # 2 is there already


def test_completed_jobs_without_outputs_run_again(daemon: Penstockd) -> None:
    directory = submit_cells(daemon, "cells", 5)
    jobs = directory / "jobs" / "0000"
    shutil.rmtree(jobs / "2")
    (jobs / "3" / "1" / "result.json").unlink()
    shutil.rmtree(jobs / "4")
    daemon.client.mark("cells", Selection(jobs=(4,)), never_rerun=True)
    assert daemon.client.rescan("cells").looked_at == 0
    ran = daemon.ctl("reset-missing", "cells")
    assert ran.stdout.splitlines() == [
        "cells: 4 looked at, 2 to be run again, for their outputs are gone, 2 as they were",
        "  1 left: marked never-rerun",
    ]
    assert daemon.wait("cells").workflow.statuses == {"completed": 5}
    assert query(directory, "SELECT id FROM job WHERE attempts = 2") == [(2,), (3,)]
    assert query(directory, "SELECT count(*) FROM event WHERE data LIKE '%their outputs vanished%'") == [(1,)]
    assert daemon.client.reset_missing("cells").changed == 0


def test_metrics_are_read_again(daemon: Penstockd) -> None:
    directory = submit_cells(daemon, "again", 4)
    before = query(directory, "SELECT id, final_energy FROM job")
    result = directory / "jobs/0000/2/1/result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"energy_hartree": -9.5, "properties": {"gap": 1.5}}))
    (directory / "jobs/0000/3/1/result.json").write_text("{")
    reply = daemon.client.recompute_metrics("again")
    assert (reply.looked_at, reply.changed, reply.unchanged, reply.left) == (4, 1, 2, {"output_invalid": 1})
    assert reply.shown[0].detail.startswith("jobs/0000/3/1: result.json:")
    expected = [(2, -9.5) if job == 2 else (job, energy) for job, energy in before]
    assert query(directory, "SELECT id, final_energy FROM job") == expected
    assert daemon.client.job("again", 2).properties == {"gap": 1.5}
    assert daemon.client.status("again").workflow.state == "completed"
    assert query(directory, "SELECT job_id FROM event WHERE kind = 'metrics_recomputed'") == [(2,)]


def test_a_person_sets_what_is_recorded_of_a_job(daemon: Penstockd) -> None:
    directory = submit(daemon, "word", "exit 1", jobs=2, retry={"max_attempts": 1})
    daemon.wait("word")
    ran = daemon.ctl("set-job", "word", "--job", 1, "--status", "completed", "--energy", -1.25, "--reason", "by hand")
    assert (ran.returncode, ran.stdout) == (0, "word: job 1 is completed, energy -1.25000000 Eh\n")
    assert daemon.state_of("word") == "failed"
    detail = daemon.client.set_job("word", 2, "skipped", scf_cycles=3)
    assert (detail.job.state, detail.job.scf_steps, detail.job.failure) == ("skipped", 3, None)
    assert daemon.state_of("word") == "completed"
    assert (
        "status = completed, final_energy = -1.25 by the daemon's account: by hand"
        in daemon.ctl("why", "word", 1).stdout
    )
    with pytest.raises(NotFoundError, match="no job 9"):
        daemon.client.set_job("word", 9, "completed")
    with pytest.raises(SpecError, match="cannot be set to 'ready'"):
        daemon.client.set_job("word", 1, "ready")
    assert query(directory, "SELECT state, jobs FROM tally WHERE jobs ORDER BY state") == [
        ("completed", 1),
        ("skipped", 1),
    ]


def submit_cells(daemon: Penstockd, id: str, cells: int) -> Path:
    """A campaign of EMT energies that has ended; its directory."""
    daemon.write_table(f"{id}.csv", [(f"c{n}", bulk("Cu", 3.5 + 0.01 * n)) for n in range(cells)])
    source = {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"}
    tables = {"structures": source, "engine": {"name": "emt", "task": "energy"}, "resources": {"memory": "10MB"}}
    directory = Path(daemon.submit(toml({"id": id, "recipe": "campaign"} | tables)).directory)
    assert daemon.wait(id).workflow.state == "completed"
    return directory
