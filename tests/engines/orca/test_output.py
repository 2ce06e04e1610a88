import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.orca import texts

from penstock.domain.calculation import FailureClass
from penstock.domain.report import Optimization, Report
from penstock.engines.orca import OrcaEngine

ENGINE = OrcaEngine()
VERSIONS = list(texts.VERSIONS)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Report]:
    def report(text: str) -> Report:
        path = tmp_path / "job.out"
        path.write_text(text, encoding="utf-8", newline="")
        return ENGINE.report(path)

    return report


Read = Callable[[str], Report]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_single_point(read: Read, version: str) -> None:
    found = read(texts.single_point(version))
    assert (found.version, found.ended, found.converged, found.failure) == (version, "normal", True, None)
    assert (found.energy_hartree, found.scf_cycles, found.cores) == (texts.ENERGY, 11, 4)
    assert (found.wall_time_s, found.max_gradient_hartree_per_bohr, found.optimization) == (75.245, None, None)
    assert (
        found.geometry
        == "3\n\nO 0.000000 0.000000 0.117000\nH 0.000000 0.757000 -0.469000\nH 0.000000 -0.757000 -0.469000\n"
    )
    assert found.properties["homo_lumo_gap_ev"] == 6.1422


@pytest.mark.parametrize("version", VERSIONS)
def test_an_optimisation(read: Read, version: str) -> None:
    found = read(texts.optimisation(version))
    assert (found.ended, found.converged, found.failure, found.cores) == ("normal", True, None, 8)
    assert found.optimization == Optimization(True, 2, texts.ENERGY)
    assert (found.energy_hartree, found.scf_cycles) == (texts.ENERGY, 23)
    assert found.max_gradient_hartree_per_bohr == 0.0002  # not 0.9, which is of the table of convergence
    assert found.geometry is not None
    assert "O 0.000000 0.000000 0.120000" in found.geometry


def test_the_energy_of_an_optimisation_is_not_that_of_the_frequencies_after_it(read: Read) -> None:
    text = texts.optimisation().removesuffix(texts.end())
    after = "                 $$$$$$$$$$$$$$$$  JOB NUMBER  2 $$$$$$$$$$$$$$\n" + texts.scf() + texts.final(-76.4)
    dispersed = "Dispersion correction           -0.014719932\n"
    found = read(text + dispersed + after + texts.FREQUENCIES + texts.end())
    assert found.optimization == Optimization(True, 2, texts.ENERGY)
    assert (found.energy_hartree, found.failure) == (-76.4, None)
    assert "energy_without_dispersion_hartree" not in found.properties


@pytest.mark.parametrize("version", VERSIONS)
def test_an_optimisation_out_of_cycles_has_failed_though_it_ends_normally(read: Read, version: str) -> None:
    found = read(texts.failed_optimisation(version))
    assert (found.ended, found.converged, found.failure) == ("normal", False, FailureClass.GEOMETRY_NOT_CONVERGED)
    assert found.evidence is not None
    assert found.evidence.text == "The optimization did not converge but reached the maximum number of"
    assert texts.failed_optimisation(version).splitlines()[found.evidence.line - 1].strip() == found.evidence.text
    assert found.message == "the optimisation did not converge in 2 cycles"
    assert found.optimization == Optimization(False, 2, -76.32)


def test_an_optimisation_that_says_nothing_of_converging_has_not(read: Read) -> None:
    found = read(texts.failed_optimisation().replace(texts.NO_MORE_CYCLES, ""))
    assert found.failure is FailureClass.GEOMETRY_NOT_CONVERGED
    assert found.evidence is not None
    assert "CYCLE   2" in found.evidence.text


def test_an_optimisation_that_is_only_announced_has_not_converged(read: Read) -> None:
    title = "                       * Geometry Optimization Run *\n"
    text = texts.single_point().replace("-" * 33 + "\nCARTESIAN", f"{title}{'-' * 33}\nCARTESIAN", 1)
    found = read(text)
    assert (found.failure, found.optimization) == (FailureClass.GEOMETRY_NOT_CONVERGED, None)
    assert found.evidence is not None
    assert found.evidence.text == "* Geometry Optimization Run *"
    atom = "\n".join(line for line in text.split("\n") if not line.startswith("  H "))
    assert read(atom.replace(f"{texts.ENERGY:.8f}", "-75.0")).failure is None
    assert read(texts.optimisation().replace("         ****", title + "         ****", 1)) == read(texts.optimisation())


