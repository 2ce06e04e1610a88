"""Lines of styled text, cut and filled to a width in terminal cells, and rows of columns that fit into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size

from penstock.ctl.text import clean

CUT: Final = "~"
"""Stands at the end of a text that goes on."""
_GAP: Final = 1


class Span(NamedTuple):
    """A piece of a line. `style` is a style of rich's, of the terminal's own sixteen colours only."""

    text: str
    style: str = ""


Line: TypeAlias = tuple[Span, ...]


class Column(NamedTuple):
    """A column of `least` to `most` cells; where there is no room, those of the highest `rank` are left out first."""

    head: str
    least: int
    most: int
    rank: int = 0
    right: bool = False


class Fitted(NamedTuple):
    """A column that is shown: its place among all columns, and its width."""

    place: int
    width: int
    right: bool


def fitted(columns: Sequence[Column], width: int) -> tuple[Fitted, ...]:
    """The columns that fit into `width` cells; those that may grow share what is left, from the left."""
    shown = list(range(len(columns)))
    while len(shown) > 1 and _needed(columns, shown) > width:
        last = max(shown, key=lambda place: (columns[place].rank, place))
        if not columns[last].rank:
            break
        shown.remove(last)
    spare = max(0, width - _needed(columns, shown))
    found = []
    for place in shown:
        column = columns[place]
        grown = min(spare, column.most - column.least)
        spare -= grown
        found.append(Fitted(place, column.least + grown, column.right))
    return tuple(found)


def _needed(columns: Sequence[Column], shown: Sequence[int]) -> int:
    return sum(columns[place].least for place in shown) + _GAP * (len(shown) - 1)


def head(columns: Sequence[Column], layout: Iterable[Fitted], style: str = "bold") -> Line:
    """The columns' names, as a row."""
    return row([Span(column.head, style) for column in columns], layout)


def row(cells: Sequence[Span], layout: Iterable[Fitted]) -> Line:
    """A row of a table: each cell cut or filled to its column."""
    spans: list[Span] = []
    for column in layout:
        if spans:
            spans.append(Span(" " * _GAP))
        text, style = cells[column.place]
        spans.append(Span(padded(text, column.width, right=column.right), style))
    return tuple(spans)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells."""
    short = cut(text, width)
    blank = " " * (width - cell_len(short))
    return blank + short if right else short + blank


def cut(text: str, width: int) -> str:
    """`text` on one line of at most `width` cells, control characters written as escapes."""
    if len(text) > 4 * width:  # however long it is, no more of it can be seen; characters may have no width
        text = text[: 4 * width]
    text = clean(text)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + CUT if width > 0 else ""


def said(text: str, style: str = "") -> Line:
    """A line of one span."""
    return (Span(text, style),)


def wrapped(text: str, width: int, *, indent: str = "", style: str = "") -> list[Line]:
    """`text` broken at spaces into lines of `width` cells; those after the first begin with `indent`."""
    lines: list[str] = []
    current = ""
    for word in clean(text).split(" "):
        longer = f"{current} {word}" if current else word
        if cell_len(longer) <= width:
            current = longer
            continue
        if current.strip():
            lines.append(current)
            longer = indent + word
        while cell_len(longer) > width > len(indent) + 1:
            first = set_cell_size(longer, width).rstrip("\0")
            lines.append(first)
            longer = indent + longer[len(first.rstrip()) :]
        current = longer
    return [said(line, style) for line in [*lines, current]]


def filled(line: Line, width: int, style: str = "") -> Line:
    """`line` in exactly `width` cells, all of it in `style` as well where one is given."""
    spans: list[Span] = []
    left = width
    for text, own in line:
        size = cell_len(text)
        if size > left:
            text = set_cell_size(text, left)  # noqa: PLW2901 - the last one is cut
            size = left
        if size:
            spans.append(Span(text, f"{own} {style}".strip() if style else own))
        left -= size
    if left:
        spans.append(Span(" " * left, style))
    return tuple(spans)


def text_of(line: Line) -> str:
    """What stands in a line, without its styles."""
    return "".join(span.text for span in line)
