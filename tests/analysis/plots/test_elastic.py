from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import msgspec
import numpy as np
import pytest
from tests.analysis.crystals import CLASSES, QUARTZ, SILICON, geometry_of

from penstock.analysis.crystal_symmetry import find_symmetry
from penstock.analysis.elastic.figures import figure_elastic_surface, figure_elastic_tensor, figure_stress_strain
from penstock.analysis.elastic.fit import fit_elastic
from penstock.analysis.elastic.strain import plan_strains
from penstock.analysis.plots import draw, render
from penstock.analysis.voigt import Floats, stress_matrix
from penstock.domain.properties import Figure


def figures(laue_class: str, tensor: Floats) -> dict[str, Figure]:
    symmetry = find_symmetry(geometry_of(CLASSES[laue_class][0]))
    strains = np.array([strain.voigt for strain in plan_strains(symmetry).strains])
    noise = np.random.default_rng(0).normal(size=(len(strains), 3, 3)) * 0.01
    stresses = stress_matrix(strains @ tensor) + noise
    fit = fit_elastic(strains, stresses, "tension", symmetry.operations)
    made = (
        figure_stress_strain(fit, strains, stresses, "tension", "X"),
        figure_elastic_tensor(fit, "X"),
        figure_elastic_surface(fit.tensor_gpa, "X"),
    )
    return {figure.kind: figure for figure in made}


@pytest.mark.parametrize("kind", ["stress_strain", "elastic_tensor", "elastic_surface"])
def test_a_figure_that_went_through_a_file_is_drawn_the_same_to_the_byte(kind: str) -> None:
    figure = figures("-3m", QUARTZ)[kind]
    read = msgspec.json.decode(msgspec.json.encode(figure), type=Figure)
    mpl.rcParams["lines.linewidth"] = 7  # whatever a person has set
    try:
        picture = draw(read)
        assert mpl.rcParams["lines.linewidth"] == 7
    finally:
        mpl.rcdefaults()
    assert picture == draw(figure)
    assert ET.fromstring(picture).tag.endswith("svg")
    assert len(picture) < 300_000
    assert not re.search(rb"<dc:date>|matplotlib\.org/</", picture)


def test_every_direction_has_a_panel_with_all_components() -> None:
    canvas = render(figures("-3m", QUARTZ)["stress_strain"])
    panels = [axes for axes in canvas.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == [f"strain {name} (%)" for name in ("xx", "zz", "yz")]
    assert all(len(axes.lines) == 12 for axes in panels)
    assert canvas.get_suptitle() == "X: stress over strain"


def test_what_is_unknown_is_a_question_mark() -> None:
    strains = np.outer([-0.01, -0.005, 0.005, 0.01], [1.0, 0, 0, 0, 0, 0])
    fit = fit_elastic(strains, stress_matrix(strains @ QUARTZ), "tension")
    texts = [text.get_text() for text in render(figure_elastic_tensor(fit, "X")).axes[0].texts]
    assert texts[0].startswith("86.6")
    assert texts[7] == "?"
    assert texts.count("?") == 25


def test_the_surface_has_three_sections_and_itself() -> None:
    canvas = render(figures("m-3m", SILICON)["elastic_surface"])
    assert [axes.name for axes in canvas.axes[:4]] == ["polar", "polar", "polar", "3d"]


def test_a_kind_that_nothing_draws_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"kind 'pie'; known are .*stress_strain"):
        draw(Figure("pie", "pie", "", "", {}))
