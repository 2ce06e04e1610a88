"""Every sample output, against values read from it by hand."""

from typing import Any, NamedTuple

import pytest
from tests.engines.crystal.outputs import SAMPLES

from penstock.domain.geometry import parse_geometry
from penstock.engines.crystal import output
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.final_geometry import FinalGeometry, at_geometry
from penstock.engines.marker_scan import read_head

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES names no directory of real outputs")


class Expected(NamedTuple):
    version: str
    cores: int
    wall_time_s: float
    converged: bool | None = True
    energy: float | None = None
    cycles: int | None = None
    gradient: float | None = None
    points: int | None = None
    gap: float | None = None
    kind: str | None = None
    natoms: int | None = None
    volume: float | None = None


# energy, points: OPT END; SCF cycles: SCF ENDED; gradient: the last MAX GRADIENT; the rest: the last of its kind
OUTPUTS = {
    "1_dia_opt_BULK_OPTGEOM.out": Expected(
        "17 1.0.2", 32, 73.47, True, -76.21718784637, 6, 0.000091, 3, 6.0010, "unspecified", 2, 11.137269
    ),
    "3.4^2T137_BULK_OPTGEOM_TZ.out": Expected(
        "23 1.0.1", 32, 274.07, True, -837.3554363584, 8, 0.000092, 5, 2.5678, "beta", 22, 163.935930
    ),
    "3LG_BF4_2x2_Sol_ad.out": Expected(
        "23 1.0.1", 60, 230005.70, True, -3156.464933339, 36, 0.000008, 20, None, "conducting", 77
    ),
    "Suflolane_MOLECULE_OPT_symm_HSESOL3C_SOLDEF2MSVP.out": Expected(
        "23 1.0.1", 32, 163.72, True, -703.8741358636, 11, 0.000069, 16, 8.9082, "beta", 15
    ),
    # a single point, whatever its name says; its energy with dispersion
    "tryCOF102_sym_BULK_OPTGEOM_DZ_optimized_optimized.out": Expected(
        "23 1.0.1", 32, 737.26, True, -8769.9714599849, 36, None, None, None, "conducting", 270, 8739.863808
    ),
    "4LG_2x2_AA_opt_HSESOL3C_optimized_charge+potential.out": Expected("23 1.0.1", 28, 2500.04, None),
    "BiI_slab_sym_opt_modified_SLAB_BAND.out": Expected("23 1.0.1", 16, 21.31, None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_sample_reads_as_by_hand(name: str) -> None:
    expected = OUTPUTS[name]
    found = output.report(SAMPLES / name)
    assert (found.ended, found.failure, found.evidence) == ("normal", None, None)
    assert (found.version, found.cores, found.wall_time_s) == expected[:3]
    assert (found.converged, found.energy_hartree, found.scf_cycles) == expected[3:6]
    assert found.max_gradient_hartree_per_bohr == expected.gradient
    assert (found.band_gap_ev, found.band_gap_kind) == (expected.gap, expected.kind)
    assert found.properties.get("volume_angstrom3") == expected.volume
    if expected.points is None:
        assert found.optimization is None
    else:
        assert found.optimization is not None
        assert found.optimization.converged
        assert (found.optimization.cycles, found.optimization.energy_hartree) == (expected.points, expected.energy)
    natoms = len(parse_geometry(found.geometry).symbols) if found.geometry else None
    assert natoms == expected.natoms


def test_every_sample_output_is_in_the_table_and_is_told_from_what_a_scheduler_wrote() -> None:
    told = {path.name for path in SAMPLES.iterdir() if output.recognises(read_head(path))}
    assert told == set(OUTPUTS)
    assert {path.suffix for path in SAMPLES.iterdir() if path.name not in told} == {".d12", ".d3", ".o", ".cif"}


def final_geometry(name: str) -> FinalGeometry:
    found = output.read_output(SAMPLES / name).geometry
    assert found is not None
    return found.crystallographic


def test_the_final_geometry_of_an_optimised_crystal_is_that_of_its_crystallographic_cell() -> None:
    found = final_geometry("3.4^2T137_BULK_OPTGEOM_TZ.out")
    assert found.dimensionality == 3
    assert found.cell == (8.68783131, 8.68783131, 8.68783131, 90.0, 90.0, 90.0)
    assert found.atoms == (
        (6, 0.25, -0.25, -0.25),
        (6, -0.1480644453480, -0.1480644453480, -0.1480644453480),
        (6, 2.539398092274e-20, -0.07800041947831, -0.2171188202575),
    )


def test_the_final_geometries_of_a_slab_and_of_a_molecule() -> None:
    slab = final_geometry("3LG_BF4_2x2_Sol_ad.out")
    molecule = final_geometry("Suflolane_MOLECULE_OPT_symm_HSESOL3C_SOLDEF2MSVP.out")
    assert (slab.dimensionality, len(slab.atoms)) == (2, 77)
    assert slab.cell == (8.49112132, 8.49124311, 500.0, 90.0, 90.0, 120.004602)
    assert slab.atoms[12] == (5, 0.3770589694110, 0.3860533125193, 15.31247581313)
    assert (molecule.dimensionality, molecule.cell, len(molecule.atoms)) == (0, None, 15)
    assert molecule.atoms[1] == (16, 45.54386247093, 50.17280418685, 50.26698009049)


def test_distances_in_the_block_are_those_of_the_output() -> None:
    ase_io = pytest.importorskip("ase.io")
    import io

    found = output.report(SAMPLES / "1_dia_opt_BULK_OPTGEOM.out")
    atoms: Any = ase_io.read(io.StringIO(found.geometry), format="extxyz")
    assert atoms.get_volume() == pytest.approx(11.137269, abs=1e-5)
    assert atoms.get_distance(0, 1, mic=True) == pytest.approx(1.5350, abs=1e-4)


def test_a_deck_at_the_geometry_of_an_output_is_the_one_that_was_made_of_it_by_others() -> None:
    start = parse_deck((SAMPLES / "3.4^2T137_BULK_OPTGEOM_TZ.d12").read_text())
    moved = at_geometry(start, final_geometry("3.4^2T137_BULK_OPTGEOM_TZ.out")).geometry
    made = parse_deck((SAMPLES / "3.4^2T137_opt.d12").read_text()).geometry
    assert moved.cell is not None
    assert made.cell is not None
    assert moved.cell.values == made.cell.values
    for here, there in zip(moved.atoms, made.atoms, strict=True):
        assert here.number == there.number
        assert here.coordinates == pytest.approx(there.coordinates, abs=1e-11)
