"""Prometheus' text format.

The client library's own exposition takes 6 µs a series, and every one of them holds up the event loop. A line here is
one formatting of a string; what it costs is in benchmarks/scrape.py. What is in a family is decided elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final, Literal

import msgspec

from penstock.actors.histogram import Filled

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["gauge", "counter", "histogram"]


class Family(msgspec.Struct, frozen=True):
    """What a family of series is: its name, kind, help and the names of its labels."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Page:
    """Families and their samples, in the order in which they are given. A family without samples is left out."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.series = 0

    def add(self, family: Family, samples: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """A gauge or a counter: label values and value of each sample."""
        line = _line(family.name, family.labels)
        self._append(family, [line % (*map(_escaped, labels), _number(value)) for labels, value in samples])

    def add_value(self, family: Family, value: float | None) -> None:
        """A family without labels; None: there is no value."""
        if value is not None:
            self.add(family, [((), value)])

    def add_histograms(
        self, family: Family, bounds: tuple[float, ...], filled: Iterable[tuple[tuple[str, ...], Filled]]
    ) -> None:
        """Histograms with these upper bounds of their buckets: label values and how each is filled."""
        bucket = _line(f"{family.name}_bucket", (*family.labels, "le"))
        count, total = (_line(f"{family.name}_{what}", family.labels) for what in ("count", "sum"))
        ends = (*map(_bound, bounds), "+Inf")
        lines: list[str] = []
        for labels, found in filled:
            values = tuple(map(_escaped, labels))
            summed = tuple(itertools.accumulate(found.counts))
            lines += [bucket % (*values, end, below) for end, below in zip(ends, summed, strict=True)]
            lines += [total % (*values, _number(found.total)), count % (*values, summed[-1])]
        self._append(family, lines)

    def _append(self, family: Family, lines: list[str]) -> None:
        if lines:
            self.series += len(lines)
            self._parts.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n")
            self._parts += lines

    def text(self) -> str:
        """The whole page."""
        return "".join(self._parts)


@cache
def _line(name: str, labels: tuple[str, ...]) -> str:
    """A line with places for the values of the labels and for the sample's own."""
    inner = ",".join(f'{label}="%s"' for label in labels)
    return f"{name}{{{inner}}} %s\n" if labels else f"{name} %s\n"


@lru_cache(10_000)
def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> int | float | str:
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _bound(bound: float) -> str:
    return repr(float(bound))
