import pytest

from penstock.engines.crystal.deck import Entry, parse_deck, render_deck
from penstock.engines.crystal.deck_edit import as_task, with_guess, with_restart
from penstock.engines.crystal.deck_task import Relaxed, Task, relaxing

from .decks import ALL, EXPLICIT, FREQUENCIES, OPTIMISATION, SLAB


def keywords(text: str, task: Task) -> list[str]:
    return [entry.name for entry in as_task(parse_deck(text), task).keywords]


def test_a_deck_becomes_one_of_another_task() -> None:
    assert keywords(OPTIMISATION, "sp") == []
    assert keywords(OPTIMISATION, "freq") == ["FREQCALC"]
    assert keywords(FREQUENCIES, "sp") == ["SUPERCEL"]
    assert keywords(FREQUENCIES, "opt") == ["SUPERCEL", "OPTGEOM"]
    assert keywords(SLAB.replace("END\nBASIS", "ELASTCON\nEND\nEND\nBASIS"), "opt") == ["OPTGEOM"]


def test_settings_of_the_user_stay() -> None:
    assert as_task(parse_deck(OPTIMISATION), "opt") == parse_deck(OPTIMISATION)
    assert as_task(parse_deck(FREQUENCIES), "freq") == parse_deck(FREQUENCIES)


def test_a_cell_is_relaxed_where_there_is_one() -> None:
    slab, molecule = as_task(parse_deck(SLAB), "opt"), as_task(parse_deck(EXPLICIT), "opt")
    assert [entry.name for entry in slab.keywords[0].entries] == ["FULLOPTG", "MAXCYCLE"]
    assert [entry.name for entry in molecule.keywords[0].entries] == ["MAXCYCLE"]


@pytest.mark.parametrize(
    "before", ["FULLOPTG", "CELLONLY", "ATOMONLY\nCVOLOPT", "ITATOCEL", "INTREDUN", "TOLDEG\n0.0001"]
)
@pytest.mark.parametrize(("relaxed", "first"), [("cell", ["FULLOPTG"]), ("ions", [])])
def test_what_is_relaxed_can_be_chosen_whatever_the_deck_says(before: str, relaxed: Relaxed, first: list[str]) -> None:
    deck = relaxing(parse_deck(OPTIMISATION.replace("FULLOPTG", before)), relaxed)
    others = ["TOLDEG", "MAXCYCLE"] if "TOLDEG" in before else ["MAXCYCLE"]
    assert [entry.name for entry in deck.keywords[0].entries] == [*first, *others]
    assert relaxing(deck, relaxed) == deck
    assert parse_deck(render_deck(deck)) == deck


def test_only_what_optimises_relaxes_and_only_what_has_a_cell_relaxes_it() -> None:
    assert relaxing(parse_deck(FREQUENCIES), "cell") == parse_deck(FREQUENCIES)
    with pytest.raises(ValueError, match="a molecule has no cell"):
        relaxing(parse_deck(EXPLICIT), "cell")


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("task", ["opt", "sp", "freq"])
def test_the_deck_of_a_task_can_be_read_and_the_task_is_done_once(text: str, task: Task) -> None:
    deck = as_task(parse_deck(text), task)
    assert parse_deck(render_deck(deck)) == deck
    assert as_task(deck, task) == deck
    assert (deck.geometry, deck.basis, deck.scf) == (
        parse_deck(text).geometry,
        parse_deck(text).basis,
        parse_deck(text).scf,
    )


@pytest.mark.parametrize("text", ALL)
def test_a_guess_is_asked_for_in_the_scf_section_once(text: str) -> None:
    deck = with_guess(parse_deck(text))
    assert deck.scf == (*parse_deck(text).scf, Entry("GUESSP"))
    assert with_guess(deck) == deck
    assert parse_deck(render_deck(deck)) == deck


def test_a_restart_is_asked_for_in_the_block_of_the_task_once() -> None:
    for text in (OPTIMISATION, FREQUENCIES):
        deck = with_restart(parse_deck(text))
        assert deck.keywords[-1].entries[0] == Entry("RESTART")
        assert deck.keywords[-1].entries[1:] == parse_deck(text).keywords[-1].entries
        assert with_restart(deck) == deck
    with pytest.raises(ValueError, match="neither an OPTGEOM nor a FREQCALC"):
        with_restart(parse_deck(SLAB))
