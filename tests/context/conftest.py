"""A work root of its own for each test, and an environment that says nothing of Penstock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477"
HYDROGEN = "H 0 0 0\nH 0 0 0.74"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and so the default work root."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "w"
    root.mkdir()
    monkeypatch.chdir(root)
    return root
