"""The real pw.x, run and read: what each ending comes to, and what comes of a failure that is mended."""

from __future__ import annotations

import gzip
import re
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.pw import RealPw

from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.geometry import parse_geometry
from penstock.domain.remedy import Remedy, decide_remedy
from penstock.domain.resources import Resources
from penstock.engines.espresso.parameters import EspressoParameters
from penstock.engines.marker_scan import read_head

from .conftest import Runs
from .real_runs import ENGINE, RealRun, attempt, parameters, silicon

GOOD = ("scf", "gap", "smeared", "relax", "vc-relax")
BAD = {
    "not converged": (FailureClass.SCF_NOT_CONVERGED, "convergence NOT achieved after   1 iterations: stopping"),
    "few steps": (FailureClass.GEOMETRY_NOT_CONVERGED, "The maximum number of steps has been reached."),
    "out of time": (FailureClass.WALLTIME, "Maximum CPU time exceeded"),
    "no pseudopotential": (FailureClass.BASIS_ERROR, "Si.missing.UPF not found"),
    "bad namelist": (FailureClass.INPUT_ERROR, "bad line in namelist &control"),
    "charge": (FailureClass.INPUT_ERROR, "charge is wrong: smearing is needed"),
}
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ase_results(run: RealRun) -> tuple[Any, dict[str, float]]:
    """The last frame as ASE reads the same output, and the units that it reads pw.x with."""
    import ase.io
    from ase.units import create_units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = ase.io.read(run.output, index=":", format="espresso-out")
    return frames[-1], create_units("2006")


@pytest.mark.parametrize("name", GOOD)
def test_a_good_run_has_the_energy_that_ase_reads(runs: Runs, name: str) -> None:
    run = runs(name)
    atoms, units = ase_results(run)
    assert run.outcome.failure is None
    assert run.exit.code == 0
    energy = atoms.calc.results["energy"] / units["Hartree"]
    assert run.outcome.final_energy_hartree == pytest.approx(energy, abs=1e-9)
    if "forces" in atoms.calc.results:
        force = abs(atoms.calc.results["forces"]).max() * units["Bohr"] / units["Hartree"]
        assert run.outcome.max_force_hartree_per_bohr == pytest.approx(force, abs=1e-9)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_run_is_reported_whole(runs: Runs, name: str) -> None:
    report = ENGINE.report(runs(name).output)
    assert (report.ended, report.converged, report.failure, report.cores) == ("normal", True, None, 1)
    assert report.version is not None
    assert report.version[0].isdecimal()
    assert report.wall_time_s is not None
    assert 0 <= report.wall_time_s < 60


@pytest.mark.parametrize("name", BAD)
def test_each_failure_has_its_class_and_its_evidence(runs: Runs, name: str) -> None:
    run = runs(name)
    failure, text = BAD[name]
    report = ENGINE.report(run.output)
    assert report.failure is failure
    assert report.evidence is not None
    assert text in report.evidence.text
    assert run.output.read_text().splitlines()[report.evidence.line - 1].strip() == report.evidence.text
    assert run.outcome.failure is failure


def test_a_run_killed_in_the_middle_failed(runs: Runs) -> None:
    run = runs("killed")
    assert run.outcome.failure in {FailureClass.SIGNAL, FailureClass.TRUNCATED, FailureClass.MODULE_CRASH}
    assert ENGINE.report(run.output).ended == "truncated"


def test_stress_and_pressure_are_those_printed(runs: Runs) -> None:
    run = runs("scf")
    atoms, units = ase_results(run)
    stress = run.outcome.properties["stress_gpa"]
    assert isinstance(stress, list)
    xx, yy, zz = -atoms.calc.results["stress"][:3] / units["GPa"]  # pw.x's sign is the other one
    assert [stress[0], stress[4], stress[8]] == pytest.approx([xx, yy, zz], abs=1e-3)
    assert run.outcome.properties["pressure_gpa"] == pytest.approx(-4.662, abs=0.05)


def test_levels_and_gap_where_both_are_printed(runs: Runs) -> None:
    report = ENGINE.report(runs("gap").output)
    occupied, unoccupied = (report.properties[name] for name in ("highest_occupied_ev", "lowest_unoccupied_ev"))
    assert report.band_gap_ev == pytest.approx(unoccupied - occupied)
    assert report.band_gap_kind == "unspecified"
    assert 0.3 < (report.band_gap_ev or 0) < 3
    assert ENGINE.report(runs("scf").output).band_gap_ev is None
    assert 4 < ENGINE.report(runs("smeared").output).properties["fermi_energy_ev"] < 8


