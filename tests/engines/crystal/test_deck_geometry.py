import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.io import write
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from penstock.domain.geometry import Geometry, format_geometry, parse_geometry
from penstock.engines.crystal.deck import Deck, parse_deck, render_deck
from penstock.engines.crystal.deck_geometry import FinalGeometry, at_geometry, deck_of_geometry, geometry_block
from penstock.engines.crystal.symmetry import layer_setting, operations
from penstock.recipes.structures.ase_frames import read_cif_frames
from penstock.recipes.structures.frame import Place

from .decks import EXPLICIT, FREQUENCIES, OPTIMISATION, SLAB, sample_texts, with_samples

CUTOFF = 5.0137


class Case(NamedTuple):
    space_group: int
    cell: list[float]
    symbols: list[str]
    sites: list[tuple[float, float, float]]
    setting: int = 1
    parameters: int = 1  # how many cell parameters the deck has
    irreducible: int = 1


CRYSTALS = {
    "diamond": Case(227, [3.567] * 3 + [90] * 3, ["C"], [(0, 0, 0)]),
    "rock salt": Case(225, [5.64] * 3 + [90] * 3, ["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], irreducible=2),
    "zinc blende": Case(216, [5.41] * 3 + [90] * 3, ["Zn", "S"], [(0, 0, 0), (0.25, 0.25, 0.25)], irreducible=2),
    "pyrite": Case(205, [5.417] * 3 + [90] * 3, ["Fe", "S"], [(0, 0, 0), (0.384, 0.384, 0.384)], irreducible=2),
    "iron": Case(229, [2.866] * 3 + [90] * 3, ["Fe"], [(0, 0, 0)]),
    "spinel": Case(
        227,
        [8.08] * 3 + [90] * 3,
        ["Mg", "Al", "O"],
        [(0.125, 0.125, 0.125), (0.5, 0.5, 0.5), (0.2624, 0.2624, 0.2624)],
        setting=2,
        irreducible=3,
    ),
    "rutile": Case(
        136, [4.594, 4.594, 2.958, 90, 90, 90], ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], parameters=2, irreducible=2
    ),
    "anatase": Case(
        141,
        [3.785, 3.785, 9.514, 90, 90, 90],
        ["Ti", "O"],
        [(0, 0, 0), (0, 0, 0.2081)],
        parameters=2,
        irreducible=2,
    ),
    "wurtzite": Case(
        186,
        [3.25, 3.25, 5.207, 90, 90, 120],
        ["Zn", "O"],
        [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.382)],
        parameters=2,
        irreducible=2,
    ),
    "quartz": Case(
        152,
        [4.916, 4.916, 5.405, 90, 90, 120],
        ["Si", "O"],
        [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.4524)],
        parameters=2,
        irreducible=2,
    ),
    "corundum": Case(
        167,
        [4.759, 4.759, 12.991, 90, 90, 120],
        ["Al", "O"],
        [(0, 0, 0.3523), (0.3064, 0, 0.25)],
        parameters=2,
        irreducible=2,
    ),
    "cementite": Case(
        62,
        [5.091, 6.7434, 4.526, 90, 90, 90],
        ["Fe", "Fe", "C"],
        [(0.18, 0.06, 0.33), (0.04, 0.25, 0.86), (0.88, 0.25, 0.44)],
        parameters=3,
        irreducible=3,
    ),
    "gallium": Case(64, [4.519, 7.657, 4.526, 90, 90, 90], ["Ga"], [(0, 0.1549, 0.081)], parameters=3),
    "thenardite": Case(
        70,
        [9.829, 12.302, 5.868, 90, 90, 90],
        ["Na", "S", "O"],
        [(0.125, 0.4417, 0.125), (0.125, 0.125, 0.125), (0.2137, 0.0568, 0.4855)],
        setting=2,
        parameters=3,
        irreducible=3,
    ),
    "barium titanate": Case(
        38,
        [3.98, 5.66, 5.69, 90, 90, 90],
        ["Ba", "Ti", "O", "O"],
        [(0, 0, 0), (0.5, 0, 0.51), (0, 0, 0.49), (0.5, 0.253, 0.237)],
        parameters=3,
        irreducible=4,
    ),
    "baddeleyite": Case(
        14,
        [5.151, 5.203, 5.316, 90, 99.2, 90],
        ["Zr", "O", "O"],
        [(0.2758, 0.0411, 0.2082), (0.0703, 0.3359, 0.3406), (0.4496, 0.7568, 0.4792)],
        parameters=4,
        irreducible=3,
    ),
    "tenorite": Case(
        15,
        [4.684, 3.423, 5.129, 90, 99.5, 90],
        ["Cu", "O"],
        [(0.25, 0.25, 0), (0, 0.4184, 0.25)],
        parameters=4,
        irreducible=2,
    ),
    "boric acid": Case(
        2,
        [7.04, 7.05, 6.58, 92.6, 101.2, 119.8],
        ["B", "O"],
        [(0.646, 0.427, 0.258), (0.424, 0.302, 0.261)],
        parameters=6,
        irreducible=2,
    ),
    "no symmetry": Case(
        1, [4.1, 5.2, 6.3, 81, 95, 103], ["Li", "F"], [(0.1, 0.2, 0.3), (0.61, 0.73, 0.87)], parameters=6, irreducible=2
    ),
}


