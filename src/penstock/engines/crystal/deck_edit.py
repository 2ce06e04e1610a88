"""Changes of a deck, by block and keyword: a remedy's, or a user's own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from penstock.engines.crystal.deck import parse_deck, render_deck
from penstock.engines.crystal.deck_keywords import INTEGERS, TASK_BLOCKS
from penstock.engines.crystal.deck_model import NUMBER, Deck, Entry, parse_number
from penstock.engines.crystal.deck_task import as_task, with_guess, with_restart

__all__ = ["Edit", "as_task", "edited", "with_guess", "with_restart", "with_uniform_shrink"]

_BLOCK_OF: Final = {"optgeom": "OPTGEOM", "freqcalc": "FREQCALC", "dft": "DFT"}
_KEYWORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_.-]*")
_TOKEN: Final = re.compile(r"[^\s,#!]+")

Value = str | int | float


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of one keyword; exactly one of `set`, `add`, `multiply` and `remove` is given.

    `set` writes the keyword where it is missing: a list makes one line of values, a text may have several lines, an
    empty text is for a keyword without value. `add` and `multiply` change the value with the 0-based `index` among
    all of the keyword's, start from `default` where the keyword is missing, and stay within `least` and `most`.
    Where a keyword stands twice in a block, the last one is meant, as CRYSTAL reads it; `remove` removes all.
    """

    block: Literal["geometry", "optgeom", "freqcalc", "basis", "dft", "scf"]
    keyword: str
    set: list[Value] | Value | msgspec.UnsetType = msgspec.UNSET
    add: float | None = None
    multiply: float | None = None
    remove: bool = False
    default: float | None = None
    least: float | None = None
    most: float | None = None
    index: int = 0

    def __post_init__(self) -> None:
        """One thing at a time, and a keyword that is one."""
        given = [self.set is not msgspec.UNSET, self.add is not None, self.multiply is not None, self.remove]
        if sum(given) != 1:
            raise ValueError(f"{self.where}: give exactly one of set, add, multiply and remove")
        if _KEYWORD.fullmatch(self.keyword) is None or self.keyword.upper().startswith("END"):
            raise ValueError(f"{self.keyword!r} is no keyword")
        if self.index < 0:
            raise ValueError(f"{self.where}: the index counts from 0")
        if self.multiply is not None and not math.isfinite(self.multiply):
            raise ValueError(f"{self.where}: multiply is not finite")
        if self.add is not None and not math.isfinite(self.add):
            raise ValueError(f"{self.where}: add is not finite")

    @property
    def where(self) -> str:
        """Which keyword it is about, in words."""
        return f"{self.keyword} ({self.block})"


def edited(deck: Deck, edits: Iterable[Edit]) -> Deck:
    """`deck` after all `edits`, one after another; ValueError names what is wrong."""
    for edit in edits:
        changed = _edited_once(deck, edit)
        if changed != deck:
            _check_reads_back(changed, edit)
        deck = changed
    return deck


def with_uniform_shrink(deck: Deck, step: int) -> Deck:
    """`deck` with the same shrinking factor along all lattice vectors: the largest it has, plus 2 `step`.

    The denser net of a metal (ISP) stays as many times as dense. ValueError where the deck has no SHRINK.
    """
    entry = _last(deck.scf, "SHRINK")
    numbers = [] if entry is None else [token for token in _tokens(entry.lines) if NUMBER.fullmatch(token)]
    if len(numbers) < 2 or (int(parse_number(numbers[0])) == 0 and len(numbers) < 3):
        raise ValueError("the SCF section has no SHRINK with its values")
    first, net, *others = (int(parse_number(number)) for number in numbers)
    largest = max(others[:3]) if first == 0 else first
    if largest < 1:
        raise ValueError(f"SHRINK {' '.join(numbers)} has no shrinking factor above 0")
    factor = largest + 2 * step
    values: list[Value] = [factor, factor * max(1, round(net / largest))]
    return edited(deck, [Edit("scf", "SHRINK", set=values)])


def _edited_once(deck: Deck, edit: Edit) -> Deck:
    keyword = edit.keyword.upper()
    match edit.block:
        case "geometry":
            return msgspec.structs.replace(deck, keywords=_changed(deck.keywords, edit, TASK_BLOCKS))
        case "scf":
            return msgspec.structs.replace(deck, scf=_changed(deck.scf, edit))
        case "basis" if keyword == "BASISSET" and edit.set is not msgspec.UNSET:
            return _with_predefined_basis(deck, edit)
        case "basis":
            basis = msgspec.structs.replace(deck.basis, entries=_changed(deck.basis.entries, edit))
            return msgspec.structs.replace(deck, basis=basis)
        case "dft":
            return msgspec.structs.replace(deck, scf=_changed_within(deck.scf, edit))
        case _:
            return msgspec.structs.replace(deck, keywords=_changed_within(deck.keywords, edit))


