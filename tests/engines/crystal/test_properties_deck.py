import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.crystal.band_path import BandPath
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.properties_deck import (
    PropertiesDeck,
    band_deck,
    charge_potential_deck,
    doss_deck,
    parse_d3,
    render_d3,
    shrink_of,
    transport_deck,
)

from .decks import EXPLICIT, OPTIMISATION, SLAB, sample_texts, with_samples, words

PATH = BandPath(
    6, (((0, 0, 0), (3, 0, 3)), ((3, 0, 3), (3, 3, 3)), ((0, 0, 0), (3, 3, 3))), (("G", "X"), ("X", "L"), ("G", "L"))
)

BANDS = """BAND
END of the story, by BAND
2 6 1000 1 396 1 0
0 0 0  3 0 3
3 0 3  4 2 4   X -> U
NEWK
12 24
1 0
DOSS
1 1000 -1 -1 2 14 0
-0.5 0.5
-2 1 2
BOLTZTRA
TRANGE
100 500 50
END
END
"""


@with_samples
def test_what_stands_in_a_real_deck_stands_in_it_again() -> None:
    decks = sample_texts(".d3")
    assert len(decks) >= 4
    for name, text in decks:
        deck = parse_d3(text)
        assert words(render_d3(deck)) == words(text), name
        assert parse_d3(render_d3(deck)) == deck, name
        assert (deck.end, deck.rest) == ("END", ()), name


def test_what_stands_in_a_deck_stands_in_it_again() -> None:
    deck = parse_d3(BANDS)
    assert render_d3(deck) == BANDS
    assert [entry.name for entry in deck.entries] == ["BAND", "NEWK", "DOSS", "BOLTZTRA"]
    assert deck.entries[0].lines[0] == "END of the story, by BAND"


@given(st.text().filter(lambda title: "\n" not in title and "\r" not in title))
def test_the_title_of_bands_may_say_anything(title: str) -> None:
    deck = parse_d3(BANDS.replace("END of the story, by BAND", title))
    assert [entry.name for entry in deck.entries] == ["BAND", "NEWK", "DOSS", "BOLTZTRA"]
    assert parse_d3(render_d3(deck)) == deck


def test_segments_may_be_labels() -> None:
    text = "BAND\nt\n2 0 200 1 36 1 0\nG  X\nX  W\nEND\n"
    assert render_d3(parse_d3(text)) == text
    assert parse_d3(text).entries[0].lines[2:] == ("G  X", "X  W")


def test_a_deck_without_an_end_is_understood() -> None:
    deck = parse_d3("BOLTZTRA\nTRANGE\n100 500 50\nEND\n")
    assert deck.end is None
    assert render_d3(deck) == "BOLTZTRA\nTRANGE\n100 500 50\nEND\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the deck has no keyword"),
        ("END\n", "line 1: the deck has no keyword"),
        ("1 2\nEND\n", "line 1: '1 2' belongs to no keyword"),
        ("BAND\nt\n2 8 1000\nEND\n", "line 3: expected NLINE ISS NSUB INZB IFNB IPLO LPR66, found '2 8 1000'"),
        ("BAND\nt\n2 8 1000 1 9 1 0\n0 0 0 1 0 0\nEND\n", "line 5: expected segment 2 of 2, found 'END'"),
        ("BAND\nt\n2 8 1000 1 9 1 0\n0 0 0 1 0 0\n", "the deck ends before segment 2 of 2"),
        ("BOLTZTRA\nTRANGE\n1 2 3\n", "line 1: BOLTZTRA has no END"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^line [0-9]+: ") as raised:
        parse_d3(text)
    assert said in str(raised.value)


@given(st.lists(st.sampled_from(["BAND", "2 8 9 1 9 1 0", "END", "ECHG", "1 2 3"]) | st.text(max_size=9), max_size=9))
def test_any_text_is_a_deck_or_refused_with_its_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        deck = parse_d3(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"^line [0-9]+: "):
            parse_d3(text)
    else:
        assert parse_d3(render_d3(deck)) == deck


def test_a_deck_for_bands() -> None:
    text = render_d3(band_deck("dia\nmond", PATH, 1, 36))
    assert text == (
        "BAND\ndia mond - G-X-L|G-L\n3 6 1000 1 36 1 0\n"
        "0 0 0  3 0 3   G -> X\n3 0 3  3 3 3   X -> L\n0 0 0  3 3 3   G -> L\nEND\n"
    )
    with pytest.raises(ValueError, match="bands 0 to 36"):
        band_deck("t", PATH, 0, 36)


def test_a_deck_for_the_density_of_states() -> None:
    assert render_d3(doss_deck((12, 24), bands=(1, 36), atoms=[[1, 2], [3]], orbitals=[[5, 6, 7]])) == (
        "NEWK\n12 24\n1 0\nDOSS\n3 10000 1 36 2 14 0\n-2 1 2\n-1 3\n3 5 6 7\nEND\n"
    )
    assert render_d3(doss_deck((6, 6, 1, 12), energies_hartree=(-0.5, 0.25), points=500)) == (
        "NEWK\n0 12\n6 6 1\n1 0\nDOSS\n0 500 -1 -1 2 14 0\n-0.5 0.25\nEND\n"
    )
    with pytest.raises(ValueError, match="the bands or the range"):
        doss_deck((6, 12))
    with pytest.raises(ValueError, match="no range"):
        doss_deck((6, 12), energies_hartree=(1, 0))
    with pytest.raises(ValueError, match="IS and ISP"):
        doss_deck((6,), bands=(1, 2))


def test_a_deck_for_transport() -> None:
    text = render_d3(transport_deck((24, 48)))
    assert text == (
        "NEWK\n24 48\n1 0\nBOLTZTRA\nTRANGE\n100 800 50\nMURANGE\n-2 2 0.01\nTDFRANGE\n-5 5 0.01\n"
        "RELAXTIM\n10\nEND\nEND\n"
    )
    with pytest.raises(ValueError, match="MURANGE: 1 to 0"):
        transport_deck((24, 48), potentials_ev=(1, 0, 0.1))


@with_samples
def test_a_deck_for_charges_and_potential_is_like_the_real_one() -> None:
    text = dict(sample_texts(".d3"))["4LG_2x2_AA_opt_HSESOL3C_optimized_charge+potential.d3"]
    assert words(render_d3(charge_potential_deck(2))) == words(text)


def test_a_grid_has_a_length_for_each_direction_that_is_not_periodic() -> None:
    assert render_d3(charge_potential_deck(3)) == "ECH3\n100\nPOT3\n100\n5\nEND\n"
    assert "SCALE\n3 3 3\n" in render_d3(charge_potential_deck(0))
    with pytest.raises(ValueError, match="4 directions"):
        charge_potential_deck(4)


@pytest.mark.parametrize(
    "deck",
    [
        band_deck("t", PATH, 1, 9),
        doss_deck((4, 8), bands=(1, 9), atoms=[[1]]),
        transport_deck((4, 8)),
        charge_potential_deck(1),
    ],
)
def test_decks_that_are_built_can_be_read(deck: PropertiesDeck) -> None:
    assert parse_d3(render_d3(deck)) == deck


def test_the_mesh_of_a_deck() -> None:
    assert shrink_of(parse_deck(OPTIMISATION)) == (8, 8, 8, 16)
    assert shrink_of(parse_deck(SLAB), 2) == (24, 48)
    assert shrink_of(parse_deck(SLAB.replace("12 24\nEND", "12 12\nEND"))) == (12, 24)
    with pytest.raises(ValueError, match="no SHRINK"):
        shrink_of(parse_deck(EXPLICIT))
