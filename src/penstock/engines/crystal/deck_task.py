"""What a deck asks CRYSTAL to do: optimise, calculate one point, or frequencies; and to go on from an earlier run."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from penstock.engines.crystal.deck_keywords import TASK_BLOCKS
from penstock.engines.crystal.deck_model import Deck, Entry

Task = Literal["opt", "sp", "freq"]

_BLOCK: Final = {"opt": "OPTGEOM", "sp": "", "freq": "FREQCALC"}
_FREQUENCIES: Final = Entry("FREQCALC", entries=(Entry("NUMDERIV", ("2",)),), end="ENDFREQ")
_OPTIMISATION: Final = Entry("OPTGEOM", entries=(Entry("MAXCYCLE", ("800",)),), end="ENDOPT")
_FULL_OPTIMISATION: Final = Entry("OPTGEOM", entries=(Entry("FULLOPTG"), Entry("MAXCYCLE", ("800",))), end="ENDOPT")


def as_task(deck: Deck, task: Task) -> Deck:
    """`deck` with the block of `task` and of no other; a block that is there keeps its own settings.

    A new OPTGEOM relaxes the cell too where there is one; a new FREQCALC takes central differences.
    """
    wanted = _BLOCK[task]
    kept = [entry for entry in deck.keywords if entry.name not in TASK_BLOCKS or entry.name == wanted]
    if wanted and all(entry.name != wanted for entry in kept):
        kept.append(_new_block(deck, task))
    return msgspec.structs.replace(deck, keywords=tuple(kept))


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
