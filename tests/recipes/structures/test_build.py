"""What a table describes is built: the right atoms, the same every time, each by its name; or refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import get_distances

from penstock.domain.build_table import BuildTable
from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import check_source, first_structure, read_chunk
from penstock.recipes.structures.build import build_structures, render_built

ORDERINGS = BuildTable(elements=("Cu", "Au"), lattices=("fcc",), max_atoms=4)


def built(**table: Any) -> dict[str, Atoms]:
    found = {}
    for name, geometry in build_structures(BuildTable(**table)):
        symbols, positions, lattice, pbc = parse_geometry(geometry)
        found[name] = Atoms(symbols, positions=positions, cell=lattice, pbc=pbc)
    return found


def nearest_distance(atoms: Atoms) -> float:
    repeated = atoms.repeat(3)
    lengths = get_distances(repeated.positions, cell=repeated.cell, pbc=True)[1]
    return float(lengths[lengths > 1e-6].min())


@pytest.mark.parametrize("symbol", ["Si", "Cu", "Fe", "Ti"])
def test_an_element_is_in_its_reference_state(symbol: str) -> None:
    [(name, atoms)] = built(system=symbol).items()
    expected = bulk(symbol)
    assert name.startswith(f"{symbol}-")
    assert atoms.symbols.get_chemical_formula() == expected.symbols.get_chemical_formula()
    assert atoms.get_volume() == pytest.approx(expected.get_volume())
    assert nearest_distance(atoms) == pytest.approx(nearest_distance(expected))


def test_lattice_parameters_are_those_of_the_conventional_cell() -> None:
    [atoms] = built(system="Si", prototype="diamond", a_angstrom=5.5).values()
    assert atoms.get_volume() / len(atoms) == pytest.approx(5.5**3 / 8)
    assert nearest_distance(atoms) == pytest.approx(5.5 * 3**0.5 / 4)
    [same] = built(system="Si", a_angstrom=5.5).values()
    assert same == atoms
    [hexagonal] = built(system="ZnO", prototype="wurtzite", a_angstrom=3.25, c_angstrom=5.2).values()
    assert hexagonal.get_volume() == pytest.approx(3.25**2 * 5.2 * 3**0.5 / 2)


@pytest.mark.parametrize(
    ("system", "prototype", "a_angstrom", "counts", "distance"),
    [
        ("NaCl", "rocksalt", 5.64, {"Na": 1, "Cl": 1}, 5.64 / 2),
        ("Cu3Au", "L1_2", 3.75, {"Cu": 3, "Au": 1}, 3.75 / 2**0.5),
        ("AuCu3", "L1_2", 3.75, {"Cu": 3, "Au": 1}, 3.75 / 2**0.5),
        ("CuAu3", "L1_2", 3.98, {"Cu": 1, "Au": 3}, 3.98 / 2**0.5),
        ("CaF2", "fluorite", 5.46, {"Ca": 1, "F": 2}, 5.46 * 3**0.5 / 4),
        ("NiAl", "B2", 2.887, {"Ni": 1, "Al": 1}, 2.887 * 3**0.5 / 2),
    ],
)
def test_a_formula_in_a_prototype(
    system: str, prototype: str, a_angstrom: float, counts: dict[str, int], distance: float
) -> None:
    [(name, atoms)] = built(system=system, prototype=prototype, a_angstrom=a_angstrom).items()
    assert name == f"{system}-{prototype}"
    cells = len(atoms) // sum(counts.values())
    assert Counter(atoms.get_chemical_symbols()) == {symbol: cells * count for symbol, count in counts.items()}
    assert nearest_distance(atoms) == pytest.approx(distance)


def test_prototypes_of_a_set_of_elements_are_all_that_differ() -> None:
    found = built(elements=("Ni", "Al"), prototypes=("fcc", "L1_2", "L1_0", "B2"))
    assert list(found) == ["Ni-fcc", "Al-fcc", "Ni3Al-L1_2", "NiAl3-L1_2", "NiAl-L1_0", "NiAl-B2"]
    three = built(elements=("Ni", "Al", "Ti"), prototypes=("B2",))
    assert list(three) == ["NiAl-B2", "NiTi-B2", "AlTi-B2"]


def test_orderings_have_every_composition_their_cells_allow_and_no_name_twice() -> None:
    found = built(elements=("Cu", "Au"), lattices=("fcc",), max_atoms=4)
    assert max(map(len, found.values())) == 4
    shares = {atoms.get_chemical_symbols().count("Au") / len(atoms) for atoms in found.values()}
    assert shares == {0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1}
    assert {name.split("-")[0] for name in found} == {"fcc"}
    assert len(found) == 29  # with cells of 1 to 4 atoms: 2, 2, 6 and 19 (Hart and Forcade 2008, table I)
    assert min(map(nearest_distance, found.values())) > 2.4


def test_references_are_added_where_they_are_missing() -> None:
    assert (
        built(elements=("Cu", "Au"), lattices=("fcc",), references=True).keys()
        == built(elements=("Cu", "Au"), lattices=("fcc",)).keys()
    )
    found = built(elements=("Fe", "Al"), prototypes=("B2", "fcc"), references=True)
    assert list(found) == ["FeAl-B2", "Fe-fcc", "Al-fcc", "Fe-bcc"]


def test_the_same_table_gives_the_same_in_any_process() -> None:
    program = f"""
