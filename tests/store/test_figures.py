"""Figures as files."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from penstock.domain.properties import Conclusion
from penstock.store.figures import count_figures, draw_figures, write_figures

from . import drawn
from .concluded import FIGURE, create_analysed, draw

FLAT = msgspec.structs.replace(FIGURE, name="flat", data={})
ODD = msgspec.structs.replace(FIGURE, name="../../a b")


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two subjects of one name, whose figures have the same name; one of all together that leads out."""
    drawn.use(monkeypatch)
    store, step = await create_analysed(tmp_path, ["Cu/O", "Cu/O"])
    await draw(store, step, 1, Conclusion(figures=(FIGURE, FLAT)))
    await draw(store, step, 2, Conclusion(figures=(FIGURE,)))
    await draw(store, step, 0, Conclusion(figures=(ODD,)))
    await store.close()
    return tmp_path / "workflow.db"


async def test_every_figure_has_a_file_of_its_own(database: Path, tmp_path: Path) -> None:
    files, troubles = write_figures(database, "w", tmp_path / "figures", with_png=True)
    names = ["all-.._.._a_b", "Cu_O-stress_strain", "Cu_O-stress_strain-2"]
    assert files == [f"{name}{suffix}" for name in names for suffix in (".svg", ".png")]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(files)
    assert (tmp_path / "figures" / files[0]).read_text() == drawn.SVG
    assert (tmp_path / "figures" / files[1]).read_bytes() == b"png 200"
    assert troubles == ["Cu_O-flat (elastic of Cu/O): ValueError: flat has no x"]


async def test_figures_of_all_together_come_first(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert [(one.subject, one.svg is None) for one in draw_figures(db, "w")] == [
            ("all", False),
            ("Cu/O", False),
            ("Cu/O", True),
            ("Cu/O", False),
        ]
        assert (count_figures(db, "w"), count_figures(db, "other")) == (4, 0)