@pytest.mark.parametrize("name", ["relax", "vc-relax"])
def test_a_relaxation_ends_with_the_geometry_that_ase_reads(runs: Runs, name: str) -> None:
    run = runs(name)
    atoms, _ = ase_results(run)
    assert run.outcome.geometry is not None
    geometry = parse_geometry(run.outcome.geometry)
    assert geometry.symbols == ["Si", "Si"]
    assert abs(atoms.positions - geometry.positions).max() < 1e-5
    assert geometry.lattice is not None
    assert abs(atoms.cell[:] - geometry.lattice).max() < 1e-5
    optimization = ENGINE.report(run.output).optimization
    assert optimization is not None
    assert optimization.converged
    assert optimization.cycles is not None
    final = run.outcome.final_energy_hartree if name == "relax" else run.outcome.properties["enthalpy_hartree"]
    assert optimization.energy_hartree == pytest.approx(final, abs=1e-7)


def test_after_a_vc_relaxation_the_energy_is_that_of_the_final_scf(runs: Runs) -> None:
    run = runs("vc-relax")
    energies = [line for line in run.output.read_text().splitlines() if line.startswith("!")]
    assert "scf calculation at the relaxed structure" in run.output.read_text()
    assert run.outcome.final_energy_hartree == pytest.approx(float(energies[-1].split()[4]) / 2)
    assert energies[-1] != energies[-2]


def test_a_relaxation_keeps_its_cell_to_the_last_digit(runs: Runs) -> None:
    geometry = parse_geometry(runs("relax").outcome.geometry or "")
    assert geometry.lattice == parse_geometry(silicon()).lattice


def test_a_failed_relaxation_leaves_the_last_geometry_to_go_on_from(runs: Runs) -> None:
    moved = parse_geometry(runs("few steps").outcome.geometry or "")
    assert abs(moved.positions[1][0] - moved.positions[0][0] - 1.40) > 0.01


def mend(run: RealRun, used: dict[str, int]) -> Remedy:
    outcome = run.outcome
    assert outcome.failure is not None
    text = f"{outcome.message}\n{outcome.evidence.text if outcome.evidence else ''}"
    before = msgspec.to_builtins(run.parameters)
    had = Resources(1, 1000, 600)
    remedy = decide_remedy(ENGINE.rules, outcome.failure, text, before, used, total=3, had=had)
    assert isinstance(remedy, Remedy)
    return remedy


def test_an_scf_that_fails_is_mended_by_a_rule(runs: Runs, real_pw: RealPw, tmp_path: Path) -> None:
    remedy = mend(runs("not converged"), {})
    assert remedy.rule == "damp-mixing"
    changed = msgspec.convert(remedy.parameters, EspressoParameters)
    assert changed.electrons == {"electron_maxstep": 101, "mixing_beta": 0.1}
    second = attempt(real_pw, tmp_path / "2", silicon(), changed)
    assert second.outcome.failure is None
    good = runs("scf").outcome.final_energy_hartree
    assert second.outcome.final_energy_hartree == pytest.approx(good, abs=1e-6)


def test_a_relaxation_out_of_steps_goes_on_from_its_last_geometry(runs: Runs, real_pw: RealPw, tmp_path: Path) -> None:
    failed = runs("few steps")
    remedy = mend(failed, {})
    assert (remedy.rule, remedy.restart) == ("smaller-steps", True)
    changed = msgspec.convert(remedy.parameters, EspressoParameters)
    second = attempt(real_pw, tmp_path / "2", failed.outcome.geometry or "", changed)
    assert second.outcome.failure is None
    good = runs("relax").outcome.final_energy_hartree
    assert second.outcome.final_energy_hartree == pytest.approx(good, abs=1e-5)


def test_an_equation_of_state(real_pw: RealPw, tmp_path: Path) -> None:
    from ase.eos import EquationOfState
    from ase.units import Hartree, kJ

    given = parameters(real_pw, stress=True)
    volumes, energies, pressures = [], [], []
    for number, half in enumerate((2.60, 2.645, 2.69, 2.735, 2.78)):
        run = attempt(real_pw, tmp_path / str(number), silicon(half / 2, half), given)
        assert run.outcome.failure is None
        volumes.append(2 * half**3)
        energies.append((run.outcome.final_energy_hartree or 0) * Hartree)
        pressures.append(run.outcome.properties["pressure_gpa"])
    volume, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)
    assert 2.65 < (volume / 2) ** (1 / 3) < 2.74
    assert 70 < modulus / kJ * 1e24 < 130
    assert pressures == sorted(pressures, reverse=True)


