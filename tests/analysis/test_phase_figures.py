"""Figures as values, and that each can be drawn."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import matplotlib as mpl
import msgspec
import numpy as np
import pytest

from penstock.analysis.chemical_potential import compute_stability_regions
from penstock.analysis.formation import Entry
from penstock.analysis.phase_diagram import PhaseDiagram, compute_hull_uncertainty, compute_phase_diagram
from penstock.analysis.phase_figures import MOST_UNSTABLE, figure_chemical_potential, figure_hull
from penstock.analysis.plots import render
from penstock.domain.properties import Figure

ELEMENTS = ("Zr", "Al", "Cu", "Ni")


def make_diagram(components: int, count: int = 40, error_ev: float | None = None) -> PhaseDiagram:
    generator = np.random.default_rng(components)
    counts = np.vstack([np.eye(components, dtype=int), generator.integers(0, 4, (count, components))])
    entries = []
    for number, row in enumerate(counts[counts.any(axis=1)]):
        fractions = row / row.sum()
        energy = -0.3 * (1 - (fractions**2).sum()) + (0.0 if fractions.max() == 1 else 0.05 * generator.normal())
        composition = dict(zip(ELEMENTS, map(float, row), strict=False))
        entries.append(Entry(str(number), composition, float(energy * row.sum()), error_ev))
    return compute_phase_diagram(entries, elements=ELEMENTS[:components])


def draw(figure: Figure) -> bytes:
    """As SVG whose text is text, from what comes out of JSON."""
    again = msgspec.json.decode(msgspec.json.encode(figure), type=Figure)
    out = io.BytesIO()
    canvas = render(again)
    with mpl.rc_context({"svg.fonttype": "none"}):
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def fonts_are_open() -> None:
    """matplotlib keeps the fonts that it has opened."""
    for components in (2, 3, 4):
        diagram = make_diagram(components)
        draw(figure_hull(diagram))
        draw(figure_chemical_potential(diagram, compute_stability_regions(diagram)))


@pytest.mark.parametrize(("components", "kind"), [(2, "hull_binary"), (3, "hull_ternary"), (4, "hull_quaternary")])
def test_hulls_are_drawn_alike_every_time_with_the_names_of_their_elements(components: int, kind: str) -> None:
    figure = figure_hull(make_diagram(components))
    assert figure.kind == kind
    assert figure.title == f"Phase diagram of {'-'.join(ELEMENTS[:components])}"
    picture = draw(figure)
    text = " ".join(node.text or "" for node in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text"))
    assert all(element in text for element in ELEMENTS[:components])
    assert "eV/atom" in text
    assert draw(figure) == picture


@pytest.mark.parametrize("components", [2, 3, 4])
def test_regions_are_drawn_with_each_phase_once(components: int) -> None:
    diagram = make_diagram(components)
    figure = figure_chemical_potential(diagram, compute_stability_regions(diagram))
    formulas = [phase["formula"] for phase in figure.data["phases"]]
    assert len(set(formulas)) == len(formulas)
    assert set(ELEMENTS[:components]) <= set(formulas)
    assert draw(figure) == draw(figure)


def test_the_eliminated_element_can_be_chosen() -> None:
    diagram = make_diagram(3)
    regions = compute_stability_regions(diagram)
    picture = draw(figure_chemical_potential(diagram, regions, dependent="Zr")).decode()
    assert "(Cu)" in picture
    assert "(Zr)" not in picture
    with pytest.raises(ValueError, match="Ni is none of the elements Zr, Al, Cu"):
        figure_chemical_potential(diagram, regions, dependent="Ni")


def test_errors_and_probabilities_are_shown() -> None:
    diagram = make_diagram(2, error_ev=0.02)
    figure = figure_hull(diagram, compute_hull_uncertainty(diagram, samples=20))
    compounds = [point for point in figure.data["points"] if max(point["fractions"]) < 1]
    assert all(point["error_ev"] > 0 for point in compounds)
    assert all(0 <= point["probability"] <= 1 for point in compounds)
    assert "%" in draw(figure).decode()


@pytest.mark.parametrize("components", [2, 3, 4])
def test_a_system_without_compounds_can_be_drawn(components: int) -> None:
    diagram = make_diagram(components, count=0)
    draw(figure_hull(diagram))
    draw(figure_chemical_potential(diagram, compute_stability_regions(diagram)))


def test_of_very_many_phases_the_nearest_are_shown_and_the_caption_says_so() -> None:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(3), 3000)
    entries = [Entry(one, {one: 1.0}, 0.0) for one in ELEMENTS[:3]]
    entries += [
        Entry(str(number), dict(zip(ELEMENTS, share.tolist(), strict=False)), float(energy))
        for number, (share, energy) in enumerate(zip(shares, generator.uniform(0.01, 1, 3000), strict=True))
    ]
    figure = figure_hull(compute_phase_diagram(entries, elements=ELEMENTS[:3]))
    assert len(figure.data["points"]) == 3 + MOST_UNSTABLE
    assert figure.caption.startswith("3003 phases, 3 of them on the convex hull.")
    assert f"The {3 + MOST_UNSTABLE} phases on or nearest" in figure.caption
    assert len(msgspec.json.encode(figure)) < 200_000


def test_one_element_has_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="Cu alone has no hull"):
        figure_hull(compute_phase_diagram([Entry("Cu", {"Cu": 1.0}, 0.0)]))