def atoms_of(case: Case) -> Atoms:
    with warnings.catch_warnings(action="ignore"):
        return crystal(case.symbols, case.sites, spacegroup=case.space_group, setting=case.setting, cellpar=case.cell)


def block_of(atoms: Atoms) -> str:
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )


def back(block: str) -> Atoms:
    geometry = parse_geometry(block)
    lattice = [[0.0] * 3] * 3 if geometry.lattice is None else geometry.lattice
    return Atoms(geometry.symbols, geometry.positions, cell=lattice, pbc=geometry.pbc)


def deck_with(block: str, text: str = OPTIMISATION) -> Deck:
    deck = parse_deck(text)
    return parse_deck(
        render_deck(Deck("t", deck_of_geometry("t", block), (), deck.end, deck.basis, deck.scf, deck.scf_end))
    )


def space_group(atoms: Atoms) -> int:
    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    with warnings.catch_warnings(action="ignore"):
        dataset = spglib.get_symmetry_dataset(cell, 1e-3)
    assert dataset is not None
    return int(dataset.number)


def distances(atoms: Atoms, first: int, second: int) -> np.ndarray:
    i, j, d = neighbor_list("ijd", atoms, CUTOFF)
    return np.sort(d[(atoms.numbers[i] == first) & (atoms.numbers[j] == second)])


def assert_same_crystal(one: Atoms, other: Atoms, tolerance: float = 1e-5) -> None:
    """Equal up to a rotation, a shift and the choice of the cell; `one` has as many atoms, or a multiple."""
    times = len(one) // len(other)
    assert len(one) == times * len(other)
    assert one.get_volume() == pytest.approx(times * other.get_volume(), rel=1e-6)
    assert space_group(one) == space_group(other)
    for first in set(one.numbers.tolist()):
        for second in set(one.numbers.tolist()):
            expected = distances(one, first, second)
            found = np.repeat(distances(other, first, second), times)
            assert len(found) == len(expected)
            assert np.abs(found - expected).max(initial=0.0) < tolerance


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_crystal_goes_from_cif_into_a_deck_and_comes_back_the_same(name: str, tmp_path: Path) -> None:
    case = CRYSTALS[name]
    atoms = atoms_of(case)
    write(tmp_path / "x.cif", atoms, format="cif")
    (frame,) = read_cif_frames(tmp_path / "x.cif", Place())
    assert frame.error is None
    deck = deck_with(frame.text)
    geometry = deck.geometry
    assert (geometry.kind, geometry.group_number) == ("CRYSTAL", case.space_group)
    assert geometry.cell is not None
    assert (len(geometry.cell.values), len(geometry.atoms)) == (case.parameters, case.irreducible)
    assert_same_crystal(atoms, back(geometry_block(deck)), 2e-4)


