"""Directories of runs that other programs started."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.engines.orca import texts

from penstock.domain.calculation import FailureClass
from penstock.engines.foreign import outputs_in, read_directory

ENGRAD = (
    "# Number of atoms\n 1\n# energy in Eh\n -76.3\n# gradient in Eh/bohr\n 0.0\n -0.25\n 0.0\n"
    "# atoms\n 1 0.0 0.0 0.0\n"
)


def test_the_output_is_found_under_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "orca_atom8.out").write_text(texts.single_point(energy=-1.0))
    with gzip.open(tmp_path / "calc.out.gz", "wt") as file:
        file.write(texts.single_point())
    (tmp_path / "notes.log").write_text("nothing")
    outcome = read_directory(tmp_path)
    assert outcome.failure is None
    assert outcome.final_energy_hartree == pytest.approx(texts.ENERGY)
    assert (outcome.files, outcome.geometry) == (["calc.out.gz"], None)


def test_an_optimisation_gives_its_geometry(tmp_path: Path) -> None:
    (tmp_path / "orca.out").write_text(texts.optimisation())
    geometry = read_directory(tmp_path).geometry
    assert geometry is not None
    assert geometry.startswith("3\n")


def test_the_gradient_is_read_from_beside_the_output(tmp_path: Path) -> None:
    (tmp_path / "job.out").write_text(texts.single_point())
    (tmp_path / "job.engrad").write_text(ENGRAD)
    assert read_directory(tmp_path).max_force_hartree_per_bohr == 0.25


def test_where_the_output_is_known_no_other_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_text(texts.single_point())
    (tmp_path / "b.out").write_text("not begun\n")
    assert read_directory(tmp_path, "a.out").failure is None
    assert read_directory(tmp_path, "b.out").failure is FailureClass.OUTPUT_MISSING
    assert read_directory(tmp_path, "gone.out").failure is FailureClass.OUTPUT_MISSING


def test_directories_without_outputs_and_without_themselves(tmp_path: Path) -> None:
    assert outputs_in(["orca.inp", "job.gbw"]) == []
    assert read_directory(tmp_path).failure is FailureClass.OUTPUT_MISSING
    with pytest.raises(FileNotFoundError):
        read_directory(tmp_path / "gone")
