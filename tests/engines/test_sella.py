"""The engine `orca-sella` over a stand-in for ORCA: with Sella where it is installed, else with an understudy."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.geometry import format_geometry, parse_geometry
from penstock.engines.sella import SellaEngine, SellaParameters, StepFailedError
from penstock.engines.traces import read_trace

STANDIN = Path(__file__).parents[1] / "standins" / "orca"
ORCA = {"command": str(STANDIN), "method": "HF", "basis": "STO-3G"}
ENGINE = SellaEngine()
DONE = Exit(0, None, 0.0, 1.0)
HAS_SELLA = importlib.util.find_spec("sella") is not None


@pytest.fixture(autouse=True)
def optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minima can be found by any optimiser, so that all but Sella is tried where Sella is not installed."""
    if HAS_SELLA:
        return

    def make(atoms: Atoms, logfile: str, order: int, *, internal: bool, max_cpu_threads: int) -> BFGS:
        assert order == 0
        return BFGS(atoms, logfile=logfile)

    understudy = types.ModuleType("sella")
    understudy.__dict__["Sella"] = make
    monkeypatch.setitem(sys.modules, "sella", understudy)


def block(formula: str, stir: float = 0.05) -> str:
    atoms = molecule(formula)
    atoms.rattle(stir, seed=1)
    return format_geometry(atoms.get_chemical_symbols(), atoms.positions.tolist())


def prepare(
    directory: Path, geometry: str, orca: dict[str, Any] | None = None, previous: tuple[str, ...] = (), **table: Any
) -> tuple[Rendered, SellaParameters]:
    parameters = ENGINE.parameters({"orca": ORCA | (orca or {}), "fmax": 0.01, **table}, str)
    rendered = ENGINE.render(Calculation("x", geometry, 0, 1, 1, 2000, previous=previous), parameters)
    for name, text in rendered.files.items():
        (directory / name).write_text(text)
    return rendered, parameters


def calculate(directory: Path, geometry: str, **table: Any) -> Outcome:
    """The outcome of a whole attempt, as the runner makes it."""
    directory.mkdir(exist_ok=True)
    _, parameters = prepare(directory, geometry, **table)
    ENGINE.load()
    try:
        ENGINE.run(directory)
    except Exception as error:  # noqa: BLE001 - as the runner does it
        return ENGINE.read(directory, Exit(1, None, 0.0, 1.0, message=f"{type(error).__name__}: {error}"), parameters)
    return ENGINE.read(directory, DONE, parameters)


def test_a_minimum_is_found_and_its_course_is_left(tmp_path: Path) -> None:
    outcome = calculate(tmp_path, block("H2O"))
    assert (outcome.failure, outcome.message) == (None, None)
    assert outcome.final_energy_hartree == pytest.approx(-74.7176939, abs=1e-6)
    assert outcome.max_force_hartree_per_bohr is not None
    assert outcome.max_force_hartree_per_bohr < 0.01 * 0.0194469
    assert outcome.geometry is not None
    _, places, _, _ = parse_geometry(outcome.geometry)
    assert math.dist(places[0], places[1]) == pytest.approx(math.dist(places[0], places[2]), abs=0.01)
    steps = outcome.properties["optimization_steps"]
    assert isinstance(steps, int)
    assert outcome.scf_cycles == 9 * (steps + 1) == 9 * outcome.properties["orca_runs"]
    assert outcome.files == ["result.json", "trajectory.xyz", "sella.log", "stdout", "job.gbw"]
    assert outcome.checkpoint == ["job.gbw"]
    log, trajectory = (read_trace(tmp_path / name).points for name in ("sella.log", "trajectory.xyz"))
    assert len(log) == len(trajectory) == steps + 1
    assert trajectory[-1].energy_hartree == pytest.approx(outcome.final_energy_hartree, abs=1e-9)


@pytest.mark.skipif(not HAS_SELLA, reason="Sella is not installed (pip install 'penstock[sella]')")
@pytest.mark.parametrize("internal", [True, False])
def test_flat_ethylene_is_the_saddle_between_two_twisted_ones(tmp_path: Path, internal: bool) -> None:
    saddle = calculate(tmp_path / "saddle", block("C2H4", 0.02), order=1, internal=internal)
    minimum = calculate(tmp_path / "minimum", block("C2H4", 0.15), order=0, internal=internal)
    assert saddle.failure is minimum.failure is None
    assert saddle.final_energy_hartree == pytest.approx(-76.258826, abs=1e-5)
    assert minimum.final_energy_hartree == pytest.approx(-76.259771, abs=1e-5)


def test_what_did_not_converge_goes_on_from_its_last_frame(tmp_path: Path) -> None:
    first = calculate(tmp_path / "1", block("H2O"), max_steps=3)
    assert first.failure is FailureClass.GEOMETRY_NOT_CONVERGED
    assert first.checkpoint == ["job.gbw"]
    [rule] = [rule for rule in ENGINE.rules if rule.on is first.failure]
    assert rule.restart
    assert first.geometry is not None
    rendered, _ = prepare(tmp_path, first.geometry, previous=("job.gbw",))
    assert rendered.carry == {"job.gbw": "guess.gbw"}
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "guess.gbw").write_bytes((tmp_path / "1" / "job.gbw").read_bytes())
    second = calculate(tmp_path / "2", first.geometry, previous=("job.gbw",))
    assert second.failure is None
    assert second.final_energy_hartree == pytest.approx(-74.7176939, abs=1e-6)


