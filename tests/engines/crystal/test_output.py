from pathlib import Path

import pytest
from tests.engines.crystal import outputs as out

from penstock.domain.calculation import FailureClass
from penstock.domain.geometry import parse_geometry
from penstock.domain.report import Optimization, Report
from penstock.engines.crystal import output
from penstock.engines.crystal.failures import classify_error
from penstock.engines.crystal.numbers import parse_number

NOISE = "MPI startup(): Warning: I_MPI_PMI_LIBRARY will be ignored\n PROCESS            1  OF            2  WORKING\n"


def report(directory: Path, text: str) -> Report:
    path = directory / "stdout"
    path.write_bytes(text.encode())
    return output.report(path)


def test_a_single_point(tmp_path: Path) -> None:
    found = report(tmp_path, NOISE + out.SINGLE_POINT)
    assert (found.ended, found.converged, found.failure) == ("normal", True, None)
    assert (found.version, found.cores) == ("23 1.0.1", 2)
    assert found.wall_time_s == pytest.approx(71.8)
    assert (found.energy_hartree, found.scf_cycles) == (-76.217192491426, 6)
    assert found.optimization is None
    assert (found.band_gap_ev, found.band_gap_kind, found.max_gradient_hartree_per_bohr) == (None, None, None)
    assert found.properties == {
        "volume_angstrom3": 11.137269,
        "orbitals": 36,
        "electrons": 12,
        "atoms": 2,  # of the primitive cell, which the energy is of
        "warnings": 0,
    }
    assert parse_geometry(found.geometry or "").symbols == ["C", "C"]


def test_an_optimisation_ends_with_its_own_energy_gap_and_gradient(tmp_path: Path) -> None:
    found = report(tmp_path, out.OPTIMISATION)
    assert (found.ended, found.converged, found.failure) == ("normal", True, None)
    assert found.optimization == Optimization(True, 2, -76.22)
    assert (found.energy_hartree, found.scf_cycles, found.max_gradient_hartree_per_bohr) == (-76.22, 6, 0.000122)
    assert (found.band_gap_ev, found.band_gap_kind) == (6.001, "unspecified")


def test_the_cartesian_gradient_counts_where_it_is_that_of_the_last_geometry(tmp_path: Path) -> None:
    gradient = out.OPTIMISATION.replace(out.STEP, out.STEP + out.FORCES)
    assert report(tmp_path, gradient).max_gradient_hartree_per_bohr == 0.005
    one_point = out.HEAD + out.OPT_START + out.POINT_1 + out.SCF_END + out.FORCES
    assert report(tmp_path, one_point).max_gradient_hartree_per_bohr == 0.005
    assert report(tmp_path, one_point.replace("-5.0000", "-5.00*0")).max_gradient_hartree_per_bohr is None


def test_frequencies(tmp_path: Path) -> None:
    text = out.SINGLE_POINT.replace(out.END, out.FREQUENCIES + out.END)
    found = report(tmp_path, text)
    assert found.energy_hartree == -76.217192491426
    assert found.properties["frequencies_cm1"] == [-0.8, -0.8, -0.8, -120.5, -120.5, 1310.9]
    assert found.properties["imaginary_frequencies"] == 2
    assert found.properties["zero_point_energy_hartree"] == 0.0089694381
    restarted = report(tmp_path, out.HEAD + out.FREQUENCIES + out.END)
    assert (restarted.energy_hartree, restarted.failure) == (-76.21719249143, None)
    damaged = report(tmp_path, text.replace("  4-   5", "  4-   x"))
    assert "frequencies_cm1" not in damaged.properties


def test_a_properties_run(tmp_path: Path) -> None:
    text = (
        out.BANNER + out.START + " CRYSTAL - PROPERTIES - TYPE OF CALCULATION :  RESTRICTED CLOSED SHELL\n"
        " TOTAL ENERGY -3.6446776286252E+03  CONVERGENCE ON ENER        5.275E-10\n"
        " N. OF SCF CYCLES                8  FERMI ENERGY              -0.148E+00\n ENDPROP\n"
    )
    found = report(tmp_path, text + out.END)
    assert (found.ended, found.failure, found.converged, found.energy_hartree) == ("normal", None, None, None)
    assert found.properties["fermi_energy_hartree"] == -0.148
    assert found.properties["wavefunction_energy_hartree"] == -3644.6776286252
    failed = report(tmp_path, text + " ERROR **** BAND **** UNKNOWN KEYWORD\n" + out.END)
    assert (failed.ended, failed.failure) == ("error", FailureClass.INPUT_ERROR)


