"""What every test of pictures needs."""

from __future__ import annotations

import io

import pytest
from matplotlib.figure import Figure


@pytest.fixture(scope="session", autouse=True)
def fonts() -> None:
    """matplotlib keeps the files of its fonts open from the first text it draws: that is no test's doing."""
    figure = Figure()
    figure.text(0, 0, r"x $x \times 1$")
    figure.text(0, 0, "x", weight="bold")
    figure.savefig(io.BytesIO(), format="svg")
