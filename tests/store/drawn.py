"""Pictures of figures without matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.analysis import plots
from penstock.domain.properties import Figure

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
<metadata><a>b</a></metadata>
<!-- <script> in a comment -->
<g id="axes_1" clip-path="url(#p1)"><use xlink:href="#m1"/></g></svg>
"""


class _Picture:
    def savefig(self, path: Path, **options: Any) -> None:
        path.write_bytes(f"{options['format']} {options['dpi']}".encode())


def draw(figure: Figure) -> bytes:
    """The same picture for every figure that has something to show."""
    if "x" not in figure.data:
        raise ValueError(f"{figure.name} has no x")
    return SVG.encode()


def use(patch: pytest.MonkeyPatch) -> None:
    """Has these pictures drawn."""
    patch.setattr(plots, "draw", draw, raising=False)
    patch.setattr(plots, "render", lambda _: _Picture(), raising=False)
