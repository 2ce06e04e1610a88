from __future__ import annotations

import importlib
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from penstock.analysis.formation import Entry
from penstock.analysis.phase_diagram import Part, PhaseDiagram, compute_hull_uncertainty, compute_phase_diagram

ELEMENTS = ("Al", "Cu", "Ni", "Zr")


def entry(name: str, composition: dict[str, float], formation_ev: float, error_ev: float | None = None) -> Entry:
    """An entry with this formation energy per atom where all elements have energy zero."""
    atoms = sum(composition.values())
    return Entry(name, composition, formation_ev * atoms, None if error_ev is None else error_ev * atoms)


def random_entries(components: int, count: int, seed: int) -> list[Entry]:
    generator = np.random.default_rng(seed)
    counts = [*np.eye(components, dtype=int).tolist(), *generator.integers(0, 5, (count, components)).tolist()]
    return [
        Entry(f"{number}", dict(zip(ELEMENTS, map(float, one), strict=False)), float(generator.normal() * sum(one)))
        for number, one in enumerate(counts)
        if any(one)
    ]


COPPER_GOLD = [
    entry("Cu", {"Cu": 4}, 0.0),
    entry("Au", {"Au": 4}, 0.0),
    entry("Cu3Au", {"Cu": 3, "Au": 1}, -0.1),
    entry("D022", {"Cu": 6, "Au": 2}, -0.07),
    entry("CuAu", {"Cu": 1, "Au": 1}, -0.16),
    entry("CuAu3", {"Cu": 1, "Au": 3}, -0.05),
    entry("Au bcc", {"Au": 1}, 0.03),
]


def test_a_binary_diagram_by_hand() -> None:
    diagram = compute_phase_diagram(COPPER_GOLD, elements=("Cu", "Au"))
    assert diagram.stable.tolist() == [True, True, True, False, True, False, False]
    assert diagram.above_ev == pytest.approx([0, 0, 0, 0.03, 0, 0.03, 0.03])
    assert diagram.ground_state.tolist() == [0, 1, 2, 2, 4, 5, 1]
    assert diagram.above_ground_state_ev == pytest.approx([0, 0, 0, 0.03, 0, 0, 0.03])
    assert diagram.decomposition(2) == (Part(2, 1.0),)
    assert diagram.decomposition(3) == (Part(2, 1.0),)
    assert sorted(diagram.decomposition(5)) == [Part(1, 0.5), Part(4, 0.5)]
    assert sorted(map(tuple, diagram.facets.tolist())) == [(0, 2), (1, 4), (2, 4)]
    nan = math.nan
    others = [nan, 0.03, 0.02, nan, 0.16 - 0.2 / 3, nan, nan]  # without CuAu the line is from Cu3Au to CuAu3 or Au
    others[4] = 0.16 - max(0.1 * 2 / 3, (0.1 + 0.05) / 2)
    assert diagram.below_others_ev == pytest.approx(others, nan_ok=True)


def test_phases_that_tie_are_all_stable_and_none_is_missed() -> None:
    diagram = compute_phase_diagram(
        [entry("Cu", {"Cu": 1}, 0.0), entry("Au", {"Au": 1}, 0.0)]
        + [entry(name, {"Cu": number, "Au": number}, -0.2) for number, name in enumerate("abc", 1)],
    )
    assert diagram.stable.all()
    assert diagram.ground_state.tolist() == [0, 1, 2, 2, 2]
    assert diagram.below_others_ev[2:] == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_phase_on_a_line_between_others_is_stable_and_not_missed() -> None:
    diagram = compute_phase_diagram(
        [
            entry("Cu", {"Cu": 1}, 0.0),
            entry("Au", {"Au": 1}, 0.0),
            entry("CuAu", {"Cu": 1, "Au": 1}, -0.2),
            entry("Cu3Au", {"Cu": 3, "Au": 1}, -0.1),
        ]
    )
    assert diagram.stable.all()
    assert diagram.below_others_ev[3] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("above", "stable"), [(0.5e-8, True), (2e-8, False)])
def test_what_counts_as_on_the_hull(above: float, stable: bool) -> None:
    entries = [*COPPER_GOLD[:5], entry("near", {"Cu": 1, "Au": 1}, -0.16 + above)]
    diagram = compute_phase_diagram(entries)
    assert diagram.stable[5] == stable
    assert diagram.above_ev[5] == pytest.approx(above, abs=1e-12)
    assert compute_phase_diagram(entries, tolerance_ev=1e-6).stable[5]


