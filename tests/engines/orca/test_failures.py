"""What ORCA, MPI libraries and schedulers print around a failure, each in its class and with its decisive line."""

from pathlib import Path
from typing import NamedTuple

import pytest
from tests.engines.orca import texts

from penstock.domain.calculation import FailureClass
from penstock.domain.report import Report
from penstock.engines.orca import OrcaEngine
from penstock.engines.orca.signs import SIGNS

ENGINE = OrcaEngine()
CRASH = (
    "\nORCA finished by error termination in {}\nCalling Command: mpirun -np 16  /opt/orca/orca_scf_mpi job.gbw b job\n"
    "[file orca_tools/qcmsg.cpp, line 458]:\n  .... aborting the run\n"
)
MPI_NOISE = (
    "--------------------------------------------------------------------------\n"
    "MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD\nwith errorcode 1.\n"
    "--------------------------------------------------------------------------\n"
    "--------------------------------------------------------------------------\n"
    "Primary job  terminated normally, but 1 process returned\na non-zero exit code.\n"
)
KILLED = "slurmstepd: error: *** JOB 4711 ON n17 CANCELLED AT 2026-03-01T12:00:00 DUE TO TIME LIMIT ***\n"


class Case(NamedTuple):
    """What is printed after the input: its class, how the run ended, and how the decisive line begins."""

    printed: str
    failure: str
    ended: str
    begins: str