from penstock.domain.build_table import BuildTable
from penstock.recipes.structures.build import build_structures, render_built
print(render_built(build_structures({ORDERINGS!r})), end="")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == render_built(build_structures(ORDERINGS))


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_what_is_written_reads_like_what_is_built(tmp_path: Path, limit: int) -> None:
    source = StructureSource(build=ORDERINGS, charge=0, multiplicity=None)
    path = tmp_path / "built.extxyz"
    path.write_text(render_built(build_structures(ORDERINGS)))
    check_source(source, None)
    check_source(source, path)
    chunks: dict[str, list[tuple[int, str, str]]] = {}
    for place in ("", str(path)):
        chunks[place], cursor, done = [], "", False
        while not done:
            chunk = read_chunk(source, place, cursor, limit)
            assert not chunk.rejected
            chunks[place] += [(s.orig_index, s.name, s.geometry) for s in chunk.structures]
            cursor, done = chunk.cursor, chunk.done
    assert chunks[""] == chunks[str(path)]
    assert [(name, geometry) for _, name, geometry in chunks[""]] == list(build_structures(ORDERINGS))


def test_what_was_built_and_is_gone_is_not_built_again(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no file or folder"):
        read_chunk(StructureSource(build=ORDERINGS), str(tmp_path / "built.extxyz"), "", 10)


def test_charge_and_multiplicity_are_those_of_the_table() -> None:
    copper = BuildTable("Cu")
    assert first_structure(StructureSource(build=copper, multiplicity=4), None).multiplicity == 4
    assert first_structure(StructureSource(build=copper), None).multiplicity == 2
    with pytest.raises(SpecError, match="of what is built can be taken in; line 1: 2 unpaired electrons"):
        check_source(StructureSource(build=copper, multiplicity=3), None)


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"system": "SiO2"}, "system", "has no prototype here that is known to be right; give prototype = ... ("),
        ({"system": "NaCl"}, "system", 'give prototype = "rocksalt" ('),
        ({"system": "O"}, "system", "the reference state of O is a gas; give a file of your own as the source"),
        (
            {"system": "NaCl", "prototype": "rocksal"},
            "prototype",
            "no prototype 'rocksal'; did you mean 'rocksalt'?",
        ),
        ({"system": "NaCl", "prototype": "?"}, "prototype", "there is no prototype '?'; known: "),
        ({"system": "NaCl", "prototype": "diamond"}, "prototype", "diamond takes 1 different elements, and NaCl has 2"),
        ({"system": "SiO2", "prototype": "rocksalt"}, "prototype", "SiO2 cannot be rocksalt: that would be SiO"),
        ({"system": "AB2".replace("A", "Ca").replace("B", "F"), "prototype": "L1_2"}, "prototype", "Ca3F or CaF3"),
        (
            {"elements": ("Ni", "Al"), "prototypes": ("L1_3",)},
            "prototypes",
            "there is no prototype 'L1_3'; did you mean",
        ),
        (
            {"elements": ("Ni",), "prototypes": ("B2",)},
            "prototypes",
            "B2 takes 2 different elements, and there are 1",
        ),
        ({"elements": ("Ni", "Al"), "lattices": ("kagome",)}, "lattices", "kagome"),
        ({"elements": ("Cu", "O"), "prototypes": ("rocksalt",), "references": True}, "references", "O is a gas"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_to_do(table: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        build_structures(BuildTable(**table))
    assert raised.value.key == f"structures.build.{key}"
    assert message in raised.value.message


def test_what_stands_on_which_sites_follows_from_the_formula_alone() -> None:
    for order in itertools.permutations(("Cu3", "Au")):
        [atoms] = built(system="".join(order), prototype="L1_2", a_angstrom=3.75).values()
        assert np.isclose(atoms.get_volume(), 3.75**3)
