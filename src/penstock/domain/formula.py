"""Chemical formulas as text: what they count, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Final

from penstock.domain.geometry import ATOMIC_NUMBERS

_FORMULA: Final = re.compile(r"(?:[A-Z][a-z]?[0-9]{0,3})+")
_ELECTROPOSITIVE_FIRST: Final = tuple(
    re.findall(
        r"[A-Z][a-z]?",
        "RnXeKrArNeHe FrCsRbKNaLi RaBaSrCaMgBe "
        "LrNoMdFmEsCfBkCmAmPuNpUPaThAc LuYbTmErHoDyTbGdEuSmPmNdPrCeLa YSc "
        "HfZrTi TaNbV WMoCr ReTcMn OsRuFe IrRhCo PtPdNi AuAgCu HgCdZn TlInGaAlB "
        "PbSnGeSiC BiSbAsPN H PoTeSeSO AtIBrClF",
    )
)
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


def usual_order(elements: Iterable[str]) -> tuple[str, ...]:
    """Elements in the order that formulas have them: the electropositive first (NaCl, GaAs, Ni3Al), unknown ones last.

    The sequence is that of IUPAC's Nomenclature of Inorganic Chemistry (2005), table VI, the other way round.
    """
    places = {symbol: place for place, symbol in enumerate(_ELECTROPOSITIVE_FIRST)}
    return tuple(sorted(elements, key=lambda symbol: (places.get(symbol, len(places)), symbol)))