def _changed_within(entries: tuple[Entry, ...], edit: Edit) -> tuple[Entry, ...]:
    """`entries` with the last block that the edit is about changed within."""
    name = _BLOCK_OF[edit.block]
    block = _last(entries, name)
    if block is None or not block.is_block:
        raise ValueError(f"{edit.where}: the deck has no {name} block")
    changed = msgspec.structs.replace(block, entries=_changed(block.entries, edit))
    return _replaced(entries, block, changed)


def _changed(entries: tuple[Entry, ...], edit: Edit, before: frozenset[str] = frozenset()) -> tuple[Entry, ...]:
    """`entries` after `edit`; a keyword that is new stands at the end, but before the blocks named in `before`."""
    name = edit.keyword.upper()
    if edit.remove:
        return tuple(entry for entry in entries if entry.name != name)
    old = _last(entries, name)
    if old is not None and old.is_block:
        raise ValueError(f"{edit.where}: {name} is a block; edit what is within it, or remove it")
    lines = _lines_of(edit) if edit.set is not msgspec.UNSET else _computed_lines(old, edit)
    if old is not None:
        return _replaced(entries, old, msgspec.structs.replace(old, lines=lines))
    at = next((index for index, entry in enumerate(entries) if entry.name in before), len(entries))
    return (*entries[:at], Entry(name, lines), *entries[at:])


def _lines_of(edit: Edit) -> tuple[str, ...]:
    """The value lines that `set` describes."""
    if isinstance(edit.set, list):
        return (" ".join(_text(value) for value in edit.set),) if edit.set else ()
    assert not isinstance(edit.set, msgspec.UnsetType)
    return tuple(line.rstrip() for line in _text(edit.set).splitlines() if line.strip())


def _computed_lines(old: Entry | None, edit: Edit) -> tuple[str, ...]:
    """The value lines after adding or multiplying; what stands around the number stays."""
    if old is None:
        if edit.default is None or edit.index:
            raise ValueError(f"{edit.where}: not in the deck, so there is nothing to change")
        return (_text(_computed(edit.default, edit)),)
    place = _place(old.lines, edit.index)
    if place is None:
        raise ValueError(f"{edit.where}: has no value with index {edit.index}")
    number, token = place
    if NUMBER.fullmatch(token[0]) is None:
        raise ValueError(f"{edit.where}: {token[0]!r} is not a number")
    start = parse_number(token[0])
    value = _computed(start, edit)
    text = token[0] if value == start else _text(value)
    line = old.lines[number]
    return (*old.lines[:number], line[: token.start()] + text + line[token.end() :], *old.lines[number + 1 :])


def _computed(start: float, edit: Edit) -> float:
    value = start + edit.add if edit.add is not None else start * (edit.multiply if edit.multiply is not None else 1.0)
    if edit.least is not None:
        value = max(value, min(edit.least, start))
    if edit.most is not None:
        value = min(value, max(edit.most, start))
    return math.floor(value) if edit.keyword.upper() in INTEGERS else value


def _text(value: Value) -> str:
    """A value as a deck has it; whole numbers without a point, which Fortran reads into reals and integers alike."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _tokens(lines: Sequence[str]) -> list[str]:
    """All values of an entry's lines in order, comments left out."""
    return [token for line in lines for token in _TOKEN.findall(re.split("[#!]", line, maxsplit=1)[0])]


def _place(lines: Sequence[str], index: int) -> tuple[int, re.Match[str]] | None:
    """The line and the place in it of the value with `index` among all of them."""
    for number, line in enumerate(lines):
        tokens = list(_TOKEN.finditer(re.split("[#!]", line, maxsplit=1)[0]))
        if index < len(tokens):
            return number, tokens[index]
        index -= len(tokens)
    return None


def _last(entries: Iterable[Entry], name: str) -> Entry | None:
    return next((entry for entry in reversed(tuple(entries)) if entry.name == name), None)


def _replaced(entries: tuple[Entry, ...], old: Entry, new: Entry) -> tuple[Entry, ...]:
    """`entries` with the last that is `old` replaced."""
    at = max(index for index, entry in enumerate(entries) if entry is old)
    return (*entries[:at], new, *entries[at + 1 :])


def _with_predefined_basis(deck: Deck, edit: Edit) -> Deck:
    """`deck` with a basis that CRYSTAL knows by name, in place of whatever it has; keywords of the section stay."""
    entry = Entry("BASISSET", _lines_of(edit))
    kept = tuple(entry for entry in deck.basis.entries if entry.name != "BASISSET")
    basis = msgspec.structs.replace(deck.basis, lines=(), entries=(entry, *kept))
    if deck.basis.lines:  # BASISSET stands in the place of the geometry's END
        return msgspec.structs.replace(deck, basis=basis, end=None)
    return msgspec.structs.replace(deck, basis=basis)


def _check_reads_back(deck: Deck, edit: Edit) -> None:
    """ValueError where an edit's values would be read as something else, a keyword among them for example."""
    try:
        same = parse_deck(render_deck(deck)) == deck
    except ValueError as error:
        raise ValueError(f"{edit.where}: the deck could no longer be read: {error}") from error
    if not same:
        raise ValueError(f"{edit.where}: its values would be read as something else; a value line begins with a number")
