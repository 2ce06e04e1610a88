import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.crystal.deck import Deck, Entry, parse_deck, render_deck

from .decks import ALL, EXPLICIT, FREQUENCIES, OPTIMISATION, SLAB, sample_texts, with_samples, words

SCF_NAMES = st.from_regex(r"[A-Z][A-Z0-9-]{0,9}", fullmatch=True).filter(
    lambda name: (
        not name.startswith("END")
        and name not in {"DFT", "DFTD3", "DFTD4", "GCP", "GCPAUTO", "CPHF", "CPKS"}
        and name
        not in {
            "HF3C",
            "HFSOL3C",
            "TWOCOMPON",
            "BASISSET",
            "GEOM",
            "BASE",
            "GEBA",
            "CHARGED",
            "CHEMOD",
            "GHOSTS",
            "NOPRINT",
            "PARAMPRT",
        }
    )
)
VALUE_LINES = st.lists(st.from_regex(r"[-+]?[0-9]{1,4}( [0-9]{1,3}\.[0-9]{1,3}){0,4}", fullmatch=True), max_size=4)


def names(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"^line [0-9]+: ") as raised:
        parse_deck(text)
    return str(raised.value)


@pytest.mark.parametrize("text", ALL)
def test_what_stands_in_a_deck_stands_in_it_again(text: str) -> None:
    deck = parse_deck(text)
    assert render_deck(deck) == text
    assert parse_deck(render_deck(deck)) == deck


@with_samples
def test_what_stands_in_a_real_deck_stands_in_it_again() -> None:
    decks = sample_texts(".d12")
    assert len(decks) >= 7
    for name, text in decks:
        deck = parse_deck(text)
        assert words(render_deck(deck)) == words(text), name
        assert parse_deck(render_deck(deck)) == deck, name


def test_a_title_that_reads_like_a_keyword_is_a_title() -> None:
    deck = parse_deck(OPTIMISATION)
    assert deck.title == "OPTGEOM"
    assert names(deck.keywords) == ["OPTGEOM"]


@given(st.text().filter(lambda title: "\n" not in title and "\r" not in title), st.sampled_from(ALL))
def test_a_title_may_say_anything(title: str, text: str) -> None:
    deck = parse_deck(text)
    titled = parse_deck("\n".join([title, *text.split("\n")[1:]]))
    assert titled == parse_deck(render_deck(titled))
    assert titled.title == title
    assert titled.keywords == deck.keywords
    assert titled.scf == deck.scf


def test_a_title_is_one_line() -> None:
    deck = parse_deck(SLAB)
    with pytest.raises(ValueError, match="one line"):
        Deck("two\nlines", deck.geometry, deck.keywords, deck.end, deck.basis, deck.scf)


def test_cycles_of_the_optimisation_and_of_the_scf_are_two_things() -> None:
    deck = parse_deck(OPTIMISATION)
    inner = {entry.name: entry.lines for entry in deck.keywords[0].entries}
    outer = {entry.name: entry.lines for entry in deck.scf}
    assert inner["MAXCYCLE"] == ("100",)
    assert outer["MAXCYCLE"] == ("300",)
    assert outer["SHRINK"] == ("0 16", "8 8 8")


def test_the_parts_of_a_deck() -> None:
    deck = parse_deck(OPTIMISATION)
    geometry = deck.geometry
    assert (geometry.kind, geometry.dimensionality, geometry.group_number) == ("CRYSTAL", 3, 225)
    assert geometry.cell is not None
    assert geometry.cell.values == ("5.63",)
    assert [(atom.number, atom.coordinates) for atom in geometry.atoms] == [(11, (0, 0, 0)), (17, (0.5, 0.5, 0.5))]
    assert geometry.atoms[1].note == "Biso 1.0 Cl"
    assert deck.end is None
    assert deck.basis.entries == (Entry("BASISSET", ("POB-TZVP-REV2",)),)


def test_an_explicit_basis_ends_with_its_99_and_keywords_may_follow() -> None:
    deck = parse_deck(EXPLICIT)
    assert deck.end == "END"
    assert deck.basis.lines[0] == "2 1"
    assert deck.basis.lines[-1] == "99 0"
    assert names(deck.basis.entries) == ["CHARGED"]
    assert deck.basis.end == "ENDBS"
    assert names(deck.scf) == ["UHF", "SPINLOCK", "ATOMSPIN", "TOLDEE"]


