"""What a deck asks CRYSTAL to do: optimise, calculate one point, or frequencies; and to go on from an earlier run."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from penstock.engines.crystal.deck_keywords import TASK_BLOCKS
from penstock.engines.crystal.deck_model import Deck, Entry

Task = Literal["opt", "sp", "freq"]
Relaxed = Literal["ions", "cell"]

_BLOCK: Final = {"opt": "OPTGEOM", "sp": "", "freq": "FREQCALC"}
_FREQUENCIES: Final = Entry("FREQCALC", entries=(Entry("NUMDERIV", ("2",)),), end="ENDFREQ")
_OPTIMISATION: Final = Entry("OPTGEOM", entries=(Entry("MAXCYCLE", ("800",)),), end="ENDOPT")
_FULL_OPTIMISATION: Final = Entry("OPTGEOM", entries=(Entry("FULLOPTG"), Entry("MAXCYCLE", ("800",))), end="ENDOPT")
_RELAXATIONS: Final = frozenset({"FULLOPTG", "CELLONLY", "ATOMONLY", "ITATOCEL", "INTREDUN", "CVOLOPT"})
"""What an OPTGEOM relaxes; with none of them the atoms, in the cell as it is."""


def as_task(deck: Deck, task: Task) -> Deck:
    """`deck` with the block of `task` and of no other; a block that is there keeps its own settings.

    A new OPTGEOM relaxes the cell too where there is one; a new FREQCALC takes central differences.
    """
    wanted = _BLOCK[task]
    kept = [entry for entry in deck.keywords if entry.name not in TASK_BLOCKS or entry.name == wanted]
    if wanted and all(entry.name != wanted for entry in kept):
        kept.append(_new_block(deck, task))
    return msgspec.structs.replace(deck, keywords=tuple(kept))


def relaxing(deck: Deck, relaxed: Relaxed) -> Deck:
    """`deck`, whose OPTGEOM block relaxes the atoms in their cell, or atoms and cell, whatever it relaxed before.

    ValueError where the cell of a molecule is to be relaxed.
    """
    if relaxed == "cell" and deck.geometry.dimensionality == 0:
        raise ValueError("a molecule has no cell that could be relaxed")
    return msgspec.structs.replace(deck, keywords=tuple(_relaxing(entry, relaxed) for entry in deck.keywords))


def with_guess(deck: Deck) -> Deck:
    """`deck` that starts its SCF from the density matrix of an earlier run, the file fort.20."""
    if any(entry.name == "GUESSP" for entry in deck.scf):
        return deck
    return msgspec.structs.replace(deck, scf=(*deck.scf, Entry("GUESSP")))


def with_restart(deck: Deck) -> Deck:
    """`deck` that goes on with an optimisation (OPTINFO.DAT) or with frequencies (FREQINFO.DAT) that did not end.

    ValueError where it has neither an OPTGEOM nor a FREQCALC block.
    """
    if not any(entry.is_block and entry.name in {"OPTGEOM", "FREQCALC"} for entry in deck.keywords):
        raise ValueError("the deck has neither an OPTGEOM nor a FREQCALC block that could be restarted")
    return msgspec.structs.replace(deck, keywords=tuple(map(_restarted, deck.keywords)))


def _new_block(deck: Deck, task: Task) -> Entry:
    if task == "freq":
        return _FREQUENCIES
    return _OPTIMISATION if deck.geometry.dimensionality == 0 else _FULL_OPTIMISATION


def _restarted(entry: Entry) -> Entry:
    is_wanted = entry.is_block and entry.name in {"OPTGEOM", "FREQCALC"}
    if not is_wanted or any(inner.name == "RESTART" for inner in entry.entries):
        return entry
    return msgspec.structs.replace(entry, entries=(Entry("RESTART"), *entry.entries))


def _relaxing(entry: Entry, relaxed: Relaxed) -> Entry:
    if not entry.is_block or entry.name != "OPTGEOM":
        return entry
    kept = (inner for inner in entry.entries if inner.name not in _RELAXATIONS)
    entries = (*((Entry("FULLOPTG"),) if relaxed == "cell" else ()), *kept)
    return msgspec.structs.replace(entry, entries=entries)
