"""Formation energies: what a phase gains or loses against its elements, per atom."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SYMBOL = re.compile(r"[A-Z][a-z]?")


class Entry(msgspec.Struct, frozen=True):
    """A calculated phase: its cell's atoms by element and the total energy of that cell, in eV.

    `energy_error_ev` is the standard error of the total energy, None where nothing is known of it.
    """

    name: str
    composition: Mapping[str, float]
    energy_ev: float
    energy_error_ev: float | None = None


class Formation(NamedTuple):
    """Entries against their elements. `entries` are those given, then a phase for each reference that has no entry.

    `fractions` (n, k) are atomic fractions in the order of `elements`; `energy_ev` (n) total energies and
    `formation_ev` (n) formation energies, both per atom. `error_ev` and `formation_error_ev` (n) are their standard
    errors, NaN where unknown. `reference_ev` (k) is what each element was taken at, per atom; `reference_entry` says
    which entry that was, None where the value was given.
    """

    elements: tuple[str, ...]
    entries: tuple[Entry, ...]
    fractions: Array
    energy_ev: Array
    error_ev: Array
    formation_ev: Array
    formation_error_ev: Array
    reference_ev: Array
    reference_entry: tuple[int | None, ...]


def compute_formation(
    entries: Sequence[Entry],
    references_ev: Mapping[str, float] | None = None,
    elements: Sequence[str] | None = None,
) -> Formation:
    """Formation energies per atom, against `references_ev` (eV/atom) or else each element's lowest entry.

    Of entries that tie for an element, the first is the reference. An element with a given reference and no entry of
    its own is added as a phase at that energy, so that a hull has all its corners. `elements` sets the order (default:
    alphabetical) and must hold every element of the entries. The error of a reference taken from an entry is part of
    each formation energy's; that of the reference itself is zero by definition. Given references count as exact.

    ValueError for no entries, a bad composition, energy or error, and for elements without a reference.
    """
    if not entries:
        raise ValueError("There are no entries; a phase diagram needs at least one phase.")
    for entry in entries:
        _check_entry(entry)
    given = dict(references_ev or {})
    for element, value in given.items():
        if not math.isfinite(value):
            raise ValueError(f"The reference energy of {element} is {value}; give a finite number in eV/atom.")
    order = _order(entries, elements)
    every = (*entries, *_added(entries, order, given))
    counts = np.array([[float(entry.composition.get(element, 0.0)) for element in order] for entry in every])
    atoms = counts.sum(axis=1)
    fractions = counts / atoms[:, None]
    energies = np.array([entry.energy_ev for entry in every]) / atoms
    errors = np.array([math.nan if e.energy_error_ev is None else e.energy_error_ev for e in every]) / atoms
    chosen = _choose(order, fractions, energies, given)
    reference = np.array(
        [given[element] if index is None else energies[index] for element, index in zip(order, chosen, strict=True)]
    )
    reference_errors = np.array([0.0 if index is None else errors[index] for index in chosen])
    formation = energies - fractions @ reference
    weighted = np.where(fractions > 0, fractions * reference_errors, 0.0)
    formation_errors = np.sqrt(errors**2 + (weighted**2).sum(axis=1))
    for index in chosen:
        if index is not None:
            formation[index] = formation_errors[index] = 0.0
    return Formation(order, every, fractions, energies, errors, formation, formation_errors, reference, chosen)


def reduced_formula(composition: Mapping[str, float]) -> str:
    """The formula with the smallest whole numbers, elements as in `composition`; fractions where there are none."""
    counts = {element: count for element, count in composition.items() if count > 0}
    whole = [round(count) for count in counts.values()]
    if all(abs(count - near) < 1e-9 for count, near in zip(counts.values(), whole, strict=True)):
        divisor = math.gcd(*whole)
        parts: Iterable[tuple[str, Any]] = zip(counts, (near // divisor for near in whole), strict=True)
    else:
        total = sum(counts.values())
        parts = ((element, f"{count / total:.4g}") for element, count in counts.items())
    return "".join(element if str(count) == "1" else f"{element}{count}" for element, count in parts)


def _check_entry(entry: Entry) -> None:
    who = f"Entry {entry.name!r}"
    for element, count in entry.composition.items():
        if _SYMBOL.fullmatch(element) is None:
            raise ValueError(f"{who} has {element!r} in its composition; that is no element's symbol.")
        if not (math.isfinite(count) and count >= 0):
            raise ValueError(f"{who} has {count} atoms of {element}; give a number that is not negative.")
    if sum(entry.composition.values()) <= 0:
        raise ValueError(f"{who} has no atoms; give its composition as element: number of atoms.")
    if not math.isfinite(entry.energy_ev):
        raise ValueError(f"{who} has the energy {entry.energy_ev} eV; leave it out or calculate it again.")
    error = entry.energy_error_ev
    if error is not None and not (math.isfinite(error) and error >= 0):
        raise ValueError(f"{who} has the energy error {error} eV; give a standard error that is not negative.")


def _order(entries: Sequence[Entry], elements: Sequence[str] | None) -> tuple[str, ...]:
    present = {element for entry in entries for element, count in entry.composition.items() if count > 0}
    if elements is None:
        return tuple(sorted(present))
    if len(set(elements)) != len(elements):
        raise ValueError(f"The elements {', '.join(elements)} name one twice; name each once.")
    if missing := sorted(present - set(elements)):
        raise ValueError(f"Entries contain {', '.join(missing)}, which the system {'-'.join(elements)} does not.")
    return tuple(elements)


def _added(entries: Sequence[Entry], order: tuple[str, ...], given: Mapping[str, float]) -> list[Entry]:
    """A phase for each element that has a given reference and no entry; ValueError where it has neither."""
    pure = {_pure(entry.composition) for entry in entries}
    lacking = [element for element in order if element not in pure]
    if nowhere := [element for element in lacking if element not in given]:
        names = ", ".join(nowhere)
        raise ValueError(
            f"There is no elemental reference for {names}: add a calculation of each pure element with the same method,"
            f" or give its energy in eV/atom."
        )
    return [Entry(f"{element} (reference)", {element: 1.0}, given[element], 0.0) for element in lacking]


def _pure(composition: Mapping[str, float]) -> str | None:
    present = [element for element, count in composition.items() if count > 0]
    return present[0] if len(present) == 1 else None


def _choose(
    order: tuple[str, ...], fractions: Array, energies: Array, given: Mapping[str, float]
) -> tuple[int | None, ...]:
    """The entry that each element's reference is taken from."""
    chosen: list[int | None] = []
    for column, element in enumerate(order):
        pure = np.flatnonzero(fractions[:, column] == 1.0)
        chosen.append(None if element in given else int(pure[np.argmin(energies[pure])]))
    return tuple(chosen)
