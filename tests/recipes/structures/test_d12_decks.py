import os
from pathlib import Path

import pytest

from penstock.domain.calculation import Rejected, Structure, pack_chunk
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.engines.crystal.deck import parse_deck
from penstock.recipes.structures import check_source, read_chunk, source_files

SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent"))
SALT = "salt\nCRYSTAL\n0 0 0\n225\n5.63\n2\n11 0. 0. 0.\n17 .5 .5 .5\nEND\nBASISSET\nSTO-3G\nSHRINK\n4 8\nEND\n"
WATER = "w\nMOLECULE\n1\n3\n8 0 0 0.119\n1 0 0.763 -0.477\n1 0 -0.763 -0.477\nBASISSET\nSTO-3G\nEND\n"


def read(path: Path, source: StructureSource | None = None, limit: int = 100) -> tuple[list[Structure], list[Rejected]]:
    source = source or StructureSource(str(path))
    structures, rejected, cursor, done = [], [], "", False
    while not done:
        chunk = read_chunk(source, str(path), cursor, limit)
        structures += chunk.structures
        rejected += chunk.rejected
        cursor, done = chunk.cursor, chunk.done
    return structures, rejected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "salt.d12").write_text(SALT)
    (tmp_path / "water.D12").write_text(WATER.replace("\n", "\r\n"))
    (tmp_path / "bad.d12").write_text(SALT.replace("17 .5", "17 x"))
    return tmp_path


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_every_deck_of_a_folder_is_a_structure_with_its_deck(folder: Path, limit: int) -> None:
    structures, rejected = read(folder, limit=limit)
    assert [(s.name, s.elements, s.natoms, s.multiplicity) for s in structures] == [
        ("salt", "Na;Cl", 2, 1),
        ("water", "O;H", 3, 1),
    ]
    assert [s.deck and parse_deck(s.deck) for s in structures] == [parse_deck(SALT), parse_deck(WATER)]
    assert rejected == [Rejected(0, 8, "bad.d12: expected atom 2 of 2 as 'Z x y z', found '17 x .5 .5'")]


def test_a_crystal_has_the_atoms_of_its_primitive_cell(folder: Path) -> None:
    (salt,), _ = read(folder / "salt.d12")
    assert (salt.name, salt.line, salt.orig_index) == ("salt", 1, 0)
    assert salt.geometry.startswith('2\nLattice="')
    assert salt.geometry.split("\n")[1].endswith('pbc="T T T"')


def test_a_glob_and_a_format_choose_decks(folder: Path) -> None:
    (folder / "other.xyz").write_text("1\n\nHe 0 0 0\n")
    assert [file.name for file in source_files(StructureSource("x"), folder / "*.d12")] == ["bad.d12", "salt.d12"]
    chosen = StructureSource(str(folder), format="d12")
    assert [s.name for s in read(folder, chosen)[0]] == ["salt", "water"]
    assert "other" in [s.name for s in read(folder)[0]]
    plain = folder / "INPUT"
    plain.write_text(SALT)
    assert [s.name for s in read(plain, StructureSource(str(plain), format="d12"))[0]] == ["INPUT"]


def test_a_deck_passes_into_the_database_with_its_structure(folder: Path) -> None:
    packed = pack_chunk(read_chunk(StructureSource("x"), str(folder / "salt.d12"), "", 1))
    assert "BASISSET" in packed.rows


def test_decks_have_no_columns(folder: Path) -> None:
    with pytest.raises(SpecError, match="a CRYSTAL deck has no value 'q' to take"):
        check_source(StructureSource("x", charge_column="q"), folder)
    check_source(StructureSource("x"), folder)


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"", 1, "the deck ends before CRYSTAL, SLAB"),
        (b"t\nEXTERNAL\nEND\nBASISSET\nX\nEND\n", 1, "EXTERNAL: the atoms of this deck are in another file"),
        (b"t\nCRYSTAL\n0 0 0\n300\n", 4, "expected the number of a space group, 1 to 230, found 300"),
        (b"\0\0\0", 1, "is not text"),
        (b"\x1f\x8b\xff\xfe\n" * 20, 2, "expected CRYSTAL, SLAB"),
    ],
)
def test_what_is_no_deck_is_rejected_with_its_line(tmp_path: Path, data: bytes, line: int, reason: str) -> None:
    (tmp_path / "x.d12").write_bytes(data)
    structures, rejected = read(tmp_path / "x.d12")
    assert not structures
    assert [(record.line, record.reason[: len(reason)]) for record in rejected] == [(line, reason)]


def test_a_title_may_be_older_than_utf_8(tmp_path: Path) -> None:
    (tmp_path / "x.d12").write_bytes(SALT.replace("salt", "5.63 Å").encode("latin-1"))
    (structure,), _ = read(tmp_path / "x.d12")
    assert structure.deck is not None
    assert parse_deck(structure.deck).title == "5.63 Å"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory of real decks")
def test_real_decks_are_taken_in() -> None:
    structures, rejected = read(SAMPLES / "crystal", StructureSource("x", format="d12"))
    assert not rejected
    assert [s.natoms for s in structures] == [2, 2, 22, 22, 77, 15, 270]
