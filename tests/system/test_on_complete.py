"""What is done at a workflow's end, by the real daemon."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from .conftest import Penstockd, eventually, query


def names(table: Path) -> list[str]:
    with table.open(newline="") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_results_are_exported_at_the_end_and_a_failure_is_mended(daemon: Penstockd) -> None:
    (daemon.work / "mine.csv").write_text("mine")
    actions = [{"action": "export"}, {"action": "export", "path": "mine.csv", "when": "ended"}]
    daemon.submit_command("some", "true", jobs=2, on_complete=actions)
    daemon.wait("some")
    eventually(lambda: [c.state for c in daemon.client.status("some").completions] == ["done", "failed"], "actions end")
    assert names(daemon.work / "workflow_results" / "some.csv") == ["some-1", "some-2"]
    assert (daemon.work / "mine.csv").read_text() == "mine"
    shown = daemon.ctl("status", "some").stdout
    assert "2 jobs written to" in shown
    assert "mine.csv is there already; move it away" in shown

    daemon.kill()
    (daemon.work / "mine.csv").unlink()
    daemon.start()
    assert daemon.ctl("on-complete", "some", "--retry").returncode == 0
    eventually(lambda: daemon.client.status("some").workflow.completions == {"done": 2}, "the second is done")
    assert names(daemon.work / "mine.csv") == ["some-1", "some-2"]
    assert "export csv to mine.csv: 2 jobs written" in daemon.ctl("watch", "some", "--since", 1, "--until-end").stdout


def test_results_are_merged_at_the_end_and_found_there_once(daemon: Penstockd) -> None:
    daemon.submit_command("some", "true", jobs=2, on_complete=[{"action": "merge"}, {"action": "export"}])
    daemon.wait("some")
    eventually(lambda: daemon.client.status("some").workflow.completions == {"done": 2}, "both are done")
    merged, _ = daemon.client.status("some").completions
    assert merged.result == f"2 new and 0 changed results merged into {daemon.work}/.penstock/shared/workflow.db"
    assert daemon.ctl("on-complete", "some", "--again", 1).returncode == 0
    eventually(lambda: daemon.client.status("some").workflow.completions == {"done": 2}, "it is done again")
    again, _ = daemon.client.status("some").completions
    assert again.result is not None
    assert again.result.startswith("0 new and 0 changed")


def test_a_workflow_is_archived_and_goes_when_all_before_is_done(daemon: Penstockd) -> None:
    last = {"action": "archive", "destination": "kept/", "delete": True}
    (daemon.work / "mine.csv").write_text("mine")
    mine = {"action": "export", "path": "mine.csv"}
    daemon.submit_command("some", "true", jobs=2, on_complete=[{"action": "clean"}, mine, last])
    daemon.wait("some")
    held = {"done": 1, "failed": 1, "held": 1}
    eventually(lambda: daemon.client.status("some").workflow.completions == held, "the archive is held back")
    (daemon.work / "mine.csv").unlink()
    assert daemon.ctl("on-complete", "some", "--retry").returncode == 0
    eventually(lambda: daemon.client.list_workflows().workflows == (), "the workflow is gone")
    assert names(daemon.work / "mine.csv") == ["some-1", "some-2"]
    [kept] = (daemon.work / "kept").iterdir()
    assert re.fullmatch(r"some-\d{8}T\d{6}Z\.tar\.zst", kept.name)
    assert not (daemon.work / ".penstock" / "some").exists()
    daemon.client.restore("some")
    assert daemon.state_of("some") == "completed"
    states = query(daemon.work / ".penstock" / "some", "SELECT state FROM completion ORDER BY position")
    assert [state for (state,) in states] == ["done", "done", "dropped"]
