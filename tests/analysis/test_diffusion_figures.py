from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.analysis.walks import brownian, caged

from penstock.analysis.arrhenius import BOLTZMANN_EV_PER_K, fit_arrhenius
from penstock.analysis.averages import average_series
from penstock.analysis.diffusion import fit_diffusion
from penstock.analysis.diffusion_figures import figure_arrhenius, figure_msd, figure_time_series
from penstock.analysis.msd import msd_of_paths
from penstock.domain.properties import Figure


def size(figure: Figure) -> int:
    """In bytes; that it can be written as JSON is a part of it."""
    return len(msgspec.json.encode(figure))


def test_displacements_with_a_fit_and_without() -> None:
    free, held = msd_of_paths([brownian(1, 20_000, 2)], 2.0), msd_of_paths([caged(1, 500, 3)], 2.0)
    found = fit_diffusion(free, [[1, 0, 0]])
    figure = figure_msd({"Li": free, "O": held}, {"Li": found, "O": "caged"}, [[1, 0, 0]])
    assert size(figure) < 20_000
    moving, caught = figure.data["curves"]
    assert (moving["why_not"], caught["why_not"], caught["fit"]) == (None, "caged", None)
    lag = 1000 * moving["times_ps"][-1] / 2
    assert lag == 10_000
    assert moving["msd_a2"][-1] == pytest.approx(free.tensor_a2[10_000, 0], rel=1e-5)
    fit, at = moving["fit"], 0.4
    expected = 2 * found.d_m2_s * at * 1e-12 * 1e20  # 2 d D t in Å²
    assert fit["slope_a2_per_ps"] * at == pytest.approx(expected)
    assert fit["window_ps"] == [0.002, pytest.approx(4.0, rel=0.01)]


def test_arrhenius_points_and_band() -> None:
    temperatures = np.array([300.0, 400.0, 600.0])
    d = 1e-7 * np.exp(-0.2 / (BOLTZMANN_EV_PER_K * temperatures))
    fit = fit_arrhenius(temperatures, d, 0.1 * d)
    figure = figure_arrhenius({"Li": (temperatures, d, 0.1 * d), "O": ([300], [1e-12], [1e-13])}, {"Li": fit})
    assert size(figure) < 20_000
    lithium, oxygen = figure.data["series"]
    assert oxygen["fit"] is None
    band = lithium["fit"]
    assert band["per_kk"][0] < 1000 / 600
    assert band["per_kk"][-1] > 1000 / 300
    assert all(
        low < value < high for low, value, high in zip(band["low_m2_s"], band["d_m2_s"], band["high_m2_s"], strict=True)
    )


def test_long_series_are_thinned_without_losing_their_peaks() -> None:
    values = 300 + np.random.default_rng(1).normal(size=100_000)
    values[4321] = 400.0
    mean = average_series(values, "T", 500)
    figure = figure_time_series({"T (K)": values, "E (eV)": values}, 2.0, {"T (K)": mean})
    assert size(figure) < 100_000
    first, second = figure.data["panels"]
    assert max(first["high"]) == 400.0
    assert second["mean"] is None
    assert first["mean"]["start_ps"] == 1.0
    assert first["running"][0] is None
    assert first["running"][-1] == pytest.approx(mean.value, rel=1e-5)
    assert second["running"][-1] == pytest.approx(values.mean(), rel=1e-5)
    assert first["times_ps"][-1] == pytest.approx(200, rel=0.01)
