"""The recipe of equilibrium: at rest, and what it says of dynamics that it cannot average."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from tests.recipes.calculating import Calculated, block, named, spec_of

from penstock.domain.errors import SpecError
from penstock.domain.subject import JobRecord, Subject
from penstock.engines.dynamics import Description
from penstock.recipes.equilibrate import ANALYSE, Equilibrate, _repeats, production
from penstock.recipes.recipe import View

EQUILIBRATE = Equilibrate()


@pytest.mark.parametrize("pressure_gpa", [0.0, 15.0])
def test_the_lattice_at_rest_is_that_of_ases_own_relaxation(pressure_gpa: float) -> None:
    done = Calculated(
        EQUILIBRATE, spec_of("equilibrate", equilibrate={"pressure_gpa": pressure_gpa}), block(bulk("Ni"))
    )
    conclusion = done.run()
    atoms = bulk("Ni", cubic=True)
    atoms.calc = EMT()
    moving: Any = FrechetCellFilter(atoms, scalar_pressure=pressure_gpa / 160.21766)
    BFGS(moving, logfile=None).run(fmax=1e-5)
    found = named(conclusion, "lattice_parameter")
    assert found.value == pytest.approx(atoms.cell.lengths()[0], abs=2e-4)
    assert found.conditions == {"pressure_gpa": pressure_gpa, "temperature_k": 0.0, "axis": "a", "cell": "conventional"}
    assert named(conclusion, "energy").value == pytest.approx(atoms.get_potential_energy() / 4, abs=1e-4)
    assert named(conclusion, "volume").value == pytest.approx(atoms.get_volume() / 4, rel=1e-4)


def test_segments_go_on_from_one_another() -> None:
    table = {"temperature_k": 300.0, "produce_ps": 2.0, "timestep_fs": 2.0, "segments": 2}
    steps = EQUILIBRATE.steps(View(spec_of("equilibrate", equilibrate=table), ()))
    assert [(step.key, step.after) for step in steps] == [
        ("relax", None),
        ("produce_1", "relax"),
        ("produce_2", "produce_1"),
        (ANALYSE, "produce_2"),
    ]
    assert steps[1].engine["steps"] == 500
    assert steps[1].engine["ensemble"] == "npt"


def test_an_engine_without_dynamics_still_relaxes() -> None:
    espresso = {"name": "espresso", "pseudo_dir": "/p"}
    assert len(EQUILIBRATE.steps(View(spec_of("equilibrate", espresso), ()))) == 2
    with pytest.raises(SpecError, match="does no molecular dynamics, which an equilibrium at a temperature needs"):
        EQUILIBRATE.steps(View(spec_of("equilibrate", espresso, equilibrate={"temperature_k": 300.0}), ()))


def test_hexagonal_axes_are_told_apart() -> None:
    done = Calculated(EQUILIBRATE, spec_of("equilibrate"), block(bulk("Cu", "hcp", a=2.55, c=4.16)))
    found = [one for one in done.run().properties if one.name == "lattice_parameter"]
    assert [one.conditions["axis"] for one in found] == ["a", "c"]
    assert found[1].value / found[0].value == pytest.approx(np.sqrt(8 / 3), rel=0.02)


@pytest.mark.parametrize(
    ("where", "given", "message"),
    [
        ("engine", {"pressure_gpa": 5.0}, r"follows from \[equilibrate\] pressure_gpa"),
        ("engine", {"temperature_k": 5.0}, r"follows from \[equilibrate\] temperature_k"),
        ("engine", {"ensemble": "nvt"}, r"follows from \[equilibrate\] temperature_k"),
        ("engine", {"steps": 5}, r"follows from \[equilibrate\] produce_ps"),
        ("steps.relax.engine", {"pressure_gpa": 5.0}, r"follows from \[equilibrate\] pressure_gpa"),
        ("steps.produce_1.engine", {"temperature_k": 5.0}, r"follows from \[equilibrate\] temperature_k"),
    ],
)
def test_what_its_own_table_decides_is_not_taken_from_elsewhere(
    where: str, given: dict[str, float], message: str
) -> None:
    engine = {"name": "emt"} | (given if where == "engine" else {})
    steps = {} if where == "engine" else {where.split(".")[1]: {"engine": given}}
    with pytest.raises(SpecError, match=message) as caught:
        EQUILIBRATE.steps(View(spec_of("equilibrate", engine, equilibrate={"temperature_k": 300.0}, steps=steps), ()))
    assert caught.value.key == f"{where}.{next(iter(given))}"


def test_too_short_a_segment_is_refused() -> None:
    table = {"temperature_k": 300.0, "produce_ps": 0.03, "segments": 2}
    with pytest.raises(SpecError, match="a segment has 20 fs at least") as caught:
        EQUILIBRATE.steps(View(spec_of("equilibrate", equilibrate=table), ()))
    assert caught.value.key == "equilibrate.produce_ps"


def test_a_supercell_is_taken_instead_of_a_number_of_atoms() -> None:
    engine = {"name": "emt", "supercell": [2, 2, 2]}
    _, produce, _ = EQUILIBRATE.steps(View(spec_of("equilibrate", engine, equilibrate={"temperature_k": 300.0}), ()))
    assert "min_atoms" not in produce.engine


def test_means_of_a_primitive_cell_are_of_the_conventional_one(tmp_path: Path) -> None:
    crystal, times, frames = bulk("Cu", a=3.6), (5, 5, 4), 2000
    noise = np.random.default_rng(5).normal(size=frames)
    for at in range(1, frames):
        noise[at] = 0.9 * noise[at - 1] + np.sqrt(1 - 0.9**2) * noise[at]
    grown = np.cbrt(1.03 * (1 + 0.01 * noise))
    np.save(tmp_path / "cells.npy", grown[:, None, None] * (np.array(times)[:, None] * crystal.cell[:]))
    description = Description(["Cu"] * 100, [63.546] * 100, [True] * 3, None, 2.0, 10, 0, [], "npt", "langevin", 300.0)
    (tmp_path / "dynamics.json").write_bytes(msgspec.json.encode(description))
    jobs = [
        JobRecord(number, step, "it", "it", "completed", block(crystal), attempt=1, directory=str(tmp_path))
        for number, step in enumerate(("relax", production(1)), 1)
    ]
    spec = spec_of("equilibrate", equilibrate={"temperature_k": 300.0})
    conclusion = EQUILIBRATE.conclude(spec, ANALYSE, Subject("it", tuple(jobs)))
    (length,) = [one for one in conclusion.properties if one.name == "lattice_parameter"]
    volume = named(conclusion, "volume")
    for found, true in ((length, 3.6 * np.cbrt(1.03)), (volume, 3.6**3 / 4 * 1.03)):
        assert found.value == pytest.approx(true, rel=2e-3)
        low, high = float(found.conditions["lower_95"]), float(found.conditions["upper_95"])
        assert low < true < high
        assert (high - low) / 2 == pytest.approx(2 * found.uncertainty, rel=0.1)


@pytest.mark.parametrize("grown", [0.97, 1.03, 1.06])
def test_cells_are_counted_by_their_atoms_however_far_they_have_grown(grown: float) -> None:
    crystal = bulk("Cu", "hcp", a=2.55, c=4.16)
    for times in ((27, 27, 14), (2, 3, 1)):
        supercell = np.array(times)[:, None] * crystal.cell[:] * grown
        assert _repeats(supercell, 2 * math.prod(times), block(crystal)) == times
