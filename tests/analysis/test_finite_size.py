from __future__ import annotations

import numpy as np
import pytest

from penstock.analysis.finite_size import correct_finite_size, extrapolate_finite_size


def test_water_in_a_small_box() -> None:
    """By hand: 2.837297 · 1.380649e-23 · 298 / (6 π · 0.00089 · 1.86e-9) = 3.741e-10 m²/s."""
    assert correct_finite_size(2.0e-9, 298.0, 0.89e-3, 18.6) == pytest.approx(2.3741e-9, rel=1e-4)


def test_boxes_of_several_lengths_give_the_limit_and_the_viscosity() -> None:
    lengths = np.array([15.0, 20.0, 30.0, 50.0])
    d = np.array([2.4e-9 - (correct_finite_size(1e-9, 298.0, 0.9e-3, length) - 1e-9) for length in lengths])
    found = extrapolate_finite_size(lengths, d, 0.01 * d, 298.0)
    assert found.d_m2_s == pytest.approx(2.4e-9, rel=1e-9)
    assert found.viscosity_pa_s == pytest.approx(0.9e-3, rel=1e-9)
    assert 0 < found.standard_error_m2_s < 0.1e-9
    assert extrapolate_finite_size(lengths, d[::-1], 0.01 * d, 298.0).viscosity_pa_s is None


def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(ValueError, match="positive numbers"):
        correct_finite_size(1e-9, 298.0, 0.0, 20.0)
    with pytest.raises(ValueError, match="two different lengths"):
        extrapolate_finite_size([20.0, 20.0], [1e-9, 1e-9], [1e-10, 1e-10], 298.0)
    with pytest.raises(ValueError, match="as many"):
        extrapolate_finite_size([20.0, 30.0], [1e-9], [1e-10], 298.0)
    with pytest.raises(ValueError, match="positive numbers"):
        extrapolate_finite_size([20.0, 30.0], [1e-9, np.nan], [1e-10, 1e-10], 298.0)
