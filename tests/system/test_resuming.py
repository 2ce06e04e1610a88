"""A workflow that failed goes on under a changed spec, by the real daemon."""

from __future__ import annotations

import json

from .conftest import Penstockd, query


def test_a_failed_workflow_goes_on_with_changed_parameters(daemon: Penstockd) -> None:
    directory = daemon.submit_command("some", 'test "$PENSTOCK_JOB_ID" = 2', jobs=3)
    assert daemon.wait("some").workflow.state == "failed"

    changes = ("--set", 'engine.command=["true"]', "--set", "slots=2", "--set", "resources.memory=20MB")
    shown = daemon.ctl("resume", "some", *changes, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "some: would run 2 jobs again; nothing was changed" in shown.stdout
    assert [line.split()[0] for line in shown.stdout.splitlines()[2:]] == [
        "engine.command",
        "slots",
        "resources.memory",
    ]
    assert daemon.state_of("some") == "failed"

    wrong = daemon.ctl("resume", "some", "--set", "resources.cores=1000")
    assert wrong.returncode == 2
    assert "command line: resources.cores: 1000 cores asked for" in wrong.stderr
    spec = daemon.work / "new.toml"
    spec.write_text('recipe = "campaign"\n[engine]\nname = "command"\ncomand = "true"\n')
    wrong = daemon.ctl("resume", "some", "--spec", spec)
    assert "new.toml:4: engine.comand: unknown key 'comand'; did you mean 'command'" in wrong.stderr

    resumed = daemon.ctl("resume", "some", *changes, "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert {c["key"]: c["new"] for c in json.loads(resumed.stdout)["changes"]} == {
        "engine.command": ["true"],
        "slots": 2,
        "resources.memory": "20MB",
    }
    assert daemon.wait("some").workflow.state == "completed"
    told = query(directory, "SELECT job_id, number, revision FROM attempt ORDER BY job_id, number")
    assert told == [(1, 1, 0), (1, 2, 1), (2, 1, 0), (3, 1, 0), (3, 2, 1)]
    assert "attempt 2 ran with revision 1" in daemon.ctl("show", "some", 1).stdout
    over = daemon.ctl("resume", "some")
    assert over.returncode == 2
    assert "is completed and nothing of it is left to do" in over.stderr
