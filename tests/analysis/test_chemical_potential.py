from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.analysis.chemical_potential import compute_stability_regions, order_polygon
from penstock.analysis.formation import Entry
from penstock.analysis.phase_diagram import PhaseDiagram, compute_phase_diagram

ELEMENTS = ("Al", "Cu", "Ni", "Zr")


def diagram_of(table: dict[tuple[int, ...], float]) -> PhaseDiagram:
    """Formation energies per atom by counts; the elements are added."""
    width = len(next(iter(table)))
    pure = {tuple(row): 0.0 for row in np.eye(width, dtype=int).tolist()}
    entries = [
        Entry(str(counts), dict(zip(ELEMENTS, map(float, counts), strict=False)), energy * sum(counts))
        for counts, energy in (pure | table).items()
    ]
    return compute_phase_diagram(entries)


def test_intervals_of_a_binary_compound() -> None:
    """AB at -0.4 eV/atom: with pure B Δμ(A) is -0.8, with pure A it is 0; A itself begins at 0."""
    regions = compute_stability_regions(diagram_of({(1, 1): -0.4}), floor_ev=-2.0)
    assert [region.entry for region in regions] == [0, 1, 2]
    assert regions[2].range_ev == pytest.approx(np.array([[-0.8, 0.0], [-0.8, 0.0]]))
    assert regions[2].corners_ev == pytest.approx(np.array([[-0.8, 0.0], [0.0, -0.8]]))
    assert regions[0].range_ev == pytest.approx(np.array([[0.0, 0.0], [-np.inf, -0.8]]))
    assert regions[0].corners_ev == pytest.approx(np.array([[0.0, -2.0], [0.0, -0.8]]))


def test_the_polygon_of_a_ternary_compound() -> None:
    """ABC at -1 eV/atom and nothing else: a triangle, Δμ(A) + Δμ(B) + Δμ(C) = -3."""
    region = compute_stability_regions(diagram_of({(1, 1, 1): -1.0}))[3]
    assert region.corners_ev == pytest.approx(np.array([[-3.0, 0, 0], [0, -3.0, 0], [0, 0, -3.0]]))
    cut = compute_stability_regions(diagram_of({(1, 1, 1): -1.0, (1, 1, 0): -0.5}))[3]
    assert len(cut.corners_ev) == 4
    assert cut.range_ev[2] == pytest.approx([-2.0, 0.0])


def test_a_phase_on_a_tie_line_is_stable_at_one_potential_only() -> None:
    region = compute_stability_regions(diagram_of({(1, 1): -0.4, (3, 1): -0.2}))[3]
    assert region.corners_ev == pytest.approx(np.array([[0.0, -0.8]]))


def test_elements_alone() -> None:
    for components in (2, 3, 4):
        counts = tuple(np.eye(components, dtype=int)[0].tolist())
        regions = compute_stability_regions(diagram_of({counts: 0.0}), floor_ev=-1.0)
        assert [len(region.corners_ev) for region in regions] == [2 ** (components - 1)] * components


@given(st.integers(2, 4), st.integers(0, 12), st.integers(0, 10_000))
def test_regions_are_made_of_the_hull_s_equilibria(components: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = [tuple(row) for row in generator.integers(0, 4, (count, components)).tolist() if sum(x > 0 for x in row) > 1]
    first = tuple(np.eye(components, dtype=int)[0].tolist())
    diagram = diagram_of({first: 0.0} | {row: round(float(generator.normal()), 1) for row in rows})
    for region in compute_stability_regions(diagram):
        own = diagram.fractions[region.entry]
        assert region.corners_ev @ own == pytest.approx(diagram.formation_ev[region.entry], abs=1e-6)
        excess = region.corners_ev @ diagram.fractions.T - diagram.formation_ev
        assert (excess <= 1e-6).all()
        for potential in diagram.potential_ev[(diagram.facets == region.entry).any(axis=1)]:
            assert np.abs(region.corners_ev - potential).max(axis=1).min() < 1e-5


def test_corners_go_round() -> None:
    square = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert order_polygon(square).tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two or more elements"):
        compute_stability_regions(compute_phase_diagram([Entry("Cu", {"Cu": 1.0}, 0.0)]))
    with pytest.raises(ValueError, match=r"floor of -0.1 eV cuts equilibria off; choose one below -0.8 eV"):
        compute_stability_regions(diagram_of({(1, 1): -0.4}), floor_ev=-0.1)