def test_blocks_are_within_blocks() -> None:
    deck = parse_deck(FREQUENCIES)
    supercell, frequencies = deck.keywords
    assert supercell.lines == ("1 0 0", "0 1 0", "0 0 1")
    assert names(frequencies.entries) == ["PREOPTGEOM", "NUMDERIV", "INTCPHF"]
    assert (deck.end, deck.basis.end) == ("ENDGEOM", "END")
    dft, dispersion, *_ = deck.scf
    assert [(entry.name, entry.lines) for entry in dft.entries] == [
        ("EXCHANGE", ("PBE",)),
        ("CORRELAT", ("PBE",)),
        ("HYBRID", ("20",)),
    ]
    assert dispersion.entries[1] == Entry("FUNC", ("PBE0",))


@given(st.lists(st.tuples(SCF_NAMES, VALUE_LINES), max_size=8))
def test_unknown_keywords_are_kept_with_their_lines_in_order(added: list[tuple[str, list[str]]]) -> None:
    text = "".join("\n".join([name, *values, ""]) for name, values in added)
    deck = parse_deck(SLAB.removesuffix("END\n") + text + "END\n")
    assert [(entry.keyword, list(entry.lines)) for entry in deck.scf[2:]] == added
    assert render_deck(deck) == SLAB.removesuffix("END\n") + text + "END\n"


def test_an_unknown_block_ends_no_section() -> None:
    text = SLAB.replace("END\nBASISSET", "NEWBLOCK\nTOLDEG\n0.1\nENDNEW\nEND\nBASISSET")
    text = text.replace("SHRINK", "NEWBLOCK\nVALUE\n3\nENDNEW\nSHRINK")
    deck = parse_deck(text)
    assert names(deck.keywords) == ["NEWBLOCK", "TOLDEG", "ENDNEW"]
    assert names(deck.scf) == ["DFT", "NEWBLOCK", "VALUE", "ENDNEW", "SHRINK"]
    assert render_deck(deck) == text


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n", "  \n"])
def test_line_ends_and_blanks_at_them_do_not_matter(end: str) -> None:
    title, rest = FREQUENCIES.split("\n", 1)
    assert parse_deck(title + "\n" + rest.replace("\n", end)) == parse_deck(FREQUENCIES)


def test_a_second_geometry_for_fixed_indices_follows_the_scf() -> None:
    text = SLAB.replace("SHRINK", "FIXINDEX\nSHRINK") + "GEOM\nSLAB\n1\n2.5 2.5 120.\nEND\n"
    deck = parse_deck(text)
    assert names(deck.scf) == ["DFT", "FIXINDEX", "SHRINK"]
    assert deck.rest[0] == "GEOM"
    assert render_deck(deck) == text


def test_what_follows_the_last_end_is_kept() -> None:
    deck = parse_deck(SLAB + "\nsaid afterwards\n")
    assert deck.rest == ("said afterwards",)
    assert render_deck(deck) == SLAB + "said afterwards\n"


def test_comments_are_kept_where_they_are() -> None:
    text = OPTIMISATION.replace("5.63", "5.63 # a").replace("OPTGEOM\nFULL", "# relax\nOPTGEOM # all\n! first\nFULL")
    deck = parse_deck(text)
    assert deck.geometry.cell is not None
    assert deck.geometry.cell.values == ("5.63",)
    assert render_deck(deck) == text
    assert names(deck.keywords) == ["", "OPTGEOM"]


def test_comments_may_stand_before_the_basis() -> None:
    for text in (EXPLICIT, SLAB):
        commented = text.replace("END\n", "END\n# of whom\n# and when\n", 1)
        deck = parse_deck(commented)
        assert render_deck(deck) == commented
        assert deck.keywords == parse_deck(text).keywords
        assert deck.scf == parse_deck(text).scf


def test_a_deck_that_tests_its_geometry_ends_there() -> None:
    text = SLAB[: SLAB.index("END")] + "TESTGEOM\nEND\n"
    deck = parse_deck(text)
    assert render_deck(deck) == text
    assert (deck.basis.lines, deck.scf, deck.scf_end) == ((), (), None)