CASES = {
    "multiplicity": Case(
        "[file orca_main/mainchk.cpp, line 126]: Error : multiplicity (1) is odd and number of electrons (9) is odd"
        " -> impossible\n",
        "multiplicity_error",
        "error",
        "[file orca_main/mainchk.cpp, line 126]: Error : multiplicity (1)",
    ),
    "multiplicity in capitals": Case(
        "ERROR : MULTIPLICITY (1) IS ODD AND NUMBER OF ELECTRONS (9) IS ODD -> IMPOSSIBLE\n",
        "multiplicity_error",
        "error",
        "ERROR : MULTIPLICITY",
    ),
    "no basis": Case(
        "There are no main basis functions on atom number   0 (C)\n"
        "[file orca_main/main_input_geom_basis.cpp, line 2466]:\n"
        "The basis set was either not assigned or not available for this element - Aborting the run\n",
        "basis_error",
        "error",
        "There are no main basis functions on atom number   0 (C)",
    ),
    "no auxiliary basis": Case(
        "               ** There are no CABS   basis functions on atom number   2 (Br) **\n",
        "basis_error",
        "error",
        "** There are no CABS",
    ),
    "unknown keyword": Case(
        f"{'!' * 40}\n                   INPUT ERROR\n"
        "  UNRECOGNIZED OR DUPLICATED KEYWORD(S) IN SIMPLE INPUT LINE\n  B3LYPP\n"
        f"{'!' * 40}\n[file orca_main/maininp4.cpp, line 8728]:\n",
        "input_error",
        "error",
        "UNRECOGNIZED OR DUPLICATED KEYWORD(S)",
    ),
    "bad block": Case(
        "[file orca_tools/Tool-Scanner/qcscan1.cpp, line 147]:\n\t Unknown error in GEOM block - check syntax!\n"
        "\t LEAVING ORCA\n",
        "input_error",
        "error",
        "Unknown error in GEOM block - check syntax!",
    ),
    "called by its name": Case(
        "ERROR: For parallel runs ORCA has to be called with full pathname\n",
        "input_error",
        "error",
        "ERROR: For parallel runs",
    ),
    "atoms on each other": Case(
        "Error (ORCA_GTOINT/SHARK):\nZero distance encountered between atoms 61 and 20\n" + CRASH.format("Startup"),
        "input_error",
        "error",
        "Zero distance encountered between atoms 61 and 20",
    ),
    "memory of the SCF": Case(
        " Error  (ORCA_SCF): Not enough memory available!\n"
        "       ====>        Please increase MaxCore to more than:  289 MB\n" + MPI_NOISE + CRASH.format("LEANSCF"),
        "out_of_memory",
        "error",
        "Error  (ORCA_SCF): Not enough memory available!",
    ),
    "memory of the MDCI": Case(
        "Process 10: Error (ORCA_MDCI): not enough memory to treat a single 4ext-batch\n"
        "Process 10:                    Please increase MaxCore - by at least (  923.8 MB)\n" + CRASH.format("MDCI"),
        "out_of_memory",
        "error",
        "Process 10: Error (ORCA_MDCI): not enough memory",
    ),
    "memory of SHARK": Case(
        "ERROR (SHARK/DRIVER/SYM): Out of memory!\n" + CRASH.format("SCF"),
        "out_of_memory",
        "error",
        "ERROR (SHARK/DRIVER/SYM): Out of memory!",
    ),
    "killed for memory": Case(
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch.\n",
        "out_of_memory",
        "truncated",
        "slurmstepd: error: Detected 1 oom-kill event(s)",
    ),
    "a warning of memory before a crash": Case(
        "WARNING [CalcBatching]: Out of memory according to MaxCore limit!\n" + CRASH.format("MDCI"),
        "module_crash",
        "error",
        "ORCA finished by error termination in MDCI",
    ),
    "slots": Case(
        "There are not enough slots available in the system to satisfy the 16\n"
        "slots that were requested by the application:\n"
        "  /opt/orca/orca_gtoint_mpi\n" + CRASH.format("GTOInt"),
        "mpi_error",
        "error",
        "There are not enough slots available in the system to satisfy the 16",
    ),
    "more processes than pairs": Case(
        "[file orca_mdci/mdci_state.cpp, line 1082, Process 4]: . . . aborting the run\n"
        "Error (ORCA_MDCI): Number of processes (16) in parallel calculation exceeds number of pairs (10)\n"
        + CRASH.format("MDCI"),
        "mpi_error",
        "error",
        "Error (ORCA_MDCI): Number of processes (16)",
    ),
    "an abort of MPI without a reason": Case(
        MPI_NOISE,
        "mpi_error",
        "truncated",
        "MPI_ABORT was invoked on rank 3",
    ),
    "no mpirun": Case(
        "sh: 1: mpirun: not found\n" + CRASH.format("GTOInt"),
        "mpi_error",
        "error",
        "sh: 1: mpirun: not found",
    ),
    "scf": Case(
        texts.scf().replace("SCF CONVERGED AFTER  11 CYCLES", "SCF NOT CONVERGED AFTER 125 CYCLES")
        + texts.final(remark="   (SCF not fully converged!)")
        + "     This SCF-wavefunction IS NOT FULLY CONVERGED!\n     Aborting the run ...\n",
        "scf_not_converged",
        "error",
        "*           SCF NOT CONVERGED AFTER 125 CYCLES",
    ),
    "scf of version 6": Case(
        "[file orca_leanscf/orca_leanscf.cpp, line 306]: Error (ORCA_LEANSCF): unfortunately,\n"
        "the SCF has not converged. There may be a way out but we have to stop here\n"
        + MPI_NOISE
        + CRASH.format("LEANSCF"),
        "scf_not_converged",
        "error",
        "the SCF has not converged.",
    ),
    "soscf": Case(
        "          *                     SERIOUS PROBLEM IN SOSCF             *\n"
        "          *   ABORTING THE RUN     *\n",
        "scf_not_converged",
        "error",
        "*                     SERIOUS PROBLEM IN SOSCF",
    ),
    "casscf": Case(
        "ERROR (ORCA_CASSCF): Convergence Failure.\n" + CRASH.format("CASSCF"),
        "scf_not_converged",
        "error",
        "ERROR (ORCA_CASSCF): Convergence Failure.",
    ),
    "coupled cluster": Case(
        texts.scf()
        + "               --- The CCSD iterations have NOT converged ---\n"
        + texts.final(remark="   (Wavefunction not fully converged!)")
        + "     This wavefunction IS NOT FULLY CONVERGED!\n     Aborting the run ...\n",
        "scf_not_converged",
        "error",
        "FINAL SINGLE POINT ENERGY",
    ),
    "geometry of version 6": Case(
        texts.cycle(1, -76.3, 0.1) + "                                 ERROR !!!\n"
        "       The optimization did not converge but reached the maximum\n"
        "[file orca_main/run.cpp, line 12331]: ORCA finished with error return - aborting the run\n",
        "geometry_not_converged",
        "error",
        "The optimization did not converge but reached the maximum",
    ),
    "walltime": Case(texts.cycle(1, -76.3, 0.1) + KILLED, "walltime", "truncated", "slurmstepd: error: *** JOB 4711"),
    "walltime, and what falls over with it": Case(
        KILLED + MPI_NOISE + CRASH.format("SCF"),
        "walltime",
        "error",
        "slurmstepd: error: *** JOB 4711",
    ),
    "walltime of PBS": Case(
        "=>> PBS: job killed: walltime 3605 exceeded limit 3600\n",
        "walltime",
        "truncated",
        "=>> PBS: job killed",
    ),
    "cancelled": Case(
        "slurmstepd: error: *** STEP 4711.0 ON n17 CANCELLED AT 2026-03-01T12:00:00 ***\n",
        "truncated",
        "truncated",
        "slurmstepd: error: *** STEP",
    ),
    "disk": Case(
        "orca_scf: error writing job.tmp: No space left on device\n" + CRASH.format("SCF"),
        "disk",
        "error",
        "orca_scf: error writing job.tmp: No space left on device",
    ),
    "crash": Case(
        "[n17:12345] *** Process received signal ***\n[n17:12345] Signal: Segmentation fault (11)\n"
        + CRASH.format("PROP"),
        "module_crash",
        "error",
        "ORCA finished by error termination in PROP",
    ),
    "killed process": Case(
        "mpirun noticed that process rank 2 with PID 0 on node n17 exited on signal 9 (Killed).\n",
        "module_crash",
        "truncated",
        "mpirun noticed that process rank 2",
    ),
}