def test_one_element_has_its_polymorphs_above_the_lowest() -> None:
    diagram = compute_phase_diagram([entry("hcp", {"Cu": 2}, 0.02), entry("fcc", {"Cu": 1}, 0.0)])
    assert diagram.above_ev == pytest.approx([0.02, 0])
    assert diagram.decomposition(0) == (Part(1, 1.0),)
    assert diagram.below_others_ev == pytest.approx([math.nan, 0.02], nan_ok=True)


def test_given_references_make_corners_and_do_not_move_the_hull() -> None:
    compounds = [one for one in COPPER_GOLD if len(one.composition) == 2]
    diagram = compute_phase_diagram(compounds, {"Cu": 0.0, "Au": 0.0}, elements=("Cu", "Au"))
    assert [one.name for one in diagram.entries][-2:] == ["Cu (reference)", "Au (reference)"]
    assert diagram.above_ev[:4] == pytest.approx([0, 0.03, 0, 0.03])
    raised = compute_phase_diagram(COPPER_GOLD, {"Cu": 1.0, "Au": -2.0}, elements=("Cu", "Au"))
    usual = compute_phase_diagram(COPPER_GOLD, elements=("Cu", "Au"))
    assert raised.above_ev == pytest.approx(usual.above_ev)
    assert raised.formation_ev[4] == pytest.approx(-0.16 - 0.5 + 1.0)


@given(st.integers(2, 4), st.integers(0, 25), st.integers(0, 10_000))
def test_decompositions_have_composition_and_energy(components: int, count: int, seed: int) -> None:
    diagram = compute_phase_diagram(random_entries(components, count, seed))
    assert (diagram.above_ev >= 0).all()
    for number in range(len(diagram.entries)):
        parts = diagram.decomposition(number)
        assert sum(part.share for part in parts) == pytest.approx(1, abs=1e-12)
        assert all(diagram.stable[part.entry] for part in parts)
        mixed = sum(part.share * diagram.fractions[part.entry] for part in parts)
        assert mixed == pytest.approx(diagram.fractions[number], abs=1e-9)
        energy = sum(part.share * diagram.formation_ev[part.entry] for part in parts)
        assert diagram.formation_ev[number] - energy == pytest.approx(diagram.above_ev[number], abs=1e-9)


@given(st.integers(2, 4), st.integers(1, 25), st.integers(0, 10_000))
def test_how_far_below_the_others_is_their_hull_without_it(components: int, count: int, seed: int) -> None:
    entries = random_entries(components, count, seed)
    elements = ELEMENTS[:components]
    diagram = compute_phase_diagram(entries, elements=elements)
    for number in np.flatnonzero(diagram.stable).tolist():
        others = entries[:number] + entries[number + 1 :]
        below = diagram.below_others_ev[number]
        if math.isnan(below):
            with pytest.raises(ValueError, match="no elemental reference"):
                compute_phase_diagram(others, elements=elements)
            continue
        raised = Entry("raised", entries[number].composition, entries[number].energy_ev + 100.0)
        atoms = sum(raised.composition.values())
        assert compute_phase_diagram([*others, raised]).above_ev[-1] == pytest.approx(100.0 / atoms - below)


@pytest.mark.parametrize("components", [2, 3, 4])
def test_pymatgen_agrees(components: int) -> None:
    pytest.importorskip("pymatgen.core", reason="pymatgen is not installed; pip install pymatgen", exc_type=ImportError)
    entries = random_entries(components, 60, components)
    with warnings.catch_warnings(action="ignore"):
        theirs: Any = importlib.import_module("pymatgen.analysis.phase_diagram")
        given_to_them = [theirs.PDEntry(dict(one.composition), one.energy_ev) for one in entries]
        expected = theirs.PhaseDiagram(given_to_them)
    diagram = compute_phase_diagram(entries)
    for number, one in enumerate(given_to_them):
        assert diagram.above_ev[number] == pytest.approx(expected.get_e_above_hull(one), abs=1e-9)
        assert diagram.formation_ev[number] == pytest.approx(expected.get_form_energy_per_atom(one), abs=1e-9)