GAPS = {
    " DIRECT ENERGY BAND GAP:   5.8804 eV": (5.8804, "direct"),
    " INDIRECT ENERGY BAND GAP:  10.0696 eV": (10.0696, "indirect"),
    "   ALPHA BAND GAP:                2.5678  eV": (2.5678, "alpha"),
    "   BETA BAND GAP:                 2,5678  eV": (2.5678, "beta"),
    "   BAND GAP:                      6.0010  eV": (6.001, "unspecified"),
    "   FERMI ENERGY:                 -1.6583926E-01 Ha": (None, "conducting"),
    out.CONDUCTING.rstrip(): (None, "conducting"),
    " DIRECT ENERGY BAND GAP:  ******* eV": (None, None),
}


@pytest.mark.parametrize("line", GAPS)
@pytest.mark.parametrize("before", ["   BAND GAP:                      6.0010  eV", out.CONDUCTING.rstrip()])
def test_the_last_gap_counts(tmp_path: Path, before: str, line: str) -> None:
    found = report(tmp_path, out.SINGLE_POINT.replace(out.END, f"{before}\n{line}\n{out.END}"))
    assert (found.band_gap_ev, found.band_gap_kind) == GAPS[line]
    assert ("fermi_energy_hartree" in found.properties) == ("FERMI" in line)


def test_a_normal_banner_does_not_make_a_success(tmp_path: Path) -> None:
    scf = report(tmp_path, out.SINGLE_POINT.replace(out.SCF_END, out.TOO_MANY))
    assert (scf.ended, scf.converged, scf.failure) == ("normal", False, FailureClass.SCF_NOT_CONVERGED)
    assert scf.evidence is not None
    assert scf.evidence.text.startswith("== SCF ENDED - TOO MANY CYCLES")
    lines = (tmp_path / "stdout").read_text().splitlines()
    assert lines[scf.evidence.line - 1].strip() == scf.evidence.text
    steps = report(tmp_path, out.OPTIMISATION.replace(out.OPT_END, out.OPT_FAILED))
    assert (steps.ended, steps.converged, steps.failure) == ("normal", False, FailureClass.GEOMETRY_NOT_CONVERGED)
    assert steps.optimization == Optimization(False, 2, -76.22)
    unfinished = report(tmp_path, out.OPTIMISATION.replace(out.OPT_END, ""))
    assert (unfinished.converged, unfinished.failure) == (False, FailureClass.GEOMETRY_NOT_CONVERGED)
    silent = report(tmp_path, out.SINGLE_POINT.replace(out.SCF_END, ""))
    assert (silent.converged, silent.failure) == (False, FailureClass.SCF_NOT_CONVERGED)


def test_the_words_error_and_abort_do_not_make_a_failure(tmp_path: Path) -> None:
    words = " error in the fit: none\n THE ERROR ON THE ENERGY IS SMALL\n WARNING **** GENPOG **** COULOMB ERROR\n"
    found = report(tmp_path, words + out.SINGLE_POINT.replace(out.SCF_END, words + out.SCF_END) + words)
    assert (found.ended, found.failure, found.converged) == ("normal", None, True)


@pytest.mark.parametrize(
    "title",
    [
        " EEEEEEEEEE TERMINATION  DATE 21 12 2023 TIME 15:02:22.0",
        " ERROR **** INPUT **** not one",
        " == SCF ENDED - TOO MANY CYCLES            E(AU) -7.6100000000000E+01 CYCLES  50",
        " * OPT END - FAILED    * E(AU):  -7.622000000000E+01  POINTS    2 *",
    ],
)
def test_a_title_may_say_anything(tmp_path: Path, title: str) -> None:
    whole = out.SINGLE_POINT.replace(" a title\n", f"{title}\n")
    assert report(tmp_path, whole).failure is None
    cut = report(tmp_path, whole[: whole.rindex(out.END)])
    assert (cut.ended, cut.failure) == ("truncated", FailureClass.TRUNCATED)


