"""Phase diagrams: what is concluded from calculated structures, whatever became of them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from ase.build import bulk, make_supercell
from tests.recipes.calculating import block, named, spec_of

from penstock.domain.calculation import HARTREE_EV
from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion, PropertyResult
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import WHOLE, JobRecord, Subject
from penstock.recipes.phase_diagram import CALCULATE, HULL, REFINE, REFINED, PhaseDiagramRecipe
from penstock.recipes.recipe import View

RECIPE = PhaseDiagramRecipe()
BUILT = {"structures": {"build": {"elements": ["Cu", "Au"], "lattices": ["fcc"]}}}


def spec(build: bool = True, **table: Any) -> WorkflowSpec:
    return spec_of("phase_diagram", phase_diagram=table, **(BUILT if build else {}))


def crystal(symbols: str, a: float = 4.0) -> Any:
    """Four atoms on a cubic lattice: L1_2, or an element."""
    atoms = bulk("Cu", "fcc", a=a, cubic=True)
    atoms.symbols = symbols
    return atoms


def job(id: int, name: str, atoms: Any, energy_ev: float | None, **more: Any) -> JobRecord:
    known = {"state": "completed" if energy_ev is not None else "failed", "step": CALCULATE, "subject": name} | more
    return JobRecord(
        id=id,
        name=name,
        geometry=block(atoms),
        attempt=1,
        energy_hartree=None if energy_ev is None else energy_ev * len(atoms) / HARTREE_EV,
        **known,
    )


CU, AU = job(1, "Cu", crystal("Cu4"), -1.0), job(2, "Au", crystal("Au4"), -2.0)
CU3AU = job(3, "L1_2", crystal("AuCu3"), -1.45)  # -0.2 eV/atom below its elements
CUAU = job(4, "L1_0", crystal("AuAuCuCu"), -1.6)


def concluded(given: WorkflowSpec, *jobs: JobRecord, step: str = HULL) -> Conclusion:
    return RECIPE.conclude(given, step, Subject(WHOLE, jobs))


def of(conclusion: Conclusion, subject: str, name: str = "energy_above_hull") -> PropertyResult:
    (found,) = [p for p in conclusion.properties if (p.subject, p.name) == (subject, name)]
    return found


def test_energies_decompositions_and_order_of_elements() -> None:
    found = concluded(spec(), CU, AU, CU3AU, CUAU)
    assert of(found, "L1_2", "formation_energy").value == pytest.approx(-0.2)
    assert of(found, "L1_2").value == 0
    assert of(found, "L1_0").value == pytest.approx(0.2 * 2 / 3 - 0.1)
    assert of(found, "L1_0").conditions["decomposition"] == "0.3333 Au + 0.6667 L1_2"
    assert of(found, "L1_2").conditions["formula"] == "Cu3Au"
    assert of(found, "L1_2").attempts == ("3.1",)
    assert {p.unit for p in found.properties} == {"eV/atom"}
    assert found.figures[0].data["elements"] == ["Cu", "Au"]
    from_files = concluded(spec(build=False), CU, AU, CU3AU)
    assert of(from_files, "L1_2").conditions["formula"] == "AuCu3"  # as IUPAC has it, where nothing else is said
    assert found.failure is None


def test_an_energy_is_of_the_atoms_that_the_engine_calculated() -> None:
    given = block(crystal("Cu4"))
    one = job(1, "Cu", crystal("Cu4")[:1], -1.0, properties={"atoms": 1})  # of the primitive cell of what was given
    found = concluded(spec(), msgspec.structs.replace(one, geometry=given), AU, CU3AU)
    assert of(found, "L1_2", "formation_energy").value == pytest.approx(-0.2)


def test_what_failed_is_noted_and_the_rest_has_its_hull() -> None:
    failed = job(5, "broken", crystal("AuAuAuCu"), None, failure="it blew up")
    found = concluded(spec(), CU, AU, CU3AU, failed)
    assert "left out: broken: it blew up" in found.notes
    assert not [p for p in found.properties if p.subject == "broken"]
    many = [job(n, f"b{n}", crystal("AuAuAuCu"), None, failure="no") for n in range(10, 40)]
    notes = concluded(spec(), CU, AU, *many).notes
    assert len(notes) == 21
    assert notes[-1] == "left out: 10 more"
    with pytest.raises(ValueError, match="none of the 1 structures has an energy: left out: broken: it blew up"):
        concluded(spec(), failed)


def test_a_missing_reference_is_no_hull() -> None:
    with pytest.raises(ValueError, match=r"no elemental reference for Au.*phase_diagram\.references_ev_per_atom"):
        concluded(spec(), CU, CU3AU)
    gold = msgspec.structs.replace(AU, state="failed", energy_hartree=None, failure="out of memory")
    with pytest.raises(ValueError, match=r"reference for Au.* Au failed: out of memory\."):
        concluded(spec(), CU, CU3AU, gold)


def test_references_and_phases_may_be_given() -> None:
    found = concluded(spec(references_ev_per_atom={"Au": -2.0}), CU, CU3AU)
    assert of(found, "L1_2", "formation_energy").value == pytest.approx(-0.2)
    assert of(found, "Au (reference)").attempts == ()
    assert "its energy given" in of(found, "Au (reference)").method
    found = concluded(spec(energies_ev_per_atom={"AuCu": -1.9}), CU, AU, CU3AU)
    assert of(found, "L1_2").value == pytest.approx(0.0)
    assert of(found, "AuCu (given)", "formation_energy").value == pytest.approx(-0.4)
    assert of(found, "AuCu (given)").conditions["formula"] == "CuAu"


def test_errors_of_energies_make_probabilities() -> None:
    near = job(4, "near", crystal("AuAuCuCu"), -1.6333)
    found = concluded(spec(error_ev_per_atom=0.002), CU, AU, CU3AU, near)
    one = of(found, "near")
    assert 0.1 < float(one.conditions["stable_probability"]) < 0.9
    assert one.uncertainty is not None
    assert 0 < one.uncertainty < 0.01
    assert of(found, "L1_2").conditions["stable_probability"] == 1
    assert of(found, "L1_2", "formation_energy").uncertainty == pytest.approx(
        0.002 * np.sqrt(1 + (3 / 4) ** 2 + (1 / 4) ** 2)
    )
    assert "1000 hulls" in found.notes[-1]
    exact = concluded(spec(error_ev_per_atom=0.002, references_ev_per_atom={"Cu": -1.0, "Au": -2.0}), CU3AU)
    assert of(exact, "Cu (reference)").uncertainty == 0
    assert of(exact, "L1_2", "formation_energy").uncertainty == pytest.approx(0.002)


def test_what_relaxed_to_something_else_is_noted() -> None:
    askew = crystal("AuCu3")
    askew.set_cell(askew.cell * [1.05, 1.0, 1.0], scale_atoms=True)
    relaxed = job(6, "askew", askew, -1.45, final_geometry=block(crystal("AuCu3")))
    turned = make_supercell(crystal("AuCu3"), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    turned.rotate(30, "z", rotate_cell=True)
    larger = job(7, "larger", turned, -1.45)
    tetragonal = crystal("AuCu3")
    tetragonal.set_cell(tetragonal.cell * [1.0, 1.0, 1.02], scale_atoms=True)
    other = job(8, "another", tetragonal, -1.45)
    found = concluded(spec(), CU, AU, CU3AU, relaxed, larger, other)
    assert "changed: askew: from P4/mmm to Pm-3m" in found.notes
    assert "relaxed to the same: askew: as L1_2" in found.notes
    assert "relaxed to the same: larger: as L1_2" in found.notes
    assert of(found, "askew").conditions["space_group_before"] == "P4/mmm"
    assert of(found, "askew").conditions["same_as"] == "L1_2"
    assert "same_as" not in of(found, "L1_2").conditions
    assert of(found, "another").conditions["space_group"] == "P4/mmm"
    assert not [note for note in found.notes if "another" in note]
    assert all(of(found, name).value == 0 for name in ("L1_2", "askew", "larger"))
    unrelaxed = concluded(spec(relax="none"), CU, AU, CU3AU)
    assert unrelaxed.notes == ()
    assert "space_group" not in of(unrelaxed, "L1_2").conditions


def test_molecules_have_no_space_group() -> None:
    molecule = crystal("AuCu3")
    molecule.pbc = False
    molecule.cell = None
    found = concluded(spec(), CU, AU, job(3, "cluster", molecule, -1.45))
    assert "space_group" not in of(found, "cluster").conditions


def test_what_is_near_the_hull_is_calculated_again() -> None:
    given = spec(refine_below_ev_per_atom=0.04, refine={"fmax": 1e-4})
    steps = RECIPE.steps(View(given, ()))
    assert [(step.key, step.kind, step.after) for step in steps] == [
        (CALCULATE, "fan", None),
        (HULL, "analysis", CALCULATE),
        (REFINE, "unfold", HULL),
        (REFINED, "analysis", REFINE),
    ]
    assert steps[2].engine["fmax"] == 1e-4
    far = job(5, "far", crystal("AuAuCuCu"), -1.5)
    end = block(crystal("AuAuCuCu", 3.9))
    made = RECIPE.unfold(given, REFINE, Subject(WHOLE, (CU, AU, CU3AU, replaced(CUAU, end), far)), None)
    assert {one.name: one.label for one in made} == {
        name: {"of": n} for n, name in enumerate(("Cu", "Au", "L1_2", "L1_0"), 1)
    }
    assert made[3].geometry == end
    again = [msgspec.structs.replace(one, step=REFINE, id=one.id + 10) for one in (CU, AU, CU3AU)]
    found = concluded(given, CU, AU, CU3AU, CUAU, *again, step=REFINED)
    assert named(found, "formation_energy").method.startswith("convex hull of 3 phases")
    assert "with refined parameters" in named(found, "formation_energy").method
    assert of(found, "L1_2").attempts == ("13.1",)


def replaced(one: JobRecord, end: str) -> JobRecord:
    return msgspec.structs.replace(one, final_geometry=end)


def test_what_an_engine_cannot_do_is_refused() -> None:
    for table, engine, message in (
        ({}, {"name": "orca"}, r'relaxes no cells, which relax = "cell" needs'),
        ({}, {"name": "emt", "task": "relax"}, "decides what each step does"),
        ({"refine_below_ev_per_atom": 0.1, "refine": {"task": "energy"}}, {"name": "emt"}, "leave it out"),
    ):
        given = spec_of("phase_diagram", engine, phase_diagram=table, **BUILT)
        with pytest.raises(SpecError, match=message):
            RECIPE.steps(View(given, ()))
