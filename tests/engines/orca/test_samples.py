"""Real outputs of ORCA, their values read from the files by hand."""

import os
from pathlib import Path

import pytest

from penstock.domain.report import Optimization, Report
from penstock.engines.orca import OrcaEngine

SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent")) / "orca"
pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory with real outputs of ORCA"
)
ENGINE = OrcaEngine()

# file: version, end, converged, failure, line of evidence and a part of its text, energy, SCF cycles, largest gradient
VERDICTS = {
    "orca_example_freq.log": ("4.1.2", "normal", True, None, None, -114.411172663225, 11, None),
    "orca_example_opt.log": ("4.1.2", "normal", True, None, None, -114.411456606971, 33, 0.0001829599),
    "orca_mdci_error.log": ("4.2.0", "error", None, "module_crash", (11380, "termination in MDCI"), None, 17, None),
    "orca_multiplicity_error.log": (
        *("4.1.2", "error", None, "multiplicity_error"),
        *((109, "multiplicity (2) is even and number of electrons (152) is even"), None, None, None),
    ),
    "orca_scf_memory_error.log": (
        *("4.1.2", "error", None, "out_of_memory"),
        *((646, "Error  (ORCA_SCF): Not enough memory available!"), None, None, None),
    ),
    "orca_successful_sp.log": ("4.1.2", "normal", True, None, None, -189.939510650571, 22, None),
    "orca_too_many_cores.log": (
        *("4.2.0", "error", None, "mpi_error"),
        *((869, "Number of processes (16) in parallel calculation exceeds number of pairs (10)"), None, 11, None),
    ),
    "orca_wavefunction_not_converge_error.log": (
        *("4.2.0", "error", False, "scf_not_converged"),
        *((2245, "(Wavefunction not fully converged!)"), -609.155669143400, 56, None),
    ),
}
# seconds, cores, atoms of the last geometry
ALSO = {
    "orca_example_freq.log": (8.089, 2, 4),
    "orca_example_opt.log": (27.487, 2, 4),
    "orca_mdci_error.log": (None, 32, 58),
    "orca_multiplicity_error.log": (None, None, 0),
    "orca_scf_memory_error.log": (None, 20, 45),
    "orca_successful_sp.log": (75.245, 4, 6),
    "orca_too_many_cores.log": (None, 16, 3),
    "orca_wavefunction_not_converge_error.log": (None, 2, 3),
}


def report(name: str) -> Report:
    return ENGINE.report(SAMPLES / name)


@pytest.mark.parametrize("name", VERDICTS)
def test_what_became_of_a_run(name: str) -> None:
    found = report(name)
    version, ended, converged, failure, evidence, energy, cycles, gradient = VERDICTS[name]
    assert (found.engine, found.version, found.ended, found.converged) == ("orca", version, ended, converged)
    assert found.failure == failure
    assert (found.evidence is None) == (evidence is None)
    if found.evidence is not None and evidence is not None:
        assert (found.evidence.file, found.evidence.line) == (name, evidence[0])
        assert evidence[1] in found.evidence.text
    assert (found.energy_hartree, found.scf_cycles, found.max_gradient_hartree_per_bohr) == (energy, cycles, gradient)


@pytest.mark.parametrize("name", ALSO)
def test_time_cores_and_geometry(name: str) -> None:
    found = report(name)
    wall_time_s, cores, natoms = ALSO[name]
    assert (found.wall_time_s, found.cores) == (wall_time_s, cores)
    assert len((found.geometry or "\n\n").splitlines()) - 2 == natoms


def test_no_other_file_of_the_folder_is_an_output() -> None:
    outputs = {path.name for path in SAMPLES.iterdir() if ENGINE.recognises(path.read_bytes()[:65536])}
    assert outputs == set(VERDICTS) == set(ALSO) == {path.name for path in SAMPLES.glob("*.log")}


def test_the_optimisation() -> None:
    assert report("orca_example_opt.log").optimization == Optimization(True, 5, -114.411456606971)
    geometry = report("orca_example_opt.log").geometry
    assert geometry is not None
    assert geometry.splitlines()[3] == "O 1.208149 -0.000000 0.000000"
    assert all(report(name).optimization is None for name in VERDICTS if name != "orca_example_opt.log")


def test_properties() -> None:
    found = report("orca_example_freq.log").properties
    frequencies = [1151.03, 1250.19, 1526.12, 1846.40, 3010.49, 3070.82]
    assert (found["frequencies_per_cm"], found["imaginary_frequencies"]) == (frequencies, 0)
    assert (found["zero_point_energy_hartree"], found["gibbs_energy_hartree"]) == (0.02700781, -114.40517032)
    assert (found["enthalpy_hartree"], found["dipole_debye"]) == (-114.38034848, 2.15099)
    assert (found["homo_ev"], found["lumo_ev"], found["homo_lumo_gap_ev"]) == (-7.3847, -1.2425, 6.1422)
    assert report("orca_successful_sp.log").properties["s_squared"] == 0.762887


def test_what_more_is_told_of_a_failure() -> None:
    assert "an absurd energy: Total Energy : -20005808.43189283 Eh" in (report("orca_mdci_error.log").message or "")
    assert "more than:          289 MB" in (report("orca_scf_memory_error.log").message or "")
    message = report("orca_wavefunction_not_converge_error.log").message
    assert message == "the coupled-cluster iterations did not converge"
