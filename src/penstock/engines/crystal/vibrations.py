"""Harmonic frequencies as FREQCALC prints them."""

from __future__ import annotations

import re
from typing import Final

from penstock.engines.crystal.numbers import parse_number
from penstock.engines.crystal.printed_run import PrintedRun
from penstock.engines.marker_scan import Hit

IMAGINARY_BELOW_CM1: Final = -5.0
"""A mode below this is imaginary; translations come out within a few cm⁻¹ of zero, on either side."""

_ROW: Final = re.compile(r" *(\d{1,7})- *(\d{1,7}) +(\S+) +(\S+)")
_ZERO_POINT: Final = re.compile(r"E0 +: +(\S+)")
_MODES_MAX: Final = 1_000_000


def read_vibrations(run: PrintedRun) -> dict[str, float | int | list[float]]:
    """`frequencies_cm1` at Gamma (degenerate modes repeated), `imaginary_frequencies`, `zero_point_energy_hartree`."""
    frequencies = _read_modes(run.modes) if run.modes else []
    if not frequencies:
        return {}
    found: dict[str, float | int | list[float]] = {
        "frequencies_cm1": frequencies,
        "imaginary_frequencies": sum(frequency < IMAGINARY_BELOW_CM1 for frequency in frequencies),
    }
    match = _ZERO_POINT.search(run.zero_point.text) if run.zero_point else None
    energy = parse_number(match[1]) if match else None
    if energy is not None:
        found["zero_point_energy_hartree"] = energy
    return found


def _read_modes(heading: Hit) -> list[float]:
    """The table below its heading; empty where it is damaged or its end does not come."""
    frequencies: list[float] = []
    for line in heading.lines_after():
        match = _ROW.match(line)
        if match is None:
            if frequencies:
                return [] if line.strip() else frequencies
            continue
        first, last, frequency = int(match[1]), int(match[2]), parse_number(match[4])
        if frequency is None or first != len(frequencies) + 1 or not first <= last <= _MODES_MAX:
            return []
        frequencies += [frequency] * (last - first + 1)
    return []
