"""Contexts of library users beside a real daemon, and inside its jobs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.system.conftest import Gate, Penstockd, command_spec, query

import penstock
from penstock.domain.errors import ConflictError
from penstock.domain.views import Selection

JOIN = """
import penstock
with penstock.open_context() as context:
    print(context.id, context.mode, len(context.results), context.status().read_only)
"""


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_beside_a_running_daemon_a_context_reads_and_says_why(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("alpha", gate.script, *gate.paths, jobs=2)
    gate.next_started()
    with penstock.open_context("alpha", work_root=daemon.work) as context:
        status = context.status()
        assert status.read_only
        assert status.read_only_because is not None
        assert f"the daemon of {daemon.state} works on it (pid {daemon.pid})" in status.read_only_because
        assert "write=True" in status.read_only_because
        assert (status.state, status.jobs) == ("running", 2)
        with pytest.raises(ConflictError, match="read-only: the daemon"):
            context.materials.add("mine", "H 0 0 0")
        reader = context
    with penstock.open_context("alpha", work_root=daemon.work, write=True) as context:
        calculation = context.calculations.add(context.materials.add("mine", "H 0 0 0"), "mine")
        calculation.complete(energy_hartree=-0.5, properties={"by": "hand"})
        with pytest.raises(ConflictError, match=r"job 1 .* is the daemon's, not made through the library"):
            context.calculations.get(1).complete(energy_hartree=0.0)
        waiting = context.calculations.add(context.materials.add("later", "H 0 0 1"), "mine")
    assert daemon.client.resume("alpha", Selection((waiting.id,))).changed == 0  # nobody else can calculate it
    gate.release(2)
    assert daemon.wait("alpha").workflow.statuses == {"completed": 2}
    [mine] = [job for job in daemon.client.jobs("alpha").jobs if job.name == "mine"]
    assert (mine.id, mine.final_energy) == (calculation.id, -0.5)
    daemon.kill()
    with reader:
        assert reader.read_only_because is None
        assert len(reader.results.completed) == 3
        assert query(reader.directory, "SELECT state, jobs FROM tally WHERE jobs") == [("completed", 3)]


def test_a_daemon_adopts_what_the_library_made_and_runs_none_of_it(daemon: Penstockd) -> None:
    with penstock.open_context("mine", work_root=daemon.work) as context:
        done, waiting = (context.calculations.add(context.materials.add(n, f"{n} 0 0 0"), "mine") for n in ("H", "He"))
        done.complete(energy_hartree=-0.5)
    adopted = daemon.ctl("adopt", context.directory)
    assert adopted.returncode == 0, adopted.stderr
    assert daemon.state_of("mine") == "completed"
    [first, second] = daemon.client.jobs("mine").jobs
    assert (first.final_energy, second.state) == (-0.5, "held")
    assert Path(daemon.client.export("mine", "csv").path).read_text().count("\n") > 2
    for arguments in (
        ("retry", "mine", "--job", 1),
        ("reset-missing", "mine"),
        ("resume", "mine", "--job", waiting.id),
    ):
        refused = daemon.ctl(*arguments)
        assert refused.returncode == 2
        assert "made through the library" in refused.stderr
    with context:
        assert "works on it" in str(context.read_only_because)


def test_a_job_joins_its_workflow(daemon: Penstockd) -> None:
    script = f'cd / && exec "$1" -c "$2" > {daemon.home}/said'
    daemon.write_table("alpha.csv", [("h", "H 0 0 0")])
    daemon.submit(command_spec("alpha", script, "sh", sys.executable, JOIN, isolation="shared"))
    daemon.wait("alpha")
    assert (daemon.home / "said").read_text().split() == ["alpha", "shared", "1", "True"]
