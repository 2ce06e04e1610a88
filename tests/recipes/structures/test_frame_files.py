from collections.abc import Callable
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io.vasp import write_vasp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.domain.calculation import Rejected, Structure
from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import check_source, read_chunk, xyz_frames

WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
HELIUM = "He 0 0 0\n"
SOURCE = StructureSource("x.xyz")
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(path: Path, source: StructureSource = SOURCE, limit: int = 10_000) -> tuple[list[Structure], list[Rejected]]:
    structures, rejected, cursor, done = [], [], "", False
    while not done:
        chunk = read_chunk(source, str(path), cursor, limit)
        assert len(chunk.structures) + len(chunk.rejected) <= limit
        structures += chunk.structures
        rejected += chunk.rejected
        cursor, done = chunk.cursor, chunk.done
    return structures, rejected


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "x.xyz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_trajectory_is_read_frame_by_frame(write: Callable[..., Path], limit: int) -> None:
    path = write(f"3\nfirst\n{WATER}1\n\n{HELIUM}\n\n3\n\n{WATER}\n")
    structures, rejected = read(path, limit=limit)
    assert not rejected
    assert [(s.orig_index, s.line, s.name, s.natoms) for s in structures] == [
        (0, 1, "0", 3),
        (1, 6, "1", 1),
        (2, 11, "2", 3),
    ]
    assert structures[0].geometry == f"3\n\n{WATER}"


def test_values_come_from_the_comment(write: Callable[..., Path]) -> None:
    source = StructureSource("x", charge_column="q", unpaired_column="uhf", name_column="id")
    structures, rejected = read(write(f'1\nq=1 uhf=1 id="the ion"\n{HELIUM}1\nnothing\n{HELIUM}'), source)
    assert not rejected
    assert [(s.charge, s.multiplicity, s.name) for s in structures] == [(1, 2, "the ion"), (0, 1, "1")]


def test_a_lattice_is_kept(write: Callable[..., Path]) -> None:
    structures, _ = read(write('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T F"\nCu 0 0 0\n', "x.extxyz"))
    assert structures[0].geometry == '1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T F"\nCu 0 0 0\n'


def test_missing_comment_lines_are_understood(write: Callable[..., Path]) -> None:
    structures, rejected = read(write(f"3\n{WATER}1\n{HELIUM}3\n{WATER}"))
    assert [s.natoms for s in structures] == [3, 1, 3]
    assert not rejected


def test_a_file_of_atom_lines_only_is_one_structure(write: Callable[..., Path]) -> None:
    assert [s.natoms for s in read(write(WATER))[0]] == [3]
    assert [s.natoms for s in read(write("\ufeff\n" + WATER))[0]] == [3]


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (f"5\ntoo few\n{WATER}", "promises 5 atoms, but 3 lines follow"),
        (f"2\ntoo many\n{WATER}", "promises 2 atoms, but more follow"),
        (f"2\n{WATER}", "promises 2 atoms, but 3 follow"),
        ("1\n\nHe 0 0 0\n \nHe 0 0 1\nHe 0 0 2\n", "promises 1 atoms, but more follow"),
        ("1\n\nQq 0 0 0\n", "unknown element 'Qq'"),
        ("1\n\nHe 0 0 nan\n", "not finite"),
        ("0\nempty\n", "expected a count of atoms from 1"),
        ("999999999\nmany\nHe 0 0 0\n", "expected a count of atoms"),
        ("garbage\nmore garbage\n", "expected a count of atoms from 1 to 1000000, found 'garbage'"),
        (b"1\n\xff\nHe 0 0 0\n", "is not UTF-8 text"),
        ("1\n\nHe 0 0 0" + " x" * 600_000 + "\n", ""),
    ],
)
def test_a_bad_frame_is_rejected_and_the_next_is_found(
    write: Callable[..., Path], bad: str | bytes, reason: str, limit: int
) -> None:
    bad = bad if isinstance(bad, bytes) else bad.encode()
    structures, rejected = read(write(f"1\n\n{HELIUM}".encode() + bad + f"3\n\n{WATER}".encode()), limit=limit)
    assert [s.natoms for s in structures if s.line != 4] == [1, 3]
    assert [s.line for s in structures][-1] == 4 + bad.count(b"\n")
    if reason:
        assert [(r.orig_index, r.line) for r in rejected] == [(1, 4)]
        assert reason in rejected[0].reason


def test_a_frame_cut_off_at_the_end(write: Callable[..., Path]) -> None:
    structures, rejected = read(write(f"1\n\n{HELIUM}3\ncut\nO 0 0 0\n"))
    assert len(structures) == 1
    assert rejected[0].reason == "promises 3 atoms, but 1 lines follow the comment line"


def test_a_long_bare_file_is_rejected(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xyz_frames, "BARE_MAX", 20)
    _, rejected = read(write(WATER))
    assert "no atom count" in rejected[0].reason


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_folder_is_read_in_order_of_name(write: Callable[..., Path], tmp_path: Path, limit: int) -> None:
    write(f"1\n\n{HELIUM}3\n\n{WATER}", "set/b.xyz")
    write(f"3\n\n{WATER}", "set/a.extxyz")
    write(f"1\n\n{HELIUM}", "set/deep/c.XYZ")
    write("", "set/d.xyz")
    write("no structure", "set/README.md")
    write("1\n", "set/.hidden.xyz")
    structures, rejected = read(tmp_path / "set", limit=limit)
    assert [(s.orig_index, s.name, s.natoms) for s in structures] == [
        (0, "a", 3),
        (1, "b", 1),
        (2, "b#2", 3),
        (4, "deep/c", 1),
    ]
    assert [(r.orig_index, r.reason) for r in rejected] == [(3, "d.xyz: holds no structure")]


