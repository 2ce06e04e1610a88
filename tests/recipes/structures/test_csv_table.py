import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.domain.calculation import Rejected, Structure
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import check_source, csv_table, read_chunk

WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
HEADER = "name,aligned_csd_core,charge,uhf,elements\n"
SOURCE = StructureSource(
    "x.csv",
    geometry_column="aligned_csd_core",
    charge_column="charge",
    unpaired_column="uhf",
    name_column="name",
)
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def row(name: str = "w", geometry: str = WATER, charge: str = "0", uhf: str = "0") -> str:
    return f'{name},"{geometry}",{charge},{uhf},O;H\n'


def read(path: Path, limit: int = 10_000, source: StructureSource = SOURCE) -> tuple[list[Structure], list[Rejected]]:
    """Everything in the file, chunk by chunk, as (structures, rejected)."""
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
    def write(text: str | bytes, header: str = HEADER) -> Path:
        path = tmp_path / "x.csv"
        path.write_bytes((header + text).encode() if isinstance(text, str) else header.encode() + text)
        return path

    return write


def test_rows_become_structures_with_their_row_and_line(write: Callable[..., Path]) -> None:
    path = write(row("a") + row("b", charge="1", uhf="1") + row("c", "He 0 0 0", uhf="2"))
    structures, rejected = read(path)
    assert not rejected
    found = [(s.orig_index, s.line, s.name, s.elements, s.natoms, s.charge, s.multiplicity) for s in structures]
    assert found == [(0, 2, "a", "O;H", 3, 0, 1), (1, 6, "b", "O;H", 3, 1, 2), (2, 10, "c", "He", 1, 0, 3)]
    assert structures[0].geometry == f"3\n\n{WATER}"


@pytest.mark.parametrize(
    "block", [f"3\n\n{WATER}", f"3\nwater, the comment\n{WATER}", f"3\n{WATER}", WATER.replace("\n", " 0.1 x\n")]
)
def test_standard_blocks_in_cells(write: Callable[..., Path], block: str) -> None:
    structures, rejected = read(write(row(geometry=block)))
    assert not rejected
    assert structures[0].geometry == f"3\n\n{WATER}"


def test_windows_lines_byte_order_mark_and_blank_lines_at_the_end(write: Callable[..., Path]) -> None:
    text = HEADER + row() + row("b")
    path = write(text.replace("\n", "\r\n") + "\r\n\r\n  \r\n", header="\ufeff")
    structures, rejected = read(path)
    assert [s.name for s in structures] == ["w", "b"]
    assert [s.line for s in structures] == [2, 6]
    assert not rejected


def test_blank_cells_take_the_defaults(write: Callable[..., Path]) -> None:
    path = write(row("", charge="", uhf=" ") + row("b", "H 0 0 0", charge=" ", uhf=""))
    structures, _ = read(path)
    assert [(s.name, s.charge, s.multiplicity) for s in structures] == [("0", 0, 1), ("b", 0, 2)]


