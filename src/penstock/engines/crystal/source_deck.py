"""Where a calculation's deck comes from: the structure itself, a template with its geometry, or settings."""

from __future__ import annotations

import msgspec

from penstock.domain.calculation import Calculation
from penstock.domain.errors import SpecError
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_geometry import build_deck, deck_of_geometry
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.parameters import CrystalParameters

_SPINLOCK_CYCLES = 50


def source_deck(calculation: Calculation, parameters: CrystalParameters) -> Deck:
    """The deck before any edit or remedy; ValueError with the line, SpecError where there is none."""
    if calculation.deck is not None:
        return parse_deck(calculation.deck)
    if parameters.deck is None and not parameters.is_built:
        message = (
            "the structure brings no deck; name a template (deck), or give [engine.hamiltonian] and [engine.basis]"
        )
        raise SpecError(message, key="engine")
    geometry = deck_of_geometry(calculation.name, calculation.geometry)
    if parameters.deck is not None:
        template = parse_deck(parameters.deck)
        return msgspec.structs.replace(template, title=calculation.name, geometry=geometry)
    if calculation.charge:
        message = (
            f"charge {calculation.charge}: CRYSTAL takes it from the occupations in an explicit basis; give a deck"
        )
        raise ValueError(message)
    hamiltonian, scf = parameters.hamiltonian, parameters.scf
    if (unpaired := calculation.multiplicity - 1) > 0:
        hamiltonian = msgspec.structs.replace(hamiltonian, spin=True)
        scf = msgspec.structs.replace(scf, spinlock=scf.spinlock or (unpaired, _SPINLOCK_CYCLES))
    return build_deck(calculation.name, geometry, parameters.basis, hamiltonian, scf)
