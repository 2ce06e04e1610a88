"""Actors that are broken on purpose need not be heard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog.testing


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keeps what is logged off the screen."""
    with structlog.testing.capture_logs():
        yield