def test_a_space_group_may_go_by_its_symbol_and_the_origin_be_shifted() -> None:
    text = OPTIMISATION.replace("0 0 0\n225", "1 0 2\nF M 3 M\n6 6 6")
    deck = parse_deck(text)
    assert deck.geometry.group_number is None
    assert deck.geometry.group is not None
    assert deck.geometry.group.values == ("F", "M", "3", "M")
    assert deck.geometry.shift is not None
    assert deck.geometry.shift.values == ("6", "6", "6")
    assert render_deck(deck) == text


def test_numbers_may_be_separated_as_fortran_allows() -> None:
    text = OPTIMISATION.replace("11 0.0 0.0 0.0", "11,0.D0, 0.0 ,-1.5D-1")
    assert parse_deck(text).geometry.atoms[0].coordinates == (0, 0, -0.15)


@pytest.mark.parametrize("kind", ["EXTERNAL", "DLVINPUT"])
def test_atoms_may_be_elsewhere(kind: str) -> None:
    text = f"from a file\n{kind}\nOPTGEOM\nEND\nEND\n" + EXPLICIT.split("END\n", 1)[1]
    deck = parse_deck(text)
    assert deck.geometry.dimensionality is None
    assert names(deck.keywords) == ["OPTGEOM"]
    assert render_deck(deck) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the deck ends before CRYSTAL"),
        ("CRYSTAL\n0 0 0\n225\n", "line 2: expected CRYSTAL, SLAB, POLYMER, MOLECULE, EXTERNAL or DLVINPUT (line 1 is"),
        (OPTIMISATION.replace("0 0 0\n225", "0 0\n225"), "line 3: expected the flags IFLAG IFHR IFSO, found '0 0'"),
        (OPTIMISATION.replace("225", "231"), "line 4: expected the number of a space group, 1 to 230, found 231"),
        (OPTIMISATION.replace("225", "F M 3 M"), "line 4: expected the number of a space group"),
        (OPTIMISATION.replace("225", "62"), "line 5: expected 3 cell parameters, those that space group 62 leaves"),
        (SLAB.replace(" 120.", ""), "line 4: expected 3 cell parameters, those that layer group 1"),
        (OPTIMISATION.replace("17 0.5 0.5", "Cl 0.5 0.5"), "line 8: expected atom 2 of 2 as 'Z x y z', found 'Cl"),
        (OPTIMISATION.replace("\n2\n", "\n3\n", 1), "line 9: expected atom 3 of 3 as 'Z x y z', found 'OPTGEOM'"),
        (OPTIMISATION.replace("\n2\n", "\n1\n", 1), "line 8: '17 0.5 0.5 0.5 Biso 1.0 Cl' belongs to no keyword"),
        (OPTIMISATION.replace("\n2\n", "\n0\n", 1), "line 6: 0 atoms cannot be"),
        (OPTIMISATION.replace("ENDOPT\n", ""), "line 9: OPTGEOM has no END"),
        (
            OPTIMISATION.replace("ENDDFT\n", ""),
            "line 29: the deck ends before the END of the SCF section (an earlier block",
        ),
        (OPTIMISATION.removesuffix("END\n"), "the deck ends before the END of the SCF section"),
        (EXPLICIT.replace("99 0\n", ""), "ENDBS before the basis set has ended with '99 0'"),
        (EXPLICIT[: EXPLICIT.index("99 0")], "the deck ends before the basis set, or its last line '99 0'"),
        (OPTIMISATION[: OPTIMISATION.index("BASISSET")], "the deck ends before the END of the geometry"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    assert said in refusal(text)


@given(
    st.lists(st.sampled_from(["CRYSTAL", "SLAB", "END", "0 0 0", "1", "6 0 0 0"]) | st.text(max_size=9), max_size=12)
)
def test_any_text_is_a_deck_or_refused_with_its_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        deck = parse_deck(text)
    except ValueError:
        refusal(text)
    else:
        assert parse_deck(render_deck(deck)) == deck


@given(st.sampled_from(ALL), st.data())
def test_a_damaged_deck_is_parsed_or_refused_with_its_line(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    first = data.draw(st.integers(0, len(lines)))
    damaged = lines[:first] + data.draw(st.lists(st.sampled_from([*lines, "END", "7", "x?", "#"]), max_size=3))
    damaged += lines[first + data.draw(st.integers(0, 3)) :]
    damaged_text = "\n".join(damaged)
    try:
        deck = parse_deck(damaged_text)
    except ValueError:
        refusal(damaged_text)
    else:
        assert parse_deck(render_deck(deck)) == deck
