"""Workflows that derive properties, with all that can be done with workflows, by the real daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import penstock

from .conftest import Penstockd, eventually, query
from .test_elastic import results, spec, troubled

SHARED = 'isolation = "shared"'
ONE = "[elastic]\namplitudes = [0.01]\n"


def attempts(daemon: Penstockd, id: str) -> list[str]:
    found: list[str] = results(daemon, id)["elastic_tensor"]["attempts"]
    return found


def ran(daemon: Penstockd, *arguments: object) -> str:
    """What penstockctl says."""
    done = daemon.ctl(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(directory: Path) -> dict[str, str]:
    return dict(query(directory, "SELECT name, state FROM job"))


def test_amplitudes_are_swept_compared_and_changed_afterwards(daemon: Penstockd) -> None:
    text = spec("s", more='[sweep]\n"elastic.amplitudes" = [[0.01], [0.02]]\n')
    (daemon.work / "s.toml").write_text(text)
    assert ran(daemon, "submit", "s.toml", "--wait").splitlines()[-1] == "sweep s: completed 2"
    compared = json.loads(ran(daemon, "compare", "s", "--json"))
    rows = {row[0]: row[1:] for row in compared["rows"]}
    assert compared["columns"] == ["material", "s-001", "s-002"]
    bulk = [results(daemon, id)["bulk_modulus_vrh"]["value"] for id in ("s-001", "s-002")]
    assert rows["Cu-fcc bulk_modulus_vrh, GPa"] == bulk
    assert bulk[0] != bulk[1]
    assert "Cu-fcc lattice_parameter (axis a), Å" in rows
    narrowed = json.loads(ran(daemon, "compare", "s", "--property", "young_modulus", "--against", 1, "--json"))
    assert [row[:2] for row in narrowed["rows"]] == [["Cu-fcc young_modulus, GPa", 0.0]]
    of_jobs = json.loads(ran(daemon, "compare", "s", "--column", "strain.energy_hartree", "--json"))
    assert len(of_jobs["rows"]) == 1 + 8
    assert "none of them has a property 'x' yet" in daemon.ctl("compare", "s", "--property", "x").stderr

    resumed = ran(daemon, "resume", "s-001", "--set", "elastic.amplitudes=[0.002, 0.005]")
    assert "elastic.amplitudes  [0.01]  [0.002,0.005]" in resumed
    assert daemon.wait("s-001").workflow.statuses == {"completed": 1 + 4 + 8}
    assert len(attempts(daemon, "s-001")) == 1 + 8
    assert "left out: 4 strained crystals of amplitudes that are not asked for" in ran(daemon, "results", "s-001")
    refused = daemon.ctl("resume", "s-001", "--set", "elastic.pressure_gpa=1.0")
    assert "elastic.pressure_gpa: cannot change from 0.0 to 1.0" in refused.stderr


def test_a_failed_strain_that_is_tried_again_is_part_of_another_conclusion(daemon: Penstockd) -> None:
    broken = daemon.home / "broken"
    broken.touch()
    text = troubled(daemon, f"sheared > 0.004 and __import__('os').path.exists({str(broken)!r})")
    daemon.submit(text)
    assert daemon.wait("askew").workflow.statuses == {"completed": 8, "failed": 1}
    assert len(attempts(daemon, "askew")) == 8
    broken.unlink()
    ran(daemon, "retry", "askew", "--status", "failed")
    assert daemon.wait("askew").workflow.statuses == {"completed": 9}
    assert len(attempts(daemon, "askew")) == 9
    assert "left out" not in ran(daemon, "results", "askew")


def values(found: dict[str, Any]) -> dict[str, Any]:
    return {name: one["value"] for name, one in found.items()}


def test_archived_and_restored_among_others_it_keeps_its_results_and_goes_on(daemon: Penstockd) -> None:
    daemon.submit(spec("first", more=f"{SHARED}\n{ONE}"))
    daemon.submit(spec("a", "Al", more=ONE))
    daemon.wait("first")
    daemon.wait("a")
    before = results(daemon, "a")
    ran(daemon, "archive", "a", "a.tar.zst", "--delete")
    ran(daemon, "restore", "a.tar.zst", "--id", "b", "--isolation", "shared")
    after = results(daemon, "b")
    assert values(after) == values(before)
    assert before["elastic_tensor"]["attempts"] == [f"{n}.1" for n in range(1, 6)]
    assert after["elastic_tensor"]["attempts"] == [f"{n}.1" for n in range(6, 11)]
    shared = daemon.work / ".penstock" / "shared"
    assert (
        query(shared, "SELECT subject, unfolded_from FROM job WHERE workflow_id = 'b' AND step = 'strain'")
        == [(6, 6)] * 4
    )
    ran(daemon, "resume", "b", "--set", "elastic.amplitudes=[0.005, 0.01]")
    assert daemon.wait("b").workflow.statuses == {"completed": 9}
    assert attempts(daemon, "b") == [f"{n}.1" for n in range(6, 15)]
    ran(daemon, "delete", "first")
    for table in ("result", "conclusion", "unfolding"):
        assert {id for (id,) in query(shared, f"SELECT workflow_id FROM {table}")} == {"b"}
    told = ran(daemon, "export", "b", "--to", "folder")
    folder = Path(told.split(" written to ")[1].strip())
    assert {path.name for path in folder.glob("properties.*")} == {"properties.csv", "properties.json"}
    copied = ran(daemon, "backup", "b").split(" are in ")[1].split(" (")[0]
    (daemon.work / "copy").mkdir()
    (Path(copied)).rename(daemon.work / "copy" / "workflow.db")
    assert len(query(daemon.work / "copy", "SELECT 1 FROM result WHERE workflow_id = 'b'")) == len(after)


def test_shared_and_merged_strains_are_calculated_once(daemon: Penstockd) -> None:
    daemon.submit(spec("x", more=ONE))
    daemon.wait("x")
    assert "5 results of x merged" in ran(daemon, "merge", "x")
    daemon.submit(spec("s", more=f"{SHARED}\n[elastic]\namplitudes = [0.005, 0.01]\n"))
    assert daemon.wait("s").workflow.statuses == {"completed": 9}
    own = [name for name in attempts(daemon, "s") if ":" not in name]
    assert len(own) == 4
    assert sorted(set(attempts(daemon, "s")) - set(own)) == [f"x:{n}.1" for n in range(1, 6)]
    daemon.submit(spec("t", more=f"{SHARED}\n{ONE}"))
    daemon.wait("t")
    assert all(":" in name for name in attempts(daemon, "t"))
    assert results(daemon, "t")["elastic_tensor"]["value"] == results(daemon, "x")["elastic_tensor"]["value"]
    assert "0 results of x" in ran(daemon, "merge", "x")
    daemon.submit(spec("y", more=ONE).replace('name = "emt"', 'name = "emt"\nfmax = 0.0001'))
    daemon.wait("y")
    report = json.loads(ran(daemon, "merge", "y", "--json"))
    assert (report["new"], report["conflicts"]) == (5, 0)  # strained crystals of one name may be different ones


def test_made_offline_and_adopted_it_ends_with_an_export_and_can_be_read_as_a_library(daemon: Penstockd) -> None:
    text = spec("o", more=ONE) + '[[on_complete]]\naction = "export"\nformat = "folder"\n'
    (daemon.work / "o.toml").write_text(text)
    (daemon.work / ".penstock").mkdir()
    ran(daemon, "create", "--offline", "o.toml", "--into", ".penstock")
    ran(daemon, "adopt", ".penstock/o")
    assert daemon.wait("o").workflow.state == "completed"
    eventually(lambda: daemon.client.status("o").workflow.completions == {"done": 1}, "it is exported")
    found = json.loads((daemon.work / "workflow_results" / "o" / "properties.json").read_text())
    exported = {one["name"]: one["value"] for one in found["properties"]}
    with penstock.open_context("o", work_root=daemon.work) as context:
        (tensor,) = context.properties("elastic_tensor")
        assert exported["elastic_tensor"] == tensor.value
        assert len(list(context.results.completed)) == 5
