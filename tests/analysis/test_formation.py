from __future__ import annotations

import math

import pytest

from penstock.analysis.formation import Entry, compute_formation, reduced_formula


def test_the_lowest_entry_of_each_element_is_its_reference() -> None:
    entries = [
        Entry("fcc", {"Cu": 4}, -4 * 3.7),
        Entry("bcc", {"Cu": 2}, -2 * 3.6),
        Entry("gold", {"Au": 1}, -3.2),
        Entry("L10", {"Cu": 2, "Au": 2}, 2 * (-3.7 - 3.2) - 4 * 0.05),
    ]
    formation = compute_formation(entries)
    assert formation.elements == ("Au", "Cu")
    assert formation.reference_entry == (2, 0)
    assert formation.reference_ev == pytest.approx([-3.2, -3.7])
    assert formation.formation_ev == pytest.approx([0, 0.1, 0, -0.05])
    assert formation.formation_ev[0] == 0 == formation.formation_ev[2]


def test_of_entries_that_tie_the_first_is_the_reference() -> None:
    entries = [Entry("a", {"Cu": 2}, -2.0), Entry("b", {"Cu": 4}, -4.0), Entry("c", {"Cu": 1}, -1.0)]
    assert compute_formation(entries).reference_entry == (0,)


def test_given_references_come_before_entries_and_fill_what_is_missing() -> None:
    entries = [Entry("fcc", {"Cu": 1}, -3.5), Entry("oxide", {"Cu": 2, "O": 2}, -18.0)]
    formation = compute_formation(entries, {"Cu": -3.6, "O": -5.0}, elements=("O", "Cu"))
    assert formation.elements == ("O", "Cu")
    assert [entry.name for entry in formation.entries] == ["fcc", "oxide", "O (reference)"]
    assert formation.reference_entry == (None, None)
    assert formation.formation_ev == pytest.approx([0.1, (-18 + 2 * 3.6 + 2 * 5.0) / 4, 0.0])


def test_missing_references_are_named() -> None:
    with pytest.raises(ValueError, match=r"no elemental reference for Au, Zn: add a calculation"):
        compute_formation([Entry("brass", {"Cu": 1, "Zn": 1, "Au": 1}, -1.0), Entry("fcc", {"Cu": 1}, -1.0)])


def test_errors_of_entry_and_references_add_up() -> None:
    entries = [
        Entry("Cu", {"Cu": 4}, 0.0, 0.04),
        Entry("Cu bcc", {"Cu": 1}, 0.1, 0.03),
        Entry("Au", {"Au": 1}, 0.0, 0.02),
        Entry("CuAu3", {"Cu": 1, "Au": 3}, -1.0, 0.08),
    ]
    formation = compute_formation(entries)
    expected = [0.0, math.hypot(0.03, 0.01), 0.0, math.sqrt(0.02**2 + (0.25 * 0.01) ** 2 + (0.75 * 0.02) ** 2)]
    assert formation.formation_error_ev == pytest.approx(expected)


def test_an_unknown_error_makes_only_those_unknown_that_rest_on_it() -> None:
    entries = [Entry("Cu", {"Cu": 1}, 0.0, 0.01), Entry("Au", {"Au": 1}, 0.0), Entry("b", {"Cu": 1}, 0.1, 0.01)]
    entries.append(Entry("CuAu", {"Cu": 1, "Au": 1}, -1.0, 0.01))
    errors = compute_formation(entries).formation_error_ev
    assert errors[[0, 1, 2]] == pytest.approx([0, 0, math.hypot(0.01, 0.01)])
    assert math.isnan(errors[3])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("x", {"Cu": -1, "Au": 2}, 0.0), r"Entry 'x' has -1 atoms of Cu"),
        (Entry("x", {"Cu": math.nan}, 0.0), r"nan atoms of Cu"),
        (Entry("x", {}, 0.0), r"has no atoms"),
        (Entry("x", {"copper": 1}, 0.0), r"'copper' in its composition; that is no element's symbol"),
        (Entry("x", {"Cu": 1}, math.nan), r"has the energy nan eV"),
        (Entry("x", {"Cu": 1}, 0.0, -0.1), r"has the energy error -0.1 eV"),
    ],
)
def test_bad_entries_are_named(entry: Entry, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_formation([entry])


def test_bad_systems_and_references() -> None:
    entries = [Entry("Cu", {"Cu": 1}, 0.0)]
    with pytest.raises(ValueError, match="no entries"):
        compute_formation([])
    with pytest.raises(ValueError, match="reference energy of Cu is inf"):
        compute_formation(entries, {"Cu": math.inf})
    with pytest.raises(ValueError, match="Entries contain Cu, which the system Au-Ag does not"):
        compute_formation(entries, elements=("Au", "Ag"))
    with pytest.raises(ValueError, match="name one twice"):
        compute_formation(entries, elements=("Cu", "Cu"))


@pytest.mark.parametrize(
    ("composition", "formula"),
    [
        ({"Cu": 6, "Au": 2}, "Cu3Au"),
        ({"Cu": 4}, "Cu"),
        ({"Cu": 0, "Au": 2}, "Au"),
        ({"Cu": 2, "Au": 3, "Zn": 5}, "Cu2Au3Zn5"),
        ({"Cu": 0.5, "Au": 1.5}, "Cu0.25Au0.75"),
    ],
)
def test_formulas_are_reduced(composition: dict[str, float], formula: str) -> None:
    assert reduced_formula(composition) == formula