@pytest.mark.parametrize(
    "line",
    [
        " EEEEEEEEEE INT_CALC TERMINATION  DATE 21 12 2023 TIME 15:02:22.0\n",
        " EEEEEEEEEE SCF TERMINATION  DATE 21 12 2023 TIME 15:02:22.0\n",
        " INFORMATION **** DFTD3 ENERGY **** NORMAL TERMINATION OF DFTD3 MODULE\n",
        "cat: EEEEEEEEEE TERMINATION  DATE 21 12 2023 TIME 15:02:22.0\n",
        " EEEEEEEEEE TERMINATION  DATE 21 12 20",
    ],
)
def test_other_terminations_are_no_end(tmp_path: Path, line: str) -> None:
    found = report(tmp_path, out.SINGLE_POINT.replace(out.END + out.NODES, line))
    assert (found.ended, found.failure) == ("truncated", FailureClass.TRUNCATED)


@pytest.mark.parametrize(
    "line", [out.END, out.END.rstrip("\n"), out.END.replace(".0\n", "\n"), out.END.replace(".0", ",0")]
)
def test_an_end_is_one_however_its_time_is_written(tmp_path: Path, line: str) -> None:
    assert report(tmp_path, out.SINGLE_POINT.replace(out.END + out.NODES, line)).failure is None


ABORT = "application called MPI_Abort(MPI_COMM_WORLD, 1) - process 7\n"
STOPPED = " TTTTTTTTTTTTTTTTTTTTTTTTTTTTTT ERR         TELAPSE        2.58 TCPU        0.58\n"
FAILURES = {
    " ERROR **** OPTGEOM **** SCF FAILED - OPTGEOM STOP\n" + ABORT: (FailureClass.SCF_NOT_CONVERGED, "error"),
    " ERROR **** ZERO **** FERMI ENERGY NOT IN INTERVAL\n": (FailureClass.SCF_NOT_CONVERGED, "error"),
    " ERROR **** f90main **** GEOMETRY OPTIMIZATION FAILED\n" + ABORT: (FailureClass.GEOMETRY_NOT_CONVERGED, "error"),
    " ERROR **** NEIGHB **** USE KEYWORD SMALLDIST TO RUN ANYWAY\n": (FailureClass.INPUT_ERROR, "error"),
    " ERROR **** INP12B **** INCONSISTENT ITOL SIZE\n" + STOPPED: (FailureClass.INPUT_ERROR, "error"),
    " ERROR **** READM2 **** ANISOTROPIC SHRINKING FACTOR\n": (FailureClass.INPUT_ERROR, "error"),
    " ERROR **** CHOLSK **** BASIS SET LINEARLY DEPENDENT\n": (FailureClass.LINEAR_DEPENDENCE, "error"),
    " BASIS SET LINEARLY DEPENDENT\n": (FailureClass.LINEAR_DEPENDENCE, "error"),
    " ERROR **** INPBAS **** UNIT CELL NOT NEUTRAL\n": (FailureClass.BASIS_ERROR, "error"),
    " ERROR **** DFGPRT **** SOMETHING ELSE\n": (FailureClass.MODULE_CRASH, "error"),
    " ERROR **** X **** Y\n ERROR **** f90main **** GEOMETRY OPTIMIZATION FAILED\n": (
        FailureClass.GEOMETRY_NOT_CONVERGED,
        "error",
    ),
    STOPPED: (FailureClass.MODULE_CRASH, "error"),
    ABORT: (FailureClass.MPI_ERROR, "error"),
    "There are not enough slots available in the system\n": (FailureClass.MPI_ERROR, "error"),
    "forrtl: severe (174): SIGSEGV, segmentation fault occurred\n" + ABORT: (FailureClass.MODULE_CRASH, "error"),
    ABORT + "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n": (FailureClass.MPI_ERROR, "error"),
    "=>> PBS: job killed: walltime 3610 exceeded limit 3600\n": (FailureClass.WALLTIME, "truncated"),
    "forrtl: severe (41): insufficient virtual memory\n": (FailureClass.OUT_OF_MEMORY, "error"),
    "slurmstepd: error: Detected 1 oom_kill event. Some of the step tasks have been OOM Killed.\n": (
        FailureClass.OUT_OF_MEMORY,
        "truncated",
    ),
    "forrtl: severe (38): error during write, unit 9\n" + ABORT: (FailureClass.DISK, "error"),
    "slurmstepd: error: *** JOB 7 CANCELLED AT 2025-01-01T00:00:00 DUE TO TIME LIMIT ***\n": (
        FailureClass.WALLTIME,
        "truncated",
    ),
    "forrtl: error (78): process killed (SIGTERM)\n": (FailureClass.TRUNCATED, "truncated"),
    "": (FailureClass.TRUNCATED, "truncated"),
}


