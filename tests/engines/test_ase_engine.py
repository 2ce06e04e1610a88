"""The engine `ase`: any calculator by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.units import Bohr, GPa, Hartree
from tests.engines.segments import block

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass
from penstock.domain.errors import SpecError
from penstock.engines.ase_engine import AseEngine

LJ = "ase.calculators.lj.LennardJones"
ARGON: dict[str, Any] = {"sigma": 3.405, "epsilon": 0.0104, "smooth": True}


def calculate(engine: AseEngine, directory: Path, atoms: Any, charge: int = 0, **table: Any) -> Any:
    parameters = engine.parameters(table, str)
    directory.mkdir(exist_ok=True)
    for name, text in engine.render(Calculation("x", block(atoms), charge, 1, 1, 1000), parameters).files.items():
        (directory / name).write_text(text)
    engine.load()
    try:
        engine.run(directory)
    except Exception as error:  # noqa: BLE001 - as the runner does it
        ended = Exit(1, None, 0.0, 1.0, message=f"{type(error).__name__}: {error}")
        return engine.read(directory, ended, parameters)
    return engine.read(directory, Exit(0, None, 0.0, 1.0), parameters)


def test_it_equals_the_calculator_called_directly(tmp_path: Path) -> None:
    atoms = bulk("Ar", a=5.2, cubic=True)
    atoms.rattle(0.1, seed=1)
    found = calculate(AseEngine(), tmp_path, atoms, calculator=LJ, arguments=ARGON)
    atoms.calc = LennardJones(**ARGON)
    assert found.failure is None
    assert found.final_energy_hartree == pytest.approx(atoms.get_potential_energy() / Hartree, rel=1e-12)
    assert found.max_force_hartree_per_bohr == pytest.approx(abs(atoms.get_forces()).max() * Bohr / Hartree)
    xx, yy, zz, yz, xz, xy = -atoms.get_stress() / GPa
    assert found.properties["stress_gpa"] == pytest.approx([xx, xy, xz, xy, yy, yz, xz, yz, zz])


def test_it_relaxes_cells(tmp_path: Path) -> None:
    found = calculate(AseEngine(), tmp_path, bulk("Ar", a=5.6), task="relax", calculator=LJ, arguments=ARGON)
    assert found.failure is None
    assert found.properties["max_stress_gpa"] <= 0.05


def test_a_calculator_without_stress_relaxes_no_cell(tmp_path: Path) -> None:
    table: dict[str, Any] = {"task": "relax", "calculator": "tests.engines.models.Wells"}
    found = calculate(AseEngine(), tmp_path, bulk("Cu", cubic=True), **table)
    assert found.failure == FailureClass.INPUT_ERROR
    assert "needs a stress, which Wells does not give" in found.message
    plain = calculate(AseEngine(), tmp_path, bulk("Cu", cubic=True), calculator="tests.engines.models.Wells")
    assert plain.failure is None
    assert "stress_gpa" not in plain.properties


def test_the_calculator_is_kept_as_long_as_it_is_the_same_one(tmp_path: Path) -> None:
    engine = AseEngine()
    atoms, kept = bulk("Ar", cubic=True), []
    for number, arguments in enumerate([ARGON, dict(reversed(ARGON.items())), {"sigma": 3.0}]):
        found = calculate(engine, tmp_path / str(number), atoms, calculator=LJ, arguments=arguments)
        assert found.failure is None
        assert engine._kept is not None
        kept.append(engine._kept[1])
    assert kept[0] is kept[1]
    assert kept[1] is not kept[2]
    assert kept[2].parameters.sigma == 3.0


def test_a_kept_calculator_gives_what_a_new_one_gives(tmp_path: Path) -> None:
    engine, atoms = AseEngine(), bulk("Ar", cubic=True)
    moved = atoms.copy()
    moved.rattle(0.1, seed=2)  # within the skin of the neighbour list, were that kept
    calculate(engine, tmp_path / "a", atoms, calculator=LJ, arguments=ARGON)
    used = calculate(engine, tmp_path / "b", moved, calculator=LJ, arguments=ARGON)
    new = calculate(AseEngine(), tmp_path / "c", moved, calculator=LJ, arguments=ARGON)
    assert used.final_energy_hartree == new.final_energy_hartree
    assert used.properties == new.properties


def test_one_that_failed_is_not_used_again(tmp_path: Path) -> None:
    engine = AseEngine()
    table: dict[str, Any] = {"calculator": LJ, "arguments": ARGON}
    assert calculate(engine, tmp_path, molecule("CO"), task="relax", **table).failure == FailureClass.INPUT_ERROR
    assert engine._kept is None


@pytest.mark.parametrize(
    ("calculator", "arguments", "words"),
    [
        ("nowhere.models.Best", {}, "'nowhere' cannot be imported"),
        ("ase.calculators.nowhere.Best", {}, "'ase.calculators.nowhere' cannot be imported"),
        ("ase.calculators.lj.LenardJones", {}, "ase.calculators.lj has no class or function 'LenardJones'"),
        ("ase.calculators.lj.all_changes", {}, "has no class or function"),
        ("tests.engines.models.make_nothing", {}, "made no ASE calculator, but 'object'"),
        ("tests.engines.models.make_nothing", {"x": 1}, "cannot be called with them"),
    ],
)
def test_what_is_no_calculator_is_an_input_error(
    tmp_path: Path, calculator: str, arguments: dict[str, Any], words: str
) -> None:
    found = calculate(AseEngine(), tmp_path, bulk("Cu"), calculator=calculator, arguments=arguments)
    assert found.failure == FailureClass.INPUT_ERROR
    assert words in found.message


def test_a_charge_is_an_input_error(tmp_path: Path) -> None:
    found = calculate(AseEngine(), tmp_path, bulk("Ar"), 1, calculator=LJ)
    assert found.failure == FailureClass.INPUT_ERROR
    assert "the charge +1" in found.message


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({}, "engine.calculator", "missing"),
        ({"calculator": "emt"}, "engine.calculator", "'emt' is no dotted name"),
        ({"calculator": "os.system('x').y"}, "engine.calculator", "no dotted name"),
        ({"calculator": "a..b"}, "engine.calculator", "no dotted name"),
        ({"calculator": LJ, "arguments": {"x": object()}}, "engine.arguments", "JSON"),
        ({"calculator": LJ, "argument": {}}, "engine.argument", "did you mean 'arguments'?"),
        ({"calculator": LJ, "task": "dynamics"}, "engine.temperature_k", "needs a temperature"),
    ],
)
def test_a_wrong_table_is_refused_at_its_key(table: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        AseEngine().parameters(table, str)
    assert raised.value.key == key
    assert words in raised.value.message


def test_it_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    engine = engines.get_python("ase")
    parameters = engine.parameters({"calculator": LJ, "arguments": ARGON}, str)
    rendered = engine.render(Calculation("x", block(bulk("Ar")), 0, 1, 1, 1000), parameters)
    (tmp_path / "input.json").write_text(rendered.files["input.json"])
    argv = [sys.executable, "-m", "penstock.engines", "run", "ase", str(tmp_path)]
    subprocess.run(argv, check=True, capture_output=True)
    assert json.loads((tmp_path / "result.json").read_text())["energy_hartree"] < 0
