"""The main job on real molecules: what comes out is what the calculator itself gives."""

from __future__ import annotations

import csv
import io
import json
import os
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import Penstockd, query

G2 = Path(__file__).parents[2] / "examples" / "g2"
TOLERANCE_HARTREE = 1e-8


@pytest.fixture(scope="module")
def writer() -> dict[str, Any]:
    """The names in examples/g2/make_molecules.py."""
    return runpy.run_path(str(G2 / "make_molecules.py"))


def direct_energies(rows: Iterable[dict[str, str]]) -> dict[str, float]:
    """GFN2-xTB energies in Eh, one process for itself, read and computed by others than Penstock."""
    script = """
import csv, io, json, sys
from ase.io import read
from ase.units import Hartree
from tblite.ase import TBLite
energies = {}
for row in csv.DictReader(sys.stdin):
    atoms = read(io.StringIO(row["aligned_csd_core"]), format="xyz")
    settings = dict(method="GFN2-xTB", charge=int(row["charge"]), multiplicity=int(row["uhf"]) + 1, verbosity=0)
    atoms.calc = TBLite(**settings)
    energies[row["name"]] = atoms.get_potential_energy() / Hartree
json.dump(energies, sys.stdout)
"""
    rows = list(rows)
    table = io.StringIO(newline="")
    out = csv.DictWriter(table, rows[0].keys())
    out.writeheader()
    out.writerows(rows)
    ran = subprocess.run(
        [sys.executable, "-c", script],
        input=table.getvalue(),
        text=True,
        capture_output=True,
        env=one_thread(),
        check=True,
    )
    energies: dict[str, float] = json.loads(ran.stdout)
    return energies


def one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def test_energies_of_molecules_and_ions_equal_direct_calls(daemon: Penstockd, writer: dict[str, Any]) -> None:
    species = writer["g2_molecules"]()[::12] + writer["ions_and_radicals"]()
    with (daemon.work / "some.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([writer["HEADER"], *(writer["row"](one) for one in species)])
    spec = (G2 / "g2.toml").read_text().replace("molecules.csv", "some.csv")
    directory = Path(daemon.submit(spec).directory)
    status = daemon.wait("g2")
    assert status.workflow.statuses == {"completed": len(species)}
    with (daemon.work / "some.csv").open(newline="", encoding="utf-8") as file:
        expected = direct_energies(csv.DictReader(file))
    found = dict(query(directory, "SELECT name, final_energy FROM job"))
    assert found == pytest.approx(expected, abs=TOLERANCE_HARTREE, rel=0)
    charged = query(directory, "SELECT name, charge, spin FROM job WHERE charge != 0 OR spin != 1")
    assert sorted(charged) == sorted(
        (one.name, one.charge, one.unpaired + 1) for one in species if one.charge or one.unpaired
    )
    assert query(directory, "SELECT count(*) FROM job WHERE scf_steps > 0 AND max_forces >= 0") == [(len(species),)]


def test_the_demo_as_a_whole(home: Path) -> None:
    results, programs, scratch = home / "results", home / "bin", home / "tmp"
    for folder in (programs, scratch):
        folder.mkdir()
    calls = {"penstockd": "penstock.daemon.main", "penstockctl": "penstock.ctl.main"}
    for name, module in calls.items():
        code = f"import sys; from {module} import main; sys.argv[0] = '{name}'; sys.exit(main())"
        shim(programs / name, [sys.executable, "-c", code])
    shim(programs / "python", [sys.executable])
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
    ran = subprocess.run([G2 / "demo.sh", results], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "g2 completed, 178 of 178 jobs ended, completed 178" in ran.stdout
    assert "records that could not be taken in:\n  line " in ran.stdout
    assert "stopped cleanly" in ran.stdout
    assert "\x1b[" not in ran.stdout
    assert list(scratch.iterdir()) == []
    check_exports(results)


def shim(path: Path, argv: list[str]) -> None:
    """A program that runs `argv` with its own arguments."""
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
    path.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    path.chmod(0o755)


def check_exports(results: Path) -> None:
    """The four exports hold the same 178 energies, and those are the calculator's."""
    from ase.db import connect
    from ase.io import read

    with (results / "g2.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 178
    table = {row["name"]: float(row["final_energy"]) for row in rows}
    numbered = {int(row["id"]): float(row["final_energy"]) for row in rows}
    document = json.loads((results / "g2.json").read_text())
    assert {job["name"]: job["final_energy"] for job in document["jobs"]} == table
    frames = read(results / "g2.extxyz", index=":")
    found = {atoms.info["job"]: atoms.info["final_energy_hartree"] for atoms in frames}
    assert found == pytest.approx(numbered, abs=1e-12)
    with connect(results / "g2.db") as database:
        found = {row.label.removeprefix("n:"): row.final_energy for row in database.select()}
    assert found == pytest.approx(table, abs=1e-12)
    with closing(sqlite3.connect(results / "g2.db")) as plain:
        assert plain.execute("SELECT count(*) FROM systems").fetchone() == (178,)
    names = {
        job["name"]: {
            "name": job["name"],
            "aligned_csd_core": job["geometry"],
            "charge": str(job["charge"]),
            "uhf": str(job["spin"] - 1),
        }
        for job in document["jobs"]
    }
    assert direct_energies(names.values()) == pytest.approx(table, abs=TOLERANCE_HARTREE, rel=0)