@pytest.mark.parametrize("tail", FAILURES)
def test_a_failure_has_a_class_an_end_and_a_line(tmp_path: Path, tail: str) -> None:
    kind, ended = FAILURES[tail]
    text = out.HEAD + out.BULK + out.SCF_START
    found = report(tmp_path, text + tail)
    assert (found.failure, found.ended) == (kind, ended)
    if not tail:
        assert found.evidence is None
        return
    assert found.evidence is not None
    assert found.evidence.text in [line.strip() for line in tail.splitlines()]
    assert (text + tail).splitlines()[found.evidence.line - 1].strip() == found.evidence.text


@pytest.mark.parametrize("tail", [tail for tail in FAILURES if "ERROR ****" not in tail and "ERR  " not in tail])
def test_what_is_printed_after_the_end_is_not_the_programs(tmp_path: Path, tail: str) -> None:
    after = report(tmp_path, out.SINGLE_POINT + tail)
    assert (after.ended, after.failure) == ("normal", None)


@pytest.mark.parametrize(
    "energy",
    ["-7.6194112686625E+05", " 7.6194112686625E+01", "NaN", "*********************", "-7.6194112686625E+99999"],
)
def test_an_absurd_energy_is_no_success(tmp_path: Path, energy: str) -> None:
    text = out.SINGLE_POINT.replace("-7.6217192491426E+01", energy)
    found = report(tmp_path, text)
    assert (found.ended, found.failure) == ("normal", FailureClass.BLOWN_UP)
    assert found.evidence is not None
    assert found.evidence.text.startswith("TOTAL ENERGY + DISP")
    without_cell = report(tmp_path, text.replace(out.BULK, ""))
    assert (without_cell.failure is FailureClass.BLOWN_UP) == (energy != "-7.6194112686625E+05")


def test_an_energy_at_a_finite_temperature_is_the_total_one(tmp_path: Path) -> None:
    smeared = out.TOTAL.replace("-7.6194112686625E+01", "-7.6195000000000E+01")
    found = report(tmp_path, out.SINGLE_POINT.replace(out.TOTAL, smeared).replace(out.DISPERSION, ""))
    assert found.energy_hartree == -76.195


def test_the_last_run_counts(tmp_path: Path) -> None:
    failed = out.HEAD + " ERROR **** READM2 **** ANISOTROPIC SHRINKING FACTOR\n"
    assert report(tmp_path, failed + out.SINGLE_POINT).failure is None
    assert report(tmp_path, out.SINGLE_POINT + failed).failure is FailureClass.INPUT_ERROR
    killed = NOISE + out.HEAD + out.BULK + out.CONDUCTING
    assert report(tmp_path, killed + NOISE + out.OPTIMISATION).energy_hartree == -76.22
    restarted = report(tmp_path, out.OPTIMISATION + NOISE + out.HEAD + out.SCF_START)
    assert (restarted.ended, restarted.failure) == ("truncated", FailureClass.TRUNCATED)
    assert (restarted.energy_hartree, restarted.optimization, restarted.geometry) == (None, None, None)
    barely = report(tmp_path, out.OPTIMISATION + out.BANNER.split(" *      ")[0] + out.BLANK + "\n")
    assert (barely.ended, barely.failure) == ("truncated", FailureClass.TRUNCATED)


