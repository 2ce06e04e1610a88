"""Outputs of versions and endings that are not at hand, as short texts of our own making."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain.calculation import FailureClass
from penstock.domain.geometry import parse_geometry
from penstock.engines.espresso.output import main_output, recognises, report

RULE = "=" + "-" * 78 + "="
BOX = " " + "%" * 78
END = f"""
     PWSCF        :   1m 2.50s CPU  1h 1m 5.25s WALL

   This run was terminated on:  10: 0: 0   1Jan2024

{RULE}
   JOB DONE.
{RULE}
"""
SUMMARY = """
     Program PWSCF v.7.2 starts on  1Jan2024 at 10: 0: 0

     Parallel version (MPI & OpenMP), running on       8 processor cores
     Number of MPI processes:                 4
     Threads/MPI process:                     2

     lattice parameter (alat)  =      10.0000  a.u.
     unit-cell volume          =     250.0000 (a.u.)^3
     number of atoms/cell      =            2
     scf convergence threshold =      1.0E-06

     celldm(1)=  10.000000  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   0.000000   0.500000   0.500000 )
               a(2) = (   0.500000   0.000000   0.500000 )
               a(3) = (   0.500000   0.500000   0.000000 )
"""
SCF = """
     Self-consistent Calculation

     End of self-consistent calculation

     the Fermi energy is     6.1234 ev

!    total energy              =     -31.50000000 Ry
     estimated scf accuracy    <       0.00000010 Ry

     smearing contrib. (-TS)   =      -0.00200000 Ry
     total magnetization       =    -1.50 Bohr mag/cell
     absolute magnetization    =     2.25 Bohr mag/cell

     convergence has been achieved in   7 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.00000000    0.00200000    0.00000000
     atom    2 type  1   force =     0.00000000   -0.00400000    0.00000000

     Total force =     0.004472     Total SCF correction =     0.000001
