"""What an analysis comes to: properties with units and uncertainties, and the figures that show them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

VOIGT: Final = ("xx", "yy", "zz", "yz", "xz", "xy")
"""The order of six-vectors and 6x6 matrices throughout."""


class PropertyResult(msgspec.Struct, frozen=True):
    """A property of a material (or of a pair, a system): numbers, never without their unit ("1" for a pure number).

    `value` is a number, a text or nested lists of numbers, `uncertainty` one standard error of the same shape, None
    where nothing is known of it. `attempts` are those that the value rests on, as "job.number".
    """

    name: str
    subject: str
    value: Any
    unit: str
    uncertainty: Any = None
    conditions: dict[str, float | int | str | bool] = {}
    method: str = ""
    attempts: tuple[str, ...] = ()


class Figure(msgspec.Struct, frozen=True):
    """A figure as a value: `data` (numbers, texts and lists of them) is all that drawing a figure of `kind` needs."""

    kind: str
    name: str  # of its file, without suffix
    title: str
    caption: str
    data: dict[str, Any]


class Conclusion(msgspec.Struct, frozen=True):
    """What an analysis says of its subject. `failure`: why it could say nothing, or not all that was asked for.

    `notes` are for people: what was left out, what to beware of.
    """

    properties: tuple[PropertyResult, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str | None = None
