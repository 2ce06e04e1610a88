"""What people ask of a running workflow: pause, cancel, retry, mark, walltime, and the commands that look."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import LIMIT_S, Gate, Penstockd, command_spec, ended, eventually, query

from penstock.domain.views import Selection

PUBLIC_COLUMNS = (
    "id, orig_index, elements, natoms, status, charge, spin, geometry, job_dir, max_forces, scf_steps, final_energy, "
    "error_message, created_at, updated_at"
)
STUBBORN = 'trap "" TERM; echo "$PENSTOCK_JOB_ID $$" > "$0"; sh -c \'echo "0 $$" > "$0"; read line < "$1"\' "$0" "$1"'
"""Deaf to TERM, with a child that is the shell's own process."""


def statuses(daemon: Penstockd, id: str) -> dict[str, int]:
    return daemon.client.status(id).workflow.statuses


def test_retry_leaves_what_is_marked_never_rerun(daemon: Penstockd, home: Path) -> None:
    script = 'echo "$PENSTOCK_JOB_ID" >> "$0"; test -e "$1"'
    directory = daemon.submit_command("some", script, home / "out", home / "mended", jobs=4, retry={"max_attempts": 2})
    assert daemon.wait("some").workflow.statuses == {"failed": 4}
    assert query(directory, "SELECT job_id, count(*) FROM attempt GROUP BY job_id") == [(job, 2) for job in range(1, 5)]
    ran = daemon.ctl("mark", "some", "--job", "2,3", "--never-rerun")
    assert (ran.returncode, ran.stdout) == (0, "some: marked, 2 jobs\n")
    (home / "mended").touch()
    ran = daemon.ctl("retry", "some")
    assert ran.returncode == 0
    assert ran.stdout == "some: to be tried again, 2 jobs, 2 left as they were (2 are marked never-rerun)\n"
    assert daemon.wait("some").workflow.statuses == {"completed": 2, "failed": 2}
    assert query(directory, "SELECT id, status, attempts FROM job ORDER BY id") == [
        (1, "completed", 3),
        (2, "failed", 2),
        (3, "failed", 2),
        (4, "completed", 3),
    ]
    assert "it is marked never-rerun" in daemon.ctl("why", "some", 2).stdout
    daemon.stop()
    daemon.start()
    assert daemon.client.mark("some", Selection((2,)), never_rerun=False).changed == 1
    assert daemon.client.retry("some", Selection(statuses=("failed",))).changed == 1
    daemon.wait("some")
    assert daemon.client.retry("some", Selection((1,))).changed == 1  # a completed one, by its number only
    assert daemon.wait("some").workflow.statuses == {"completed": 3, "failed": 1}
    assert sorted((home / "out").read_text().split()) == sorted(
        ["1", "1", "1", "1", "2", "2", "2", "3", "3", "4", "4", "4"]
    )