@pytest.mark.parametrize("name", CRYSTALS)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1))
def test_neither_the_cell_nor_the_orientation_nor_the_origin_matters(name: str, seed: int) -> None:
    case = CRYSTALS[name]
    atoms = atoms_of(case)
    random = np.random.default_rng(seed)
    turned = atoms[random.permutation(len(atoms))]
    turned.positions += random.uniform(-3, 3, 3)
    transformation = np.array([[1, random.integers(-1, 2), 0], [0, 1, random.integers(-1, 2)], [0, 0, 1]])
    turned.set_cell(transformation @ atoms.cell.array, scale_atoms=False)
    rotation = Rotation.from_rotvec(random.uniform(-2, 2, 3)).as_matrix()
    turned.set_cell(turned.cell.array @ rotation.T, scale_atoms=False)
    turned.positions = turned.positions @ rotation.T
    deck = deck_with(block_of(turned))
    assert deck.geometry.group_number == case.space_group
    assert len(deck.geometry.atoms) == case.irreducible
    assert_same_crystal(atoms, back(geometry_block(deck)))


def test_the_origin_is_at_the_inversion_and_atoms_are_exactly_on_their_sites() -> None:
    (atom,) = deck_with(block_of(atoms_of(CRYSTALS["diamond"]))).geometry.atoms
    assert {abs(x * 8) % 2 for x in atom.coordinates} == {1.0}
    silicon, _ = deck_with(block_of(atoms_of(CRYSTALS["quartz"]))).geometry.atoms
    assert "0.000000000000" in silicon.position or len(set(silicon.position)) < 3


def test_a_crystal_with_an_atom_twice_is_refused() -> None:
    block = '2\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\nLi 0 0 0\nLi 0 0 0\n'
    with pytest.raises(ValueError, match=r"^twins: spglib finds no symmetry within 0.001 Å"):
        deck_of_geometry("twins", block)


def test_a_molecule_is_given_as_it_is() -> None:
    block = "2\n\nO 0.1 0.2 0.3\nH 0.1 0.2 1.26\n"
    deck = deck_with(block, EXPLICIT)
    assert (deck.geometry.kind, deck.geometry.group_number, deck.geometry.cell) == ("MOLECULE", 1, None)
    assert [atom.number for atom in deck.geometry.atoms] == [8, 1]
    assert parse_geometry(geometry_block(deck)) == parse_geometry(block)


LATTICE = [[2.4, 0.3, 0.1], [0.2, 3.1, -0.4], [0.3, 0.2, 9.0]]


@pytest.mark.parametrize(
    ("pbc", "kind", "parameters"),
    [
        ((True, True, False), "SLAB", 3),
        ((True, False, True), "SLAB", 3),
        ((False, True, True), "SLAB", 3),
        ((True, False, False), "POLYMER", 1),
        ((False, False, True), "POLYMER", 1),
    ],
)
def test_slabs_and_polymers_come_back_the_same(pbc: tuple[bool, bool, bool], kind: str, parameters: int) -> None:
    block = format_geometry(["C", "O", "H"], [[0, 0, 0], [1.1, 0.3, 0.2], [-0.9, 0.4, 0.7]], LATTICE, pbc)
    deck = deck_with(block)
    assert (deck.geometry.kind, deck.geometry.group_number) == (kind, 1)
    assert deck.geometry.cell is not None
    assert len(deck.geometry.cell.values) == parameters
    one, other = back(block), back(geometry_block(deck))
    for first in one.numbers.tolist():
        for second in one.numbers.tolist():
            assert np.allclose(distances(one, first, second), distances(other, first, second), atol=1e-6)
    assert parse_geometry(geometry_block(deck)).pbc == tuple(axis < sum(pbc) for axis in range(3))


def test_mirror_images_stay_apart() -> None:
    """A left-handed frame of periodic vectors makes no left hand of a right one."""
    positions = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.1, 0.0], [0.0, 0.0, 1.2]]
    for pbc in ((True, True, False), (True, False, True), (False, True, True), (False, True, False)):
        block = format_geometry(["C", "O", "N", "F"], positions, [[30, 0, 0], [0, 30, 0], [0, 0, 30]], pbc)
        atoms = back(geometry_block(deck_with(block)))
        vectors = atoms.get_distances(0, [1, 2, 3], mic=True, vector=True)
        assert np.linalg.det(vectors) == pytest.approx(1.32)


