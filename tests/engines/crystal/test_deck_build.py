from typing import Any

import msgspec
import pytest

from penstock.engines.crystal.deck import Entry, parse_deck, render_deck
from penstock.engines.crystal.deck_edit import as_task, with_guess
from penstock.engines.crystal.deck_geometry import (
    BasisChoice,
    Hamiltonian,
    ScfSettings,
    build_deck,
    deck_of_geometry,
)

from .decks import EXPLICIT, SLAB, sample_texts, with_samples

WATER = deck_of_geometry("water", "3\n\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n")
DIAMOND = parse_deck(SLAB.replace("SLAB\n1\n2.46 2.46 120.", "CRYSTAL\n0 0 0\n227\n3.57")).geometry


def built(hamiltonian: dict[str, Any] | None = None, scf: dict[str, Any] | None = None, **basis: str) -> str:
    deck = build_deck(
        "diamond", DIAMOND, BasisChoice(**basis), Hamiltonian(**(hamiltonian or {})), ScfSettings(**(scf or {}))
    )
    assert parse_deck(render_deck(deck)) == deck
    return render_deck(deck).split("END\n" if basis.get("text") else "BASISSET\n", 1)[1]


def test_a_deck_from_defaults() -> None:
    assert built() == (
        "POB-TZVP-REV2\nDFT\nPBE\nXLGRID\nENDDFT\nTOLINTEG\n7 7 7 7 14\nTOLDEE\n7\nSHRINK\n12 24\n"
        "MAXCYCLE\n800\nFMIXING\n30\nDIIS\nPPAN\nEND\n"
    )


@pytest.mark.parametrize(
    ("hamiltonian", "begins"),
    [
        (
            {"functional": "b3lyp", "dispersion": "D3", "spin": True},
            "POB-TZVP-REV2\nDFT\nSPIN\nB3LYP-D3\nXLGRID\nENDDFT",
        ),
        ({"functional": "PBE-D3", "dispersion": "D3", "grid": ""}, "POB-TZVP-REV2\nDFT\nPBE-D3\nENDDFT"),
        ({"functional": "HSEsol-3c"}, "SOLDEF2MSVP\nDFT\nHSESOL3C\nXLGRID\nENDDFT"),
        ({"functional": "HF-3c"}, "MINIX\nHF3C\nEND\nTOLINTEG"),
        ({"functional": "HF"}, "POB-TZVP-REV2\nTOLINTEG"),
        ({"functional": "HF", "spin": True}, "POB-TZVP-REV2\nUHF\nTOLINTEG"),
    ],
)
def test_hamiltonians(hamiltonian: dict[str, Any], begins: str) -> None:
    assert built(hamiltonian).startswith(begins)


def test_scf_settings() -> None:
    text = built(
        scf={
            "shrink": (4, 4, 2, 8),
            "tolinteg": None,
            "toldee": 9,
            "maxcycle": None,
            "fmixing": None,
            "diis": False,
            "biposize": 110000000,
            "exchsize": 110000000,
            "levshift": (6, 1),
            "smear_hartree": 0.001,
            "spinlock": (2, 30),
            "more": "ATOMSPIN\n1\n1 1\n",
        }
    )
    assert text == (
        "POB-TZVP-REV2\nDFT\nPBE\nXLGRID\nENDDFT\nTOLDEE\n9\nSHRINK\n0 8\n4 4 2\nBIPOSIZE\n110000000\n"
        "EXCHSIZE\n110000000\nLEVSHIFT\n6 1\nSMEAR\n0.001\nSPINLOCK\n2 30\nNODIIS\nPPAN\nATOMSPIN\n1\n1 1\nEND\n"
    )


def test_a_basis_may_be_given_as_text() -> None:
    lines = parse_deck(EXPLICIT).basis.lines
    for text in ("\n".join(lines), "\n".join(lines[:-1])):
        deck = build_deck("t", DIAMOND, BasisChoice(text=text), Hamiltonian(), ScfSettings())
        assert (deck.end, deck.basis.lines, deck.basis.end) == ("END", lines, "END")
    named = build_deck("t", DIAMOND, BasisChoice(name="pob-dzvp"), Hamiltonian(), ScfSettings())
    assert named.basis.entries == (Entry("BASISSET", ("POB-DZVP",)),)