# ---- what may happen to a file ----


@pytest.fixture(scope="session")
def texts(runs: Runs) -> dict[str, bytes]:
    return {name: runs(name).output.read_bytes() for name in (*GOOD, *BAD)}


def failure_of(folder: Path, data: bytes) -> FailureClass | None:
    path = folder / "out"
    path.write_bytes(data)
    return ENGINE.report(path).failure


@pytest.mark.parametrize("name", GOOD)
def test_an_output_cut_anywhere_is_no_success(texts: dict[str, bytes], tmp_path: Path, name: str) -> None:
    whole = texts[name].rstrip()
    assert failure_of(tmp_path, whole) is None
    near_the_end = range(len(whole) - 300, len(whole))
    for cut in [*range(0, len(whole), 97), *near_the_end]:
        assert failure_of(tmp_path, whole[:cut]) is not None, cut


@QUICK
@given(data=st.data())
def test_a_failed_output_with_bytes_flipped_is_no_success(
    texts: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    text = bytearray(texts[data.draw(st.sampled_from(list(BAD)))])
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(0, 255)), max_size=9)):
        text[place] = byte
    assert failure_of(tmp_path, bytes(text)) is not None


@QUICK
@given(data=st.data())
def test_a_good_output_with_bytes_flipped_is_read_without_an_error(
    texts: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    text = bytearray(texts[data.draw(st.sampled_from(GOOD))])
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(0, 255)), max_size=50)):
        text[place] = byte
    failure_of(tmp_path, bytes(text))


@pytest.mark.parametrize("name", GOOD)
def test_other_ends_of_line_and_decimal_marks_say_the_same(
    texts: dict[str, bytes], tmp_path: Path, runs: Runs, name: str
) -> None:
    right = ENGINE.report(runs(name).output)
    path = tmp_path / "out"
    for other in (texts[name].replace(b"\n", b"\r\n"), re.sub(rb"(?<=[0-9])\.(?=[0-9])", b",", texts[name])):
        path.write_bytes(other)
        read = ENGINE.report(path)
        assert (read.failure, read.energy_hartree, read.scf_cycles) == (None, right.energy_hartree, right.scf_cycles)
        assert read.max_gradient_hartree_per_bohr == right.max_gradient_hartree_per_bohr


def test_of_two_runs_in_a_file_the_last_counts(texts: dict[str, bytes], tmp_path: Path) -> None:
    good, bad = texts["scf"], texts["not converged"]
    assert failure_of(tmp_path, bad + good) is None
    assert failure_of(tmp_path, good + bad) is FailureClass.SCF_NOT_CONVERGED
    for cut in range(60, len(good) - 2, 211):
        assert failure_of(tmp_path, good + good[:cut]) is not None, cut


@pytest.mark.parametrize("name", ["scf", "not converged"])
def test_a_gzipped_output_says_the_same_and_a_cut_one_is_truncated(
    texts: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    packed = gzip.compress(texts[name])
    assert failure_of(tmp_path, packed) is failure_of(tmp_path, texts[name])
    for cut in (*range(0, len(packed) - 400, 131), *range(len(packed) - 20, len(packed))):
        assert failure_of(tmp_path, packed[:cut]) is not None


def test_the_banner_alone_does_not_make_a_failed_exit_a_success(runs: Runs) -> None:
    run = runs("scf")
    died = msgspec.structs.replace(run.exit, code=1)
    outcome: Outcome = ENGINE.read(run.directory, died, run.parameters)
    assert outcome.failure is FailureClass.EXIT_CODE


def test_the_outputs_of_other_versions_that_debian_ships_read_as_they_ended(real_pw: RealPw) -> None:
    """Its examples' references, of 4.0 to 6.6; an image without documentation has none of them."""
    read = 0
    for path in real_pw.reference_outputs():
        if not ENGINE.recognises(read_head(path)):
            continue
        read += 1
        report = ENGINE.report(path)
        ended = b"JOB DONE." in read_head(path, 100_000_000)
        assert (report.failure is None, report.ended == "normal") == (ended, ended), path
        assert report.version is not None, path
        assert report.optimization is None or report.geometry is not None, path
    assert read == 0 or read > 100