def interval(diagram: PhaseDiagram, entry_number: int, **arguments: Any) -> tuple[float, float, float]:
    found = compute_hull_uncertainty(diagram, **arguments)
    return (
        float(found.stable_probability[entry_number]),
        float(found.above_mean_ev[entry_number]),
        float(found.above_error_ev[entry_number]),
    )


def test_the_uncertainty_of_one_compound_is_that_of_a_normal_distribution() -> None:
    """One compound between two elements: it is stable where its formation energy, itself normal, is negative."""
    entries = [
        entry("Cu", {"Cu": 1}, 0.0, 0.03),
        entry("Au", {"Au": 1}, 0.0, 0.01),
        entry("CuAu", {"Cu": 1, "Au": 1}, -0.02, 0.02),
    ]
    diagram = compute_phase_diagram(entries)
    sigma, mean, samples = math.sqrt(0.02**2 + 0.015**2 + 0.005**2), -0.02, 4000
    probability, above_mean, above_error = interval(diagram, 2, samples=samples)
    expected = float(norm.cdf(-mean / sigma))
    assert probability == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / samples))
    first = mean * norm.cdf(mean / sigma) + sigma * norm.pdf(mean / sigma)  # moments of max(0, normal)
    second = (mean**2 + sigma**2) * norm.cdf(mean / sigma) + mean * sigma * norm.pdf(mean / sigma)
    spread = math.sqrt(second - first**2)
    assert above_mean == pytest.approx(float(first), abs=4 * spread / math.sqrt(samples))
    assert above_error == pytest.approx(spread, rel=0.1)
    common, *_ = interval(diagram, 2, error_ev=np.zeros(3), common_error_ev=0.02, samples=samples)
    assert common == pytest.approx(float(norm.cdf(1.0)), abs=0.03)


def test_a_shared_error_does_not_set_compounds_against_each_other() -> None:
    diagram = compute_phase_diagram([entry("Cu", {"Cu": 1}, 0.0), entry("Au", {"Au": 1}, 0.0), *COPPER_GOLD[2:4]])
    found = compute_hull_uncertainty(diagram, np.zeros(4), common_error_ev=0.02, samples=300)
    assert found.stable_probability.tolist() == [1, 1, 1, 0]
    assert found.above_mean_ev[3] == pytest.approx(0.03)
    assert found.above_error_ev[3] == pytest.approx(0, abs=1e-9)


def test_without_errors_everything_is_sure_and_the_same_seed_draws_the_same() -> None:
    diagram = compute_phase_diagram(COPPER_GOLD)
    sure = compute_hull_uncertainty(diagram, np.zeros(7), samples=5)
    assert sure.stable_probability.tolist() == diagram.stable.tolist()
    assert sure.above_mean_ev == pytest.approx(diagram.above_ev)
    assert sure.above_error_ev == pytest.approx(0)
    errors = np.full(7, 0.03)
    one, again, other = (compute_hull_uncertainty(diagram, errors, samples=50, seed=seed) for seed in (1, 1, 2))
    assert one.above_mean_ev.tolist() == again.above_mean_ev.tolist() != other.above_mean_ev.tolist()


def test_what_cannot_be_a_diagram_is_refused() -> None:
    five = [entry(name, {name: 1}, 0.0) for name in ("Al", "Cu", "Ni", "Zr", "Zn")]
    with pytest.raises(ValueError, match="Al-Cu-Ni-Zn-Zr has 5 elements; diagrams of up to 4"):
        compute_phase_diagram(five)
    with pytest.raises(ValueError, match=r"tolerance is -0.1 eV/atom"):
        compute_phase_diagram(COPPER_GOLD, tolerance_ev=-0.1)
    diagram = compute_phase_diagram(COPPER_GOLD)
    with pytest.raises(ValueError, match="energy errors of Cu, Au, Cu3Au, D022, CuAu are not known"):
        compute_hull_uncertainty(diagram)
    with pytest.raises(ValueError, match="one error for each of the 7 entries"):
        compute_hull_uncertainty(diagram, np.zeros(2))
    with pytest.raises(ValueError, match="cannot be negative"):
        compute_hull_uncertainty(diagram, np.full(7, -0.1))
    with pytest.raises(ValueError, match="1 samples say nothing"):
        compute_hull_uncertainty(diagram, np.zeros(7), samples=1)