def test_in_a_relaxed_scan_every_optimisation_must_converge(read: Read) -> None:
    good = texts.optimisation().removesuffix(texts.end())
    bad = texts.failed_optimisation().split("END OF INPUT****", 1)[1]
    cycles = good.split("END OF INPUT****", 1)[1]
    assert read(good + cycles + texts.end()).optimization == Optimization(True, 4, texts.ENERGY)
    found = read(good + bad.removesuffix(texts.end()) + cycles + texts.end())
    assert (found.failure, found.converged) == (FailureClass.GEOMETRY_NOT_CONVERGED, False)


def test_an_scf_that_does_not_quite_converge_within_an_optimisation_is_forgiven(read: Read) -> None:
    stumble = " " * 15 + "*        SCF NOT CONVERGED AFTER 125 CYCLES         *\n"
    first = texts.optimisation().replace("----------------\nTOTAL SCF ENERGY", stumble + "TOTAL SCF ENERGY", 1)
    assert read(first).failure is None
    assert (
        read(texts.optimisation().replace(texts.end(), stumble + texts.end())).failure is FailureClass.SCF_NOT_CONVERGED
    )


def test_a_hessian_on_the_way_neither_ends_an_optimisation_nor_is_its_result(read: Read) -> None:
    cycle = " " * 9 + "*" * 61 + "\n         *                GEOMETRY OPTIMIZATION CYCLE   2"
    text = texts.optimisation().replace(cycle, texts.FREQUENCIES + cycle)
    found = read(text)
    assert found.optimization == Optimization(True, 2, texts.ENERGY)
    assert "frequencies_per_cm" not in found.properties
    assert "gibbs_energy_hartree" not in found.properties
    assert "frequencies_per_cm" in read(text.replace(texts.end(), texts.FREQUENCIES + texts.end())).properties


def test_frequencies_and_thermochemistry(read: Read) -> None:
    found = read(texts.single_point().replace(texts.end(), texts.FREQUENCIES + texts.end()))
    assert found.failure is None
    assert found.properties["frequencies_per_cm"] == [-312.4, 1595.12, 3657.05]
    assert found.properties["imaginary_frequencies"] == 1
    assert found.properties["gibbs_energy_hartree"] == -114.40517032


def test_excitations_of_all_spins_in_order(read: Read) -> None:
    found = read(texts.single_point().replace(texts.end(), texts.EXCITED + texts.EXCITED + texts.end()))
    assert found.properties["excitation_energies_ev"] == [3.129, 5.352, 5.987]


def test_excitations_of_an_equation_of_motion_are_the_last_roots(read: Read) -> None:
    ionised = (
        "IROOT=  1:  0.266136 au     7.242 eV   58410.1 cm**-1\nIROOT=  2:  0.304859 au     8.296 eV   66908.9 cm**-1\n"
    )
    excited = "IROOT=  1:  0.169365 au     4.609 eV   37171.3 cm**-1\nIROOT=  1:     4.609    0.000000   -0.000000\n"
    found = read(texts.single_point().replace(texts.end(), ionised + excited + texts.end()))
    assert found.properties["excitation_energies_ev"] == [4.609]


def test_energies_with_and_without_dispersion(read: Read) -> None:
    line = "Dispersion correction           -0.014719932\nDispersion correction in the Hessian    ... done (0.3 sec)\n"
    found = read(
        texts.single_point().replace("\n-------------------------   ", f"{line}\n-------------------------   ", 1)
    )
    assert found.energy_hartree == texts.ENERGY
    assert found.properties["dispersion_hartree"] == -0.014719932
    assert found.properties["energy_without_dispersion_hartree"] == pytest.approx(texts.ENERGY + 0.014719932, abs=1e-12)


def test_the_gap_is_between_all_spins_and_none_where_orbitals_are_partly_filled(read: Read) -> None:
    spins = (
        "ORBITAL ENERGIES\n----------------\n"
        "                 SPIN UP ORBITALS\n  NO   OCC          E(Eh)            E(eV)\n"
        "   0   1.0000      -0.300000        -8.0000    1-Ag\n   1   0.0000      -0.100000        -2.0000    1-Bu\n\n"
        "                 SPIN DOWN ORBITALS\n  NO   OCC          E(Eh)            E(eV)\n"
        "   0   1.0000      -0.200000        -7.0000\n   1   0.0000      -0.150000        -3.0000\n"
        "*Only the first 10 virtual orbitals were printed.\n***\n"
    )
    text = texts.head() + texts.final() + spins + texts.end()
    properties = read(text).properties
    assert (properties["homo_ev"], properties["lumo_ev"], properties["homo_lumo_gap_ev"]) == (-7.0, -3.0, 4.0)
    assert "homo_ev" not in read(text.replace("   0   1.0000      -0.2", "   0   0.7431      -0.2")).properties


