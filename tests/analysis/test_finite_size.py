from __future__ import annotations

import pytest

from penstock.analysis.finite_size import correct_finite_size


def test_water_in_a_small_box() -> None:
    """By hand: 2.837297 · 1.380649e-23 · 298 / (6 π · 0.00089 · 1.86e-9) = 3.741e-10 m²/s."""
    assert correct_finite_size(2.0e-9, 298.0, 0.89e-3, 18.6) == pytest.approx(2.3741e-9, rel=1e-4)


def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(ValueError, match="positive numbers"):
        correct_finite_size(1e-9, 298.0, 0.0, 20.0)