@pytest.mark.parametrize(
    ("group", "cell", "site", "atoms"),
    [
        (80, "2.46", "0.33333333 0.66666667 0.", [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0)]),
        (78, "3.16", "0.66666667 0.33333333 -1.56", [(2 / 3, 1 / 3, -1.56), (2 / 3, 1 / 3, 1.56)]),
        (72, "3.63", "0.33333333 0.66666667 1.56", [(1 / 3, 2 / 3, 1.56), (2 / 3, 1 / 3, -1.56)]),
        (61, "4.", "0. 0.5 2.", [(0, 0.5, 2), (0.5, 0, 2), (0, 0.5, -2), (0.5, 0, -2)]),
        (2, "3. 4. 100.", "0.1 0.2 0.3", [(0.1, 0.2, 0.3), (0.9, 0.8, -0.3)]),
        (7, "3. 4. 100.", "0.1 0.2 0.3", [(0.1, 0.2, 0.3), (0.9, 0.8, -0.3), (0.4, 0.8, 0.3), (0.6, 0.2, -0.3)]),
    ],
)
def test_layers_of_hexagonal_square_and_oblique_groups_have_all_their_atoms(
    group: int, cell: str, site: str, atoms: list[tuple[float, float, float]]
) -> None:
    head, tail = SLAB.split("1\n2.46", 1)
    text = f"{head}{group}\n{cell}\n1\n6 {site}\n{tail[tail.index('END') :]}"
    found = back(geometry_block(parse_deck(text)))
    inverse = np.linalg.inv(found.cell.array[:2, :2])
    fractional = [(*(position[:2] @ inverse), position[2]) for position in found.positions]
    assert len(fractional) == len(atoms)
    for expected in atoms:
        assert min(np.abs(np.array(expected) - place).max() for place in fractional) < 1e-6


def test_the_operations_of_layers_leave_the_layer_where_it_is() -> None:
    for group in range(2, 81):
        setting = layer_setting(group)
        assert (setting is None) == (8 <= group <= 48 or group in {52, 62, 64})
        if setting is not None:
            rotations, translations = operations(setting)
            assert not translations[:, 2].any()
            assert (np.abs(rotations[:, 2]) == [0, 0, 1]).all()
            assert not rotations[:, :2, 2].any()


def test_symmetry_that_cannot_be_applied_leaves_the_irreducible_atoms() -> None:
    rectangular = parse_deck(SLAB.replace("SLAB\n1\n2.46 2.46 120.", "SLAB\n37\n2.46 4.26"))
    assert parse_geometry(geometry_block(rectangular)).symbols == ["C", "C"]
    shifted = parse_deck(OPTIMISATION.replace("0 0 0\n225", "0 0 2\n225\n6 6 6"))
    assert parse_geometry(geometry_block(shifted)).symbols == ["Na", "Cl"]


@pytest.mark.parametrize(
    ("flags", "group", "cell", "site", "natoms"),
    [
        ("0 0 0", "227", "3.57", "0.125 0.125 0.125", 2),
        ("0 0 1", "227", "3.57", "0. 0. 0.", 2),
        ("1 0 0", "F D 3 M", "3.57", "0.125 0.125 0.125", 2),
        ("1 0 0", "F D -3 M", "3.57", "0.125 0.125 0.125", 2),
        ("0 0 0", "166", "3.76 10.55", "0. 0. 0.2336", 2),
        ("0 1 0", "166", "4.13 54.1", "0.2336 0.2336 0.2336", 2),
        ("1 0 0", "P 21/C", "5.1 5.2 5.3 99.", "0.1 0.2 0.3", 4),
        ("1 0 0", "P 1 21/C 1", "5.1 5.2 5.3 99.", "0.1 0.2 0.3", 4),
        ("1 0 0", "P 1 1 21/B", "5.1 5.2 5.3 99.", "0.1 0.2 0.3", 4),
        ("1 0 0", "P 63/M M C", "2.5 6.7", "0. 0. 0.25", 2),
    ],
)
def test_settings_and_symbols_are_understood(flags: str, group: str, cell: str, site: str, natoms: int) -> None:
    head, tail = OPTIMISATION.split("0 0 0\n225", 1)
    text = f"{head}{flags}\n{group}\n{cell}\n1\n6 {site}\n{tail[tail.index('OPTGEOM') :]}"
    geometry = parse_geometry(geometry_block(parse_deck(text)))
    assert len(geometry.symbols) == natoms


