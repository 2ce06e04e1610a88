"""The recipe of elastic constants, its jobs calculated at once with EMT."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from ase.build import bulk, molecule
from tests.recipes.calculating import Calculated, block, named, spec_of

from penstock.domain.errors import SpecError
from penstock.domain.subject import Subject
from penstock.recipes.elastic import FIT, STRAIN, Elastic
from penstock.recipes.recipe import View

ELASTIC = Elastic()


def tensor(geometry: str, name: str = "elastic_tensor", **tables: Any) -> np.ndarray[Any, Any]:
    done = Calculated(ELASTIC, spec_of("elastic", **tables), geometry)
    return np.array(named(done.run(), name).value, dtype=float)


def test_the_tensor_is_that_of_the_conventional_cell_however_the_crystal_lies() -> None:
    straight = bulk("Cu")
    turned = straight.copy()
    turned.rotate(33.0, (1.0, 2.0, 3.0), rotate_cell=True)
    expected = tensor(block(straight))
    assert expected[0, 0] == pytest.approx(expected[2, 2], rel=1e-9)
    np.testing.assert_allclose(tensor(block(turned)), expected, rtol=1e-4, atol=1e-6)
    cubic = bulk("Cu", cubic=True)
    np.testing.assert_allclose(tensor(block(cubic)), expected, rtol=1e-4, atol=1e-6)


def test_which_way_the_axes_of_the_tensor_point_is_said() -> None:
    found = named(Calculated(ELASTIC, spec_of("elastic"), block(bulk("Cu"))).run(), "elastic_tensor")
    vectors = [part.split("=")[1].split() for part in str(found.conditions["conventional_cell"]).split(",")]
    cell = np.array(vectors, dtype=float) @ bulk("Cu").cell[:]
    np.testing.assert_allclose(cell @ cell.T, 3.61**2 * np.eye(3), atol=1e-9)
    assert np.linalg.det(cell) > 0


def test_symmetry_saves_strains_and_changes_nothing() -> None:
    without = Calculated(ELASTIC, spec_of("elastic", elastic={"symmetry": False}), block(bulk("Ag")))
    all_six = np.array(named(without.run(), "elastic_tensor").value, dtype=float)
    assert len(without.jobs) == 1 + 6 * 4
    with_it = Calculated(ELASTIC, spec_of("elastic"), block(bulk("Ag")))
    np.testing.assert_allclose(named(with_it.run(), "elastic_tensor").value, all_six, rtol=5e-4, atol=0.02)
    assert len(with_it.jobs) == 1 + 2 * 4


def test_ions_that_may_relax_soften_a_lattice_with_a_basis() -> None:
    done = Calculated(ELASTIC, spec_of("elastic"), block(bulk("Cu", "hcp", a=2.55, c=4.16)))
    conclusion = done.run()
    relaxed = np.array(named(conclusion, "elastic_tensor").value, dtype=float)
    clamped = np.array(named(conclusion, "elastic_tensor_clamped").value, dtype=float)
    assert clamped[0, 0] > relaxed[0, 0] + 5.0
    assert clamped[2, 2] == pytest.approx(relaxed[2, 2], rel=1e-3)
    axes = [found.conditions["axis"] for found in conclusion.properties if found.name == "lattice_parameter"]
    assert axes == ["a", "c"]


def test_large_strains_are_remarked() -> None:
    done = Calculated(ELASTIC, spec_of("elastic", elastic={"amplitudes": [0.02, 0.05]}), block(bulk("Cu")))
    assert any("beyond linear elasticity" in note for note in done.run().notes)


def test_under_pressure_the_crystal_is_stiffer_and_says_so() -> None:
    done = Calculated(ELASTIC, spec_of("elastic", elastic={"pressure_gpa": 10.0}), block(bulk("Cu")))
    found = named(done.run(), "elastic_tensor")
    assert found.conditions["pressure_gpa"] == pytest.approx(10.0, abs=0.05)
    assert found.value[0][0] > tensor(block(bulk("Cu")))[0, 0] + 30.0


def test_a_structure_may_be_taken_as_it_is() -> None:
    done = Calculated(ELASTIC, spec_of("elastic", elastic={"relax": False}), block(bulk("Cu", a=3.7)))
    found = named(done.run(), "elastic_tensor")
    assert done.jobs[0].properties["pressure_gpa"] < -5.0
    assert found.conditions["pressure_gpa"] == pytest.approx(done.jobs[0].properties["pressure_gpa"], rel=0.02)


def test_what_is_no_crystal_is_refused() -> None:
    done = Calculated(ELASTIC, spec_of("elastic", elastic={"relax": False}), block(molecule("H2O")))
    done.do(ELASTIC.steps(View(done.spec, ()))[0])
    with pytest.raises(ValueError, match="periodic in all three directions"):
        ELASTIC.unfold(done.spec, STRAIN, done.subject, done.jobs[0])


def test_a_relaxation_that_failed_is_what_is_said() -> None:
    done = Calculated(ELASTIC, spec_of("elastic", {"name": "emt", "max_steps": 1}), block(bulk("Cu", a=3.0)))
    done.do(ELASTIC.steps(View(done.spec, ()))[0])
    assert done.jobs[0].state == "failed"
    with pytest.raises(ValueError, match="its relaxation came to nothing: "):
        ELASTIC.conclude(done.spec, FIT, done.subject)


def test_the_first_stress_of_an_attempt_that_went_on_is_not_that_of_clamped_ions() -> None:
    done = Calculated(ELASTIC, spec_of("elastic"), block(bulk("Cu", "hcp", a=2.55, c=4.16)))
    expected = named(done.run(), "elastic_tensor_clamped").value
    spoilt = [
        msgspec.structs.replace(job, went_on=True, properties=job.properties | {"initial_stress_gpa": [99.0] * 9})
        if job.name.endswith("xx+0.0100")
        else job
        for job in done.jobs
    ]
    again = ELASTIC.conclude(done.spec, FIT, Subject("it", tuple(spoilt)))
    np.testing.assert_allclose(named(again, "elastic_tensor_clamped").value, expected, rtol=2e-3, atol=0.2)
    none = [msgspec.structs.replace(job, went_on=True) for job in done.jobs]
    again = ELASTIC.conclude(done.spec, FIT, Subject("it", tuple(none)))
    assert all(found.name != "elastic_tensor_clamped" for found in again.properties)
    assert any("no clamped-ion tensor" in note for note in again.notes)


def test_a_second_attempt_that_began_anew_counts_for_clamped_ions() -> None:
    done = Calculated(ELASTIC, spec_of("elastic"), block(bulk("Cu")))
    expected = named(done.run(), "elastic_tensor_clamped").value
    second = [msgspec.structs.replace(job, attempt=2) for job in done.jobs]
    again = ELASTIC.conclude(done.spec, FIT, Subject("it", tuple(second)))
    assert named(again, "elastic_tensor_clamped").value == expected


def test_strained_crystals_of_another_relaxation_are_not_fitted() -> None:
    done = Calculated(ELASTIC, spec_of("elastic"), block(bulk("Cu")))
    done.run()
    longer = bulk("Cu", a=3.6)
    turned = msgspec.structs.replace(done.jobs[0], final_geometry=block(longer))
    with pytest.raises(ValueError, match=r"job 2 \(it .*\) was made of another result of the relaxation"):
        ELASTIC.conclude(done.spec, FIT, Subject("it", (turned, *done.jobs[1:])))


def test_what_a_person_says_of_convergence_counts_more_than_the_role() -> None:
    (relax, strain, _) = ELASTIC.steps(View(spec_of("elastic", {"name": "emt", "fmax": 0.05}), ()))
    assert "fmax" not in relax.engine
    assert strain.engine == {"task": "optimize"}
    own = {"strain": {"engine": {"fmax": 0.1}, "resources": {"cores": 2}}}
    (_, strain, _) = ELASTIC.steps(View(spec_of("elastic", steps=own), ()))
    assert strain.engine["fmax"] == 0.1
    assert strain.resources is not None
    assert strain.resources.cores == 2


@pytest.mark.parametrize(
    ("engine", "tables", "message"),
    [
        ({"name": "orca"}, {}, "gives no stress, which an elastic tensor needs; .*engines that do: .*emt"),
        ({"name": "emt", "task": "relax"}, {}, "decides what each step does"),
        ({"name": "emt"}, {"chain": {"steps": ["OPT"]}}, "has its own steps"),
        ({"name": "emt"}, {"steps": {"fit": {}}}, "is no step of recipe 'elastic'"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_submission(
    engine: dict[str, object], tables: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        ELASTIC.steps(View(spec_of("elastic", engine, **tables), ()))
