from typing import Any

import pytest
from tests.engines.crystal.decks import OPTIMISATION

from penstock.domain.calculation import Calculation
from penstock.domain.errors import SpecError
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.engine import CrystalEngine

ENGINE = CrystalEngine()
LATTICE = 'Lattice="0.0 1.772 1.772 1.772 0.0 1.772 1.772 1.772 0.0" pbc="T T T"'
DIAMOND = f"2\n{LATTICE}\nC 0.443 0.443 0.443\nC -0.443 -0.443 -0.443\n"
WATER = "3\n\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"


def rendered(geometry: str, *, charge: int = 0, multiplicity: int = 1, **table: Any) -> Deck:
    parameters = ENGINE.parameters(table, {"template.d12": OPTIMISATION}.__getitem__)
    calculation = Calculation("OPTGEOM 7", geometry, charge, multiplicity, 1, 4000)
    return parse_deck(ENGINE.render(calculation, parameters).files["INPUT"])


def value(deck: Deck, keyword: str) -> list[str] | None:
    return next((list(entry.lines) for entry in deck.scf if entry.name == keyword), None)


def test_a_template_gets_the_structures_geometry_and_name() -> None:
    deck = rendered(DIAMOND, deck="template.d12", task="opt")
    assert deck.title == "OPTGEOM 7"
    assert (deck.geometry.kind, deck.geometry.group_number, len(deck.geometry.atoms)) == ("CRYSTAL", 227, 1)
    assert value(deck, "SHRINK") == ["0 16", "8 8 8"]
    assert [entry.name for entry in deck.keywords] == ["OPTGEOM"]


def test_a_deck_is_made_from_settings() -> None:
    deck = rendered(
        DIAMOND,
        hamiltonian={"functional": "B3LYP", "dispersion": "D3"},
        basis={"name": "POB-TZVP"},
        scf={"shrink": [12, 12, 12, 24], "fmixing": 40},
    )
    assert deck.geometry.group_number == 227
    assert value(deck, "FMIXING") == ["40"]
    assert "B3LYP-D3" in [inner.name for entry in deck.scf if entry.name == "DFT" for inner in entry.entries]


def test_unpaired_electrons_are_locked() -> None:
    deck = rendered(WATER, multiplicity=3, hamiltonian={"functional": "PBE0"})
    assert deck.geometry.kind == "MOLECULE"
    assert value(deck, "SPINLOCK") == ["2 50"]
    assert "SPIN" in [inner.name for entry in deck.scf if entry.name == "DFT" for inner in entry.entries]


def test_a_charge_needs_a_deck() -> None:
    with pytest.raises(SpecError, match=r"the deck of OPTGEOM 7: charge -1: .* give a deck"):
        rendered(WATER, charge=-1, hamiltonian={})


def test_without_deck_template_and_settings_there_is_nothing_to_run() -> None:
    with pytest.raises(SpecError, match=r"name a template \(deck\)"):
        rendered(WATER)


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"hamiltonian": {"functionl": "PBE"}}, "engine.hamiltonian.functionl", "functional"),
        ({"hamiltonian": {"functional": "PBE END"}}, "engine", "no name of a functional"),
        ({"basis": {"name": "A", "text": "B"}}, "engine", "not both"),
        ({"scf": {"shrink": [0, 3]}}, "engine", "at least 1"),
        ({"scf": {"toldee": "x"}}, "engine.scf.toldee", "int"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(table: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        ENGINE.parameters(table, str)
    assert raised.value.key == key
    assert message in raised.value.message
