"""Databases of older tools through the real daemon: imported, looked at, gone on with."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.engines.orca import texts
from tests.store.imports.older import make_campaign, make_executions, make_materials, prints
from tests.system.conftest import Penstockd, eventually, query, toml
from tests.system.test_crystal_chain import DECK, STAND_IN

from penstock.domain.errors import ConflictError

COMMAND = {
    "recipe": "campaign",
    "engine": {
        "name": "command",
        "command": ["sh", "-c", "echo energy -$$PENSTOCK_JOB_ID.5"],
        "results": {"patterns": {"energy_hartree": "energy ([-0-9.]+)"}},
    },
}


def orca_campaign(folder: Path) -> Path:
    """Four ORCA jobs as the old tool left them: done, failed, running (and done meanwhile), not begun."""
    folder.mkdir()
    rows = []
    for number, (status, text) in enumerate(
        [
            ("completed", texts.engrad_run()),
            ("failed", texts.failed_optimisation()),
            ("running", texts.single_point()),
            ("to_run", None),
        ]
    ):
        row: dict[str, Any] = {"status": status, "job_dir": None}
        if text is not None:
            directory = folder / "jobs" / f"job_{number}"
            directory.mkdir(parents=True)
            (directory / "orca.out").write_text(text)
            row["job_dir"] = f"jobs/job_{number}"
        rows.append(row)
    rows[0] |= {"final_energy": -76.0, "scf_steps": 11}
    rows[1] |= {"error_message": "ORCA gave up", "fail_count": 1}
    return make_campaign(folder / "workflow.db", rows)


def test_a_campaign_is_taken_over_and_run_to_its_end(daemon: Penstockd) -> None:
    source = orca_campaign(daemon.home / "old")
    before = prints(source.parent)
    (daemon.work / "go-on.toml").write_text(toml(COMMAND))
    dry = json.loads(daemon.ctl("import", source, "--spec", "go-on.toml", "--dry-run", "--json").stdout)
    assert (dry["directory"], dry["states"]) == (None, {"completed": 1, "failed": 1, "held": 1, "ready": 1})
    assert daemon.client.list_workflows().workflows == ()

    done = daemon.ctl("import", source, "--spec", "go-on.toml", "--id", "acids")
    assert done.returncode == 0, done.stderr
    assert "running -> held" in done.stdout
    assert "acids is paused: imported with 2 jobs not done; resume it" in done.stdout
    jobs = daemon.client.jobs("acids").jobs
    assert [job.state for job in jobs] == ["completed", "failed", "held", "ready"]
    shown = daemon.client.job("acids", 1)
    assert shown.attempts[0].directory == str(source.parent / "jobs/job_0")
    assert "imported from row 1 of structures" in shown.events[0].text
    assert "SINGLE POINT" in daemon.ctl("logs", "acids", 1).stdout

    reviewed = daemon.client.rescan("acids")
    assert (reviewed.changed, reviewed.left) == (1, {"no attempt directory": 1, "geometry_not_converged": 1})
    assert daemon.client.job("acids", 3).job.final_energy == pytest.approx(texts.ENERGY)
    assert daemon.client.recompute_metrics("acids").changed == 1
    first = daemon.client.job("acids", 1).job
    assert first.final_energy == pytest.approx(texts.ENERGY)
    assert first.job_dir == str(source.parent / "jobs/job_0")
    assert daemon.client.reset_missing("acids").changed == 0

    assert daemon.client.retry("acids").changed == 1
    daemon.client.resume("acids")
    status = daemon.wait("acids")
    assert (status.workflow.state, status.workflow.statuses) == ("completed", {"completed": 4})
    again = daemon.client.job("acids", 2)
    assert [attempt.number for attempt in again.attempts] == [1, 2]
    assert again.job.job_dir == "jobs/0000/2/2"
    assert again.job.final_energy == -2.5
    assert daemon.client.summary("acids").energy_hartree.count == 4
    assert daemon.client.export("acids", "csv").jobs == 4
    assert prints(source.parent) == before


def test_chains_of_materials_go_on_where_the_other_tool_stopped(daemon: Penstockd) -> None:
    """What it completed stays; what failed, what it had not begun, and the steps it never heard of are run."""
    old = daemon.home / "old"
    (old / "work").mkdir(parents=True)
    (old / "work/diamond.d12").write_text(DECK.format(title="diamond"))
    shared = {"material_id": "diamond", "work_dir": "work", "input_file": "work/diamond.d12"}
    source = make_materials(
        old / "materials.db",
        materials=[{"material_id": "diamond", "formula": "C2"}, {"material_id": "rock", "formula": "C2"}],
        calculations=[
            {**shared, "calc_id": "d1", "status": "completed"},
            {
                **shared,
                "calc_id": "d2",
                "calc_type": "SP",
                "status": "failed",
                "prerequisite_calc_id": "d1",
                "created_at": "2026",
            },
            {"calc_id": "r1", "material_id": "rock", "input_file": "work/diamond.d12"},
        ],
        properties=[
            {
                "material_id": "diamond",
                "calc_id": "d1",
                "property_name": "band_gap",
                "property_value": 4.5,
                "property_unit": "eV",
            }
        ],
    )
    before = prints(old)
    program = daemon.home / "crystal"
    shutil.copy(STAND_IN, program)
    spec = {
        "recipe": "crystal",
        "id": "chain",
        "engine": {"name": "crystal", "command": [str(program)], "properties": [str(program), "properties"]},
        "chain": {"steps": ["OPT", "SP", "DOSS"]},
        "resources": {"memory": "60MB", "walltime": "60s"},
    }
    made = daemon.client.import_databases((str(source),), str(daemon.work), text=toml(spec), file="/spec.toml")
    assert made.states == {"completed": 1, "failed": 1, "skipped": 1, "ready": 1, "waiting": 2}
    assert "band_gap  4.5 eV" in " ".join(daemon.ctl("show", "chain", 1).stdout.split("\n")).replace("   ", " ")
    daemon.client.resume("chain")
    assert daemon.wait("chain").workflow.statuses == {"completed": 4, "failed": 1, "skipped": 1}
    daemon.client.retry("chain")
    status = daemon.wait("chain").workflow
    assert (status.state, status.statuses) == ("completed", {"completed": 6})
    columns, (diamond, rock) = daemon.client.table("chain").columns, daemon.client.table("chain").rows
    assert dict(zip(columns, diamond, strict=True))["OPT.band_gap"] == 4.5
    assert dict(zip(columns, rock, strict=True))["DOSS"] == "completed"
    assert prints(old) == before


def test_a_record_is_looked_at_and_never_run(daemon: Penstockd) -> None:
    source = orca_campaign(daemon.home / "old")
    made = daemon.client.import_databases((str(source),), str(daemon.work))
    assert (made.id, made.kind) == ("workflow", "architector")
    with pytest.raises(ConflictError, match="exists already"):
        daemon.client.import_databases((str(source),), str(daemon.work))
    for refused in (daemon.client.resume, daemon.client.retry, daemon.client.reset_missing, daemon.client.revise):
        with pytest.raises(ConflictError, match="is a record of what another tool did"):
            refused("workflow")
    assert daemon.client.rescan("workflow").changed == 1
    assert daemon.client.cancel("workflow").changed == 1
    status = daemon.wait("workflow").workflow
    assert status.statuses == {"completed": 2, "failed": 1, "cancelled": 1}
    daemon.stop()
    daemon.start()
    assert daemon.client.status("workflow").workflow.statuses == status.statuses

    before = prints(source.parent)
    daemon.client.clean("workflow", failed=True, exports=True)
    archived = daemon.ctl("archive", "workflow", daemon.home / "w.tar.zst", "--delete")
    assert "the files of 3 jobs are not in it" in archived.stderr
    assert daemon.ctl("restore", "workflow", "--isolation", "hybrid").returncode == 0
    assert daemon.client.status("workflow").workflow.statuses == status.statuses
    assert prints(source.parent) == before


def test_executions_are_listed_shown_and_exported(daemon: Penstockd) -> None:
    source = make_executions(
        daemon.work / "executions.db",
        [
            {"execution_id": "aaa-1", "metadata": '{"compound": "tunicamycin"}'},
            {"execution_id": "bbb-2", "status": "failed", "error_message": "no pipette"},
        ],
        [{"step_id": f"s{n}", "execution_id": "aaa-1", "parameters": '{"volume_ul": 10}'} for n in range(3)],
        [{"job_id": "q1", "execution_id": "aaa-1"}],
    )
    assert daemon.ctl("import", source).returncode == 0
    assert daemon.state_of("executions") == "completed"
    listed = daemon.ctl("executions", "executions", "--search", "TUNICA")
    assert "aaa-1" in listed.stdout
    assert "bbb-2" not in listed.stdout
    failed = json.loads(daemon.ctl("executions", "executions", "--status", "failed", "--json").stdout)
    assert (failed["total"], failed["executions"][0]["error_message"]) == (1, "no pipette")
    shown = daemon.ctl("execution", "executions", "aaa")
    assert "volume_ul=10" in shown.stdout
    detail = daemon.client.execution("executions", "aaa-1")
    assert ([step.step_id for step in detail.steps], detail.queued[0].job_id) == (["s0", "s1", "s2"], "q1")
    written = daemon.client.export("executions", "json")
    assert (written.jobs, written.of) == (2, "executions")
    assert len(json.loads(Path(written.path).read_text())["executions"][0]["steps"]) == 3
    with Path(daemon.client.export("executions", "csv").path).open(newline="") as file:
        assert [row["execution_id"] for row in csv.DictReader(file)] == ["aaa-1", "bbb-2"]
    missing = daemon.ctl("execution", "executions", "zzz")
    assert "has no execution 'zzz'" in missing.stderr


def test_an_import_that_is_killed_leaves_nothing(daemon: Penstockd) -> None:
    """Wherever the kill falls, the next daemon knows of the workflow as a whole or not at all."""
    source = make_campaign(daemon.home / "workflow.db", [{}] * 5_000)
    process = daemon.ctl_process("import", source, "--id", "large")
    around = daemon.work / ".penstock"
    eventually(lambda: list(around.glob(".new-large@*/.new-workflow.db")), "the import is under way")
    daemon.signal(signal.SIGKILL)
    process.communicate()
    daemon.start()
    known = [workflow.id for workflow in daemon.client.list_workflows().workflows]
    assert not list(around.glob(".new-*"))
    directory = daemon.work / ".penstock/large"
    assert directory.exists() == (known == ["large"])
    if not known:
        daemon.client.import_databases((str(source),), str(daemon.work), id="large")
    assert query(directory, "SELECT count(*) FROM job") == [(5_000,)]
    assert daemon.client.jobs("large").total == 5_000