def test_diamond_is_the_same_in_both_settings() -> None:
    texts = [
        OPTIMISATION.replace("11 0.0 0.0 0.0", f"6 {site} {site} {site}")
        .replace("\n2\n", "\n1\n", 1)
        .replace("17 0.5 0.5 0.5 Biso 1.0 Cl\n", "")
        .replace("0 0 0\n225", f"{flags}\n227")
        for flags, site in (("0 0 0", 0.125), ("0 0 1", 0.0))
    ]
    one, other = (back(geometry_block(parse_deck(text))) for text in texts)
    assert space_group(one) == 227
    assert_same_crystal(one, other)


def test_what_has_no_atoms_of_elements_is_refused() -> None:
    with pytest.raises(ValueError, match="EXTERNAL: the atoms of this deck are in another file"):
        geometry_block(parse_deck("t\nEXTERNAL\nEND\n" + EXPLICIT.split("END\n", 1)[1]))
    with pytest.raises(ValueError, match="conventional number 200 is no element"):
        geometry_block(parse_deck(SLAB.replace("6 0.33333333", "200 0.33333333")))
    with pytest.raises(ValueError, match="'X Y Z' is not known"):
        geometry_block(parse_deck(OPTIMISATION.replace("0 0 0\n225", "1 0 0\nX Y Z")))


@pytest.mark.parametrize("cell", ["0. 5 6 90 90 90", "4 -5 6 90 90 90", "4 5 6 90 90 180.", "4 5 6 30 40 120"])
def test_a_cell_that_cannot_be_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"a cell of .* cannot be"):
        geometry_block(parse_deck(OPTIMISATION.replace("225\n5.63", f"1\n{cell}")))


def test_a_number_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="1e400 is not finite"):
        geometry_block(parse_deck(OPTIMISATION.replace("11 0.0", "11 1e400")))


def test_conventional_numbers_are_of_their_element() -> None:
    geometry = parse_geometry(geometry_block(parse_deck(SLAB.replace("6 0.33333333", "206 0.33333333"))))
    assert geometry.symbols == ["C", "C"]


@with_samples
def test_real_decks_have_the_atoms_that_crystal_counts() -> None:
    natoms = {name: len(_geometry(text).symbols) for name, text in sample_texts(".d12")}
    assert natoms == {
        "1_dia_opt.d12": 2,
        "1_dia_opt_BULK_OPTGEOM.d12": 2,
        "3.4^2T137_BULK_OPTGEOM_TZ.d12": 22,
        "3.4^2T137_opt.d12": 22,
        "3LG_BF4_2x2_Sol_ad.d12": 77,
        "Suflolane_MOLECULE_OPT_symm_HSESOL3C_SOLDEF2MSVP.d12": 15,
        "tryCOF102_sym_BULK_OPTGEOM_DZ_optimized_optimized.d12": 270,
    }


def _geometry(text: str) -> Geometry:
    return parse_geometry(geometry_block(parse_deck(text)))


def test_a_deck_is_brought_to_the_geometry_that_came_out() -> None:
    deck = parse_deck(OPTIMISATION)
    atoms = ((11, 0.0, 0.0, 0.0), (17, 0.5, 0.5, -0.5))
    moved = at_geometry(deck, FinalGeometry(3, (5.7, 5.7, 5.7, 90.0, 90.0, 90.0), atoms))
    old, new = render_deck(deck).splitlines(), render_deck(moved).splitlines()
    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [
        ("5.63", "5.70000000"),
        ("11 0.0 0.0 0.0", "11 0.000000000000 0.000000000000 0.000000000000"),
        ("17 0.5 0.5 0.5 Biso 1.0 Cl", "17 0.500000000000 0.500000000000 -0.500000000000 Biso 1.0 Cl"),
    ]


