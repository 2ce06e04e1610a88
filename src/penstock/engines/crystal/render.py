"""The input of one attempt: a deck for crystal, or one for properties, and which files of a run before it needs."""

from __future__ import annotations

from typing import Final

from penstock.domain.calculation import Calculation, Rendered
from penstock.domain.errors import SpecError
from penstock.engines.crystal.deck import render_deck
from penstock.engines.crystal.deck_edit import Edit, edited, with_uniform_shrink
from penstock.engines.crystal.deck_model import Deck
from penstock.engines.crystal.deck_task import as_task, relaxing, with_guess, with_restart
from penstock.engines.crystal.parameters import DECK_TASKS, CrystalParameters, DeckTask
from penstock.engines.crystal.properties_input import render_properties
from penstock.engines.crystal.source_deck import source_deck

INPUT: Final = "INPUT"
SOURCE: Final = "DECK"
"""The deck as the structure or the template has it, before edits and remedies: what the next attempt starts from."""

WAVEFUNCTIONS: Final = ("fort.9", "fort.79", "fort.20")
"""What a run leaves of its wavefunction, the best first: at its end, after each cycle (SAVEWF), what it began with."""
PROPERTIES_WAVEFUNCTIONS: Final = ("fort.9", "fort.98")
"""What properties reads: the wavefunction of a run that ended, binary or (with RDFMWF) as text."""
RESTARTS: Final[dict[str, str]] = {"opt": "OPTINFO.DAT", "freq": "FREQINFO.DAT"}
"""By task: the file that an interrupted run goes on from."""

_READS_STDIN: Final = f'exec "$0" "$@" < {INPUT}'
_MIXING_DEFAULT: Final = 30
_MIXING_MOST: Final = 80
_CYCLES_DEFAULT: Final = 50
_RADIUS_DEFAULT: Final = 0.5


def render(calculation: Calculation, parameters: CrystalParameters) -> Rendered:
    """The files, the command line and what is carried over from a run before. Pure; SpecError where a deck is wrong."""
    try:
        rendered = (_render_properties if parameters.is_properties else _render_deck)(calculation, parameters)
    except ValueError as error:
        raise SpecError(f"the deck of {calculation.name}: {error}", key="engine.deck") from error
    return rendered


def remedied(deck: Deck, parameters: CrystalParameters) -> Deck:
    """`deck` with all that remedies asked for so far; ValueError."""
    if parameters.shrink_step:
        deck = with_uniform_shrink(deck, parameters.shrink_step - 1)
    return edited(deck, _remedy_edits(deck, parameters))


def _render_deck(calculation: Calculation, parameters: CrystalParameters) -> Rendered:
    source = source_deck(calculation, parameters)
    task = _deck_task(parameters)
    deck = as_task(source, task)
    if parameters.relax is not None:
        deck = relaxing(deck, parameters.relax)
    deck = _without_begin(deck)
    deck = remedied(edited(deck, parameters.edits), parameters)
    carry: dict[str, str] = {}
    wavefunction = _first_of(WAVEFUNCTIONS, calculation.previous)
    if parameters.guess and wavefunction:
        deck = with_guess(deck)
        carry[wavefunction] = "fort.20"
    restart = RESTARTS.get(task)
    if parameters.resume and restart in calculation.previous:
        deck = with_restart(deck)
        carry[restart] = restart
    files = {INPUT: render_deck(deck), SOURCE: render_deck(source)}
    return Rendered(files, _argv(parameters), carry)


def _render_properties(calculation: Calculation, parameters: CrystalParameters) -> Rendered:
    wavefunction = _first_of(PROPERTIES_WAVEFUNCTIONS, calculation.previous)
    if wavefunction is None:
        message = (
            f"task {parameters.task} needs the wavefunction of a step before (fort.9 or fort.98), and there is none"
        )
        raise SpecError(message, key="engine.task")
    text = render_properties(calculation, parameters)
    if wavefunction == "fort.98":
        text = f"RDFMWF\n{text}"  # makes a fort.9 of it
    files = {INPUT: text} | ({} if calculation.deck is None else {SOURCE: calculation.deck})
    return Rendered(files, _argv(parameters), {wavefunction: wavefunction})


def _deck_task(parameters: CrystalParameters) -> DeckTask:
    assert parameters.task in DECK_TASKS
    return "opt" if parameters.task == "opt" else "freq" if parameters.task == "freq" else "sp"


def _argv(parameters: CrystalParameters) -> list[str]:
    command = parameters.program
    return command if parameters.input == "file" else ["sh", "-c", _READS_STDIN, *command]


def _first_of(names: tuple[str, ...], previous: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in previous), None)


def _without_begin(deck: Deck) -> Deck:
    """`deck` without GUESSP and RESTART, which a file that is there, and nothing else, may ask for."""
    names = {entry.name for entry in deck.keywords if entry.is_block}
    edits = [Edit("scf", "GUESSP", remove=True)]
    edits += [Edit("optgeom", "RESTART", remove=True)] if "OPTGEOM" in names else []
    edits += [Edit("freqcalc", "RESTART", remove=True)] if "FREQCALC" in names else []
    return edited(deck, edits)


def _remedy_edits(deck: Deck, parameters: CrystalParameters) -> list[Edit]:
    edits: list[Edit] = []
    if parameters.more_scf_cycles:
        edits.append(Edit("scf", "MAXCYCLE", add=parameters.more_scf_cycles, default=_CYCLES_DEFAULT))
    if parameters.more_mixing:
        edits.append(Edit("scf", "FMIXING", add=parameters.more_mixing, default=_MIXING_DEFAULT, most=_MIXING_MOST))
    if parameters.level_shift:  # DIIS, the default since CRYSTAL17, would turn it off again
        edits += [Edit("scf", "DIIS", remove=True), Edit("scf", "NODIIS", set=""), Edit("scf", "LEVSHIFT", set=[5, 1])]
    if parameters.trust_radius != 1.0 and any(entry.name == "OPTGEOM" for entry in deck.keywords):
        edits.append(Edit("optgeom", "MAXTRADIUS", multiply=parameters.trust_radius, default=_RADIUS_DEFAULT))
    if parameters.eigs:
        edits.append(Edit("scf", "EIGS", set=""))
    return edits