def test_what_was_printed_before_the_program_began_is_not_its_end(tmp_path: Path) -> None:
    text = "slurmstepd: error: *** JOB 6 CANCELLED DUE TO TIME LIMIT ***\n" + out.HEAD
    assert report(tmp_path, text).failure is FailureClass.TRUNCATED


def test_a_geometry_that_is_cut_short_leaves_the_one_before(tmp_path: Path) -> None:
    larger = out.DIAMOND.replace("2.50667429", "2.60000000")
    whole = out.HEAD + out.BULK + out.OPT_START + out.POINT_1 + out.POINT_2 + larger
    first = report(tmp_path, out.HEAD + out.BULK).geometry
    assert report(tmp_path, whole).geometry != first
    assert report(tmp_path, whole[: whole.rindex(" T = ATOM")]).geometry == first
    assert report(tmp_path, whole[: whole.rindex("2 F")]).geometry == first


def test_ghosts_have_no_place_in_a_geometry(tmp_path: Path) -> None:
    ghost = out.DIAMOND.replace("2 F   6 C ", "2 F   0 XX")
    assert parse_geometry(report(tmp_path, out.HEAD + ghost).geometry or "").symbols == ["C"]
    assert output.read_output(tmp_path / "stdout").geometry is None


def test_pseudopotentials_keep_their_number_in_the_deck_and_their_element_in_the_geometry(tmp_path: Path) -> None:
    heavy = report(tmp_path, out.HEAD + out.DIAMOND.replace("   6 C ", " 282 PB"))
    assert parse_geometry(heavy.geometry or "").symbols == ["Pb", "Pb"]
    found = output.read_output(tmp_path / "stdout").geometry
    assert found is not None
    assert [atom[0] for atom in found.crystallographic.atoms] == [282]


def test_a_polymer_and_a_slab_are_periodic_in_their_first_directions(tmp_path: Path) -> None:
    lattice = out.LATTICE.replace("2.50667429     2.50667429  ", "2.00000000   500.00000000  ").replace("60.0", "90.0")
    text = f"""{lattice}
 ATOMS IN THE ASYMMETRIC UNIT    1 - ATOMS IN THE UNIT CELL:    2
     ATOM                 X/A             Y(ANGSTROM)         Z(ANGSTROM)   R(ANGS)
{out.STARS}
      1 T   6 C    -0.25000000000E+00  0.24000000000E+01 -0.39000000000E+00   2.455
      2 F   6 C     0.25000000000E+00  0.24000000000E+01  0.39000000000E+00   2.455

 T = ATOM BELONGING TO THE ASYMMETRIC UNIT
"""
    geometry = parse_geometry(report(tmp_path, text).geometry or "")
    assert geometry.pbc == (True, False, False)
    assert geometry.positions == [(-0.5, 2.4, -0.39), (0.5, 2.4, 0.39)]


def test_outputs_are_told_by_their_beginning() -> None:
    assert output.recognises(out.SINGLE_POINT.encode())
    assert output.recognises(out.SINGLE_POINT.replace("\n", "\r\n").encode())
    assert output.recognises(NOISE.encode())
    assert output.recognises(b"          60 PROCESSORS WORKING\n")
    for text in (
        b"",
        b"a title\nCRYSTAL\n0 0 0\n227\n",
        b"submit directory: \n/home/Crystal17/OPT2\n",
        b"* O   R   C   A *",
    ):
        assert not output.recognises(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("-7.6E+01", -76), ("1,5D-3", 0.0015), (".5", 0.5), ("7.", 7), ("1e999", None), ("nan", None), ("1.2.3", None)],
)
def test_numbers_of_fortran(text: str, value: float | None) -> None:
    assert parse_number(text) == value


def test_an_error_that_nobody_knows_is_a_crash() -> None:
    assert classify_error(" ERROR **** QQQ **** ZZZ") is FailureClass.MODULE_CRASH
