from __future__ import annotations

import re

import numpy as np
import pytest

from penstock.analysis.arrhenius import BOLTZMANN_EV_PER_K, fit_arrhenius
from penstock.analysis.trajectory import Floats

ENERGY, D0 = 0.35, 2e-7
TEMPERATURES = np.array([600.0, 700.0, 850.0, 1000.0, 1200.0])


def law(temperatures: Floats, energy: float = ENERGY) -> Floats:
    return np.asarray(D0 * np.exp(-energy / (BOLTZMANN_EV_PER_K * temperatures)))


def test_a_line_without_noise_is_found_exactly() -> None:
    found = fit_arrhenius(TEMPERATURES, law(TEMPERATURES), 0.1 * law(TEMPERATURES))
    assert found.activation_energy_ev == pytest.approx(ENERGY, rel=1e-10)
    assert found.d0_m2_s == pytest.approx(D0, rel=1e-10)
    assert found.reduced_chi2 == pytest.approx(0, abs=1e-12)
    assert found.curvature_chance == pytest.approx(1)
    assert found.notes == ()
    value, (low, high) = found.predict(900.0)
    assert value == pytest.approx(law(np.array([900.0]))[0])
    assert value / low == pytest.approx(high / value)
    assert found.predict(300.0)[1][1] / found.predict(300.0)[0] > high / value  # farther off is less known


def test_95_percent_intervals_cover_95_percent() -> None:
    rng = np.random.default_rng(1)
    truth = law(TEMPERATURES)
    relative = np.array([0.2, 0.1, 0.05, 0.05, 0.03])
    covered = np.zeros(3)
    for _ in range(2000):
        d = truth * np.exp(relative * rng.normal(size=5))
        found = fit_arrhenius(TEMPERATURES, d, relative * d)
        low, high = found.activation_energy_interval_ev
        covered += [
            low <= ENERGY <= high,
            found.d0_interval_m2_s[0] <= D0 <= found.d0_interval_m2_s[1],
            found.predict(400.0)[1][0] <= law(np.array([400.0]))[0] <= found.predict(400.0)[1][1],
        ]
    assert covered / 2000 == pytest.approx(0.955, abs=0.02)


def test_errors_that_are_too_small_are_made_larger_and_noted() -> None:
    scatter = np.exp([0.3, -0.3, 0.3, -0.3, 0.3])
    narrow = fit_arrhenius(TEMPERATURES, law(TEMPERATURES) * scatter, 0.02 * law(TEMPERATURES) * scatter)
    wide = fit_arrhenius(TEMPERATURES, law(TEMPERATURES) * scatter, 0.5 * law(TEMPERATURES) * scatter)
    assert narrow.reduced_chi2 is not None
    assert narrow.reduced_chi2 > 100
    assert "times the variance that its errors explain" in narrow.notes[0]
    assert narrow.activation_energy_error_ev == pytest.approx(
        0.02 / 0.5 * wide.activation_energy_error_ev * np.sqrt(narrow.reduced_chi2)
    )
    low, high = narrow.activation_energy_interval_ev
    assert (high - low) / 2 / narrow.activation_energy_error_ev == pytest.approx(3.182, abs=1e-3)  # Student, three left
    assert wide.notes == ()


def test_two_temperatures_have_errors_of_d_only() -> None:
    t = TEMPERATURES[[0, 4]]
    found = fit_arrhenius(t, law(t), 0.1 * law(t))
    assert found.activation_energy_ev == pytest.approx(ENERGY)
    expected = BOLTZMANN_EV_PER_K * 0.1 * np.sqrt(2) / (1 / t[0] - 1 / t[1])
    assert found.activation_energy_error_ev == pytest.approx(expected)
    assert (found.reduced_chi2, found.curvature_chance) == (None, None)
    assert "Two temperatures" in found.notes[0]


def test_a_curve_is_noted_from_four_temperatures_on() -> None:
    bent = law(TEMPERATURES) + 1000 * law(TEMPERATURES, 0.9)
    found = fit_arrhenius(TEMPERATURES, bent, 0.02 * bent)
    assert found.curvature_chance is not None
    assert found.curvature_chance < 0.02
    assert any("steeper at high temperatures" in note for note in found.notes)
    three = fit_arrhenius(TEMPERATURES[::2], bent[::2], 0.02 * bent[::2])
    assert three.curvature_chance is None


def test_no_activation_is_noted() -> None:
    flat = np.full(5, 1e-9)
    assert "not above zero" in fit_arrhenius(TEMPERATURES, flat, 0.1 * flat).notes[0]


@pytest.mark.parametrize(
    ("temperatures", "d", "errors", "told"),
    [
        ([], [], [], "there is none"),
        ([300], [1e-9], [1e-10], "there is one: run at further temperatures"),
        ([300, 300], [1e-9, 2e-9], [1e-10, 1e-10], "two different temperatures"),
        ([300, 400], [1e-9, -2e-9], [1e-10, 1e-10], "Every D is a positive number, but number 1 is -2e-09"),
        ([300, 400], [1e-9, 2e-9], [1e-10, 0], "Every error of D is a positive number"),
        ([300, np.nan], [1e-9, 2e-9], [1e-10, 1e-10], "Every temperature"),
        ([300, 400], [1e-9], [1e-10], re.escape("are as many, not (2,), (1,) and (1,)")),
    ],
)
def test_what_gives_no_activation_energy(
    temperatures: list[float], d: list[float], errors: list[float], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        fit_arrhenius(temperatures, d, errors)


def test_nothing_is_predicted_at_no_temperature() -> None:
    found = fit_arrhenius(TEMPERATURES, law(TEMPERATURES), 0.1 * law(TEMPERATURES))
    with pytest.raises(ValueError, match="positive number of K, not 0"):
        found.predict(0.0)
