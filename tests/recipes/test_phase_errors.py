"""What errors of energies, and structures that could not be refined, make of phase diagrams."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from ase import Atoms
from tests.recipes.calculating import block, spec_of

from penstock.domain.calculation import HARTREE_EV
from penstock.domain.properties import Conclusion
from penstock.domain.subject import WHOLE, JobRecord, Subject
from penstock.recipes.phase_diagram import CALCULATE, HULL, REFINE, REFINED, PhaseDiagramRecipe

RECIPE = PhaseDiagramRecipe()


def job(number: int, formula: str, ev_per_atom: float | None, step: str = CALCULATE) -> JobRecord:
    atoms = Atoms(formula, positions=np.arange(3)[None, :] + 2.0 * np.arange(len(Atoms(formula)))[:, None], pbc=True)
    atoms.set_cell(20 * np.eye(3))
    return JobRecord(
        id=number,
        step=step,
        subject=formula,
        name=formula,
        state="failed" if ev_per_atom is None else "completed",
        geometry=block(atoms),
        attempt=1,
        energy_hartree=None if ev_per_atom is None else ev_per_atom * len(atoms) / HARTREE_EV,
        failure="it broke" if ev_per_atom is None else None,
    )


def hull(jobs: list[JobRecord], step: str = HULL, **table: Any) -> Conclusion:
    return RECIPE.conclude(spec_of("phase_diagram", phase_diagram=table), step, Subject(WHOLE, tuple(jobs)))


def errors(conclusion: Conclusion, name: str) -> dict[str, Any]:
    return {found.subject: found.uncertainty for found in conclusion.properties if found.name == name}


def test_errors_reach_formation_energies_though_an_element_is_given() -> None:
    jobs = [job(1, "Cu", 0.0), job(2, "CuAu", -0.1)]
    conclusion = hull(jobs, energies_ev_per_atom={"Au": 0.0}, error_ev_per_atom=0.01)
    found = errors(conclusion, "formation_energy")["CuAu"]
    assert found == pytest.approx(0.01 * np.sqrt(1 + 0.25 + 0.25))


def test_references_that_are_given_are_exact() -> None:
    jobs = [job(1, "CuAu", -0.1)]
    conclusion = hull(jobs, references_ev_per_atom={"Cu": 0.0, "Au": 0.0}, error_ev_per_atom=0.01)
    assert errors(conclusion, "formation_energy")["CuAu"] == pytest.approx(0.01)
    jobs = [job(1, "CuAu", 0.1)]
    conclusion = hull(jobs, references_ev_per_atom={"Cu": 0.0, "Au": 0.0}, error_ev_per_atom=0.01)
    assert errors(conclusion, "energy_above_hull")["CuAu"] == pytest.approx(0.01, rel=0.1)


def test_a_corner_that_could_not_be_refined_is_missed() -> None:
    first = [job(1, "Cu", 0.0), job(2, "Au", 0.0), job(3, "CuAu", -0.1), job(4, "CuAu3", -0.02), job(5, "Cu3Au", 0.01)]
    table = {"refine_below_ev_per_atom": 0.1, "refine": {"fmax": 0.01}}
    (made,) = {
        tuple(
            sorted(
                one.name
                for one in RECIPE.unfold(
                    spec_of("phase_diagram", phase_diagram=table), REFINE, Subject(WHOLE, tuple(first)), None
                )
            )
        )
    }
    assert made == ("Au", "Cu", "Cu3Au", "CuAu", "CuAu3")
    refined = [msgspec.structs.replace(one, id=one.id + 10, step=REFINE, label={"of": one.id}) for one in first]
    assert not any("on the hull" in note for note in hull([*first, *refined], REFINED, **table).notes)
    broken = [job(13, "CuAu", None, REFINE), job(15, "Cu3Au", None, REFINE)]
    broken = [msgspec.structs.replace(one, label={"of": one.id - 10}) for one in broken]
    refined = [one for one in refined if one.name not in {"CuAu", "Cu3Au"}]
    conclusion = hull([*first, *refined, *broken], REFINED, **table)
    (note,) = [note for note in conclusion.notes if "on the hull" in note]
    assert "CuAu" in note.split() or "CuAu," in note
    assert "Cu3Au" not in note
