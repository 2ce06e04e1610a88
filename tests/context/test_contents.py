"""Materials, calculations, results: what goes into a context comes out of it, and nothing of another."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.context.conftest import HYDROGEN, WATER
from tests.store.concluded import COPPER, GOLD, create_metals

import penstock
from penstock.domain.errors import ConflictError, NotFoundError, SpecError


def test_diamond_in_two_isolated_workflows_never_meets() -> None:
    for name, z in (("alpha", 1.5), ("beta", 1.6)):
        with penstock.open_context(name) as context:
            context.materials.add("diamond", f"C 0 0 0\nC 0 0 {z}")
    for name, z in (("alpha", 1.5), ("beta", 1.6)):
        with penstock.open_context(name) as context:
            [diamond] = context.materials
            assert f"C 0 0 {z}" in diamond.geometry
            assert (diamond.created_by, diamond.namespace) == (name, name)


def test_hybrid_ones_share_a_file_and_nothing_else() -> None:
    with penstock.open_context("alpha", mode="hybrid") as alpha:
        material = alpha.materials.add("diamond", "C 0 0 0\nC 0 0 1.5")
        alpha.calculations.add(material, "emt").complete(energy_hartree=-1.0)
        with penstock.open_context("beta", mode="hybrid") as beta:
            assert beta.database == alpha.database
            assert list(beta.materials) == []
            assert beta.materials.add("diamond", "C 0 0 0\nC 0 0 1.6").created_by == "beta"
            assert beta.calculations.find("diamond", "emt") is None
            with pytest.raises(ConflictError, match="of namespace 'alpha', not 'beta'"):
                beta.calculations.add(material, "emt")
        with penstock.open_context("gamma", mode="shared") as gamma:
            assert list(gamma.materials) == []
            gamma.materials.add("diamond", "C 0 0 0\nC 0 0 1.5")
            assert gamma.calculations.find("diamond", "emt") is None
            assert gamma.calculations.add("diamond", "emt").state == "held"


def test_a_material_of_another_workflow_is_seen_and_its_result_linked() -> None:
    with penstock.open_context("one", mode="shared") as one:
        calculation = one.calculations.add(one.materials.add("water", WATER), "mine", {"grid": 5})
        output = calculation.directory / "out.log"
        output.write_text("done")
        calculation.complete(energy_hartree=-76.4, properties={"dipole": [0, 0, 1.9]}, files=[output])
    with penstock.open_context("two", mode="shared") as two:
        [water] = two.materials
        assert water.created_by == "one"
        assert two.materials.add("water", WATER) == water
        with pytest.raises(ConflictError, match="another structure, from workflow 'one'"):
            two.materials.add("water", HYDROGEN)
        found = two.calculations.find(water, "mine", {"grid": 5})
        assert found is not None
        assert found.final_energy == -76.4
        assert two.calculations.find(water, "mine", {"grid": 6}) is None
        own = two.calculations.add("water", "mine", {"grid": 5})
        assert own.origin is not None
        assert (own.state, own.origin["workflow"], own.origin["job"]) == ("completed", "one", found.id)
        record = own.record()
        assert record.properties == {"dipole": [0, 0, 1.9]}
        assert [Path(path).read_text() for path in record.files] == ["done"]
        assert two.calculations.add("water", "mine", {"grid": 5}).id == own.id
        assert two.materials.get("water").created_by == "one"
        fresh = two.calculations.add(two.materials.add("wasser", WATER), "mine", {"grid": 5}, reuse=False)
        assert fresh.state == "held"
        assert two.status().states == {"completed": 1, "held": 1}
    with penstock.open_context("one") as one:
        assert len(one.results) == 1


def test_parameters_of_an_engine_of_ours_are_those_the_daemon_finds() -> None:
    from penstock import engines
    from penstock.domain.sameness import calculation_key, method_key

    with penstock.open_context("one", mode="shared") as one:
        water = one.materials.add("water", WATER)
        one.calculations.add(water, "emt", {"task": "energy"})
        resolved = engines.get("emt").parameters({"task": "energy"}, lambda _: "")
        import msgspec

        key = calculation_key(water.key, method_key("emt", msgspec.json.encode(resolved).decode()))
        with one.reading() as db:
            assert db.execute("SELECT calculation FROM job").fetchall() == [(key,)]


def test_structures_come_as_text_file_and_atoms(root: Path) -> None:
    from ase import Atoms
    from ase.build import bulk

    (root / "ion.xyz").write_text(f"3\ncharge=1 multiplicity=2\n{WATER}\n")
    with penstock.open_context("alpha") as context:
        add = context.materials.add
        assert add("water", WATER).multiplicity == 1
        assert add("triplet", WATER, multiplicity=3).multiplicity == 3
        assert add("cation", WATER, charge=1).multiplicity == 2
        assert add("file", root / "ion.xyz").natoms == 3
        copper = bulk("Cu", a=3.6)
        assert add("copper", copper).atoms().get_volume() == pytest.approx(copper.get_volume())
        assert not add("bare", Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])).atoms().pbc.any()
        assert len(context.materials) == 6
        assert context.materials.get("copper").elements == ("Cu",)
        with pytest.raises(NotFoundError, match="did you mean 'copper'"):
            context.materials.get("coper")
        assert "coper" not in context.materials
        for bad in (3, None, object()):
            with pytest.raises(SpecError, match=r"text, a path .* or an ase\.Atoms"):
                add("bad", bad)
        for name, text, message in (
            ("x", "Xx 0 0 0", "material 'x': geometry: line 1: unknown element"),
            ("x", "", "geometry is empty"),
            ("", WATER, "cannot name a material"),
            ("a\nb", WATER, "cannot name a material"),
        ):
            with pytest.raises(SpecError, match=message):
                add(name, text)
        with pytest.raises(SpecError, match="cannot be"):
            add("x", WATER, multiplicity=2)
        with pytest.raises(SpecError, match=r"missing\.xyz"):
            add("x", root / "missing.xyz")


def test_results_are_recorded_queried_and_exported(root: Path) -> None:
    import numpy as np

    with penstock.open_context("alpha") as context:
        for n in range(1, 5):
            material = context.materials.add(f"h{n}", "\n".join(f"H 0 0 {i}" for i in range(2 * n)))
            calculation = context.calculations.add(material, "mine")
            if n == 4:
                calculation.fail("it did not converge", "scf_not_converged")
            else:
                forces = [[0.0, 0.0, -0.01 * n]] * (2 * n)
                calculation.complete(
                    energy_hartree=np.float64(-n), forces_hartree_per_bohr=forces, scf_cycles=n, wall_time_s=0.5
                )
        calculation.set_properties(seen=True, where={"at": np.array([1, 2]), "far": np.float64(0.5)})
        assert [record["name"] for record in context.results.where("natoms > 2", status="completed")] == ["h2", "h3"]
        assert len(context.results.completed.where("final_energy <= -2")) == 2
        assert [record["name"] for record in context.results.where(jobs=(1, 2)).where(jobs=(2, 3))] == ["h2"]
        assert len(context.results.where(jobs=(1,)).where(jobs=(2,))) == 0
        [failed] = context.results.where(status="failed")
        assert (failed["failure"], failed["properties"]) == (
            "scf_not_converged",
            {"seen": True, "where": {"at": [1, 2], "far": 0.5}},
        )
        assert context.calculations.get(3).record().properties["forces_hartree_per_bohr"][0] == [0, 0, -0.03]
        assert context.calculations.get(3).info.max_forces == pytest.approx(0.03)
        with pytest.raises(SpecError, match="no condition"):
            context.results.where("natoms")
        with pytest.raises(SpecError, match="did you mean 'natoms'"):
            list(context.results.where("natom > 3"))
        written = json.loads(context.export("json", "out.json", results=context.results.completed).read_text())
        assert [job["final_energy"] for job in written["jobs"]] == [-1, -2, -3]
        with pytest.raises(SpecError, match="exists"):
            context.export("json", "out.json")
        assert context.export("ase").exists()
        status = context.status()
        assert (status.jobs, status.statuses, status.materials) == (4, {"completed": 3, "failed": 1}, 4)
        assert not status.read_only


def test_what_cannot_be_a_result_is_refused(root: Path) -> None:
    (root / "outside").write_text("")
    with penstock.open_context("alpha") as context:
        calculation = context.calculations.add(context.materials.add("h", HYDROGEN), "mine")
        wrong: list[dict[str, Any]] = [
            {"energy_hartree": math.nan},
            {"forces_hartree_per_bohr": [[0, 0, 0]]},
            {"forces_hartree_per_bohr": [[0, 0, math.inf]] * 2},
            {"forces_hartree_per_bohr": "ab"},
            {"properties": {"x": object()}},
            {"geometry": "?"},
            {"files": ["outside"]},
            {"files": ["missing"]},
        ]
        for arguments in wrong:
            with pytest.raises(SpecError):
                calculation.complete(**arguments)
        assert calculation.state == "held"
        with pytest.raises(SpecError, match="did you mean"):
            calculation.fail("", "scf_not_convergd")
        with pytest.raises(SpecError, match="parameters"):
            context.calculations.add("h", "mine", {"x": object()})
        with pytest.raises(NotFoundError, match="no job 7"):
            context.calculations.get(7)


def test_a_result_may_be_said_again() -> None:
    with penstock.open_context("alpha") as context:
        calculation = context.calculations.add(context.materials.add("h", HYDROGEN), "mine")
        file = calculation.directory / "out"
        for energy in (-1.0, -2.0):
            file.write_text("x" * int(-energy))
            calculation.complete(energy_hartree=energy, files=[file])
        assert calculation.info.final_energy == -2.0
        calculation.fail("no")
        assert (calculation.state, calculation.has_ended) == ("failed", True)
        assert context.status().states == {"failed": 1}
        assert [event.kind for event in calculation.record().events] == ["job_added", *["job_set"] * 3]
        with contextlib.closing(sqlite3.connect(context.database)) as db:
            assert db.execute("SELECT path, bytes FROM file").fetchall() == [("jobs/0000/1/out", 2)]


async def test_what_analyses_found_is_a_list_of_properties(root: Path) -> None:
    directory = root / ".penstock" / "w"
    directory.mkdir(parents=True)
    await create_metals(directory)
    with penstock.open_context("w", create=False) as context:
        assert context.properties() == [*COPPER.properties, *GOLD.properties]
        assert [found.subject for found in context.properties("bulk_modulus_vrh")] == ["Cu", "Au"]
        assert context.properties("no such") == []
    with pytest.raises(ConflictError, match="was left"):
        context.properties()


def test_a_workflow_without_analyses_has_no_properties() -> None:
    with penstock.open_context("plain") as context:
        assert context.properties() == []
