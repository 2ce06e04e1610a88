"""What `system = "..."` means, rule by rule, and what is told where it means nothing."""

from __future__ import annotations

from pathlib import Path

import ase.db
import pytest
from ase.build import bulk, molecule
from ase.io import write

from penstock.domain.build_table import BuildTable
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import first_structure
from penstock.recipes.structures.systems import read_system


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    silicon, tmp_path = bulk("Si"), tmp_path_factory.mktemp("base")
    for name, ase_format in {"si.cif": "cif", "POSCAR": "vasp", "si.vasp": "vasp", "si.extxyz": "extxyz"}.items():
        write(tmp_path / name, silicon, format=ase_format)
    write(tmp_path / "two.extxyz", [silicon, bulk("Ge")], format="extxyz")
    with ase.db.connect(tmp_path / "alloys.db") as database:
        database.write(silicon, label="a")
        database.write(bulk("Cu"), label="b")
        database.write(bulk("Cu", "bcc", a=2.9), label="b")
    with ase.db.connect(tmp_path / "one.db") as database:
        database.write(silicon)
    (tmp_path / "Cu").mkdir()
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "water.xyz", molecule("H2O"))
    return tmp_path


@pytest.mark.parametrize("name", ["si.cif", "POSCAR", "si.vasp", "si.extxyz", "one.db", "./si.cif"])
def test_a_file_that_exists(base: Path, name: str) -> None:
    source = read_system(f" {name} ", base)
    assert source == StructureSource(name)
    found = first_structure(source, base / name)
    assert (found.natoms, found.elements) == (2, "Si")


@pytest.mark.parametrize(
    ("text", "select", "elements"),
    [
        ("alloys.db@id=2", "id=2", "Cu"),
        ("alloys.db#1", "id=1", "Si"),
        ("alloys.db@formula=Si2", "formula=Si2", "Si"),
        ("alloys.db@label=a", "label=a", "Si"),
    ],
)
def test_a_row_of_a_database(base: Path, text: str, select: str, elements: str) -> None:
    source = read_system(text, base)
    assert source == StructureSource("alloys.db", select=select)
    assert first_structure(source, base / "alloys.db").elements == elements


def test_a_file_goes_before_whatever_else_its_name_means(base: Path, tmp_path: Path) -> None:
    assert read_system("Cu", base).build == BuildTable(system="Cu")  # a folder needs its slash
    write(tmp_path / "Si", bulk("Si"), format="extxyz")
    with pytest.raises(SpecError, match="cannot tell the format of"):
        read_system("Si", tmp_path)
    assert read_system("folder/", base) == StructureSource("folder/")


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("Si", BuildTable("Si")),
        ("Si2", BuildTable("Si")),
        ("Fe bcc", BuildTable("Fe", "bcc")),
        ("NaCl rocksalt", BuildTable("NaCl", "rocksalt", 5.64)),
        ("rocksalt NaCl", BuildTable("NaCl", "rocksalt", 5.64)),
        ("NaCl  B2", BuildTable("NaCl", "B2")),
        ("B2 NiAl", BuildTable("NiAl", "B2", 2.887)),
        ("CsCl NaCl", BuildTable("CsCl", "NaCl")),
        ("B2 CuAu", BuildTable("CuAu", "B2")),
        ("cesiumchloride CsCl", BuildTable("CsCl", "cesiumchloride", 4.123)),
        ("GaAs", BuildTable("GaAs", "zincblende", 5.653)),
        ("AuCu3", BuildTable("AuCu3", "L1_2", 3.748)),
        ("GaN", BuildTable("GaN", "wurtzite", 3.19, 5.189)),
    ],
)
def test_a_formula_with_or_without_a_prototype(base: Path, text: str, table: BuildTable) -> None:
    assert read_system(text, base) == StructureSource(build=table)


@pytest.mark.parametrize(
    ("text", "lattices"),
    [("Cu-Au", ("fcc",)), ("Ni-Al-Ti", ("fcc", "hcp")), ("Fe-Al", ("fcc", "bcc")), ("Si-Al", ("fcc",))],
)
def test_elements_are_what_can_be_built_of_them(base: Path, text: str, lattices: tuple[str, ...]) -> None:
    source = read_system(text, base, several=True)
    table = BuildTable(elements=tuple(text.split("-")), lattices=lattices, references=True)
    assert source == StructureSource(build=table)


def test_several_structures_where_several_are_wanted(base: Path) -> None:
    for name in ("two.extxyz", "alloys.db"):
        assert read_system(name, base, several=True) == StructureSource(name)
        with pytest.raises(SpecError, match=f"{name} holds several structures, and one is wanted"):
            read_system(name, base)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no system; write a formula"),
        ("Si in diamond", "is no system; write a formula"),
        ("si.cf", "'si.cf' is no formula"),
        ("sii.cif", "there is no file sii.cif in {base}; did you mean 'si.cif'?"),
        ("nowhere/si.cif", "there is no file nowhere/si.cif in {base}"),
        ("/nonsense", "there is no file /nonsense"),
        ("alloy.db@id=1", "there is no file alloy.db in {base}; did you mean 'alloys.db'?"),
        ("alloys.db@id=9", "has no row with id=9"),
        ("alloys.db@label=b", "several rows of alloys.db have label=b; choose one by its number, as in alloys.db#3"),
        ("alloys.db@id;", "selects no rows; write it like"),
        ("alloys.db", "choose one, as in alloys.db#3"),
        ("SiO2", "has no prototype here that is known to be right; write it behind the formula"),
        ("NaCk", "there is no element 'Ck'; did you mean 'NaCl'?"),
        ("silicon", "'silicon' is no formula"),
        ("NaCl rocksallt", "there is no prototype 'rocksallt'; did you mean 'rocksalt'?"),
        ("rocksallt NaCl", "there is no prototype 'rocksallt'; did you mean 'rocksalt'?"),
        ("SiO2 rocksalt", "SiO2 cannot be rocksalt: that would be SiO"),
        ("Cu Au", 'did you mean "Cu-Au"?'),
        ("Cu, Au, Ni", 'did you mean "Cu-Au-Ni"?'),
        ("si", "'si' is no formula; write it like \"Si\" or \"Cu3Au\", without brackets; did you mean 'Si'?"),
        ("Cu-Au", "'Cu-Au' is many structures; write one formula, such as 'Cu'"),
        ("Cu-Zz", "there is no element 'Zz'"),
        ("Cu-Cu", "names 'Cu' twice"),
        ("O-N", "O and N have no reference state on a lattice"),
        ("Cu-O", "the reference state of O is a gas; give a file of your own"),
        ("O", "the reference state of O is a gas"),
        ("B", "the crystal of B (tetragonal) is not among those that can be built"),
        ("Fr", "of Fr"),
        ("L1_2 fcc", '"L1_2 fcc" has no formula; write one beside the prototype'),
    ],
)
def test_what_means_nothing_is_refused_with_what_to_write(base: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_system(text, base)
    assert raised.value.key == "system"
    assert message.format(base=base) in raised.value.message