def test_a_molecule_has_no_mesh() -> None:
    deck = build_deck("water", WATER, BasisChoice(), Hamiltonian(), ScfSettings())
    assert "SHRINK" not in render_deck(deck)
    with pytest.raises(ValueError, match="leave shrink out"):
        build_deck("water", WATER, BasisChoice(), Hamiltonian(), ScfSettings(shrink=(2, 4)))


@pytest.mark.parametrize(("cell", "mesh"), [("2.5 2.5 120.", "12 24"), ("8.49 8.49 120.", "4 8"), ("80 90 90.", "1 2")])
def test_the_mesh_goes_by_the_shortest_period(cell: str, mesh: str) -> None:
    geometry = parse_deck(SLAB.replace("2.46 2.46 120.", cell)).geometry
    deck = build_deck("t", geometry, BasisChoice(), Hamiltonian(), ScfSettings())
    assert Entry("SHRINK", (mesh,)) in deck.scf


@with_samples
def test_the_default_mesh_is_near_that_of_real_decks() -> None:
    for name, text in sample_texts(".d12"):
        deck = parse_deck(text)
        shrink = next((entry for entry in deck.scf if entry.name == "SHRINK"), None)
        if shrink is not None and "opt.d12" not in name:
            given = max(map(int, shrink.lines[-1].split()[:1]))
            ours = build_deck("t", deck.geometry, BasisChoice(), Hamiltonian(), ScfSettings())
            entry = next(entry for entry in ours.scf if entry.name == "SHRINK")
            assert abs(int(entry.lines[0].split()[0]) - given) <= 2, name


def test_a_title_is_brought_onto_one_line() -> None:
    assert build_deck("a\nEND", WATER, BasisChoice(), Hamiltonian(), ScfSettings()).title == "a END"
    assert build_deck(" ", WATER, BasisChoice(), Hamiltonian(), ScfSettings()).title == "untitled"


@pytest.mark.parametrize(
    ("hamiltonian", "scf", "basis", "said"),
    [
        ({"functional": "HSESOL3C", "dispersion": "D3"}, {}, {}, "brings its dispersion along"),
        ({"functional": "HF", "dispersion": "D3"}, {}, {}, "dispersion is for functionals"),
        ({"functional": "PBE\nEND"}, {}, {}, "no name of a functional"),
        ({"functional": "END"}, {}, {}, "no name of a functional"),
        ({}, {"shrink": (4,)}, {}, "IS and ISP"),
        ({}, {"shrink": (0, 4)}, {}, "IS and ISP"),
        ({}, {"more": "DFT\nPBE\n"}, {}, "deck ends before"),
        ({}, {}, {"name": "A", "text": "2 1"}, "not both"),
        ({}, {}, {"name": "A B"}, "no name of a basis"),
        ({}, {}, {"text": " \n"}, "elements' blocks"),
        ({}, {}, {"text": "2 1\nEND\nDFT"}, "elements' blocks"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    hamiltonian: dict[str, Any], scf: dict[str, Any], basis: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        built(hamiltonian, scf, **basis)


def test_settings_are_json() -> None:
    scf = ScfSettings(shrink=(4, 8), tolinteg=(8, 8, 8, 8, 16))
    assert msgspec.convert(msgspec.to_builtins(scf), ScfSettings) == scf
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"shrimp": [4, 8]}, ScfSettings)


def test_a_deck_that_was_built_takes_on_any_task() -> None:
    deck = with_guess(
        as_task(build_deck("t", DIAMOND, BasisChoice(), Hamiltonian(functional="HF3C"), ScfSettings()), "opt")
    )
    assert render_deck(deck).count("END") == 3
    assert parse_deck(render_deck(deck)) == deck