@pytest.mark.parametrize(
    ("line", "energy"),
    [
        ("FINAL SINGLE POINT ENERGY      -76.500000000000", -76.5),
        ("FINAL SINGLE POINT ENERGY (QM/QM2)      -76.500000000000", -76.5),
        ("FINAL SINGLE POINT ENERGY      -76.500000000000   (From external program)", -76.5),
        ("FINAL SINGLE POINT ENERGY      -76,500000000000", -76.5),
        ("FINAL SINGLE POINT ENERGY      -7.65E+01", -76.5),
        ("FINAL SINGLE POINT ENERGY      -76.5x0000000000", None),
        ("FINAL SINGLE POINT ENERGY", None),
    ],
)
def test_the_last_final_energy_counts_whatever_else_stands_on_its_line(
    read: Read, line: str, energy: float | None
) -> None:
    found = read(texts.single_point().replace(texts.end(), f"{line}\n{texts.end()}"))
    assert (found.energy_hartree, found.failure) == (energy, None)


@pytest.mark.parametrize(
    ("lines", "cores"),
    [
        (["! HF PAL16"], 16),
        (["%pal", "  nprocs   12", "end"], 12),
        (["%PAL NPROCS 6 END"], 6),
        (["%pal", "nproc 2", "end"], 2),
        (["! HF # PAL16"], None),
        (["! HF"], None),
    ],
)
def test_cores_are_those_of_the_echoed_input(read: Read, lines: list[str], cores: int | None) -> None:
    assert read(texts.head(lines=lines) + texts.end()).cores == cores


def test_cores_are_those_of_mpi_where_the_input_is_silent(read: Read) -> None:
    line = "           *        Program running with 32 parallel MPI-processes    *\n"
    assert read(texts.head(lines=["! HF"]) + line + texts.end()).cores == 32


def test_words_in_the_echoed_input_mean_nothing(read: Read) -> None:
    tricks = [
        "# ****ORCA TERMINATED NORMALLY****",
        "TOTAL RUN TIME: 0 days 0 hours 0 minutes 1 seconds 0 msec",
        "# SCF NOT CONVERGED AFTER 125 CYCLES",
        "# ORCA finished by error termination in SCF",
        "# INPUT ERROR",
        "FINAL SINGLE POINT ENERGY -1.0",
    ]
    assert read(texts.head(lines=tricks)).failure is FailureClass.TRUNCATED
    assert read(texts.head(lines=tricks)).energy_hartree is None
    found = read(texts.single_point().replace("|  1> ", "|  1> # INPUT ERROR\n|  1> ", 1))
    assert found.failure is None


def test_a_good_run_may_speak_of_errors(read: Read) -> None:
    words = (
        "WARNING - LOW MEMORY !!!\nINSUFFICIENT MEMORY MAY LEAD TO SLOW PERFORMANCE OR CRASHES.\n"
        "WARNING [Contract_2_4_4_CalcBatching]: Out of memory according to MaxCore limit!\n"
        "  Last DIIS Error            ...    9.2767e-08  Tolerance :   5.0000e-07\n"
        "--- The EOM iterations have NOT converged ---\n       Error: none; aborting the run is not needed\n"
        "mpirun noticed that process rank 3 exited on signal 11\n"
    )
    assert read(texts.single_point().replace(texts.end(), words + texts.end())).failure is None


def test_numbers_of_a_locale_with_a_comma(read: Read) -> None:
    text = texts.optimisation()
    found = read(text.replace(".", ",").replace("5,0,4", "5.0.4").replace(",,,", "..."))
    assert (found.energy_hartree, found.max_gradient_hartree_per_bohr) == (texts.ENERGY, 0.0002)
    assert found.geometry == read(text).geometry
    assert found.failure is None


def test_line_ends_of_another_system_change_nothing(read: Read) -> None:
    for text in (texts.optimisation(), texts.failed_optimisation(), texts.engrad_run()):
        assert read(text.replace("\n", "\r\n")) == read(text)


