"""The deck of properties (.d3) for a calculation: what its own deck and the run before say about it."""

from __future__ import annotations

from typing import Final

from penstock.domain.calculation import Calculation
from penstock.domain.geometry import ATOMIC_NUMBERS, parse_geometry
from penstock.engines.crystal.band_path import band_path
from penstock.engines.crystal.deck_geometry import geometry_block
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.deck_size import size_of
from penstock.engines.crystal.parameters import CrystalParameters
from penstock.engines.crystal.properties_deck import (
    PropertiesDeck,
    band_deck,
    charge_potential_deck,
    doss_deck,
    render_d3,
    shrink_of,
    transport_deck,
)
from penstock.engines.crystal.source_deck import source_deck

_PROJECTIONS_MOST: Final = 15


def render_properties(calculation: Calculation, parameters: CrystalParameters) -> str:
    """The .d3 deck of the task; ValueError, and SpecError where there is no deck of the calculation itself."""
    deck = source_deck(calculation, parameters)
    return render_d3(_BUILDERS[parameters.task](calculation, deck, parameters))


def _band(calculation: Calculation, deck: Deck, parameters: CrystalParameters) -> PropertiesDeck:
    first, last = _bands(deck, parameters.band.bands, "band")
    return band_deck(calculation.name, band_path(geometry_block(deck)), first, last, parameters.band.points)


def _doss(_: Calculation, deck: Deck, parameters: CrystalParameters) -> PropertiesDeck:
    asked = parameters.doss
    bands = None if asked.energies_hartree else _bands(deck, asked.bands, "doss")
    atoms = asked.groups or (_elements(deck) if asked.projections == "elements" else [])
    if len(atoms) > _PROJECTIONS_MOST:
        raise ValueError(f"{len(atoms)} projections, and no more than {_PROJECTIONS_MOST} are possible")
    return doss_deck(shrink_of(deck, asked.mesh), bands, asked.energies_hartree, atoms, points=asked.points)


def _transport(_: Calculation, deck: Deck, parameters: CrystalParameters) -> PropertiesDeck:
    asked = parameters.transport
    return transport_deck(
        shrink_of(deck, asked.mesh),
        asked.temperatures_k,
        asked.potentials_ev,
        asked.distribution_ev,
        asked.relaxation_time_fs,
    )


def _charge_potential(calculation: Calculation, deck: Deck, parameters: CrystalParameters) -> PropertiesDeck:
    asked = parameters.charge_potential
    periods = deck.geometry.dimensionality
    if periods is None:
        periods = sum(parse_geometry(calculation.geometry).pbc)
    return charge_potential_deck(periods, asked.points, asked.scale, asked.tolerance)


_BUILDERS: Final = {"band": _band, "doss": _doss, "transport": _transport, "charge_potential": _charge_potential}


def _bands(deck: Deck, asked: tuple[int, int] | None, task: str) -> tuple[int, int]:
    """The first and the last band: all where it is not said."""
    if asked is not None:
        return asked
    size = size_of(deck.rest)
    if size is None:
        raise ValueError(
            f"the number of orbitals is not known before a run; give [engine.{task}] bands = [first, last]"
        )
    return 1, size.orbitals


def _elements(deck: Deck) -> list[list[int]]:
    """The atoms of each element, by their numbers in CRYSTAL's order."""
    size = size_of(deck.rest)
    if size is not None:
        numbers = [number % 100 for number in size.numbers]
    elif deck.geometry.dimensionality == 3:
        numbers = [ATOMIC_NUMBERS[symbol] for symbol in parse_geometry(geometry_block(deck)).symbols]
    else:
        raise ValueError('the atoms of the cell are not known before a run; set [engine.doss] projections = "none"')
    return [[place for place, other in enumerate(numbers, 1) if other == number] for number in dict.fromkeys(numbers)]
