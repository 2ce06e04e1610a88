"""The stand-in for ORCA: its gradient is that of its energy, and its failures are mended by what mends ORCA's."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

STANDIN = Path(__file__).with_name("orca")
WATER = "O 0.0 0.0 0.119\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477\n"
NORMAL = "****ORCA TERMINATED NORMALLY****"


def orca(directory: Path, head: str, atoms: str = WATER, spin: int = 1) -> subprocess.CompletedProcess[str]:
    (directory / "job.inp").write_text(f"{head}\n* xyz 0 {spin}\n{atoms}*\n")
    return subprocess.run([str(STANDIN), "job.inp"], cwd=directory, capture_output=True, text=True, check=False)


def energies(out: str) -> list[float]:
    return [float(text) for text in re.findall(r"FINAL SINGLE POINT ENERGY +(\S+)", out)]


def gradient_of(directory: Path) -> list[float]:
    numbers = [line for line in (directory / "job.engrad").read_text().splitlines() if not line.startswith("#")]
    return [float(text) for text in numbers[2 : 2 + 3 * int(numbers[0])]]


def test_the_gradient_is_that_of_the_energy(tmp_path: Path) -> None:
    assert NORMAL in orca(tmp_path, "! HF STO-3G EnGrad").stdout
    gradient = gradient_of(tmp_path)
    for step, sign in ((1e-4, 1), (-1e-4, -1)):
        moved = WATER.replace("0.763", f"{0.763 + step:.6f}", 1)
        [energy] = energies(orca(tmp_path, "! HF STO-3G", moved).stdout)
        [before] = energies(orca(tmp_path, "! HF STO-3G").stdout)
        assert (energy - before) / 1e-4 * 0.529177210903 * sign == pytest.approx(gradient[4], rel=1e-2)


def test_an_optimisation_ends_at_a_minimum_and_leaves_its_files(tmp_path: Path) -> None:
    out = orca(tmp_path, "! HF STO-3G Opt").stdout
    assert NORMAL in out
    assert "THE OPTIMIZATION HAS CONVERGED" in out
    assert max(map(abs, gradient_of(tmp_path))) < 3e-4
    assert energies(out)[-1] == min(energies(out))
    frames = (tmp_path / "job_trj.xyz").read_text().count("Coordinates from ORCA-job job E ")
    assert frames == len(energies(out)) - 1


@pytest.mark.parametrize(
    ("scenario", "told", "mended"),
    [
        ("scf", "SCF NOT CONVERGED AFTER 125 CYCLES", "! HF STO-3G SlowConv"),
        ("scf-cycles=300", "SCF NOT CONVERGED", "! HF STO-3G\n%scf\n  MaxIter 300\nend"),
        ("memory=2000", "Please increase MaxCore to more than:       2000.0 MB", "! HF STO-3G\n%maxcore 2000"),
        ("mpi=4", "orca_gtoint", "! HF STO-3G PAL4"),
        ("blown-up", NORMAL, "! HF STO-3G SlowConv"),
    ],
)
def test_a_failure_is_mended_by_what_mends_it(tmp_path: Path, scenario: str, told: str, mended: str) -> None:
    comment = f"# standin: {scenario}\n"
    failed = orca(tmp_path, f"{comment}! HF STO-3G\n%pal nprocs 8 end")
    assert told in failed.stdout + failed.stderr
    assert (failed.returncode == 0) == (scenario == "blown-up")
    good = orca(tmp_path, comment + mended)
    assert good.returncode == 0
    assert NORMAL in good.stdout
    assert energies(good.stdout) == energies(orca(tmp_path, "! HF STO-3G").stdout)


def test_an_optimisation_goes_on_from_orbitals_of_an_earlier_run(tmp_path: Path) -> None:
    comment = "# standin: geometry\n"
    failed = orca(tmp_path, f"{comment}! HF STO-3G Opt")
    assert "did not converge but reached the maximum" in failed.stdout
    assert NORMAL in failed.stdout  # as with ORCA itself
    (tmp_path / "job.gbw").rename(tmp_path / "before.gbw")
    good = orca(tmp_path, f'{comment}! HF STO-3G Opt MORead\n%moinp "before.gbw"')
    assert "THE OPTIMIZATION HAS CONVERGED" in good.stdout
    assert orca(tmp_path, '! HF STO-3G MORead\n%moinp "gone.gbw"').returncode != 0
    assert orca(tmp_path, '! HF STO-3G MORead\n%moinp "job.gbw"').returncode != 0


@pytest.mark.parametrize(
    ("scenario", "told"),
    [
        ("basis", "The basis set was either not assigned or not available for this element"),
        ("crash", "ORCA finished by error termination in GTOInt"),
        ("input", "UNRECOGNIZED OR DUPLICATED KEYWORD(S) IN SIMPLE INPUT LINE"),
        ("disk", "No space left on device"),
    ],
)
def test_a_failure_that_nothing_mends(tmp_path: Path, scenario: str, told: str) -> None:
    failed = orca(tmp_path, f"! HF STO-3G SlowConv # standin: {scenario}")
    assert failed.returncode > 0
    assert told in failed.stdout + failed.stderr
    assert NORMAL not in failed.stdout


@pytest.mark.parametrize(("scenario", "code"), [("truncated", 0), ("killed", -signal.SIGKILL)])
def test_an_output_that_stops_without_a_word(tmp_path: Path, scenario: str, code: int) -> None:
    failed = orca(tmp_path, f"! HF STO-3G # standin: {scenario}")
    assert failed.returncode == code
    assert not failed.stdout.endswith("\n\n")
    assert "error" not in failed.stdout.lower()


def test_a_multiplicity_that_the_electrons_cannot_have(tmp_path: Path) -> None:
    failed = orca(tmp_path, "! HF STO-3G", spin=2)
    assert failed.returncode > 0
    assert "multiplicity (2) is even and number of electrons (10) is even -> impossible" in failed.stdout


@pytest.mark.parametrize("noble", ["He", "Ne", "Xe", "Rn"])
def test_a_noble_gas_chooses_a_failure(tmp_path: Path, noble: str) -> None:
    assert orca(tmp_path, "! HF STO-3G", f"{noble} 0 0 0\n").returncode > 0