def test_a_chunk_that_ends_with_a_file_does_not_open_the_next(write: Callable[..., Path], tmp_path: Path) -> None:
    write(HELIUM, "set/a.xyz")
    write(HELIUM, "set/b.xyz")
    first = read_chunk(SOURCE, str(tmp_path / "set"), "", 1)
    assert (len(first.structures), first.cursor, first.done) == (1, "1:1:0:0:0", False)
    last = read_chunk(SOURCE, str(tmp_path / "set"), first.cursor, 1)
    assert ([s.name for s in last.structures], last.done) == (["b"], True)


def test_a_glob(write: Callable[..., Path], tmp_path: Path) -> None:
    write(HELIUM, "set/a.xyz")
    write(WATER, "set/deep/b.xyz")
    write(WATER, "set/c.txt")
    assert [s.name for s in read(tmp_path / "set/*.xyz")[0]] == ["a"]
    assert [s.name for s in read(tmp_path / "set/**/*.xyz")[0]] == ["a", "deep/b"]
    with pytest.raises(SpecError, match=r"c\.txt is matched, but"):
        read(tmp_path / "set/*.*")


def test_errors_in_a_folder_name_the_file(write: Callable[..., Path], tmp_path: Path) -> None:
    write("1\n\nQq 0 0 0\n", "set/bad.xyz")
    _, rejected = read(tmp_path / "set")
    assert rejected[0].reason == "bad.xyz: geometry: line 3: unknown element 'Qq'"


def test_a_key_the_spec_names_must_occur(write: Callable[..., Path]) -> None:
    path = write(f"1\ncharge=0\n{HELIUM}")
    check_source(StructureSource("x", charge_column="charge"), path)
    with pytest.raises(SpecError, match=r"structures\.charge_column: .* did you mean 'charge'"):
        check_source(StructureSource("x", charge_column="charg"), path)
    with pytest.raises(SpecError, match="only CSV and Parquet"):
        check_source(StructureSource("x", geometry_column="geometry"), path)


def test_an_empty_file_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(SpecError, match="holds no structure"):
        check_source(SOURCE, write("\n\n"))


SALT = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""


def test_poscar_files(tmp_path: Path) -> None:
    copper = bulk("Cu", cubic=True)
    for name in ("a.vasp", "b.poscar", "POSCAR"):
        write_vasp(tmp_path / name, copper)
    (tmp_path / "c.vasp").write_text("not one\n")
    chunk = read_chunk(StructureSource("x"), str(tmp_path), "", 10)
    assert [(s.name, s.natoms) for s in chunk.structures] == [("a", 4), ("b", 4)]
    assert chunk.rejected[0].reason.startswith("c.vasp: ASE cannot read it as POSCAR: ")
    [alone] = read_chunk(StructureSource("x"), str(tmp_path / "POSCAR"), "", 10).structures
    assert parse_geometry(alone.geometry).positions == [tuple(position) for position in copper.positions.tolist()]
    with pytest.raises(SpecError, match="a POSCAR file has no value 'q' to take"):
        check_source(StructureSource("x", charge_column="q"), tmp_path / "a.vasp")


@pytest.mark.parametrize("limit", [1, 100])
def test_cif_files(write: Callable[..., Path], tmp_path: Path, limit: int) -> None:
    write(SALT, "set/salt.cif")
    write(SALT + SALT.replace("data_salt", "data_two"), "set/two.cif")
    write("not a CIF", "set/bad.cif")
    write(SALT.replace("Na 0 0 0 1", "Na 0 0 0 0.5"), "set/disorder.cif")
    check_source(SOURCE, tmp_path / "set")
    structures, rejected = read(tmp_path / "set", limit=limit)
    assert [(s.name, s.natoms, s.elements) for s in structures] == [
        ("salt", 8, "Na;Cl"),
        ("two", 8, "Na;Cl"),
        ("two#2", 8, "Na;Cl"),
    ]
    assert structures[0].geometry.splitlines()[1].endswith('pbc="T T T"')
    assert [r.reason.split(":")[0] for r in rejected] == ["bad.cif", "disorder.cif"]
    alone, _ = read(tmp_path / "set/two.cif", limit=limit)
    assert [structure.name for structure in alone] == ["two", "two#2"]  # not 0 and 1: results go by these names
    with pytest.raises(SpecError, match="a CIF file has no value"):
        check_source(StructureSource("x", charge_column="q"), tmp_path / "set/salt.cif")


@FILES
@given(st.binary(max_size=200) | st.text(alphabet='He 013.\n\r-a="é', max_size=200).map(str.encode), st.integers(1, 3))
def test_random_bytes_never_crash_and_chunks_agree(tmp_path: Path, data: bytes, limit: int) -> None:
    path = tmp_path / "x.xyz"
    path.write_bytes(data)
    assert read(path, limit=limit) == read(path)


frames = st.lists(
    st.tuples(st.sampled_from(["", "a comment", "q=1", "2 words 3"]), st.sampled_from([WATER, HELIUM, "Qq 0 0 0\n"])),
    min_size=1,
    max_size=8,
)


@FILES
@given(frames, st.sampled_from(["\n", "\r\n"]), st.integers(1, 4))
def test_every_frame_is_told_of_once(tmp_path: Path, frames: list[tuple[str, str]], end: str, limit: int) -> None:
    text = "".join(f"{body.count(chr(10))}\n{comment}\n{body}" for comment, body in frames)
    path = tmp_path / "x.xyz"
    path.write_bytes(text.replace("\n", end).encode())
    structures, rejected = read(path, limit=limit)
    assert sorted(r.orig_index for r in structures + rejected) == list(range(len(frames)))
    assert len(rejected) == sum("Qq" in body for _, body in frames)