def test_a_gradient_without_its_largest_component_is_looked_through(read: Read) -> None:
    text = texts.engrad_run()
    assert read(text).max_gradient_hartree_per_bohr == 0.0149627221
    without = "\n".join(line for line in text.split("\n") if not line.startswith("MAX gradient"))
    assert read(without).max_gradient_hartree_per_bohr == 0.014962722
    rows = "  0:   0.01527469  -0.00292883   0.01125000\n  1:  -0.01626251   0.00333431  -0.01321825\n\n"
    found = read(texts.single_point().replace(texts.end(), f"The final MP2 gradient\n{rows}{texts.end()}"))
    assert found.max_gradient_hartree_per_bohr == 0.01626251


def test_dummies_charges_and_ghosts_are_no_atoms(read: Read) -> None:
    extra = "".join(f"  {label:4s} 0.000000    0.000000    7.000000\n" for label in ("Q", "DA", "H :", "Cl>"))
    text = texts.single_point().replace(
        "\n\n----------------------------\n", f"\n{extra}\n----------------------------\n", 1
    )
    assert "7.000000" in text
    assert read(text).geometry == read(texts.single_point()).geometry


def test_the_last_run_of_a_file_counts(read: Read) -> None:
    good, bad = texts.single_point(energy=-76.1), texts.failed_optimisation()
    found = read(bad + "\nsrun: something\n" + good)
    assert (found.failure, found.energy_hartree, found.optimization) == (None, -76.1, None)
    assert read(good + bad).failure is FailureClass.GEOMETRY_NOT_CONVERGED
    assert read(good + texts.head()).failure is FailureClass.TRUNCATED


def test_what_a_script_prints_after_the_end_changes_nothing(read: Read) -> None:
    after = "real 1m15s\nslurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n"
    assert read("Begin on node n1\n" + texts.single_point() + after).failure is None


@pytest.mark.parametrize("energy", [-20006124.303127218038, 9.9e7, -1e3])
def test_an_absurd_energy_is_a_failure_though_the_run_ends_normally(read: Read, energy: float) -> None:
    found = read(texts.single_point(energy=energy))
    assert (found.ended, found.failure, found.energy_hartree) == ("normal", FailureClass.BLOWN_UP, energy)
    assert found.evidence is not None
    assert found.evidence.text.startswith("FINAL SINGLE POINT ENERGY")
    assert found.converged is False


@pytest.mark.parametrize("word", ["nan", "-nan", "inf", "****************"])
def test_an_energy_that_is_no_number_is_absurd(read: Read, word: str) -> None:
    found = read(texts.single_point().replace(texts.end(), f"FINAL SINGLE POINT ENERGY   {word}\n{texts.end()}"))
    assert (found.failure, found.energy_hartree) == (FailureClass.BLOWN_UP, None)


def test_the_sum_of_times_stands_in_for_the_wall_time(read: Read) -> None:
    found = read(texts.head() + texts.times(3.5))
    assert (found.ended, found.wall_time_s) == ("truncated", 3.5)
    assert read(texts.head() + "Sum of individual times     ....       1.529 sec  ( 85.3%)\n").wall_time_s is None


def test_gzipped_and_not_is_the_same(read: Read, tmp_path: Path) -> None:
    packed = tmp_path / "job.out.gz"
    packed.write_bytes(gzip.compress(texts.optimisation().encode()))
    assert ENGINE.report(packed) == read(texts.optimisation())


def test_outputs_are_told_by_their_beginning() -> None:
    assert ENGINE.recognises(texts.single_point().encode())
    assert ENGINE.recognises(b"job 12 begins\n" + texts.head("6.1.0").encode())
    assert not ENGINE.recognises(b"Program PWSCF v.7.2 starts")
    assert not ENGINE.recognises(b"")


def test_the_main_output_of_a_directory_is_never_that_of_an_atom() -> None:
    names = [
        "job_atom95.out",
        "_atom1.out.gz",
        "slurm-12.out",
        "water.out",
        "orca.out.gz",
        "job.inp",
        "job.gbw",
        "logs",
        "flux-ƒ2.out",
    ]
    assert ENGINE.main_output(names) == ["orca.out.gz", "water.out", "flux-ƒ2.out", "logs", "slurm-12.out"]
    assert ENGINE.main_output(["calc.out", "stdout", "other.log"]) == ["calc.out", "stdout", "other.log"]
    assert ENGINE.main_output([]) == []


def test_what_cannot_be_read_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ENGINE.report(tmp_path / "none.out")
    with pytest.raises(OSError, match="regular file"):
        ENGINE.report(tmp_path)