LAYER = SLAB.replace("SLAB\n1\n2.46 2.46 120.", "SLAB\n80\n2.46")
TETRAGONAL = OPTIMISATION.replace("225\n5.63", "136\n4.6 3.0")
MONOCLINIC = OPTIMISATION.replace("225\n5.63", "14\n5 6 7 99")
RHOMBOHEDRAL = OPTIMISATION.replace("0 0 0\n225\n5.63", "0 1 0\n166\n4.13 54.1")


@pytest.mark.parametrize(
    ("text", "final", "cell"),
    [
        (SLAB, (2.4, 2.5, 500.0, 90.0, 90.0, 119.0), "2.40000000 2.50000000 119.00000000"),
        (LAYER, (2.4, 2.4, 500.0, 90.0, 90.0, 120.0), "2.40000000"),
        (TETRAGONAL, (4.5, 4.5, 2.9, 90.0, 90.0, 90.0), "4.50000000 2.90000000"),
        (MONOCLINIC, (4.5, 5.5, 6.5, 90.0, 98.0, 90.0), "4.50000000 5.50000000 6.50000000 98.00000000"),
        (RHOMBOHEDRAL, (3.7, 3.7, 10.5, 90.0, 90.0, 120.0), "3.70000000 10.50000000"),
    ],
)
def test_of_the_cell_only_what_the_group_leaves_free_is_taken(
    text: str, final: tuple[float, float, float, float, float, float], cell: str
) -> None:
    given_deck = parse_deck(text)
    atoms = tuple((atom.number, 0.0, 0.0, 0.5 * at) for at, atom in enumerate(given_deck.geometry.atoms))
    deck = at_geometry(given_deck, FinalGeometry(given_deck.geometry.dimensionality or 0, final, atoms))
    assert deck.geometry.cell is not None
    assert " ".join(deck.geometry.cell.values) == cell
    assert parse_deck(render_deck(deck)) == deck
    assert deck.geometry.is_rhombohedral is False


def test_a_molecule_has_no_cell_to_take() -> None:
    deck = at_geometry(parse_deck(EXPLICIT), FinalGeometry(0, None, ((2, 0.0, 0.0, 1.5),)))
    assert deck.geometry.atoms[0].coordinates == (0, 0, 1.5)


def test_conventional_numbers_stay_with_their_basis() -> None:
    text = SLAB.replace("6 0.33333333", "206 0.33333333")
    cell = (2.46, 2.46, 500.0, 90.0, 90.0, 120.0)
    two = at_geometry(parse_deck(text), FinalGeometry(2, cell, ((6, 0, 0, 0), (6, 0.5, 0, 0))))
    assert [atom.number for atom in two.geometry.atoms] == [206, 6]
    one = at_geometry(parse_deck(SLAB), FinalGeometry(2, cell, ((6, 0, 0, 0),)))
    assert [atom.number for atom in one.geometry.atoms] == [6]
    with pytest.raises(ValueError, match="cannot tell the basis of an atom with number 6: the deck has 6, 206"):
        at_geometry(parse_deck(text), FinalGeometry(2, cell, ((6, 0, 0, 0),)))


@pytest.mark.parametrize(
    ("text", "final", "said"),
    [
        (FREQUENCIES, FinalGeometry(3, (5, 5, 5, 90, 90, 120), ((14, 0, 0, 0),)), "SUPERCEL would be applied"),
        (SLAB, FinalGeometry(3, (5, 5, 5, 90, 90, 90), ((6, 0, 0, 0),)), "periodic in 2 directions, the geometry in 3"),
        (SLAB, FinalGeometry(2, None, ((6, 0, 0, 0),)), "has no cell"),
        (SLAB, FinalGeometry(2, (5, 5, 5, 90, 90, 90), ()), "has no atoms"),
    ],
)
def test_a_geometry_of_another_kind_is_refused(text: str, final: FinalGeometry, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        at_geometry(parse_deck(text), final)


def test_the_cell_is_what_ase_makes_of_its_parameters() -> None:
    geometry = parse_geometry(geometry_block(parse_deck(SLAB)))
    assert geometry.lattice is not None
    assert np.allclose(geometry.lattice[:2], cellpar_to_cell([2.46, 2.46, 1, 90, 90, 120])[:2])
    assert geometry.lattice[2] == (0, 0, 0)
