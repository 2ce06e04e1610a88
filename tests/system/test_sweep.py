"""A sweep, by the real daemon: submitted, watched, compared."""

from __future__ import annotations

import json

from .conftest import Penstockd, query

SPEC = """
id = "s"
recipe = "campaign"
[structures]
source = "m.csv"
geometry_column = "geometry"
name_column = "name"
[engine]
name = "command"
command = ["sh", "-c", "echo energy $0"]
[engine.results.patterns]
energy_hartree = 'energy (\\S+)'
[resources]
memory = "10MB"
[sweep]
"engine.command" = [["echo", "energy", "-1"], ["echo", "energy", "-2"], ["echo", "energy", "-2.5"]]
"""


def test_a_sweep_is_run_and_its_points_are_compared(daemon: Penstockd) -> None:
    daemon.write_table("m.csv", [("a", "H 0 0 0"), ("b", "H 0 0 1")])
    spec = daemon.work / "sweep.toml"
    spec.write_text(SPEC.replace('["echo", "energy", "-2.5"]', '"nothing-of-that-name"'))
    refused = daemon.ctl("submit", spec)
    assert refused.returncode == 2
    assert (
        'sweep.toml:16: sweep.engine.command: point 3 of sweep s (engine.command = "nothing-of-that' in refused.stderr
    )
    assert daemon.client.list_workflows().workflows == ()

    spec.write_text(SPEC)
    ran = daemon.ctl("submit", spec, "--wait")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "sweep s: completed 3"
    again = daemon.ctl("submit", spec)
    assert "sweep 's' exists already" in again.stderr

    compared = daemon.ctl("compare", "s", "--against", 1, "--json")
    assert compared.returncode == 0, compared.stderr
    document = json.loads(compared.stdout)
    assert document["columns"] == ["material", "s-001", "s-002", "s-003"]
    assert document["rows"] == [["a", 0.0, -1.0, -1.5], ["b", 0.0, -1.0, -1.5]]
    ((told,),) = query(daemon.work / ".penstock" / "s-002", "SELECT json_extract(spec, '$.metadata') FROM workflow")
    assert json.loads(told)["sweep"]["point"] == 2
    daemon.kill()
    daemon.start()
    for point in ("s-001", "s-002", "s-003"):
        daemon.wait(point)
    assert daemon.client.sweep("s").sweep.states == {"completed": 3}
