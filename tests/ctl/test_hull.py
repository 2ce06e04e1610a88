"""The command hull: phase diagrams from energies in a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog
from tests.analysis.plots.conftest import fonts  # noqa: F401 - they stay open from the first picture on

Run = Callable[..., Any]
TERNARY = """\
name,formula,energy_ev_per_atom,volume
nickel,Ni,0,11
copper,Cu,0.0,12
zirconium,Zr,0,23
NiCu,NiCu,-0.6,
doubled,Ni2Cu2,-0.6,
on the line,Ni3Cu,-0.3,
on the plane,NiCuZr,-0.4,
above,Ni2Zr,0.1,
below none,NiZr,-0.25,
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_SOCKET", str(tmp_path / "none.sock"))
    return tmp_path


def told(run: Run, text: str, *options: str) -> dict[str, Any]:
    Path("e.csv").write_text(text)
    ran = run("hull", "e.csv", "--json", *options)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def lowest(fractions: np.ndarray[Any, Any], energies: np.ndarray[Any, Any], at: np.ndarray[Any, Any]) -> float:
    """The energy of the best mixture of phases at a composition, by linear programming."""
    return float(linprog(energies, A_eq=fractions.T, b_eq=at, bounds=(0, None)).fun)


def test_a_ternary_with_degenerate_phases(run: Run) -> None:
    found = told(run, TERNARY)
    assert found["elements"] == ["Ni", "Cu", "Zr"]
    phases = {phase["name"]: phase for phase in found["phases"]}
    assert {name for name, phase in phases.items() if not phase["stable"]} == {"above"}
    assert phases["above"]["energy_above_hull"] == pytest.approx(0.1 + 0.25 * 2 / 3)
    shares = {part["phase"]: part["share"] for part in phases["above"]["decomposition"]}
    assert shares == pytest.approx({"nickel": 1 / 3, "below none": 2 / 3})
    for name in ("on the line", "on the plane", "NiCu", "doubled"):
        assert phases[name]["below_others"] == pytest.approx(0, abs=1e-9), name
    assert phases["below none"]["below_others"] == pytest.approx(0.25)
    assert phases["NiCu"]["line"] == 5
    low, high = phases["nickel"]["chemical_potential"]["Zr"]
    assert (low, high) == (None, pytest.approx(-0.5))
    assert phases["nickel"]["chemical_potential"]["Ni"] == pytest.approx([0, 0])
    for equilibrium in found["equilibria"]:
        for name in equilibrium["phases"]:
            counts = {"Ni": 0, "Cu": 0, "Zr": 0} | counted(phases[name]["formula"])
            mixed = sum(counts[el] * equilibrium["chemical_potential"][el] for el in counts) / sum(counts.values())
            assert mixed == pytest.approx(phases[name]["formation_energy"], abs=1e-9)


def counted(formula: str) -> dict[str, int]:
    from penstock.domain.formula import read_formula

    return read_formula(formula)


def test_any_ternary_equals_linear_programming(run: Run) -> None:
    dice = np.random.default_rng(5)
    counts = [*np.eye(3, dtype=int).tolist(), *[c for c in itertools.product(range(4), repeat=3) if sum(c) > 1]]
    energies = dice.normal(-0.2, 0.2, len(counts)).round(3)
    rows = [f"p{n},{','.join(map(str, c))},{e}" for n, (c, e) in enumerate(zip(counts, energies, strict=True))]
    found = told(run, "\n".join(["name,Ni,Cu,Zr,energy_ev_per_atom", *rows]))
    fractions = np.array(counts) / np.sum(counts, axis=1)[:, None]
    for phase, at, energy in zip(found["phases"], fractions, energies, strict=True):
        assert phase["energy_above_hull"] == pytest.approx(energy - lowest(fractions, energies, at), abs=1e-8)
        assert sum(part["share"] for part in phase["decomposition"]) == pytest.approx(1)


def test_people_get_tables_and_pictures(run: Run, here: Path) -> None:
    (here / "e.csv").write_text(TERNARY.replace("above,", "<b>above</b>,"))
    ran = run("hull", "e.csv", "--error", "0.01", "-o", "e.svg")
    assert ran.code == 0, ran.err
    assert "columns that are not used: volume" in ran.err
    assert "Ni-Cu-Zr: 9 phases, 8 of them stable" in ran.out
    assert "0.3333 nickel + 0.6667 below none" in ran.out
    assert "100 %" in ran.out
    assert (here / "e.svg").read_text().startswith("<?xml")
    assert run("hull", "e.csv", "-o", "e.svg").code == 2
    assert run("hull", "e.csv", "-o", "e.html").code == 0
    page = (here / "e.html").read_text()
    assert page.count("<svg") == 2
    assert "&lt;b&gt;above&lt;/b&gt;" in page
    assert "<b>above" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert run("hull", "e.csv", "-o", "e.pdf").code == 2


