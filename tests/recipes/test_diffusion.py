"""The recipe of diffusion: its plan, what it refuses, and what it makes of trajectories whose D is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.constants import Boltzmann, atomic_mass, physical_constants
from tests.recipes.calculating import named, spec_of

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion
from penstock.domain.subject import JobRecord, Subject
from penstock.engines.dynamics import DESCRIPTION, POSITIONS, Description
from penstock.recipes.diffusion import ANALYSE, Diffusion
from penstock.recipes.recipe import Step, View

DIFFUSION = Diffusion()
K_EV = physical_constants["Boltzmann constant in eV/K"][0]
LENGTH, EVERY, FRAMES, TIMESTEP_FS = 12.0, 10, 400, 2.0
D0_M2_S, EA_EV = 4e-8, 0.15
TEMPERATURES_K = (600.0, 800.0, 1100.0)


def steps_of(engine: dict[str, Any] | None = None, *, steps: dict[str, Any] | None = None, **table: Any) -> list[Step]:
    given = {"temperatures_k": [800.0], "segments": 2} | table
    return DIFFUSION.steps(View(spec_of("diffusion", engine, diffusion=given, steps=steps or {}), ()))


def true_m2_s(temperature_k: float) -> float:
    return D0_M2_S * float(np.exp(-EA_EV / (K_EV * temperature_k)))


class Walkers:
    """Segments of Brownian walkers in the files that engines leave, and the jobs that left them."""

    def __init__(self, root: Path, temperatures_k: Sequence[float] = TEMPERATURES_K, segments: int = 2) -> None:
        self.root = root
        self.segments = segments
        self.temperatures_k = list(temperatures_k)
        self.jobs: dict[str, JobRecord] = {}
        for number, temperature_k in enumerate(self.temperatures_k):
            self._walk(temperature_k, np.random.default_rng(number), 1 + number * segments)

    def _walk(self, temperature_k: float, random: np.random.Generator, first: int) -> None:
        symbols = ["Li"] * 30 + ["O"] * 30
        width = np.sqrt(2 * true_m2_s(temperature_k) * 1e5 * EVERY * TIMESTEP_FS)  # Å, of a step along one axis
        moves = random.normal(size=(self.segments * FRAMES, 60, 3)) * width
        moves[:, 30:] /= 2  # a quarter of the diffusion
        moves -= moves.mean(axis=1, keepdims=True)
        moves *= np.sqrt(60 / 59)
        paths = random.uniform(0, LENGTH, (60, 3)) + np.cumsum(moves, axis=0)
        for segment in range(self.segments):
            key = f"produce_{temperature_k:g}K_{segment + 1}"
            here = paths[segment * FRAMES : (segment + 1) * FRAMES]
            self._leave(key, first + segment, here, symbols, segment * FRAMES * EVERY, temperature_k)

    def _leave(
        self, key: str, id: int, paths: NDArray[np.float64], symbols: list[str], first_step: int, temperature_k: float
    ) -> None:
        directory = self.root / key
        directory.mkdir(parents=True)
        np.save(directory / POSITIONS, paths)
        description = Description(
            symbols=symbols,
            masses_amu=[1.0] * len(symbols),
            pbc=[True] * 3,
            cell_angstrom=(np.eye(3) * LENGTH).tolist(),
            timestep_fs=TIMESTEP_FS,
            sample_every=EVERY,
            first_step=first_step,
            columns=["step"],
            ensemble="nvt",
            thermostat="bussi",
            temperature_k=temperature_k,
        )
        (directory / DESCRIPTION).write_bytes(msgspec.json.encode(description))
        properties = {"temperature_k": temperature_k + 1.0}
        self.jobs[key] = JobRecord(
            id, key, "it", "it", "completed", "", attempt=1, properties=properties, directory=str(directory)
        )

    def change(self, key: str, **changes: Any) -> None:
        """The job of a step, as something else."""
        self.jobs[key] = msgspec.structs.replace(self.jobs[key], **changes)

    def describe(self, key: str, **changes: Any) -> None:
        """The description of a segment, as something else."""
        path = self.root / key / DESCRIPTION
        description = msgspec.json.decode(path.read_bytes(), type=Description)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(description, **changes)))

    def conclude(self, **table: Any) -> Conclusion:
        """What the recipe says of them."""
        given = {"temperatures_k": self.temperatures_k, "segments": self.segments} | table
        subject = Subject("it", tuple(self.jobs.values()))
        conclusion = DIFFUSION.conclude(spec_of("diffusion", diffusion=given), ANALYSE, subject)
        return msgspec.json.decode(msgspec.json.encode(conclusion), type=Conclusion)  # as it gets to the database


def coefficients(conclusion: Conclusion) -> dict[tuple[Any, Any], Any]:
    return {
        (one.conditions["species"], one.conditions["temperature_k"]): one
        for one in conclusion.properties
        if one.name == "diffusion_coefficient"
    }


# ---- the plan ----


def test_each_temperature_is_a_chain_of_its_own() -> None:
    steps = steps_of(temperatures_k=[800.0, 950.5], equilibrate_ps=1.0, produce_ps=4.0, sample_fs=25.0)
    assert [(step.key, step.after) for step in steps] == [
        ("start", None),
        ("equilibrate_800K", "start"),
        ("produce_800K_1", "equilibrate_800K"),
        ("produce_800K_2", "produce_800K_1"),
        ("equilibrate_950.5K", "start"),
        ("produce_950.5K_1", "equilibrate_950.5K"),
        ("produce_950.5K_2", "produce_950.5K_1"),
        (ANALYSE, "produce_950.5K_2"),
    ]
    start, equilibrate, produce = steps[:3]
    shared = {"task": "dynamics", "temperature_k": 800.0, "timestep_fs": 2.0, "sample_every": 12, "min_atoms": 100}
    assert start.engine == {"task": "gradient"}
    assert equilibrate.engine == shared | {"seed": 1, "steps": 500, "ensemble": "nvt", "thermostat": "langevin"}
    assert produce.engine == shared | {"seed": 1, "steps": 1000}


def test_a_plan_without_equilibration_and_with_relaxation() -> None:
    steps = steps_of(equilibrate_ps=0.0, relax=True)
    assert [step.key for step in steps] == ["start", "produce_800K_1", "produce_800K_2", ANALYSE]
    assert steps[0].engine["task"] == "relax"


def test_an_equilibration_may_be_shorter_than_a_sample() -> None:
    _, equilibrate, produce, _, _ = steps_of(equilibrate_ps=0.01)
    assert (equilibrate.engine["steps"], equilibrate.engine["sample_every"]) == (5, 5)
    assert produce.engine["sample_every"] == 10


def test_what_a_person_says_of_the_dynamics_counts() -> None:
    engine = {"name": "emt", "supercell": [3, 3, 3], "ensemble": "nve", "time_constant_fs": 50.0, "fmax": 0.5}
    own = {"equilibrate_800K": {"engine": {"temperature_k": 1500.0, "steps": 7}}}
    _, equilibrate, produce, _, _ = steps_of(engine, steps=own)
    assert (equilibrate.engine["temperature_k"], equilibrate.engine["steps"]) == (1500.0, 7)
    assert equilibrate.engine["ensemble"] == "nvt"  # nve has no thermostat to bring the atoms to a temperature
    assert not {"ensemble", "min_atoms", "supercell", "time_constant_fs"} & produce.engine.keys()


@pytest.mark.parametrize(
    ("engine", "table", "steps", "key", "message"),
    [
        (
            {"name": "espresso", "pseudo_dir": "/p"},
            {},
            {},
            "engine.name",
            "does no molecular dynamics, which diffusion needs; engines that do: .*emt",
        ),
        ({"temperature_k": 300.0}, {}, {}, "engine.temperature_k", r"follows from \[diffusion\] temperatures_k"),
        ({"timestep_fs": 1.0}, {}, {}, "engine.timestep_fs", r"follows from \[diffusion\] timestep_fs"),
        ({"steps": 10}, {}, {}, "engine.steps", r"\[diffusion\] produce_ps; leave it out"),
        ({"sample_every": 10}, {}, {}, "engine.sample_every", r"\[diffusion\] sample_fs"),
        ({"seed": 2}, {}, {}, "engine.seed", r"\[diffusion\] seed"),
        ({"min_atoms": 2}, {}, {}, "engine.min_atoms", r"\[diffusion\] min_atoms"),
        ({"ensemble": "npt"}, {}, {}, "engine.ensemble", "a cell that stays as it is, use nvt or nve"),
        ({}, {}, {"ensemble": "npt"}, "steps.produce_800K_2.engine.ensemble", "a cell that stays as it is"),
        ({}, {}, {"temperature_k": 9.0}, "steps.produce_800K_2.engine.temperature_k", "follows from"),
        ({}, {}, {"task": "energy"}, "steps.produce_800K_2.engine.task", "decides what each step does"),
        ({}, {"produce_ps": 1e-3}, {}, "diffusion.produce_ps", "less than one step"),
        ({}, {"equilibrate_ps": 1e-4}, {}, "diffusion.equilibrate_ps", "less than one step"),
        ({}, {"temperatures_k": []}, {}, "diffusion.temperatures_k", "missing; give temperatures"),
        ({}, {"temperatures_k": [-1.0]}, {}, "diffusion.temperatures_k", "no temperature above 0"),
        ({}, {"temperatures_k": [100.0, 100.00001]}, {}, "diffusion.temperatures_k", "names a temperature twice"),
        ({}, {"sample_fs": 1.0}, {}, "diffusion.sample_fs", "shorter than timestep_fs"),
        ({}, {"sample_fs": 3e4}, {}, "diffusion.sample_fs", "longer than a segment, which is 25000 fs"),
        ({}, {"dimensions": "xyx"}, {}, "diffusion.dimensions", "none of"),
        ({}, {"species": ["Xx"]}, {}, "diffusion.species", "'Xx' is no element"),
        ({}, {"viscosity_pa_s": -1.0}, {}, "diffusion.viscosity_pa_s", "above 0"),
        ({}, {"viscosity_pa_s": 1e-3, "dimensions": "xy"}, {}, "diffusion.viscosity_pa_s", 'for dimensions = "xyz"'),
        (
            {},
            {"viscosity_pa_s": 1e-3, "temperatures_k": [1.0, 2.0]},
            {},
            "diffusion.viscosity_pa_s",
            "that of one temperature",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_submission(
    engine: dict[str, Any], table: dict[str, Any], steps: dict[str, Any], key: str, message: str
) -> None:
    own = {"produce_800K_2": {"engine": steps}} if steps else {}
    with pytest.raises(SpecError, match=message) as caught:
        steps_of({"name": "emt"} | engine, steps=own, **table)
    assert caught.value.key == key


# ---- what is found ----


def test_brownian_walkers_give_the_d_and_the_activation_energy_that_they_were_made_with(tmp_path: Path) -> None:
    conclusion = Walkers(tmp_path).conclude()
    assert conclusion.failure is None
    assert conclusion.notes == ()
    found = coefficients(conclusion)
    assert len(found) == 6
    for (species, temperature_k), one in found.items():
        truth = true_m2_s(temperature_k) * (0.25 if species == "O" else 1.0)
        assert one.value == pytest.approx(truth, abs=3.5 * one.uncertainty), (species, temperature_k)
        assert one.uncertainty < 0.1 * truth
        low, high = (float(one.conditions[name]) for name in ("lower_95", "upper_95"))
        assert low < one.value < high
        assert (one.unit, one.conditions["dimension"]) == ("m²/s", 3)
    assert found["Li", 800.0].attempts == ("3.1", "4.1")
    energies = [one for one in conclusion.properties if one.name == "activation_energy"]
    assert [one.conditions["species"] for one in energies] == ["Li", "O"]
    for one in energies:
        assert one.value == pytest.approx(EA_EV, abs=3.5 * one.uncertainty)
        assert one.uncertainty < 0.1 * EA_EV
        assert (one.conditions["from_k"], one.conditions["to_k"], len(one.attempts)) == (600.0, 1100.0, 6)
    prefactor = named(conclusion, "diffusion_prefactor")
    low, high = (float(prefactor.conditions[name]) for name in ("lower_95", "upper_95"))
    assert low < D0_M2_S < high
    assert {figure.name for figure in conclusion.figures} == {"msd_600K", "msd_800K", "msd_1100K", "arrhenius"}


def test_of_one_temperature_there_is_a_coefficient_and_no_activation_energy(tmp_path: Path) -> None:
    conclusion = Walkers(tmp_path, [700.0]).conclude(species=["Li"])
    assert conclusion.failure is None
    assert {one.name for one in conclusion.properties} == {"diffusion_coefficient", "diffusion_tensor"}
    (note,) = conclusion.notes
    assert "no activation energy of Li" in note
    assert "run at further temperatures" in note


def test_a_d_that_follows_no_line_is_said_and_makes_the_errors_larger(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path)
    straight = named(walkers.conclude(species=["Li"]), "activation_energy")
    for key in ("produce_800K_1", "produce_800K_2"):
        path = tmp_path / key / POSITIONS
        np.save(path, np.load(path) * 1.5)
        walkers.describe(key, cell_angstrom=(np.eye(3) * 1.5 * LENGTH).tolist())
    conclusion = walkers.conclude(species=["Li"])
    assert any("D scatters about the line" in note for note in conclusion.notes)
    bent = named(conclusion, "activation_energy")
    assert bent.uncertainty > 3 * straight.uncertainty
    assert bent.conditions["upper_95"] == pytest.approx(2 * bent.value - float(bent.conditions["lower_95"]))


def test_dimensions_are_those_that_are_asked_for(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [800.0])
    for key in walkers.jobs:
        path = tmp_path / key / POSITIONS
        positions = np.load(path)
        positions[:, :, 2] = 1.0
        np.save(path, positions)
    found = named(walkers.conclude(species=["Li"], dimensions="xy"), "diffusion_coefficient")
    assert found.conditions["dimension"] == 2
    assert found.value == pytest.approx(true_m2_s(800.0), abs=3.5 * found.uncertainty)
    whole = named(walkers.conclude(species=["Li"]), "diffusion_coefficient")
    assert whole.value == pytest.approx(found.value * 2 / 3, rel=0.1)


def test_the_box_is_corrected_for_where_the_viscosity_is_known(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [800.0])
    conclusion = walkers.conclude(species=["Li"], viscosity_pa_s=2e-3)
    inside, corrected = named(conclusion, "diffusion_coefficient"), named(conclusion, "diffusion_coefficient_unbounded")
    added = 2.837297 * 1.380649e-23 * 800.0 / (6 * np.pi * 2e-3 * LENGTH * 1e-10)
    assert corrected.value == pytest.approx(inside.value + added, rel=1e-6)
    assert corrected.conditions["correction"] == pytest.approx(corrected.value / inside.value)
    for key in walkers.jobs:
        walkers.describe(key, cell_angstrom=(np.eye(3) * [LENGTH, LENGTH, 13.0]).tolist())
    conclusion = walkers.conclude(species=["Li"], viscosity_pa_s=2e-3)
    assert "diffusion_coefficient_unbounded" not in {one.name for one in conclusion.properties}
    assert any("the box is no cube" in note for note in conclusion.notes)


# ---- what went wrong ----


def test_the_segments_before_one_that_failed_are_used(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, segments=3)
    walkers.change("produce_800K_2", state="failed", failure="the atoms flew apart")
    walkers.change("produce_800K_3", state="skipped")
    conclusion = walkers.conclude(species=["Li"])
    assert conclusion.failure is None
    assert any("800 K: analysed without what came after; segment 2 of 3" in note for note in conclusion.notes)
    assert any("the atoms flew apart" in note for note in conclusion.notes)
    found = coefficients(conclusion)
    assert [len(found["Li", t].attempts) for t in TEMPERATURES_K] == [3, 1, 3]
    assert found["Li", 800.0].uncertainty > found["Li", 600.0].uncertainty
    assert len(named(conclusion, "activation_energy").attempts) == 7


def test_a_temperature_that_came_to_nothing_is_left_out_and_named(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path)
    walkers.change("produce_800K_1", state="failed", failure="the atoms flew apart")
    conclusion = walkers.conclude(species=["Li"])
    assert conclusion.failure == "800 K: segment 1 of 2 (produce_800K_1): the atoms flew apart"
    assert set(coefficients(conclusion)) == {("Li", 600.0), ("Li", 1100.0)}
    assert any("whether D follows Arrhenius was not seen" in note for note in conclusion.notes)


def test_where_nothing_is_left_that_is_all_that_is_said(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [600.0])
    walkers.jobs.clear()
    with pytest.raises(ValueError, match=r"600 K: segment 1 of 2 was never begun"):
        walkers.conclude()


def test_a_species_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No atom of the trajectory is Na: there are Li, O"):
        Walkers(tmp_path, [600.0]).conclude(species=["Na"])


def test_too_short_a_trajectory_says_how_long_it_would_have_to_be(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [600.0], segments=1)
    path = tmp_path / "produce_600K_1" / POSITIONS
    np.save(path, np.load(path)[:30])
    conclusion = walkers.conclude()
    assert conclusion.properties == ()
    assert re.search(r"Li at 600 K: .*; O at 600 K: .* ps", conclusion.failure or "")
    assert [figure.name for figure in conclusion.figures] == ["msd_600K"]  # which shows why


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "no description", "bad description", "directory"])
def test_a_trajectory_that_is_gone_or_damaged_is_named(tmp_path: Path, damage: str) -> None:
    walkers = Walkers(tmp_path)
    directory = tmp_path / "produce_1100K_2"
    match damage:
        case "gone":
            (directory / POSITIONS).unlink()
        case "empty":
            (directory / POSITIONS).write_bytes(b"")
        case "cut":
            (directory / POSITIONS).write_bytes((directory / POSITIONS).read_bytes()[:-8])
        case "no description":
            (directory / DESCRIPTION).unlink()
        case "bad description":
            (directory / DESCRIPTION).write_text("{}")
        case _:
            walkers.change("produce_1100K_2", directory=None)
    conclusion = walkers.conclude(species=["Li"])
    assert conclusion.failure is not None
    assert conclusion.failure.startswith("1100 K: the trajectory of job 6 ")
    assert conclusion.failure.endswith("; retry it")
    assert set(coefficients(conclusion)) == {("Li", 600.0), ("Li", 800.0)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_every": 20}, "has another sample_every than the segment before it"),
        ({"timestep_fs": 1.0}, "has another timestep_fs than"),
        ({"first_step": 0}, "does not begin where the segment before it ended"),
    ],
)
def test_segments_that_are_not_of_one_run_are_not_put_together(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    walkers = Walkers(tmp_path, [600.0])
    walkers.describe("produce_600K_2", **changes)
    with pytest.raises(ValueError, match=f"produce_600K_2 .job 2. {message}"):
        walkers.conclude()


def test_a_mean_temperature_far_from_the_one_asked_for_is_remarked(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path)
    for segment in (1, 2):
        walkers.change(f"produce_800K_{segment}", properties={"temperature_k": 700.0})
    notes = walkers.conclude(species=["Li"]).notes
    assert notes == ("800 K: the mean temperature was 700 K; equilibrate for longer",)


@pytest.mark.parametrize("moves", [True, False])
def test_a_pressure_far_from_normal_is_remarked_and_a_condition(tmp_path: Path, moves: bool) -> None:
    walkers = Walkers(tmp_path, [800.0])
    for key, pressure_gpa in (("produce_800K_1", 10.0), ("produce_800K_2", 12.0)):
        walkers.change(key, properties={"temperature_k": 800.0, "pressure_gpa": pressure_gpa})
        path = tmp_path / key / POSITIONS
        if not moves:
            np.save(path, np.ones_like(np.load(path)))
    conclusion = walkers.conclude(species=["Li"])
    assert any("800 K: the mean pressure was 11 GPa: the cell keeps the size" in note for note in conclusion.notes)
    assert [one.conditions["pressure_gpa"] for one in coefficients(conclusion).values()] == [11.0] * moves


def test_friction_of_a_thermostat_is_remarked(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [800.0, 900.0])
    walkers.describe("produce_800K_1", thermostat="langevin")
    walkers.describe("produce_800K_2", thermostat="langevin")
    notes = walkers.conclude(species=["Li"]).notes
    assert any("800 K: the thermostat's friction slows the atoms" in note for note in notes)
    assert not any("900 K" in note for note in notes)


def test_a_crystal_in_which_nothing_moves_has_no_coefficient(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [600.0])
    for key in walkers.jobs:
        path = tmp_path / key / POSITIONS
        np.save(path, np.ones_like(np.load(path)))
    conclusion = walkers.conclude(species=["Li"])
    assert conclusion.properties == ()
    assert "Nothing moves: Li stays where it is" in (conclusion.failure or "")


def test_what_friction_takes_from_the_diffusion_is_said_and_the_box_not_corrected(tmp_path: Path) -> None:
    walkers = Walkers(tmp_path, [800.0])
    for key in ("produce_800K_1", "produce_800K_2"):
        walkers.describe(key, thermostat="langevin")
        walkers.change(key, parameters={"friction_per_fs": 0.01})
    conclusion = walkers.conclude(viscosity_pa_s=1e-3)
    drift_m2_s = Boltzmann * 800.0 / (60 * 1.0 * atomic_mass * 1e13)
    assert any(f"the {drift_m2_s:.2g} m²/s by which the centre of mass diffuses" in note for note in conclusion.notes)
    assert all(one.name != "diffusion_coefficient_unbounded" for one in conclusion.properties)
    assert any("friction stops the flow" in note for note in conclusion.notes)
