"""A deck's lines, one after another, and what a line is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from penstock.engines.crystal.deck_model import NUMBER, Record


class DeckLines:
    """The lines of a deck that are not blank, with their numbers; where `titled`, the first is `title` and no line."""

    def __init__(self, text: str, *, titled: bool = True) -> None:
        all_lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.title = all_lines[0] if titled else ""
        self._last = len(all_lines)
        numbered = list(enumerate(all_lines, 1))[int(titled) :]
        self._lines = [(number, line.rstrip()) for number, line in numbered if line.strip()]
        self._next = 0

    @property
    def number(self) -> int:
        """The number of the next line; that of the last where none is left."""
        return self._lines[self._next][0] if self._next < len(self._lines) else self._last

    def peek(self, ahead: int = 0) -> str | None:
        """A line to come, None after the last."""
        at = self._next + ahead
        return self._lines[at][1] if at < len(self._lines) else None

    def take(self, what: str) -> str:
        """The next line; ValueError where the deck ends before `what`."""
        line = self.peek()
        if line is None:
            raise ValueError(f"line {self.number}: the deck ends before {what}")
        self._next += 1
        return line

    def take_all(self) -> list[str]:
        """All lines that are left."""
        left = [line for _, line in self._lines[self._next :]]
        self._next = len(self._lines)
        return left

    def holds_end(self) -> bool:
        """Whether an END is among the lines after the next."""
        return any(is_end(line) for _, line in self._lines[self._next + 1 :])


def is_end(line: str) -> bool:
    """Whether `line` closes a block or section: CRYSTAL looks at its first three letters."""
    return line.lstrip()[:3].upper() == "END"


def word_of(line: str | None) -> str:
    """The keyword that `line` is, in upper case; empty for a line of values or a comment."""
    first = line.split(None, 1)[0] if line else ""
    return first.upper() if first[:1].isalpha() else ""


def join_line(values: Iterable[str], note: str) -> str:
    """The line of values and what follows them."""
    return " ".join([*values, note] if note else values)


def split_numbers(line: str, wanted: int | None) -> Record:
    """The numbers at the beginning of `line`, at most `wanted` of them, and what is left."""
    values: list[str] = []
    rest = line.strip()
    while wanted is None or len(values) < wanted:
        token = re.match(r"([^\s,#!]+)(?:\s*,\s*|\s+|(?=[#!])|$)", rest)
        if token is None or NUMBER.fullmatch(token[1]) is None:
            break
        values.append(token[1])
        rest = rest[token.end() :]
    return Record(tuple(values), rest)


def excerpt(text: str) -> str:
    """`text` as a message quotes it."""
    text = text.strip()
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