def test_errors_say_how_sure_it_is(run: Run) -> None:
    text = "formula,energy_ev,error_ev\nCu,0,0\nAu,0,0\nCuAu,-0.02,0.01\nCu3Au,-0.2,\n"
    found = told(run, text, "--error", "0.001")
    (one,) = [phase for phase in found["phases"] if phase["formula"] == "CuAu"]
    assert one["formation_energy_error"] == pytest.approx(0.005)
    assert 0 <= one["stable_probability"] <= 1
    assert all(phase["stable_probability"] is None for phase in told(run, text)["phases"])  # one is not known


def test_formulas_are_shown_as_they_are_written(run: Run) -> None:
    text = "formula,energy_ev\nAu,0\nCu,0\nCu3Au,-1\nAuCu,-0.2\n"
    assert [phase["formula"] for phase in told(run, text)["phases"]] == ["Au", "Cu", "Cu3Au", "CuAu"]
    assert told(run, "formula,energy_ev\nZr,0\nNi,0\n")["elements"] == ["Zr", "Ni"]
    counted_out = told(run, "Cu,Au,energy_ev\n1,0,0\n,1,0\n2,1,-1\n0.5,1.5,-1\n")["phases"]
    assert [phase["name"] for phase in counted_out] == ["Cu #1", "Au #2", "Cu2Au #3", "Cu0.5Au1.5 #4"]
    assert counted_out[3]["formula"] == "Cu0.25Au0.75"
    given = told(run, "formula,energy_ev\nCuAu,-1\n", "--reference", "Cu=-0.1", "--reference", "Au=0")
    assert given["references"] == {"Cu": -0.1, "Au": 0}
    assert [phase["name"] for phase in given["phases"]] == ["CuAu #1", "Cu (reference)", "Au (reference)"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("formula,energy_ev\nCu,0\nXy,1\nAu,0\n", "", "e.csv:3: 'Xy' is no formula: there is no element 'Xy'"),
        ("formula,energy_ev\nCu,a\nAu,\nNi,1\n", "", "e.csv:2: energy_ev: 'a' is no number (also wrong: lines 3)"),
        ("formula,energy_ev\nCu,0,1\n", "", "e.csv:2: has 3 cells, and the header 2"),
        ("formula,energy_ev\nCu,inf\n", "", "e.csv:2: energy_ev: inf is no number that an energy can have"),
        ("formula,enrgy_ev\nCu,0\n", "", "e.csv:1: needs one of energy_ev (of all atoms of the formula)"),
        ("formula,enrgy_ev\nCu,0\n", "", "did you mean 'energy_ev'"),
        ("name,energy_ev\nCu,0\n", "", "e.csv:1: has no column for what the phases are"),
        ("formula,formula,energy_ev\nCu,Cu,0\n", "", "e.csv:1: has two columns 'formula'"),
        ("formula,energy_ev\n", "", "e.csv: has no phases"),
        ("", "", "e.csv:1: has no column"),
        ("Cu,Au,energy_ev\n0,0,1\n", "", "e.csv:2: has no atoms"),
        ("Cu,Au,energy_ev\n1,-1,1\n", "", "e.csv:2: has -1 atoms of Au"),
        ("formula,energy_ev,error_ev\nCu,0,-1\n", "", "e.csv:2: has a negative error"),
        ("formula,energy_ev\nCu,0\nCuAu,0\n", "", "There is no elemental reference for Au"),
        ("formula,energy_ev\nCu,0\nCuAu,0\n", "", "--reference ELEMENT=ENERGY"),
        ("formula,energy_ev\nCuAgAuNiPd,0\n", "--reference Xy=1", "--reference Xy=1: write ELEMENT=ENERGY"),
        ("formula,energy_ev\nCu,0\n", "--reference Au=1", "no phase of e.csv contains Au"),
        ("formula,energy_ev\nCu,0\n", "--reference Cu=1 --reference Cu=2", "Cu is given twice"),
        ("formula,energy_ev\nCu,0\n", "--error -1", "-1 is no standard error"),
        ("formula,energy_ev\nCu,0\n", "-o a.svg", "Cu alone has no hull to draw"),
        ("formula,energy_ev\nCu,0\n", "-o no/a.svg", "there is no such folder"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, options: str, message: str, run: Run) -> None:
    Path("e.csv").write_text(text)
    ran = run("hull", "e.csv", *options.split())
    assert ran.code == 2
    assert message in ran.err


def test_more_than_four_elements_are_refused(run: Run) -> None:
    elements = ("Cu", "Ag", "Au", "Ni", "Pd")
    Path("e.csv").write_text("\n".join(["formula,energy_ev", *(f"{el},0" for el in elements)]))
    assert "has 5 elements; diagrams of up to 4 can be made" in run("hull", "e.csv").err
    assert "none.csv" in run("hull", "none.csv").err
