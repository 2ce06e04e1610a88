"""Lines on the terminal; of those that change, only what has changed."""

from __future__ import annotations

from itertools import groupby

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from penstock.ctl.top.line import Line, text_of


class Canvas(Widget, inherit_bindings=False):
    """Shows lines that are exactly as many and as wide as it is."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        """Show these lines."""
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        regions = [
            Region(first, y, end - first, 1)
            for y, (old, new) in enumerate(zip(before, lines, strict=True))
            if old != new
            for first, end in [changed_cells(old, new)]
        ]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """One of them, for textual."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width)
        runs = groupby(self._lines[y], key=lambda span: span.style)  # one switch of style for each, over a slow link
        return Strip([Segment("".join(span.text for span in run), Style.parse(style)) for style, run in runs])


def changed_cells(old: Line, new: Line) -> tuple[int, int]:
    """From where to where two lines of the same width differ, in cells, from edge to edge of their spans."""
    first = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        first += Strip([Segment(one.text)]).cell_length
    end = width = Strip([Segment(text_of(new))]).cell_length
    for one, other in zip(reversed(old), reversed(new), strict=False):
        if one != other:
            break
        end -= Strip([Segment(one.text)]).cell_length
    return (first, end) if first < end else (0, width)
