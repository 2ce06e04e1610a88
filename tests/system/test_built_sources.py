"""Structures that a spec describes run through the real daemon, and come to what the calculator itself gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect
from ase.units import Hartree
from tests.system.conftest import Penstockd, query

SPEC = """\
id = "alloys"
recipe = "campaign"

[structures.build]
elements = ["Cu", "Au"]
prototypes = ["fcc", "L1_2", "B2"]

[engine]
name = "emt"
"""
NAMES = ["Cu-fcc", "Au-fcc", "Cu3Au-L1_2", "CuAu3-L1_2", "CuAu-B2"]


def energy_hartree(symbol: str) -> float:
    atoms = bulk(symbol)
    atoms.calc = EMT()
    return float(atoms.get_potential_energy()) / Hartree


def test_what_is_built_is_planned_run_and_kept(daemon: Penstockd) -> None:
    (daemon.work / "spec.toml").write_text(SPEC)
    plan = daemon.ctl("submit", "spec.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "5 structures: 5 jobs" in plan.stdout
    assert not list(daemon.work.glob(".penstock/*"))
    directory = Path(daemon.submit(SPEC).directory)
    assert daemon.wait("alloys").workflow.statuses == {"completed": 5}
    jobs = query(directory, "SELECT name, elements, natoms, final_energy FROM job ORDER BY orig_index")
    assert [name for name, *_ in jobs] == NAMES
    assert all(energy is not None for *_, energy in jobs)
    kept = (directory / "source" / "built.extxyz").read_bytes()
    files = query(directory, "SELECT path, bytes, sha256 FROM file WHERE job_id IS NULL")
    assert ("source/built.extxyz", len(kept), hashlib.sha256(kept).hexdigest()) in files
    assert [path.name for path in (directory / "source").iterdir()] == ["built.extxyz"]


def test_energies_of_elements_equal_direct_calls(daemon: Penstockd) -> None:
    for symbol in ("Cu", "Au"):
        build = f'id = "{symbol}"\nrecipe = "campaign"\nengine.name = "emt"\n[structures.build]\nsystem = "{symbol}"\n'
        directory = Path(daemon.submit(build).directory)
        assert daemon.wait(symbol).workflow.statuses == {"completed": 1}
        [(energy,)] = query(directory, "SELECT final_energy FROM job")
        assert energy == pytest.approx(energy_hartree(symbol), abs=1e-9)


def test_the_stored_spec_can_be_submitted_and_saved_again(daemon: Penstockd) -> None:
    directory = Path(daemon.submit(SPEC).directory)
    first = daemon.wait("alloys")
    stored = daemon.client.spec("alloys").spec
    assert stored["structures"]["build"]["elements"] == ["Cu", "Au"]
    assert stored["structures"]["source"] == ""
    saved = daemon.ctl("templates", "save", "ours", "--from-workflow", "alloys", "--project")
    assert saved.returncode == 0, saved.stderr
    made = daemon.ctl("new", "again.toml", "--from", "ours", "--yes", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["plan"]["structures"] == 5
    again = Path(daemon.submit((daemon.work / "again.toml").read_text()).directory)
    assert daemon.wait("again").workflow.statuses == first.workflow.statuses
    assert (again / "source/built.extxyz").read_bytes() == (directory / "source/built.extxyz").read_bytes()


def test_a_workflow_goes_on_with_what_was_built_and_nothing_else(daemon: Penstockd) -> None:
    (daemon.work / "spec.toml").write_text(SPEC)
    daemon.submit(SPEC)
    daemon.wait("alloys")
    for setting, message in {
        "structures.build.prototypes=['L1_0']": "structures.build.prototypes: cannot change from",
        "structures.source=other.cif": "structures.source: cannot be set: what has been read",
        "structures.charge=1": "structures.charge: cannot change from 0 to 1",
    }.items():
        refused = daemon.ctl("resume", "alloys", "--set", setting)
        assert refused.returncode == 2
        assert message in refused.stderr
    (daemon.work / "spec.toml").write_text(SPEC.replace("B2", "L1_0"))
    refused = daemon.ctl("resume", "alloys", "--spec", "spec.toml")
    assert "spec.toml:4: structures.build: cannot change from" in refused.stderr
    (daemon.work / "spec.toml").write_text(SPEC + "[metadata]\nwhy = 'more'\n")
    dry = daemon.ctl("resume", "alloys", "--spec", "spec.toml", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "metadata.why" in dry.stdout
    assert "structures" not in dry.stdout


WRONG = [
    ('"B2"', '"B2x"', "spec.toml:6: structures.build.prototypes: there is no prototype 'B2x'; did you mean 'b2'?"),
    ('"Au"]', '"O2"]', "spec.toml:5: structures.build.elements: there is no element 'O2'"),
    ("prototypes", "prototype", "spec.toml:6: structures.build.prototype: "),
    ("elements", "elemnts", "spec.toml:5: structures.build.elemnts: unknown key 'elemnts'; did you mean 'elements'"),
    ("[structures.build]", "structures.source = 'x.cif'\n[structures.build]", "spec.toml:4: structures.source: give"),
    ("[structures.build]", "structures.charge = 'a'\n[structures.build]", "spec.toml:4: structures.charge: expected"),
]


def test_what_cannot_be_built_is_refused_with_file_line_and_key(daemon: Penstockd) -> None:
    for before, after, message in WRONG:
        (daemon.work / "spec.toml").write_text(SPEC.replace(before, after))
        for dry in ((), ("--dry-run",)):
            ran = daemon.ctl("submit", "spec.toml", *dry)
            assert ran.returncode == 2
            assert message in ran.stderr
    assert not list(daemon.work.glob(".penstock/*"))


def test_made_offline_and_adopted(stopped_daemon: Penstockd, home: Path) -> None:
    daemon, laptop = stopped_daemon, home / "laptop"
    laptop.mkdir()
    (laptop / "spec.toml").write_text(SPEC)
    made = daemon.ctl("create", "spec.toml", "--offline", cwd=laptop)
    assert made.returncode == 0, made.stderr
    built = (laptop / "alloys" / "source" / "built.extxyz").read_text()
    assert built.count("\nLattice=") == 5
    daemon.start()
    adopted = daemon.ctl("adopt", "alloys", cwd=laptop)
    assert adopted.returncode == 0, adopted.stderr
    assert daemon.wait("alloys").workflow.statuses == {"completed": 5}
    assert [name for (name,) in query(laptop / "alloys", "SELECT name FROM job ORDER BY orig_index")] == NAMES
    assert (laptop / "alloys" / "source" / "built.extxyz").read_text() == built


def test_a_row_of_a_database_is_selected_and_kept_so(daemon: Penstockd) -> None:
    with connect(daemon.work / "alloys.db") as database:
        for symbol in ("Cu", "Au", "Pt"):
            database.write(bulk(symbol))
    spec = 'id = "row"\nrecipe = "campaign"\nengine.name = "emt"\n[structures]\nsource = "alloys.db"\nselect = "id=2"\n'
    directory = Path(daemon.submit(spec).directory)
    assert daemon.wait("row").workflow.statuses == {"completed": 1}
    [(elements, energy)] = query(directory, "SELECT elements, final_energy FROM job")
    assert (elements, energy) == ("Au", pytest.approx(energy_hartree("Au"), abs=1e-9))