def test_names_are_made_printable(write: Callable[..., Path]) -> None:
    structures, _ = read(write(row('"two\nlines\x1b"')))
    assert structures[0].name == "two lines"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"geometry": ""}, "the geometry is empty"),
        ({"geometry": " \n "}, "the geometry is empty"),
        ({"geometry": "O 0 0\n"}, "geometry: line 1: expected"),
        ({"geometry": "O 0 0 0\nQq 0 0 1\n"}, "line 2: unknown element 'Qq'"),
        ({"geometry": "O 0 0 nan\n"}, "not finite"),
        ({"charge": "1.5"}, "the charge is not an integer"),
        ({"charge": "one"}, "the charge is not an integer"),
        ({"charge": "1" * 20}, "the charge is not an integer"),
        ({"uhf": "-1"}, "-1 unpaired electrons cannot be"),
        ({"uhf": "x"}, "unpaired electrons is not an integer"),
        ({"uhf": "1"}, "charge +0 leaves 10 electrons, so the number is even"),
        ({"uhf": "12"}, "12 unpaired electrons cannot be: charge +0 leaves 10 electrons"),
        ({"charge": "11"}, "charge +11 cannot be: the atoms have only 10 electrons"),
        ({"charge": "0,0"}, "has 6 fields where the header has 5"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_the_rest_goes_on(
    write: Callable[..., Path], cells: dict[str, str], reason: str
) -> None:
    structures, rejected = read(write(row("a") + row("bad", **cells) + row("c")))
    assert [s.name for s in structures] == ["a", "c"]
    assert [s.orig_index for s in structures] == [0, 2]
    assert len(rejected) == 1
    assert (rejected[0].orig_index, rejected[0].line) == (1, 6)
    assert reason in rejected[0].reason


def test_integers_may_be_written_as_floats(write: Callable[..., Path]) -> None:
    structures, _ = read(write(row(charge="1.0", uhf="1.00")))
    assert (structures[0].charge, structures[0].multiplicity) == (1, 2)


def test_a_multiplicity_column(write: Callable[..., Path]) -> None:
    source = StructureSource("x", geometry_column="g", multiplicity_column="m")
    path = write("O 0 0 0,3\nO 0 0 0,0\nO 0 0 0,2\nO 0 0 0,\n", header="g,m\n")
    structures, rejected = read(path, source=source)
    assert [s.multiplicity for s in structures] == [3, 1]
    assert [r.line for r in rejected] == [3, 4]


def test_default_charge_and_multiplicity_of_the_spec(write: Callable[..., Path]) -> None:
    source = StructureSource("x", geometry_column="g", charge=1, multiplicity=4)
    structures, _ = read(write("O 0 0 0\n", header="g\n"), source=source)
    assert (structures[0].charge, structures[0].multiplicity) == (1, 4)


def test_bytes_that_are_not_utf8_cost_their_row_only(write: Callable[..., Path]) -> None:
    good = row("gut-ä").encode()
    structures, rejected = read(write(good + b"caf\xe9" + row("").encode() + good), limit=1)
    assert [s.name for s in structures] == ["gut-ä", "gut-ä"]
    assert [(r.orig_index, r.line, r.reason) for r in rejected] == [(1, 6, "is not UTF-8 text")]


DAMAGED = {
    "missing closing quote": 'bad,"O 0 0 0\nH 0 0 1\nH 0 1 0\n,0,0,O;H\n',
    "missing opening quote": 'bad,O 0 0 0\nH 0 0 1\nH 0 1 0\n",0,0,O;H\n',
    "quote in the middle": 'bad,"O 0 0 0\nH 0 0" 1\nH 0 1 0\n",0,0,O;H\n',
    "quote in a plain cell": '"bad,He 0 0 0,0,0,He\n',
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_stray_quote_costs_the_lines_it_damages_and_no_more(
    write: Callable[..., Path], damaged: str, limit: int
) -> None:
    structures, rejected = read(write(row("a") + damaged + row("c") + row("d")), limit)
    assert [s.name for s in structures] == ["a", "c", "d"]
    assert rejected
    assert rejected[0].line == 6
    last = 5 + damaged.count("\n")
    assert all(6 <= r.line <= last for r in rejected)
    assert structures[-1].line == last + 5


def test_a_quote_never_closed_at_the_end_of_the_file(write: Callable[..., Path]) -> None:
    structures, rejected = read(write(row("a") + 'bad,"O 0 0 0\nH 0 0 1\n'))
    assert [s.name for s in structures] == ["a"]
    assert [(r.line, r.reason) for r in rejected] == [(6, "a quoted cell is never closed; left out lines 6 to 7")]


def test_a_quote_that_swallows_plain_rows_is_noticed_at_the_cell_limit(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_table, "CELL_MAX", 1000)
    plain = "".join(f"m{i},He 0 0 {i},0,0,He\n" for i in range(200))
    structures, rejected = read(write('bad,"He 0 0 0,0,0,He\n' + plain), limit=50)
    assert [s.name for s in structures] == [f"m{i}" for i in range(200)]
    assert [(r.line, r.reason[:30]) for r in rejected] == [(2, "a cell is longer than 0 MB (is")]


def test_a_line_longer_than_any_cell_is_left_out(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "CELL_MAX", 1000)
    monkeypatch.setattr(csv_table, "_BLOCK", 300)
    long = "x" * 5000
    structures, rejected = read(write(row("a") + f"bad,{long},{long}\n" + row("c")), limit=1)
    assert [(s.name, s.line) for s in structures] == [("a", 2), ("c", 7)]
    assert [(r.orig_index, r.line) for r in rejected] == [(1, 6)]


def test_a_cell_of_many_megabytes_is_no_trouble(write: Callable[..., Path]) -> None:
    natoms = 100_000
    structures, rejected = read(write(row("big", "H 0.1 0.2 0.3 and more columns than matter\n" * natoms)))
    assert not rejected
    assert structures[0].natoms == natoms


def test_chunks_end_early_when_their_geometries_are_large(write: Callable[..., Path]) -> None:
    path = write(row("big", "H 0.1 0.2 0.3\n" * 400_000) * 3)
    sizes, cursor, done = [], "", False
    while not done:
        chunk = read_chunk(SOURCE, str(path), cursor, 100)
        sizes.append(len(chunk.structures))
        cursor, done = chunk.cursor, chunk.done
    assert sizes == [2, 1]


@pytest.mark.parametrize(
    ("header", "text", "changes", "key", "message"),
    [
        ("", "", {}, "structures.source", "is empty"),
        (HEADER, "", {}, "structures.source", "has a header but no rows"),
        (HEADER, "\n\n", {}, "structures.source", "has a header but no rows"),
        (HEADER, row(), {"geometry_column": "aligned_core"}, "structures.geometry_column", "mean 'aligned_csd_core'?"),
        (HEADER, row(), {"geometry_column": None}, "structures.geometry_column", "it has: name, aligned_csd_core"),
        (HEADER, row(), {"charge_column": "q"}, "structures.charge_column", "no column 'q'; it has: name"),
        (HEADER, row(), {"name_column": "nam"}, "structures.name_column", "did you mean 'name'?"),
        ("name," + HEADER, row(), {}, "structures.name_column", "2 columns named 'name'"),
        ('"name,' + HEADER, row(), {}, "structures.source", "the header of"),
        (HEADER.replace(",", ";"), row(), {}, "structures.source", "separated by semicolons?"),
        (HEADER.replace(",", "\t"), row(), {"geometry_column": None}, "structures.source", "separated by tabs?"),
        ('name, "aligned_csd_core"\n', row(), {}, "structures.source", "a blank stands between a comma and a quote"),
        ("\udcff", "", {}, "structures.source", "is not UTF-8"),
    ],
)
def test_what_cannot_be_a_campaign_is_refused_at_submission(
    tmp_path: Path, header: str, text: str, changes: dict[str, Any], key: str, message: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes((header + text).encode("utf-8", "surrogateescape"))
    fields = {name: getattr(SOURCE, name) for name in SOURCE.__struct_fields__}
    with pytest.raises(SpecError) as raised:
        check_source(StructureSource(**(fields | changes)), path)
    assert raised.value.key == key
    assert message in raised.value.message


def test_a_source_whose_rows_are_all_bad_is_refused_with_the_first_reason(write: Callable[..., Path]) -> None:
    with pytest.raises(SpecError, match=r"none of the 2 records of .*; line 2: the charge is not an integer"):
        check_source(SOURCE, write(row(charge="x") + row(geometry="")))
    check_source(SOURCE, write(row(charge="x") + row()))


def test_a_blank_before_a_quote_is_told(write: Callable[..., Path]) -> None:
    for text in (f'w, "{WATER}",0,0,O;H\n', '"w, ""1""",\t"He 0 0 0",0,0,He\n', f'"a\nb","", "{WATER}",0,0\n'):
        with pytest.raises(SpecError, match=r"structures\.source: .*a blank stands between a comma and a quote"):
            check_source(SOURCE, write(text))
        check_source(SOURCE, write(text + row()))
    with pytest.raises(SpecError, match="the charge is not an integer"):
        check_source(SOURCE, write(row('"one, ""two"', charge="x")))


cells = st.text(alphabet='O He0.1 -\n\r",;é\0', max_size=40)
rows = st.lists(
    st.tuples(st.sampled_from(["a", "", 'q"q', "x,y", "ü\n"]), st.sampled_from([WATER, "He 0 0 0", ""]) | cells),
    max_size=12,
)


@FILES
@given(rows, st.integers(1, 5), st.integers(1, 600), st.sampled_from(["\n", "\r\n"]))
def test_any_chunk_limit_gives_the_same_rows_as_one_big_read(
    tmp_path: Path, table: Any, limit: int, block: int, end: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER.strip().split(","))
    writer.writerows([[name, geometry, "0", "", ""] for name, geometry in table])
    path = tmp_path / "x.csv"
    path.write_bytes(text.getvalue().encode())
    whole = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "_BLOCK", block)
        patch.setattr(csv_table, "_PROBE_BLOCK", block)
        assert read(path, limit) == whole
    assert sorted(r.orig_index for part in whole for r in part) == list(range(len(table)))


@FILES
@given(st.binary(max_size=300) | st.text(alphabet='aHe 01.\n\r",é', max_size=300).map(str.encode), st.integers(1, 4))
def test_random_bytes_never_crash_and_chunks_agree(tmp_path: Path, data: bytes, limit: int) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER.encode() + row().encode() + data)
    whole = read(path)
    assert read(path, limit) == whole
    assert whole[0] + whole[1]


@FILES
@given(st.binary(max_size=100))
def test_a_random_header_is_a_spec_error_at_most(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(SpecError):
        check_source(SOURCE, path)


@FILES
@given(st.integers(0, 700), st.sampled_from(['"', ",", "\n", "", "\xff", '""', '"\n"']))
def test_a_mishap_anywhere_costs_only_what_is_near(tmp_path: Path, place: int, mishap: str) -> None:
    good = HEADER + "".join(row(f"m{i}") for i in range(12))
    start = len(HEADER) + place % (len(good) - len(HEADER))
    path = tmp_path / "x.csv"
    path.write_bytes((good[:start] + mishap + good[start + 1 :]).encode("latin-1"))
    structures, rejected = read(path)
    assert read(path, 1) == (structures, rejected)
    kept = {s.name for s in structures}
    assert len(kept & {f"m{i}" for i in range(12)}) >= 10
