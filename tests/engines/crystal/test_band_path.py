import itertools

import numpy as np
import pytest

from penstock.domain.geometry import format_geometry, parse_geometry
from penstock.engines.crystal.band_path import BandPath, band_path
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_geometry import geometry_block
from penstock.engines.crystal.properties_deck import parse_d3
from penstock.engines.crystal.symmetry import operations, primitive_vectors, standard_setting

from .decks import FREQUENCIES, OPTIMISATION, SLAB, sample_texts, with_samples
from .test_deck_geometry import CRYSTALS, atoms_of, block_of, deck_with


def points(path: BandPath) -> dict[str, tuple[float, ...]]:
    """The fractional coordinates of every named point of a path."""
    pairs = zip(path.segments, path.labels, strict=True)
    named = [(label, point) for ends, labels in pairs for point, label in zip(ends, labels, strict=True)]
    return {label: tuple(coordinate / path.shrink for coordinate in point) for label, point in named}


def test_the_path_of_a_face_centred_cell() -> None:
    path = band_path(geometry_block(parse_deck(OPTIMISATION)))
    assert (path.shrink, path.label) == (8, "G-X-W-K-G-L-U-W-L-K|U-X")
    assert points(path) == {
        "G": (0, 0, 0),
        "X": (0.5, 0, 0.5),
        "W": (0.5, 0.25, 0.75),
        "K": (0.375, 0.375, 0.75),
        "L": (0.5, 0.5, 0.5),
        "U": (0.625, 0.25, 0.625),
    }


def test_the_paths_of_slabs_and_polymers() -> None:
    graphene = band_path(geometry_block(parse_deck(SLAB)))
    assert (graphene.shrink, graphene.label) == (6, "G-M-K-G")
    assert all(point[2] == 0 for ends in graphene.segments for point in ends)
    polymer = format_geometry(["C"], [[0, 0, 0]], [[2.5, 0, 0], [0, 0, 0], [0, 0, 0]], [True, False, False])
    assert band_path(polymer) == BandPath(2, (((0, 0, 0), (1, 0, 0)),), (("G", "X"),))


def test_a_slab_that_is_nearly_hexagonal_has_the_path_of_a_hexagonal_one() -> None:
    relaxed = SLAB.replace("2.46 2.46 120.", "2.4600 2.4601 120.004")
    assert band_path(geometry_block(parse_deck(relaxed))).label == "G-M-K-G"


def test_a_molecule_has_no_path() -> None:
    with pytest.raises(ValueError, match="a molecule has no bands"):
        band_path("1\n\nH 0 0 0\n")
    with pytest.raises(ValueError, match="the first two"):
        band_path('1\nLattice="9 0 0 0 2 0 0 0 2" pbc="F T T"\nH 0 0 0\n')


@pytest.mark.parametrize("name", CRYSTALS)
def test_every_point_of_a_path_is_where_symmetry_makes_it_special(name: str) -> None:
    """Each end of a segment has a larger little group than the inside of it, or as large a one.

    The rotations of the space group, brought to CRYSTAL's primitive cell, must act on the path as on a special one: a
    path in another cell's coordinates would be found out.
    """
    case = CRYSTALS[name]
    block = geometry_block(deck_with(block_of(atoms_of(case))))
    path = band_path(block)
    setting = standard_setting(case.space_group)
    vectors = primitive_vectors(setting.centring)
    rotations = [np.linalg.inv(vectors.T) @ rotation @ vectors.T for rotation in operations(setting)[0]]
    rotations = [*rotations, *(-rotation for rotation in rotations)]  # time reversal

    def order(k: np.ndarray) -> int:
        images = (k @ rotation - k for rotation in rotations)
        return sum(
            np.abs(image - np.round(image)).max() < 2.1 / path.shrink * (path.shrink == 120) + 1e-6 for image in images
        )

    assert path.segments
    for start, end in path.segments:
        k0, k1 = np.array(start) / path.shrink, np.array(end) / path.shrink
        inside = order(k0 + 0.3819 * (k1 - k0))
        assert order(k0) >= inside
        assert order(k1) >= inside


@pytest.mark.parametrize("name", ["diamond", "iron", "rutile", "wurtzite", "corundum", "gallium", "tenorite"])
def test_the_ends_of_the_zone_lie_on_its_surface(name: str) -> None:
    """Every named point but G is as near to a reciprocal lattice point as to G: it is on, or in, the first zone."""
    block = geometry_block(deck_with(block_of(atoms_of(CRYSTALS[name]))))
    path = band_path(block)
    reciprocal = np.linalg.inv(np.array(parse_geometry(block).lattice)).T
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ reciprocal
    for label, k in points(path).items():
        cartesian = np.array(k) @ reciprocal
        nearest = np.linalg.norm(shifts - cartesian, axis=1).min()
        assert label == "G" or nearest > 0.2 * np.linalg.norm(reciprocal, axis=1).min()


@with_samples
@pytest.mark.parametrize(
    ("deck_name", "bands_name"),
    [
        ("3.4^2T137_BULK_OPTGEOM_TZ.d12", "3.4^2T137_BULK_OPTGEOM_TZ_band.d3"),
        (
            "tryCOF102_sym_BULK_OPTGEOM_DZ_optimized_optimized.d12",
            "tryCOF102_sym_BULK_OPTGEOM_DZ_optimized_optimized_band.d3",
        ),
    ],
)
def test_the_paths_of_real_decks_go_by_the_same_points(deck_name: str, bands_name: str) -> None:
    """What a real deck calls special is special here too, but for points that it rounds to a coarser net."""
    ours = points(band_path(geometry_block(parse_deck(dict(sample_texts(".d12"))[deck_name]))))
    title, header, *segments = parse_d3(dict(sample_texts(".d3"))[bands_name]).entries[0].lines
    shrink = int(header.split()[1])
    labels = title.rpartition(" - ")[2].replace("-|-", "|").split("|")
    names = [pair for part in labels for pair in itertools.pairwise(part.strip("-").split("-"))]
    theirs: dict[str, tuple[float, ...]] = {}
    for (start, end), segment in zip(names, segments, strict=False):
        numbers = [int(number) / shrink for number in segment.split()[:6]]
        theirs |= {start: tuple(numbers[:3]), end: tuple(numbers[3:])}
    shared = set(ours) & set(theirs)
    assert {"G", "L", "X"} <= shared or {"G", "H", "N", "P"} <= shared
    for name in shared:
        assert np.abs(np.array(ours[name]) - theirs[name]).max() < 0.5 / shrink + 1e-9, name


def test_a_coarse_net_is_used_where_points_depend_on_angles() -> None:
    block = geometry_block(deck_with(block_of(atoms_of(CRYSTALS["baddeleyite"]))))
    assert band_path(block).shrink == 120
    assert band_path(block, 48).shrink == 48
    assert band_path(geometry_block(parse_deck(FREQUENCIES))).shrink == 6
