"""What a source is taken for before there is a spec for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.domain.build_table import BuildTable
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.survey import SAMPLE, columns_at, guess, guess_columns, survey

ATOM = "1\n\nHe 0 0 0\n"


@pytest.mark.parametrize(
    ("columns", "row", "found"),
    [
        (["a", "b"], ["x", "H 0 0 0"], {"geometry_column": "b"}),
        (["geometry", "xyz"], ["no", "H 0 0 0"], {"geometry_column": "xyz"}),
        (["Geometry", "Total Charge"], [], {"geometry_column": "Geometry", "charge_column": "Total Charge"}),
        (["uhf", "multiplicity"], ["0", "1"], {"unpaired_column": "uhf"}),
        (["mult", "id", "name"], [], {"multiplicity_column": "mult", "name_column": "name"}),
        ([], [], {}),
    ],
)
def test_columns_are_guessed_by_name_and_content(columns: list[str], row: list[str], found: dict[str, str]) -> None:
    assert guess(columns, row) == found


def test_a_table_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('label,structure,q\na,"H 0 0 0",0\nb,"X",0\n')
    source = StructureSource(str(path))
    assert columns_at(source, path) == ["label", "structure", "q"]
    guessed = guess_columns(source, path)
    assert guessed == {"geometry_column": "structure", "charge_column": "q", "name_column": "label"}
    found = survey(msgspec.structs.replace(source, **guessed), path)
    assert (found.formats, found.files, found.records, found.rejected, found.is_all) == (("csv",), 1, 2, 1, True)
    assert "2 records; 1 of them cannot be taken in, the first: line 3: geometry" in str(found)


def test_a_damaged_first_row_leaves_the_names(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('geometry\n"H 0 0 0"x\n')
    assert guess_columns(StructureSource(str(path)), path) == {"geometry_column": "geometry"}


def test_a_table_without_rows_still_has_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"what": pa.array([], pa.string())}), path)
    assert columns_at(StructureSource(str(path)), path) == ["what"]
    assert guess_columns(StructureSource(str(path)), path) == {}
    parquet.write_table(pa.table({"what": ["H 0 0 0"], "charge": [1]}), path)
    assert guess_columns(StructureSource(str(path)), path) == {"geometry_column": "what", "charge_column": "charge"}


def test_a_folder_is_told_by_its_formats_and_counted_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(ATOM * (SAMPLE + 1))
    (tmp_path / "b.d12").write_text("x")
    found = survey(StructureSource(str(tmp_path)), tmp_path)
    assert columns_at(StructureSource(str(tmp_path)), tmp_path) == []
    assert str(found) == f"2 files, taken for d12 and xyz: more than {SAMPLE} records"


def test_what_is_built_is_counted() -> None:
    source = StructureSource(build=BuildTable(elements=("Ni", "Al"), prototypes=("B2", "L1_2")))
    assert str(survey(source, None)) == "3 records"
    with pytest.raises(SpecError, match="SiO2 has no prototype"):
        survey(StructureSource(build=BuildTable("SiO2")), None)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(SpecError, match="there is no file or folder"):
        columns_at(StructureSource(str(path)), path)
