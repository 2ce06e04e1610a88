from __future__ import annotations

import numpy as np
import pytest
from tests.analysis.walks import brownian, caged

from penstock.analysis.arrhenius import fit_arrhenius
from penstock.analysis.averages import average_series
from penstock.analysis.diffusion import fit_diffusion
from penstock.analysis.diffusion_figures import figure_arrhenius, figure_msd, figure_time_series
from penstock.analysis.msd import msd_of_paths
from penstock.analysis.plots import draw
from penstock.analysis.plots.diffusion import KINDS

FREE, HELD = msd_of_paths([brownian(1, 1000, 4)], 2.0), msd_of_paths([caged(1, 500, 3)], 2.0)
FOUND = fit_diffusion(FREE)
POINTS = (np.array([300.0, 301.0, 600.0]), np.array([1e-10, 1.1e-10, 3e-9]), np.array([1e-11, 1e-11, 1e-10]))
VALUES = 300 + np.random.default_rng(1).normal(size=1000)
FIGURES = {
    "fitted": figure_msd({"Li": FREE, "O": HELD}, {"Li": FOUND, "O": "caged"}),
    "not fitted": figure_msd({"O": HELD}, {"O": "caged"}),
    "line": figure_arrhenius({"Li": POINTS}, {"Li": fit_arrhenius(*POINTS)}),
    "point": figure_arrhenius({"Li": ([300.0], [1e-10], [1e-11])}, {}),
    "series": figure_time_series(
        {"T (K)": VALUES, "E (eV)": VALUES, "angle (°)": np.full(1000, 90.0)},
        2.0,
        {"T (K)": average_series(VALUES, "T", 300), "angle (°)": average_series(np.full(1000, 90.0), "angle")},
    ),
}
SAID = {
    "fitted": ["Li: D = (", "O: caged", "time lag (ps)", "mean-squared displacement (Å²)"],
    "not fitted": ["O: caged"],
    "line": ["1000 K / T", "temperature (K)", "diffusion coefficient (m²/s)", "eV"],
    "point": ["Li"],
    "series": ["T (K)", "E (eV)", "time (ps)", "<!-- 90 -->", " ± "],
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_what_they_show_and_are_the_same_each_time(name: str) -> None:
    picture = draw(FIGURES[name]).decode()
    assert [text for text in SAID[name] if text not in picture] == []
    assert picture == draw(FIGURES[name]).decode()


def test_every_kind_is_drawn_here() -> None:
    assert {figure.kind for figure in FIGURES.values()} == set(KINDS)