def read(text: str, path: Path) -> Report:
    path.write_text(text, encoding="utf-8")
    return ENGINE.report(path)


@pytest.mark.parametrize("version", texts.VERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_failure_has_its_class_and_its_line(tmp_path: Path, name: str, version: str) -> None:
    printed, failure, ended, begins = CASES[name]
    text = texts.head(version) + texts.geometry() + printed
    found = read(text, tmp_path / "job.out")
    assert (found.failure, found.ended) == (failure, ended)
    assert found.evidence is not None
    assert found.evidence.text.startswith(begins)
    assert found.evidence.text == text.splitlines()[found.evidence.line - 1].strip()
    assert found.converged is (False if failure in {"scf_not_converged", "geometry_not_converged"} else None)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.failure == "scf_not_converged"])
def test_a_normal_banner_makes_no_success_of_it(tmp_path: Path, name: str) -> None:
    found = read(texts.head() + CASES[name].printed + texts.end(), tmp_path / "job.out")
    assert (found.ended, found.failure, found.converged) == ("normal", FailureClass.SCF_NOT_CONVERGED, False)


def test_nor_of_a_module_that_crashed(tmp_path: Path) -> None:
    printed = CASES["memory of the SCF"].printed + texts.end()
    assert read(texts.head() + printed, tmp_path / "job.out").failure is FailureClass.OUT_OF_MEMORY
    crashed = read(texts.head() + CRASH.format("PROP") + texts.end(), tmp_path / "job.out")
    assert crashed.failure is FailureClass.MODULE_CRASH


def test_more_is_told_where_the_line_alone_does_not(tmp_path: Path) -> None:
    def message(name: str) -> str | None:
        return read(texts.head() + CASES[name].printed, tmp_path / "job.out").message

    assert message("unknown keyword") == "UNRECOGNIZED OR DUPLICATED KEYWORD(S) IN SIMPLE INPUT LINE: B3LYPP"
    assert (message("memory of the SCF") or "").endswith("Please increase MaxCore to more than:  289 MB")
    assert message("coupled cluster") == "the coupled-cluster iterations did not converge"
    assert message("slots") is None


def test_a_crash_after_an_absurd_energy_says_so(tmp_path: Path) -> None:
    found = read(texts.head() + texts.geometry() + texts.scf(-2e7) + CRASH.format("MDCI"), tmp_path / "job.out")
    assert found.failure is FailureClass.MODULE_CRASH
    assert "after an absurd energy: Total Energy : -20000000.0" in (found.message or "")


def test_a_file_without_a_run_is_judged_by_what_it_says(tmp_path: Path) -> None:
    assert read(CRASH.format("SCF"), tmp_path / "a.out").failure is FailureClass.MODULE_CRASH
    assert read("", tmp_path / "b.out").failure is FailureClass.TRUNCATED


def test_a_failure_before_the_last_run_is_forgotten(tmp_path: Path) -> None:
    printed = CASES["disk"].printed
    assert read(texts.head() + printed + texts.single_point(), tmp_path / "job.out").failure is None
    assert read(texts.head() + printed + texts.head(), tmp_path / "b.out").failure is FailureClass.TRUNCATED


def test_no_two_signs_are_spelt_alike() -> None:
    assert len({sign.text.lower() for sign in SIGNS}) == len(SIGNS)
