"""From figures as values to pictures. Only worker processes import this: it loads matplotlib."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Callable
from typing import Any, Final

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from penstock.domain.properties import Figure

Draw = Callable[[Canvas, dict[str, Any]], None]

TOPICS: Final = ("elastic", "diffusion", "phase_diagram")
"""The modules here that draw; each has its kinds of figures in `KINDS`."""
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind people tell apart (M. Okabe and K. Ito, 2008)."""

_STYLE: Final[Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.figsize": (6.4, 4.2),
    "font.size": 10.0,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.hashsalt": "penstock",  # names inside the file are made of it: the same figure is the same file
}


def draw(figure: Figure) -> bytes:
    """The picture of `figure` as SVG; the same figure gives the same bytes. ValueError if nothing draws its kind."""
    picture = io.BytesIO()
    with mpl.rc_context():
        render(figure).savefig(picture, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return picture.getvalue()


def render(figure: Figure) -> Canvas:
    """The picture of `figure` as matplotlib's figure, drawn in the house style, which is set for this process."""
    draw_kind = _find(figure.kind)
    mpl.rcdefaults()
    mpl.rcParams.update(_STYLE)
    canvas = Canvas(layout="constrained")
    FigureCanvasSVG(canvas)
    draw_kind(canvas, figure.data)
    canvas.suptitle(figure.title, fontsize=11)
    return canvas


def _find(kind: str) -> Draw:
    known: list[str] = []
    for topic in TOPICS:
        module = f"{__name__}.{topic}"
        if importlib.util.find_spec(module) is not None:
            kinds: dict[str, Draw] = importlib.import_module(module).KINDS
            if kind in kinds:
                return kinds[kind]
            known += kinds
    raise ValueError(f"nothing draws figures of the kind {kind!r}; known are {', '.join(known)}")
