"""Chemical formulas as text: what they count, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Final

from penstock.domain.geometry import ATOMIC_NUMBERS

_FORMULA: Final = re.compile(r"(?:[A-Z][a-z]?[0-9]{0,3})+")
_PART: Final = re.compile(r"([A-Z][a-z]?)([0-9]*)")


def read_formula(text: str) -> dict[str, int]:
    """How many atoms of each element a formula such as `Cu3Au` has, in its order; ValueError says what is wrong."""
    if _FORMULA.fullmatch(text) is None:
        raise ValueError(f'{text!r} is no formula; write it like "Si" or "Cu3Au", without brackets')
    counts: dict[str, int] = {}
    for symbol, count in _PART.findall(text):
        if symbol not in ATOMIC_NUMBERS:
            raise ValueError(f"{text!r} is no formula: there is no element {symbol!r}")
        if count and int(count) == 0:
            raise ValueError(f"{text!r} is no formula: it has 0 of {symbol}")
        counts[symbol] = counts.get(symbol, 0) + int(count or 1)
    return counts


def reduce_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """A composition in its smallest whole numbers."""
    divisor = gcd(*counts.values())
    return {symbol: count // divisor for symbol, count in counts.items()}


def render_formula(counts: Mapping[str, int], order: Iterable[str]) -> str:
    """The formula of a composition, with the elements in this order."""
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order if symbol in counts)