def test_only_the_first_step_reads_the_orbitals_of_another_attempt(tmp_path: Path) -> None:
    (tmp_path / "guess.gbw").write_text("no orbitals\n")
    failed = calculate(tmp_path, block("H2O"), previous=("job.gbw",))
    assert failed.failure is not None
    assert "cannot read orbitals" in (tmp_path / "stdout").read_text()
    (tmp_path / "guess.gbw").write_text("orbitals of the stand-in\n")
    good = calculate(tmp_path, block("H2O"), previous=("job.gbw",))
    assert good.failure is None
    assert "MORead" not in (tmp_path / "job.inp").read_text()


def test_a_failing_step_is_read_as_orca_s_failure_and_mended_by_orca_s_rule(tmp_path: Path) -> None:
    outcome = calculate(tmp_path / "1", "1\n\nHe 0.0 0.0 0.0\n")
    assert outcome.failure is FailureClass.SCF_NOT_CONVERGED
    assert outcome.message is not None
    assert outcome.message.startswith("at step 1 of ORCA: ")
    assert outcome.evidence is not None
    assert outcome.evidence.file == "stdout"
    line = (tmp_path / "1" / "stdout").read_text().splitlines()[outcome.evidence.line - 1]
    assert line.strip() == outcome.evidence.text
    mended = calculate(tmp_path / "2", "1\n\nHe 0.0 0.0 0.0\n", orca={"keywords": ["SlowConv"]})
    assert (mended.failure, mended.properties["optimization_steps"]) == (None, 0)
    changed = {name for rule in ENGINE.rules for name in rule.change}
    assert changed
    assert all(name.startswith("orca.") for name in changed)


def test_an_attempt_that_is_ended_tells_its_last_geometry(tmp_path: Path) -> None:
    done = calculate(tmp_path, block("H2O"))
    (tmp_path / "result.json").unlink()
    _, parameters = prepare(tmp_path, block("H2O"))
    outcome = ENGINE.read(tmp_path, Exit(None, 15, 0.0, 9.0, "timeout"), parameters)
    assert (outcome.failure, outcome.checkpoint) == (FailureClass.WALLTIME, ["job.gbw"])
    assert outcome.geometry == done.geometry
    assert ENGINE.read(tmp_path, DONE, parameters).failure is FailureClass.OUTPUT_MISSING


@pytest.mark.parametrize("text", ["", "{", "[null]", '{"failure": 3}', "\udcff"])
def test_a_damaged_note_of_a_failure_is_no_success(tmp_path: Path, text: str) -> None:
    _, parameters = prepare(tmp_path, block("H2O"))
    (tmp_path / "failure.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    outcome = ENGINE.read(tmp_path, Exit(1, None, 0.0, 1.0, message="StepFailedError: x"), parameters)
    assert outcome.failure is FailureClass.ENGINE_ERROR


def test_a_template_without_a_gradient_is_told(tmp_path: Path) -> None:
    template = "! HF STO-3G\n* xyz $charge $multiplicity\n$geometry\n*\n"
    orca = {"command": str(STANDIN), "template": "job.template"}
    parameters = ENGINE.parameters({"orca": orca}, lambda _: template)
    rendered = ENGINE.render(Calculation("x", block("H2O"), 0, 1, 1, 2000), parameters)
    (tmp_path / "input.json").write_text(rendered.files["input.json"])
    with pytest.raises(StepFailedError, match="gives no gradient"):
        ENGINE.run(tmp_path)
    outcome = ENGINE.read(tmp_path, Exit(1, None, 0.0, 1.0, message="StepFailedError: x"), parameters)
    assert outcome.failure is FailureClass.OUTPUT_INVALID


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({}, "engine.orca"),
        ({"orca": ORCA, "ordre": 1}, "engine.ordre"),
        ({"orca": ORCA, "order": 2}, "engine.order"),
        ({"orca": ORCA, "task": "energy"}, "engine.task"),
        ({"orca": ORCA | {"task": "opt"}}, "engine.orca.task"),
        ({"orca": {"command": "orca"}}, "engine.orca.method"),
        ({"orca": ORCA | {"basis": "x\n%pal"}}, "engine.orca.basis"),
        ({"orca": ORCA | {"bases": "x"}}, "engine.orca.bases"),
    ],
)
def test_a_wrong_table_is_told_by_its_key(table: dict[str, Any], key: str) -> None:
    with pytest.raises(SpecError) as error:
        ENGINE.parameters(table, str)
    assert error.value.key == key


def test_the_parameters_survive_json(tmp_path: Path) -> None:
    rendered, parameters = prepare(tmp_path, block("H2O"), orca={"blocks": {"scf": {"MaxIter": 300}}}, order=1)
    assert msgspec.json.decode(msgspec.json.encode(parameters), type=SellaParameters) == parameters
    assert json.loads(rendered.files["input.json"])["parameters"]["orca"]["task"] == "gradient"
