"""ASE databases and Parquet files: the same campaign from tables that are not text."""

import builtins
import math
from pathlib import Path
from typing import Any

import ase.db
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk

from penstock.domain.calculation import Rejected, Structure
from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import check_source, read_chunk

WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"


def read(path: Path, source: StructureSource, limit: int = 10_000) -> tuple[list[Structure], list[Rejected]]:
    structures, rejected, cursor, done = [], [], "", False
    while not done:
        chunk = read_chunk(source, str(path), cursor, limit)
        structures += chunk.structures
        rejected += chunk.rejected
        cursor, done = chunk.cursor, chunk.done
    return structures, rejected


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    with ase.db.connect(path) as connection:
        connection.write(Atoms("OH", [[0, 0, 0.1], [0, 0, 1.07]]), q=-1, label="hydroxide")
        connection.write(bulk("Cu", cubic=True), uhf=0)
        connection.write(Atoms("He"), q=5)
        connection.write(Atoms("X"))
        connection.write(Atoms("He"), uhf=2)
    return path


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_ase_database(database: Path, limit: int) -> None:
    source = StructureSource("x", charge_column="q", unpaired_column="uhf", name_column="label")
    check_source(source, database)
    structures, rejected = read(database, source, limit)
    assert [(s.orig_index, s.name, s.charge, s.multiplicity) for s in structures] == [
        (0, "hydroxide", -1, 1),
        (1, "1", 0, 1),
        (4, "4", 0, 3),
    ]
    copper = bulk("Cu", cubic=True)
    found = parse_geometry(structures[1].geometry)
    assert found.positions == [tuple(position) for position in copper.positions.tolist()]
    assert found.lattice == tuple(tuple(vector) for vector in copper.cell.tolist())
    assert found.pbc == (True, True, True)
    assert [(r.orig_index, r.reason.split(":")[0]) for r in rejected] == [(2, "row with id 3"), (3, "row with id 4")]


def test_ase_database_that_lacks_something(database: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"structures\.charge_column: .* no column 'charge'; it has: label, q, uhf"):
        check_source(StructureSource("x", charge_column="charge"), database)
    other = tmp_path / "other.db"
    other.write_bytes(b"not SQLite at all" * 100)
    with pytest.raises(SpecError, match="is not an ASE database"):
        check_source(StructureSource("x"), other)
    empty = tmp_path / "empty.db"
    with ase.db.connect(empty) as connection:
        del connection[connection.write(Atoms("H"))]
    with pytest.raises(SpecError, match="has no rows"):
        check_source(StructureSource("x"), empty)


@pytest.mark.parametrize(
    ("select", "numbers"),
    [("id=2", [4]), ("formula=OH", [2]), ("uhf=2", [1]), ("natoms>1,q<0", [2]), ("Cu", [4]), ("id<4,natoms>1", [2, 4])],
)
@pytest.mark.parametrize("limit", [1, 100])
def test_rows_of_an_ase_database_are_selected(database: Path, select: str, numbers: list[int], limit: int) -> None:
    source = StructureSource("x", select=select)
    check_source(source, database)
    structures, rejected = read(database, source, limit)
    assert ([s.natoms for s in structures], rejected) == (numbers, [])
    assert [s.orig_index for s in structures] == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("id=17", "has no row with id=17; 'ase db"),
        ("id=two", "ASE cannot select 'id=two'"),
        ("formula>3", "ASE cannot select 'formula>3'"),
        ("q=1=2", "ASE cannot select 'q=1=2'"),
        ("", "'' selects no rows; write it like"),
        ("id=1; DROP TABLE systems", "selects no rows; write it like"),
        ("label='x'", "selects no rows; write it like"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(database: Path, select: str, message: str) -> None:
    before = database.read_bytes()
    with pytest.raises(SpecError) as raised:
        check_source(StructureSource("x", select=select), database)
    assert raised.value.key == "structures.select"
    assert message in raised.value.message
    assert database.read_bytes() == before


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("group", [1, 3, 100])
def test_parquet(tmp_path: Path, limit: int, group: int) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table(
        {
            "xyz": [WATER, f"3\n\n{WATER}", "He 0 0 0", "junk", None, WATER],
            "q": [0.0, 1.0, math.nan, 0.0, 0.0, None],
            "uhf": [0, 1, 0, 0, 0, 2],
            "unread": [object_ * "x" for object_ in range(6)],
        }
    )
    pq.write_table(table, path, row_group_size=group)
    source = StructureSource("x", geometry_column="xyz", charge_column="q", unpaired_column="uhf")
    check_source(source, path)
    structures, rejected = read(path, source, limit)
    assert [(s.orig_index, s.line, s.charge, s.multiplicity) for s in structures] == [
        (0, 1, 0, 1),
        (1, 2, 1, 2),
        (2, 3, 0, 1),
        (5, 6, 0, 3),
    ]
    assert [r.orig_index for r in rejected] == [3, 4]


def test_parquet_that_lacks_something(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"xyz": pa.array([], pa.string())}), path)
    with pytest.raises(SpecError, match="has no rows"):
        check_source(StructureSource("x", geometry_column="xyz"), path)
    with pytest.raises(SpecError, match="did you mean 'xyz'"):
        check_source(StructureSource("x", geometry_column="xyzz"), path)
    with pytest.raises(SpecError, match="it has: xyz"):
        check_source(StructureSource("x"), path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(SpecError, match="is not a Parquet file"):
        check_source(StructureSource("x", geometry_column="xyz"), path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(SpecError, match=r"pip install 'penstock\[parquet\]'"):
        check_source(StructureSource("x", geometry_column="xyz"), tmp_path / "x.parquet")
