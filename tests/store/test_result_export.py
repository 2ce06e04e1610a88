"""What analyses have found, read back from files as other programs read them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import msgspec
import pytest

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion, PropertyResult
from penstock.store.result_export import check_suffix, export_results
from penstock.store.result_pages import Wanted

from .concluded import COPPER, EVIL, FIGURE, GOLD, SILVER, TENSOR, create_analysed, create_metals, draw

EVERYTHING = Wanted()


def export(database: Path, path: Path, wanted: Wanted = EVERYTHING, *, overwrite: bool = False) -> int:
    return export_results(database, "w", path, wanted, overwrite=overwrite)


async def test_csv_has_a_row_a_property_and_a_column_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "out" / "r.csv"
    assert export(await create_metals(tmp_path), path) == 3
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["subject"], row["name"], row["unit"]) for row in rows] == [
        ("elastic", "Cu", "elastic_tensor", "GPa"),
        ("elastic", "Cu", "bulk_modulus_vrh", "GPa"),
        ("elastic", "Au", "bulk_modulus_vrh", "GPa"),
    ]
    tensor, bulk, gold = rows
    assert json.loads(tensor["value"]) == TENSOR
    assert (float(bulk["value"]), float(bulk["uncertainty"])) == (140.6, 0.13)
    assert (tensor["conditions.pressure_gpa"], bulk["conditions.pressure_gpa"]) == ("0.0", "")
    assert (json.loads(tensor["attempts"]), gold["uncertainty"]) == (["1.1", "2.1"], "")


async def test_json_has_the_shape_of_results_and_the_data_of_figures(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert export(await create_metals(tmp_path), path) == 3
    found = json.loads(path.read_text())
    assert (found["workflow"], found["recipe"], found["state"], found["reason"]) == ("w", "campaign", "running", None)
    assert msgspec.convert(found["properties"], tuple[PropertyResult, ...]) == (*COPPER.properties, *GOLD.properties)
    assert [(one["step"], one["subject"], one["failure"]) for one in found["conclusions"]] == [
        ("elastic", "Cu", None),
        ("elastic", "Au", GOLD.failure),
        ("elastic", "Ag", SILVER.failure),
    ]
    assert found["conclusions"][0]["notes"] == list(COPPER.notes)
    assert found["conclusions"][0]["figures"] == [msgspec.to_builtins(FIGURE)]


async def test_nothing_is_an_empty_document(tmp_path: Path) -> None:
    store, _ = await create_analysed(tmp_path, ["Cu"])
    await store.close()
    for name in ("r.json", "r.csv", "r.parquet"):
        assert export(tmp_path / "workflow.db", tmp_path / name) == 0
    assert json.loads((tmp_path / "r.json").read_text())["properties"] == []
    assert (tmp_path / "r.csv").read_text().count("\n") == 1


async def test_parquet_has_numbers_as_numbers(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    store, step = await create_analysed(tmp_path, ["Cu"])
    mixed = PropertyResult("phase", "Cu", "fcc", "1", None, {"temperature_k": 800, "pressure": "low"})
    hot = PropertyResult("d", "Cu", 2, "m^2/s", 0.5, {"temperature_k": 900.5, "pressure": 3.0})
    await draw(store, step, 1, Conclusion((*COPPER.properties, mixed, hot)))
    await store.close()
    path = tmp_path / "r.parquet"
    assert export(tmp_path / "workflow.db", path) == 4
    tensor, bulk, phase, diffusion = parquet.read_table(path).to_pylist()
    assert (tensor["value"], json.loads(tensor["value_json"])) == (None, TENSOR)
    assert (bulk["value"], bulk["uncertainty"], bulk["value_json"]) == (140.6, 0.13, None)
    assert (phase["value"], json.loads(phase["value_json"])) == (None, "fcc")
    assert (phase["conditions.temperature_k"], diffusion["conditions.temperature_k"]) == (800.0, 900.5)
    assert (phase["conditions.pressure"], diffusion["conditions.pressure"]) == ("low", "3.0")
    assert bulk["attempts"] == '["1.1"]'


async def test_it_narrows_and_overwrites_only_what_it_may(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    path = tmp_path / "r.json"
    assert export(database, path, Wanted(("bulk_modulus_vrh",), "Au")) == 1
    found = json.loads(path.read_text())
    assert [one["subject"] for one in found["properties"]] == ["Au"]
    assert [one["failure"] for one in found["conclusions"]] == ["a strain failed: " + EVIL]
    with pytest.raises(SpecError, match=r"r\.json exists"):
        export(database, path)
    assert export(database, path, overwrite=True) == 3


@pytest.mark.parametrize(
    ("name", "said"), [("r", "ends in .csv"), ("r.jsn", "did you mean 'json'"), ("r.xlsx", "a format")]
)
def test_a_name_must_say_the_format(name: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_suffix(Path(name))
    assert check_suffix(Path("R.CSV")) == "csv"


async def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SpecError, match=r"pip install 'penstock\[parquet\]'"):
        export(await create_metals(tmp_path), tmp_path / "r.parquet")
    assert not (tmp_path / "r.parquet").exists()
