"""The phase diagram of a ternary with very many entries, beside pymatgen's.

Both make the hull and say of every entry how far above it it lies and what it decomposes into. They take turns in this
process, and must agree.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from typing import Any, Final

import numpy as np

from benchmarks.report import Figure, LeftOutError, Options, Report, compare, ratio_at_most
from penstock.analysis.formation import Entry
from penstock.analysis.phase_diagram import PhaseDiagram, compute_phase_diagram

_ELEMENTS: Final = ("Al", "Cu", "Ni")
_MOST_ATOMS: Final = 12
_SAME_EV: Final = 1e-8


def run(options: Options) -> Report:
    """Three turns of ours about one of pymatgen's; its objects are made beforehand, as ours are."""
    if importlib.util.find_spec("pymatgen") is None:
        raise LeftOutError("pymatgen is not installed; pip install pymatgen")
    count = 1_000 if options.quick else 10_000
    entries = _entries(count)
    with warnings.catch_warnings(action="ignore"):
        theirs_module: Any = importlib.import_module("pymatgen.analysis.phase_diagram")
        their_entries = [theirs_module.PDEntry(dict(one.composition), one.energy_ev) for one in entries]
        ours_s: list[float] = []
        theirs_s: list[float] = []
        diagram, decompositions = _ours(entries, ours_s)
        began = time.perf_counter()
        theirs = theirs_module.PhaseDiagram(their_entries)
        answers = [theirs.get_decomp_and_e_above_hull(one) for one in their_entries]
        theirs_s.append(time.perf_counter() - began)
        for _ in range(2):
            _ours(entries, ours_s)
    figures: list[Figure] = [
        compare("hull, energies above it, decompositions", "s", ours_s, theirs_s, ratio_at_most(1 / 10))
    ]
    faults = _differences(diagram, decompositions, answers)
    parameters = {"entries": len(entries), "stable": int(diagram.stable.sum()), "facets": len(diagram.facets)}
    return Report("hull", f"A ternary phase diagram of {count:,} entries", parameters, figures, faults)


def _entries(count: int) -> list[Entry]:
    """Cells of up to 12 atoms of an element, on and above a bowl that makes a hull of many phases."""
    generator = np.random.default_rng(20)
    drawn = generator.integers(0, _MOST_ATOMS + 1, (2 * count, 3))
    counts = np.vstack([np.eye(3, dtype=int), drawn[drawn.any(axis=1)]])[:count]
    fractions = counts / counts.sum(axis=1, keepdims=True)
    energies = -(1 - (fractions**2).sum(axis=1)) + generator.exponential(0.2, count)
    energies[:3] = 0.0
    return [
        Entry(str(number), dict(zip(_ELEMENTS, map(float, row), strict=True)), float(energy * row.sum()))
        for number, (row, energy) in enumerate(zip(counts, energies, strict=True))
    ]


def _ours(entries: list[Entry], seconds: list[float]) -> tuple[PhaseDiagram, list[dict[int, float]]]:
    began = time.perf_counter()
    diagram = compute_phase_diagram(entries)
    decompositions = [dict(diagram.decomposition(number)) for number in range(len(entries))]
    seconds.append(time.perf_counter() - began)
    return diagram, decompositions


def _differences(
    diagram: PhaseDiagram, ours: list[dict[int, float]], theirs: list[tuple[dict[Any, float], float]]
) -> list[str]:
    """Where the two do not agree: energies above the hull, and the energy and composition of the decompositions."""
    faults = []
    for number, (mixture, above) in enumerate(theirs):
        if abs(diagram.above_ev[number] - above) > _SAME_EV:
            faults.append(f"entry {number} is {diagram.above_ev[number]} eV/atom above the hull, for pymatgen {above}")
        energy = sum(share * diagram.formation.energy_ev[entry] for entry, share in ours[number].items())
        expected = sum(share * one.energy_per_atom for one, share in mixture.items())
        if abs(energy - expected) > _SAME_EV and not diagram.stable[number]:
            faults.append(f"entry {number} decomposes to {energy} eV/atom, for pymatgen to {expected}")
    return faults[:10]
