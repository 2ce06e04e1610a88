"""Where a command's answer goes: JSON for programs, rich tables for a terminal, plain aligned text for a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from penstock.control.client import Client
from penstock.ctl.text import clean

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

_FOLDED: Final = frozenset(
    {
        "name",
        "counts",
        "message",
        "reason",
        "directory",
        "origin",
        "value",
        "after",
        "failure",
        "file",
        "when",
        "why",
        "source",
    }
)
_FOLDED_LEAST: Final = 10
"""Characters that a folded column keeps, however narrow the terminal."""
_FRAME_MOST: Final = 8
"""More than the characters around one column's cells."""
_RICH_MOST: Final = 500
"""Rows that are worth laying out for a terminal, which takes a millisecond and more each."""
COLOURS: Final = {
    "completed": "green",
    "running": "cyan",
    "collecting": "cyan",
    "up": "green",
    "failed": "red",
    "faulted": "red",
    "timeout": "red",
    "down": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "held": "yellow",
    "in_doubt": "magenta",
}


class Ctl:
    """What every command has: the daemon's client and a way to answer."""

    def __init__(self) -> None:
        self.socket: str | None = None
        self.json = False
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The connection to the daemon, made at the first call."""
        if self._client is None:
            self._client = Client(self.socket)
        return self._client

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._client is not None:
            self._client.close()

    @cached_property
    def is_terminal(self) -> bool:
        """Whether a person reads the output."""
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def console(self) -> Console:
        """rich's console; only a terminal pays for its import."""
        from rich.console import Console

        wants_none = bool(os.environ.get("NO_COLOR"))
        return Console(color_system=None if wants_none else "auto", highlight=False, markup=False, emoji=False)

    def emit(self, value: Any) -> None:
        """One JSON document on one line."""
        click.echo(msgspec.json.encode(as_builtins(value)))

    def line(self, text: str = "") -> None:
        """One line of text."""
        click.echo(clean(text))

    def note(self, text: str) -> None:
        """One line beside the answer, on standard error; programs get none."""
        if not self.json:
            click.echo(clean(text), err=True)

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values in two columns."""
        listed = list(pairs)
        width = max((len(name) for name, _ in listed), default=0)
        for name, value in listed:
            self.line(f"{name:<{width}}  {value}".rstrip())

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; a column whose name begins with `>` is aligned to the right."""
        cells = [[clean(cell) for cell in row] for row in rows]
        names = [column.lstrip(">") for column in columns]
        right = [column.startswith(">") for column in columns]
        if not self.is_terminal or len(cells) > _RICH_MOST or not self._rich_table(names, right, cells):
            self._plain_table(names, right, cells)

    def _plain_table(self, names: list[str], right: list[bool], cells: list[list[str]]) -> None:
        lines = [names, *cells]
        widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
        for line in lines:
            padded = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            )
            click.echo("  ".join(padded).rstrip())

    def _rich_table(self, names: list[str], right: list[bool], cells: list[list[str]]) -> bool:
        """Print a table that fits the terminal; False, and nothing printed, where cells would have to be cropped."""
        from rich.box import SIMPLE_HEAD
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for name, to_right in zip(names, right, strict=True):
            justify: JustifyMethod = "right" if to_right else "left"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in _FOLDED)
        for row in cells:
            table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        longest = [max(cell_len(line[index]) for line in (names, *cells)) for index in range(len(names))]
        foldable = (length - _FOLDED_LEAST for length, name in zip(longest, names, strict=True) if name in _FOLDED)
        unfolded = self.console.options.update(width=sum(longest) + _FRAME_MOST * len(names))
        least = self.console.measure(table, options=unfolded).maximum - sum(max(0, excess) for excess in foldable)
        if least > self.console.width:
            return False
        self.console.print(table)
        return True


def as_builtins(value: Any) -> Any:
    """`value` as JSON knows it: every field of every message, defaults included, without the wire's type tags."""
    if isinstance(value, msgspec.Struct):
        return {name: as_builtins(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): as_builtins(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_builtins(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value
