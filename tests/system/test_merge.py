"""Results of an isolated campaign merged, then found by a shared one, through the real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.system.conftest import Penstockd, query

from penstock.domain.errors import ConflictError, NotFoundError


def test_a_shared_campaign_finds_what_was_merged_and_runs_none_of_it(daemon: Penstockd) -> None:
    executed = daemon.home / "executed"
    alpha = daemon.submit_command("alpha", 'echo "$PENSTOCK_WORKFLOW_ID" >> "$0"', executed, jobs=2)
    daemon.wait("alpha")
    before = query(alpha, "SELECT * FROM job")
    dry = daemon.ctl("merge", "alpha", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "2 results of alpha would be merged into" in dry.stdout
    assert not (daemon.work / ".penstock" / "shared").exists()
    report = json.loads(daemon.ctl("merge", "alpha", "--json").stdout)
    assert (report["applied"], report["new"], report["materials"]) == (True, 2, 2)
    assert Path(report["target"]) == daemon.work / ".penstock" / "shared" / "workflow.db"
    assert daemon.client.merge("alpha").report.unchanged == 2
    assert query(alpha, "SELECT * FROM job") == before

    daemon.submit_command("beta", 'echo "$PENSTOCK_WORKFLOW_ID" >> "$0"', executed, jobs=3, isolation="shared")
    assert daemon.wait("beta").workflow.statuses == {"completed": 3}
    assert executed.read_text().split() == ["alpha", "alpha"]
    job = daemon.client.jobs("beta").jobs[0]
    assert job.origin is not None
    assert (job.origin["workflow"], job.origin["job"]) == ("alpha", 1)
    stdout = [path for path in daemon.client.job("beta", job.id).files if path.endswith("stdout")]
    assert all(Path(path).is_file() for path in stdout)

    with pytest.raises(ConflictError, match="shared already"):
        daemon.client.merge("beta")
    with pytest.raises(NotFoundError):
        daemon.client.merge("gamma")
    assert daemon.ctl("merge", "alpha", "--into", alpha / "workflow.db").returncode == 2
