from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.analysis.crystals import CLASSES, QUARTZ, SILICON, cubic, geometry_of

from penstock.analysis.crystal_symmetry import find_symmetry
from penstock.analysis.elastic.figures import figure_elastic_surface, figure_elastic_tensor, figure_stress_strain
from penstock.analysis.elastic.fit import fit_elastic
from penstock.analysis.elastic.strain import plan_strains
from penstock.analysis.voigt import stress_matrix
from penstock.domain.properties import Figure


def test_points_and_lines_of_each_direction() -> None:
    symmetry = find_symmetry(geometry_of(CLASSES["m-3m"][0]))
    strains = np.array([strain.voigt for strain in plan_strains(symmetry).strains])
    pressure = -0.2 * np.eye(3)
    stresses = -(stress_matrix(strains @ SILICON) + pressure)
    fit = fit_elastic(strains, stresses, "compression", symmetry.operations, -pressure)
    figure = figure_stress_strain(fit, strains, stresses, "compression", "Si", -pressure)
    stretch, shear = figure.data["panels"]
    assert (stretch["component"], shear["component"]) == ("xx", "yz")
    assert stretch["strain"] == [-0.01, -0.005, 0.005, 0.01, 0]
    np.testing.assert_allclose(stretch["stress_gpa"][0], [-1.8578, -1.0289, 0.6289, 1.4578, -0.2], atol=1e-5)
    np.testing.assert_allclose(stretch["line_gpa"][0], [-0.2, 165.78, 0, 0], atol=1e-5)
    np.testing.assert_allclose(shear["line_gpa"][3], [0, 79.62, 0, 0], atol=1e-5)
    assert msgspec.json.decode(msgspec.json.encode(figure), type=Figure) == figure


def test_strain_of_mixed_components_is_measured_by_the_largest() -> None:
    sizes = [-0.01, -0.005, 0.005, 0.01]
    strains = np.vstack([np.outer(sizes, [1.0, 0, 0, -0.5, 0, 0]), np.outer(sizes, [1.0, 0, 0, 0, 0, 0])])
    stresses = stress_matrix(strains @ QUARTZ)
    figure = figure_stress_strain(fit_elastic(strains, stresses, "tension"), strains, stresses, "tension", "quartz")
    panel, single = figure.data["panels"]
    assert not panel["is_single"]
    assert single["is_single"]
    np.testing.assert_allclose(panel["line_gpa"][0][1], 86.6 + 17.8 / 2)


def test_what_is_unknown_is_none_in_the_tensors_figure() -> None:
    strains = np.outer([-0.01, -0.005, 0.005, 0.01], [1.0, 0, 0, 0, 0, 0])
    fit = fit_elastic(strains, stress_matrix(strains @ QUARTZ), "tension")
    figure = figure_elastic_tensor(fit, "quartz")
    assert figure.data["tensor_gpa"][0][:2] == [86.6, 6.7]
    assert figure.data["tensor_gpa"][1][1] is None
    assert msgspec.json.decode(msgspec.json.encode(figure), type=Figure) == figure


def test_the_surface_tells_where_the_extremes_are_and_is_small() -> None:
    figure = figure_elastic_surface(SILICON, "Si")
    assert "130.2 GPa along [0 0 1]" in figure.caption
    assert "to 187.9 GPa along [1 1 1]" in figure.caption
    assert figure.data["sections"]["xy"][0] == pytest.approx(130.19, abs=0.01)
    assert figure.data["sections"]["xz"] == pytest.approx(figure.data["sections"]["xy"])
    assert len(msgspec.json.encode(figure)) < 50_000


def test_sections_lie_in_their_planes() -> None:
    sections = figure_elastic_surface(QUARTZ, "quartz").data["sections"]
    along = {axis: 1 / np.linalg.inv(QUARTZ)[index, index] for index, axis in enumerate("xyz")}
    for plane, values in sections.items():
        assert values[0] == pytest.approx(along[plane[0]], rel=1e-5)
        assert values[45] == pytest.approx(along[plane[1]], rel=1e-5)


def test_a_crystal_without_stability_has_no_surface() -> None:
    with pytest.raises(ValueError, match="not elastically stable"):
        figure_elastic_surface(cubic(100.0, 110.0, 50.0), "X")
