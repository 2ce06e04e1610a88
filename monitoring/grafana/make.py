"""Writes the dashboards: `python -m monitoring.grafana.make`. Its files are in the repository, ready for Grafana."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from .cluster import cluster
from .daemon import daemon
from .overview import overview
from .workflow import workflow

FOLDER: Final = Path(__file__).parent / "dashboards"
BOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "overview.json": overview,
    "workflow.json": workflow,
    "cluster.json": cluster,
    "daemon.json": daemon,
}


def rendered(name: str) -> str:
    """A dashboard as its file has it."""
    return JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(BOARDS[name]()) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file in BOARDS:
        (FOLDER / file).write_text(rendered(file), encoding="utf-8")
