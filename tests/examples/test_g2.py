"""The demo's input is what its spec says it is, and physically possible."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ase.data import atomic_numbers

from penstock.domain.spec import WorkflowSpec, decode_spec, parse_toml

G2 = Path(__file__).parents[2] / "examples" / "g2"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    target = tmp_path_factory.mktemp("g2") / "molecules.csv"
    subprocess.run([sys.executable, G2 / "make_molecules.py", target], check=True, capture_output=True)
    with target.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def spec() -> WorkflowSpec:
    text = (G2 / "g2.toml").read_text(encoding="utf-8")
    return decode_spec(parse_toml(text, "g2.toml"), text, "g2.toml")


def symbols(row: dict[str, str]) -> list[str]:
    """The symbols of a whole XYZ block; ValueError if it is not one."""
    count, _, *lines = row["aligned_csd_core"].split("\n")
    found = []
    for line in lines:
        symbol, *position = line.split()
        _x, _y, _z = map(float, position)
        found.append(symbol)
    assert len(found) == int(count)
    return found


def good(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["name"] != "cut short"]


def test_one_row_is_broken(rows: list[dict[str, str]]) -> None:
    assert len(rows) == len(good(rows)) + 1 == 162 + 16 + 1
    (broken,) = (row for row in rows if row["name"] == "cut short")
    with pytest.raises(ValueError, match="not enough values"):
        symbols(broken)


def test_charge_and_unpaired_electrons_are_possible(rows: list[dict[str, str]]) -> None:
    for row in good(rows):
        electrons = sum(atomic_numbers[symbol] for symbol in symbols(row)) - int(row["charge"])
        assert 0 <= int(row["uhf"]) <= electrons, row
        assert (electrons - int(row["uhf"])) % 2 == 0, row


def test_elements_in_order_of_appearance(rows: list[dict[str, str]]) -> None:
    for row in good(rows):
        assert row["elements"].split(";") == list(dict.fromkeys(symbols(row)))


def test_charges_and_spins_vary(rows: list[dict[str, str]]) -> None:
    assert Counter(row["charge"] for row in good(rows)) == {"0": 164, "-1": 7, "1": 6, "2": 1}
    assert Counter(row["uhf"] for row in good(rows)) == {"0": 131, "1": 33, "2": 12, "3": 2}


def test_the_spec_names_the_columns_of_the_table(rows: list[dict[str, str]], spec: WorkflowSpec) -> None:
    source = spec.structures
    named = {source.geometry_column, source.charge_column, source.unpaired_column, source.name_column}
    assert named < rows[0].keys()
