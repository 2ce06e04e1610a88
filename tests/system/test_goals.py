"""A goal file through the real daemon: what the dry run promises is what runs, and the workflow knows its goal."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.conftest import Penstockd, query

GOAL = 'goal = "elastic"\nsystem = "Cu"\nid = "copper"\naccuracy = "quick"\nengine = "emt"\n'


def test_a_goal_runs_as_its_dry_run_says(daemon: Penstockd) -> None:
    (daemon.work / "cu.toml").write_text(GOAL)
    plan = json.loads(daemon.ctl("submit", "cu.toml", "--dry-run", "--json").stdout)
    assert {step["key"]: step["jobs"] for step in plan["steps"]} == {"relax": 1, "strain": 8, "elastic": 0}
    assert (plan["jobs"], plan["core_hours_limit"]) == (9, 9.0)
    ran = daemon.ctl("submit", "cu.toml", "--wait")
    assert ran.returncode == 0, ran.stderr
    status = daemon.client.status("copper").workflow
    assert (status.jobs, status.statuses["completed"]) == (9, 9)
    spec = json.loads(query(Path(status.directory), "SELECT spec FROM workflow")[0][0])
    assert spec["metadata"]["goal"] == {
        "goal": "elastic",
        "system": "Cu",
        "id": "copper",
        "accuracy": "quick",
        "engine": "emt",
    }


def test_what_wants_a_full_spec_says_so(daemon: Penstockd) -> None:
    (daemon.work / "cu.toml").write_text(GOAL)
    daemon.ctl("submit", "cu.toml", "--wait")
    refused = daemon.ctl("resume", "copper", "--spec", "cu.toml")
    assert refused.returncode == 2
    assert "cu.toml:1: goal: this is a goal file, and a full spec is wanted; 'penstockctl plan" in refused.stderr
