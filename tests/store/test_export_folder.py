"""The folder that explains itself, where analyses have said something."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from penstock.domain.properties import Conclusion
from penstock.domain.views import Selection
from penstock.store.export_folder import export_folder

from . import drawn
from .concluded import COPPER, FIGURE, create_analysed, create_metals, draw
from .filled import create


def written(database: Path, folder: Path) -> dict[str, bytes]:
    """The files of the folder."""
    export_folder(database, "w", folder, Selection(), overwrite=True)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_it_has_what_was_found_and_is_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn.use(monkeypatch)
    database = await create_metals(tmp_path)
    files = written(database, tmp_path / "out")
    assert files["figures/Cu-stress_strain.svg"] == drawn.SVG.encode()
    found = json.loads(files["properties.json"])
    assert found["properties"][0] == msgspec.to_builtins(COPPER.properties[0]) | {"attempts": ["1.1", "2.1"]}
    assert len(files["properties.csv"].splitlines()) == 4
    readme = files["README.txt"].decode()
    assert all(name in readme for name in ("properties.csv", "properties.json", "figures/", "results.csv"))
    assert "not drawn" not in readme
    assert files == written(database, tmp_path / "out")


async def test_what_cannot_be_drawn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.use(monkeypatch)
    store, step = await create_analysed(tmp_path, ["Cu"])
    await draw(store, step, 1, Conclusion(figures=(msgspec.structs.replace(FIGURE, data={}),)))
    await store.close()
    readme = written(tmp_path / "workflow.db", tmp_path / "out")["README.txt"].decode()
    assert "not drawn: Cu-stress_strain (elastic of Cu): ValueError: stress_strain has no x" in readme


async def test_without_analyses_it_is_as_it_was(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    files = written(tmp_path / "workflow.db", tmp_path / "out")
    assert set(files) == {
        *("README.txt", "results.csv", "results.json", "structures.extxyz", "structures.db", "workflow.json")
    }
    assert "properties.json" not in files["README.txt"].decode()