def test_pause_and_resume(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("some", gate.script, *gate.paths, jobs=4)
    gate.next_started()
    assert daemon.ctl("pause", "some").returncode == 0
    assert daemon.state_of("some") == "paused"
    gate.release(2)  # what was handed out before runs to its end
    assert gate.next_started()[0] == 2
    eventually(lambda: statuses(daemon, "some") == {"completed": 2, "ready": 2}, "the handed-out jobs end")
    assert "The workflow is paused." in daemon.ctl("why", "some", 3).stdout
    daemon.stop()
    daemon.start()
    assert daemon.state_of("some") == "paused"
    assert daemon.client.pause("some", Selection((4,))).changed == 1
    assert daemon.ctl("resume", "some").returncode == 0
    gate.release()
    eventually(lambda: statuses(daemon, "some") == {"completed": 3, "ready": 1}, "all but the held job end")
    assert daemon.state_of("some") == "running"
    assert "It is held by request." in daemon.ctl("why", "some", 4).stdout
    gate.release()
    assert daemon.client.resume("some", Selection((4,))).changed == 1
    assert daemon.wait("some").workflow.statuses == {"completed": 4}


def test_cancel_reaches_the_whole_process_group(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("some", STUBBORN, *gate.paths, jobs=4)
    (_, shell), (_, child) = gate.next_started(), gate.next_started()
    assert os.getpgid(child) == os.getpgid(shell) == shell
    daemon.kill()
    daemon.start()  # the attempt is another daemon's child now
    assert daemon.ctl("cancel", "some", "--yes").returncode == 0
    assert ended(shell)
    assert ended(child)
    status = daemon.wait("some")
    eventually(lambda: statuses(daemon, "some") == {"cancelled": 4}, "all are cancelled")
    assert status.workflow.reason == "cancelled by request"
    assert query(directory, "SELECT exit_signal FROM attempt WHERE job_id = 1") == [(signal.SIGKILL,)]
    assert query(directory, "SELECT count(*) FROM attempt WHERE started_at IS NOT NULL") == [(1,)]
    assert not gate.starts_pending()


def test_one_job_is_cancelled(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("some", gate.script, *gate.paths, jobs=4)
    _, first = gate.next_started()
    assert daemon.ctl("cancel", "some", "--job", "1,2").stdout == "some: cancelled, 2 jobs\n"
    assert ended(first)
    gate.release(2)
    assert daemon.wait("some").workflow.statuses == {"cancelled": 2, "completed": 2}
    assert [job.status for job in daemon.client.jobs("some").jobs] == ["cancelled"] * 2 + ["completed"] * 2
    assert daemon.client.retry("some", Selection((1,))).changed == 1
    assert gate.next_started()[0] in {1, 3, 4}
    gate.release()
    assert daemon.wait("some").workflow.statuses == {"cancelled": 1, "completed": 3}


def test_walltime(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("late", gate.script, *gate.paths, resources={"walltime": "1s", "memory": "1MB"})
    _, job = gate.next_started()
    assert ended(job)
    status = daemon.wait("late")
    assert status.workflow.statuses == {"timeout": 1}
    assert [(job.status, job.failure) for job in status.failures] == [("timeout", "walltime")]
    assert query(directory, "SELECT state, exit_signal FROM attempt") == [("timeout", signal.SIGTERM)]
    assert "It ran out of walltime." in daemon.ctl("why", "late", 1).stdout


def test_what_a_job_finds_in_its_environment(daemon: Penstockd, gate: Gate) -> None:
    script = f'env; pwd; {gate.script}; exec "$2" -m penstock.ctl.main status --json'
    resources = {"cores": 1, "memory": "1MB"}
    directory = daemon.submit_command("inside", script, *gate.paths, sys.executable, resources=resources)
    gate.next_started()
    eventually(lambda: statuses(daemon, "inside") == {"running": 1}, "the job is known to run")
    gate.release()
    assert daemon.wait("inside").workflow.statuses == {"completed": 1}
    attempt = directory / "jobs/0000/1/1"
    lines = (attempt / "stdout").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert {name: found[name] for name in found if name.startswith(("PENSTOCK_", "OMP")) and "RUN" not in name} == {
        "PENSTOCK_WORKFLOW_ID": "inside",
        "PENSTOCK_WORKFLOW_DIR": str(directory),
        "PENSTOCK_ISOLATION_MODE": "isolated",
        "PENSTOCK_JOB_ID": "1",
        "PENSTOCK_ATTEMPT_DIR": str(attempt),
        "OMP_NUM_THREADS": "1",
    } | {name: value for name, value in daemon.environment.items() if name.startswith("PENSTOCK_")}
    assert str(attempt) in lines
    status = json.loads(lines[-1])  # the ctl knew which workflow it was asked from
    assert status["workflow"]["id"] == "inside"
    assert status["workflow"]["statuses"] == {"running": 1}
    log = daemon.ctl("logs", "inside", 1)
    assert log.returncode == 0
    assert "PENSTOCK_JOB_ID=1" in log.stdout


def test_settings_come_in_layers(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.config.write_text('[workflow]\nslots = 2\npriority = 2\n[workflow.resources]\ncores = 1\nmemory = "2MB"\n')
    daemon.start()
    local = daemon.work / ".penstock.toml"
    local.write_text('priority = 3\n[resources]\nmemory = "3MB"\nwalltime = "3min"\n[scheduler]\nqueue = "long"\n')
    environment = {"PENSTOCK_WALLTIME": "4min", "PENSTOCK_MAX_ATTEMPTS": "4"}

    shown = json.loads(daemon.ctl("config", "--json", env=environment).stdout)["settings"]
    assert {one["key"]: (one["value"], one["origin"]) for one in shown} == {
        "cluster": ("local", "built-in"),
        "slots": (2, str(daemon.config)),
        "priority": (3, str(local)),
        "isolation": ("isolated", "built-in"),
        "resources.cores": (1, str(daemon.config)),
        "resources.memory": ("3MB", str(local)),
        "resources.walltime": ("4min", "environment"),
        "retry.max_attempts": (4, "environment"),
        "retry.delay": (None, "built-in"),
        "scheduler.partition": ("long", str(local)),
        "scheduler.account": ("", "built-in"),
        "scheduler.qos": ("", "built-in"),
        "batch.style": ("auto", "built-in"),
        "retention.archive_after": ("", "built-in"),
        "retention.delete_after": ("", "built-in"),
        "retention.keep_last": (0, "built-in"),
        "retention.destination": ("", "built-in"),
    }
    table = daemon.ctl("config", env=environment).stdout
    assert any(line.split() == ["resources.walltime", "4min", "environment"] for line in table.splitlines())

    daemon.write_table("five.csv", [("h", "H 0 0 0")])
    (daemon.work / "five.toml").write_text(command_spec("five", "true", resources={}, retry={"max_attempts": 5}))
    ran = daemon.ctl("submit", "five.toml", "--priority", 6, "--id", "six", "--wait", "--json", env=environment)
    assert ran.returncode == 0, ran.stderr
    info = json.loads(ran.stdout)["workflow"]
    assert (info["id"], info["slots"], info["priority"]) == ("six", 2, 6)
    spec = json.loads(query(Path(info["directory"]), "SELECT spec FROM workflow")[0][0])
    expected = {"cores": 1, "memory": "3MB", "walltime": "4min", "nodes": 1, "tasks": 1, "gpus": 0}
    assert (spec["resources"], spec["scheduler"]["queue"]) == (expected, "long")
    assert spec["retry"]["max_attempts"] == 5

    local.write_text("slotz = 3\n")
    for command in (["config"], ["submit", "five.toml"]):
        ran = daemon.ctl(*command)
        assert ran.returncode == 2
        assert ran.stderr == "penstockctl: .penstock.toml:1: slotz: unknown key 'slotz'; did you mean 'slots'?\n"
    local.unlink()
    ran = daemon.ctl("config", env={"PENSTOCK_SLOTS": "many"})
    assert ran.returncode == 2
    assert "PENSTOCK_SLOTS: 'many' is not a whole number" in ran.stderr


def test_a_dry_run_submits_nothing(daemon: Penstockd) -> None:
    daemon.write_table("dry.csv", [("a", "H 0 0 0"), ("b", "He 0 0 0")])
    (daemon.work / "dry.toml").write_text(command_spec("dry", "echo", "x"))
    before = sorted(path.name for path in daemon.work.rglob("*"))
    ran = daemon.ctl("submit", "dry.toml", "--dry-run")
    assert ran.returncode == 0
    assert ran.stdout.startswith("dry run of dry: nothing was submitted\n2 structures: 2 jobs, ")
    plan = json.loads(daemon.ctl("submit", "dry.toml", "--dry-run", "--json").stdout)
    assert plan["jobs"] == 2
    assert plan["steps"][0]["example_argv"] == ["sh", "-c", "echo", "x"]
    assert sorted(path.name for path in daemon.work.rglob("*")) == before
    assert daemon.client.list_workflows().workflows == ()


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("false", 1)])
def test_exit_codes_of_submit_wait(script: str, code: int, daemon: Penstockd) -> None:
    daemon.write_table("one.csv", [("h", "H 0 0 0")])
    (daemon.work / "one.toml").write_text(command_spec("one", script))
    ran = daemon.ctl("submit", "one.toml", "--wait")
    assert ran.returncode == code
    assert re.search("one failed: 1 jobs? failed, 1 of 1" if code else "one completed, 1 of 1", ran.stdout)


def read_until_it_waits(process: subprocess.Popen[str]) -> None:
    """Returns once `submit --wait` follows its workflow, which it tells of in its second line."""
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(2)]
    assert [line.split()[0] for line in told if line] == ["accepted", "one"], told


def test_interrupting_a_wait_leaves_the_workflow_running(daemon: Penstockd, gate: Gate) -> None:
    daemon.write_table("one.csv", [("h", "H 0 0 0")])
    (daemon.work / "one.toml").write_text(command_spec("one", gate.script, *gate.paths))
    with daemon.ctl_process("submit", "one.toml", "--wait") as waiting:
        read_until_it_waits(waiting)
        gate.next_started()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 130
    assert "workflow one goes on without us" in err
    assert daemon.state_of("one") == "running"
    gate.release()
    assert daemon.wait("one").workflow.statuses == {"completed": 1}


def test_a_wait_survives_a_restart_of_the_daemon(daemon: Penstockd, gate: Gate) -> None:
    daemon.write_table("one.csv", [("h", "H 0 0 0")])
    (daemon.work / "one.toml").write_text(command_spec("one", gate.script, *gate.paths))
    with daemon.ctl_process("submit", "one.toml", "--wait") as waiting:
        read_until_it_waits(waiting)
        gate.next_started()
        daemon.kill()
        gate.release()
        daemon.start()
        out, err = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 0, err
    assert "one completed, 1 of 1 jobs ended" in out


def test_no_daemon_is_exit_code_3(stopped_daemon: Penstockd) -> None:
    ran = stopped_daemon.ctl("status")
    assert ran.returncode == 3
    assert f"no daemon answers on {stopped_daemon.state}/penstockd.sock" in ran.stderr


def test_watching(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("seen", gate.script, *gate.paths, jobs=2)
    with daemon.ctl_process("watch", "seen", "--since", 0, "--until-end", "--json") as watching:
        gate.next_started()
        gate.release(2)
        out, _ = watching.communicate(timeout=LIMIT_S)
    assert watching.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    stored = query(directory, "SELECT seq, kind, job_id FROM event ORDER BY seq")
    assert [(event["seq"], event["kind"], event["job"]) for event in events] == stored
    kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["workflow_created", "jobs_ingested"]
    assert kinds[-1] == "workflow_state"
    assert kinds.count("job_completed") == 2
    eventually(lambda: "workflow is completed" in (directory / "workflow.log").read_text(), "its log says so")
    replayed = daemon.ctl("watch", "seen", "--since", stored[-2][0], "--until-end").stdout
    assert "workflow is completed" in replayed
    assert replayed.count("\n") == 1


def test_the_public_columns_are_there_for_plain_sqlite(daemon: Penstockd) -> None:
    directory = daemon.submit_command("plain", 'echo "energy -1.25"', jobs=2, engine=energy_engine())
    daemon.wait("plain")
    for table in ("job", "jobs"):
        rows = query(directory, f"SELECT {PUBLIC_COLUMNS} FROM {table}")
        assert len(rows) == 2
        (first, *_) = (dict(zip(PUBLIC_COLUMNS.split(", "), row, strict=True)) for row in rows)
        assert {key: first[key] for key in ("id", "orig_index", "elements", "natoms", "status", "charge", "spin")} == {
            "id": 1,
            "orig_index": 0,
            "elements": "H",
            "natoms": 1,
            "status": "completed",
            "charge": 0,
            "spin": 2,
        }
        assert first["final_energy"] == -1.25
        assert first["geometry"] == "1\n\nH 0 0 0\n"
        assert (directory / first["job_dir"] / "stdout").read_text() == "energy -1.25\n"
    indexed = query(directory, "SELECT sql FROM sqlite_master WHERE type = 'index'")
    assert {"CREATE INDEX job_status ON job (status)", "CREATE INDEX job_orig_index ON job (orig_index)"} <= {
        sql for (sql,) in indexed
    }


def energy_engine() -> dict[str, Any]:
    rules = {"patterns": {"energy_hartree": "energy (\\S+)"}}
    return {"name": "command", "command": ["echo", "energy -1.25"], "results": rules}