"""
POSITIONS = "\nATOMIC_POSITIONS ({unit})\nFe1     0.0 0.0 0.0\nFe_dw   {x} {x} {x}\n"


def read(tmp_path: Path, *parts: str) -> dict[str, object]:
    path = tmp_path / "pw.out"
    path.write_text("".join(parts))
    found = report(path)
    return {name: getattr(found, name) for name in found.__struct_fields__}


def box(routine: str, text: str) -> str:
    return f"\n{BOX}\n     Error in routine {routine} (1):\n     {text}\n{BOX}\n\n     stopping ...\n"


def test_a_run_of_version_7_with_spin_and_smearing(tmp_path: Path) -> None:
    found = read(tmp_path, SUMMARY, SCF, END)
    assert found["failure"] is None
    assert (found["version"], found["cores"], found["wall_time_s"]) == ("7.2", 8, 3665.25)
    assert (found["energy_hartree"], found["scf_cycles"]) == (-15.75, 7)
    assert found["max_gradient_hartree_per_bohr"] == 0.002
    assert found["properties"] == {
        "fermi_energy_ev": 6.1234,
        "total_magnetization_bohr_magneton": -1.5,
        "absolute_magnetization_bohr_magneton": 2.25,
        "smearing_energy_hartree": -0.001,
        "volume_angstrom3": pytest.approx(37.046, abs=1e-3),
    }


def test_a_run_of_version_5_on_one_core(tmp_path: Path) -> None:
    old = SUMMARY.replace("PWSCF v.7.2 ", "PWSCF v.5.0.2 (svn rev. 9392) ")
    old = old.replace("Parallel version (MPI & OpenMP), running on       8 processor cores", "Serial version")
    found = read(tmp_path, old, SCF, END)
    assert (found["failure"], found["version"], found["cores"]) == (None, "5.0.2", 1)


@pytest.mark.parametrize(
    ("unit", "x", "expected"),
    [
        ("angstrom", 1.25, 1.25),
        ("bohr", 1.0, 0.529177),
        ("alat", 0.25, 0.25 * 5.29177),
        ("crystal", 0.25, 0.25 * 5.29177),
    ],
)
def test_positions_in_every_unit(tmp_path: Path, unit: str, x: float, expected: float) -> None:
    found = read(tmp_path, SUMMARY, SCF, POSITIONS.format(unit=unit, x=x))
    geometry = parse_geometry(str(found["geometry"]))
    assert geometry.symbols == ["Fe", "Fe"]
    assert geometry.positions[1] == pytest.approx((expected,) * 3, abs=1e-5)


def test_a_cell_in_units_of_its_own_and_positions_cut_short_keep_the_step_before(tmp_path: Path) -> None:
    cell = "\nCELL_PARAMETERS (alat= 20.00000000)\n 0.5 0 0\n 0 0.5 0\n 0 0 0.5\n"
    whole = cell + POSITIONS.format(unit="crystal", x=0.5)
    found = read(tmp_path, SUMMARY, SCF, whole, whole.replace("20.0", "30.0").rpartition("Fe_dw")[0])
    geometry = parse_geometry(str(found["geometry"]))
    assert geometry.lattice is not None
    assert geometry.lattice[0][0] == pytest.approx(5.29177, abs=1e-4)


def stress(xx: float) -> str:
    """A tensor as pw.x prints it: in Ry/bohr³, then in kbar with fewer digits."""
    rows = ((xx, -0.5e-4, 0.0), (-0.5e-4, 2e-4, 0.0), (0.0, 0.0, 3e-4))
    lines = "".join(
        "".join(f"{value:14.8f}" for value in row) + "        1.00        2.00        3.00\n" for row in rows
    )
    return f"\n          total   stress  (Ry/bohr**3)                   (kbar)     P=        0.28\n{lines}\n"


BFGS = "\n     BFGS Geometry Optimization\n     number of scf cycles    =   {step}\n"
BFGS_END = "\n     bfgs converged in   3 scf cycles and   2 bfgs steps\n\n     Final energy   =     -31.5000000000 Ry\n"
RY_BOHR3_GPA = 14710.5078


def test_a_relaxation_has_the_stress_of_its_first_and_of_its_last_geometry(tmp_path: Path) -> None:
    steps = [
        SCF + stress(xx) + BFGS.format(step=number) + POSITIONS.format(unit="crystal", x=0.25)
        for number, xx in enumerate((1e-4, 7e-4), 1)
    ]
    found = read(tmp_path, SUMMARY, *steps, SCF, stress(9e-4), BFGS_END, POSITIONS.format(unit="crystal", x=0.25), END)
    assert found["failure"] is None
    properties = found["properties"]
    assert isinstance(properties, dict)
    row = [-0.5e-4 * RY_BOHR3_GPA, 2e-4 * RY_BOHR3_GPA, 0.0, 0.0, 0.0, 3e-4 * RY_BOHR3_GPA]
    assert properties["initial_stress_gpa"] == pytest.approx([1e-4 * RY_BOHR3_GPA, row[0], 0.0, *row])
    assert properties["stress_gpa"] == pytest.approx([9e-4 * RY_BOHR3_GPA, row[0], 0.0, *row])
    assert properties["pressure_gpa"] == pytest.approx(14e-4 / 3 * RY_BOHR3_GPA)


def test_a_stress_that_came_after_the_first_step_is_not_of_the_beginning(tmp_path: Path) -> None:
    moved = BFGS.format(step=1) + POSITIONS.format(unit="crystal", x=0.25)
    properties = read(tmp_path, SUMMARY, SCF, moved, SCF, stress(9e-4), BFGS_END, END)["properties"]
    assert isinstance(properties, dict)
    assert "stress_gpa" in properties
    assert "initial_stress_gpa" not in properties


def test_one_geometry_has_one_stress_and_a_torn_one_is_none(tmp_path: Path) -> None:
    properties = read(tmp_path, SUMMARY, SCF, stress(1e-4), END)["properties"]
    assert isinstance(properties, dict)
    assert ["stress_gpa" in properties, "initial_stress_gpa" in properties] == [True, False]
    torn = stress(1e-4).replace("    0.00010000", "   ***********")
    properties = read(tmp_path, SUMMARY, SCF, torn, END)["properties"]
    assert isinstance(properties, dict)
    assert "stress_gpa" not in properties


@pytest.mark.parametrize(
    ("routine", "text", "expected"),
    [
        ("c_bands", "too many bands are not converged", FailureClass.MODULE_CRASH),
        ("cdiaghg", "problems computing cholesky", FailureClass.MODULE_CRASH),
        ("cdiaghg", "S matrix not positive definite", FailureClass.LINEAR_DEPENDENCE),
        ("electrons", "charge is wrong", FailureClass.INPUT_ERROR),
        ("read_namelists", 'bad line in namelist &system: "x=1"', FailureClass.INPUT_ERROR),
        ("readpp", "file ./X.UPF not found", FailureClass.BASIS_ERROR),
        ("iosys", "tot_magnetization requires nspin=2", FailureClass.MULTIPLICITY_ERROR),
        ("cegterg", "cannot allocate hpsi", FailureClass.OUT_OF_MEMORY),
        ("divide_et_impera", "some nodes have no k-points", FailureClass.MPI_ERROR),
        ("davcio", "error writing file ./out/job.wfc1", FailureClass.DISK),
        ("bfgs", "dE0s is positive which should never happen", FailureClass.GEOMETRY_NOT_CONVERGED),
        ("scale_h", "Not enough space allocated for radial FFT: try a larger cell_factor", FailureClass.MODULE_CRASH),
    ],
)
def test_an_error_box_has_its_class(tmp_path: Path, routine: str, text: str, expected: FailureClass) -> None:
    found = read(tmp_path, SUMMARY, box(routine, text))
    assert (found["failure"], found["ended"], found["message"]) == (expected, "error", f"{routine}: {text}")
    assert read(tmp_path, SUMMARY, SCF, END, box(routine, text))["failure"] is expected


def test_the_frame_of_old_versions_is_an_error_too(tmp_path: Path) -> None:
    old = f"\n{BOX}\n     from  cdiaghg  : error #        15\n     S matrix not positive definite\n{BOX}\n"
    assert read(tmp_path, SUMMARY, old)["failure"] is FailureClass.LINEAR_DEPENDENCE


def test_words_of_errors_without_a_frame_are_none(tmp_path: Path) -> None:
    words = "\n     Message from routine setup:\n     Error in routine nothing (1): S matrix not positive definite\n"
    assert read(tmp_path, SUMMARY, words, "MPI_ABORT ERROR Error SIGSEGV out of memory\n", SCF, END)["failure"] is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch.", FailureClass.OUT_OF_MEMORY),
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2024 DUE TO TIME LIMIT ***", FailureClass.WALLTIME),
        ("There are not enough slots available in the system", FailureClass.MPI_ERROR),
        ("Fortran runtime error: End of file", FailureClass.MODULE_CRASH),
        ("write: No space left on device", FailureClass.DISK),
    ],
)
def test_what_others_print_names_the_failure_of_a_run_without_an_end(
    tmp_path: Path, line: str, expected: FailureClass
) -> None:
    assert read(tmp_path, SUMMARY, line, "\n")["failure"] is expected


@pytest.mark.parametrize("energy", ["            NaN Ry", "  ************** Ry", " -9876543210.00000000 Ry"])
def test_an_absurd_energy_has_blown_up(tmp_path: Path, energy: str) -> None:
    scf = SCF.replace("    -31.50000000 Ry", energy)
    assert read(tmp_path, SUMMARY, scf, END)["failure"] is FailureClass.BLOWN_UP


def test_an_scf_that_need_not_converge_is_not_converged(tmp_path: Path) -> None:
    found = read(tmp_path, SUMMARY, SCF.replace("0.00000010 Ry", "0.00100000 Ry"), END)
    assert (found["failure"], found["converged"]) == (FailureClass.SCF_NOT_CONVERGED, False)


def test_a_hybrid_functional_ends_with_the_energy_of_its_outer_loop(tmp_path: Path) -> None:
    outer = "\n!!   total energy              =     -30.00000000 Ry\n     EXX self-consistency reached\n"
    assert read(tmp_path, SUMMARY, SCF, SCF, outer, END)["energy_hartree"] == -15.0


def test_a_band_structure_needs_no_scf_and_molecular_dynamics_no_minimum(tmp_path: Path) -> None:
    bands = "\n     End of band structure calculation\n"
    assert read(tmp_path, SUMMARY, bands, END)["failure"] is None
    moves = "\n     Molecular Dynamics Calculation\n" + SCF
    ended = "\n     The maximum number of steps has been reached.\n\n     End of molecular dynamics calculation\n"
    assert read(tmp_path, SUMMARY, moves, ended, END)["failure"] is None


def test_a_run_that_calculated_nothing_is_no_success(tmp_path: Path) -> None:
    assert read(tmp_path, SUMMARY, END)["failure"] is FailureClass.WALLTIME


def test_a_user_who_stops_it_is_told_apart(tmp_path: Path) -> None:
    found = read(tmp_path, SUMMARY, SCF, "\n     Program stopped by user request\n", END)
    assert found["failure"] is FailureClass.WALLTIME
    assert "user request" in str(found["message"])


def test_bfgs_that_gives_up_is_not_converged(tmp_path: Path) -> None:
    failed = "\n     bfgs failed after  12 scf cycles and  10 bfgs steps, convergence not achieved\n"
    final = "\n     End of BFGS Geometry Optimization\n     Final energy             =     -31.5000000000 Ry\n"
    found = read(tmp_path, SUMMARY, "\n     BFGS Geometry Optimization\n", SCF, failed, final, END)
    assert found["failure"] is FailureClass.GEOMETRY_NOT_CONVERGED


def test_another_program_in_the_same_file_is_not_its_business(tmp_path: Path) -> None:
    phonons = "\n     Program PHONON v.7.2 starts on  1Jan2024 at 11: 0: 0\n" + box("phq_readin", "reading input")
    assert read(tmp_path, SUMMARY, SCF, END, phonons)["failure"] is None


def test_any_text_and_none_are_read(tmp_path: Path) -> None:
    for text in ("", "Error", "     Program PWSCF", RULE):
        assert read(tmp_path, text)["failure"] is FailureClass.TRUNCATED
    with pytest.raises(OSError, match="missing"):
        report(tmp_path / "missing")


def test_outputs_are_recognised_and_found_among_other_files() -> None:
    assert recognises(SUMMARY.encode())
    assert not recognises(b"     Program PHONON v.7.2 starts on")
    names = ["job.in", "slurm.out", "stdout", "Si.UPF", "si.scf.out.gz", "CRASH", "logs"]
    assert main_output(names) == ["si.scf.out.gz", "stdout", "logs", "slurm.out"]
