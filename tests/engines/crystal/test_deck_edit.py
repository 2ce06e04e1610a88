import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.crystal.deck import Deck, Entry, parse_deck, render_deck
from penstock.engines.crystal.deck_edit import Edit, Value, edited, with_uniform_shrink

from .decks import ALL, EXPLICIT, FREQUENCIES, OPTIMISATION, SLAB, sample_texts, with_samples


def after(text: str, *edits: Edit) -> str:
    """The lines that `edits` take out of `text` and put into it, as a diff would have them."""
    old, new = text.splitlines(), render_deck(edited(parse_deck(text), edits)).splitlines()
    first = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    return f"{'|'.join(old[first : len(old) - last])} -> {'|'.join(new[first : len(new) - last])}"


def refusal(text: str, edit: Edit) -> str:
    with pytest.raises(ValueError, match=r"\w") as raised:
        edited(parse_deck(text), [edit])
    return str(raised.value)


def test_cycles_are_changed_in_the_block_that_is_meant() -> None:
    assert after(OPTIMISATION, Edit("scf", "MAXCYCLE", add=1000)) == "300 -> 1300"
    assert after(OPTIMISATION, Edit("optgeom", "MAXCYCLE", add=200)) == "100 -> 300"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit("scf", "FMIXING", add=10, default=30, most=80), "60 -> 70"),
        (Edit("scf", "FMIXING", add=30, most=80), "60 -> 80"),
        (Edit("scf", "LEVSHIFT", set=[6, 1]), " -> LEVSHIFT|6 1"),
        (Edit("scf", "EIGS", set=""), " -> EIGS"),
        (Edit("scf", "BIPOSIZE", multiply=0.5, default=4000001), " -> BIPOSIZE|2000000"),
        (Edit("scf", "TOLINTEG", add=10, index=4), "7 7 7 7 14 -> 7 7 7 7 24"),
        (Edit("scf", "SHRINK", add=2, index=2), "8 8 8 -> 10 8 8"),
        (Edit("scf", "SHRINK", set="0 24\n12 12 6"), "0 16|8 8 8 -> 0 24|12 12 6"),
        (Edit("scf", "TOLINTEG", remove=True), "TOLINTEG|7 7 7 7 14 -> "),
        (Edit("optgeom", "MAXTRADIUS", multiply=0.5, default=4.0), " -> MAXTRADIUS|2"),
        (Edit("optgeom", "TOLDEG", set=0.0003), " -> TOLDEG|0.0003"),
        (Edit("optgeom", "FULLOPTG", remove=True), "FULLOPTG -> "),
        (Edit("geometry", "SUPERCEL", set="2 0 0\n0 2 0\n0 0 2"), " -> SUPERCEL|2 0 0|0 2 0|0 0 2"),
        (Edit("geometry", "OPTGEOM", remove=True), "OPTGEOM|FULLOPTG|MAXCYCLE|100|ENDOPT -> "),
        (Edit("dft", "XLGRID", remove=True), "XLGRID -> "),
        (Edit("dft", "SPIN", set=""), " -> SPIN"),
        (Edit("basis", "BASISSET", set="POB-DZVP-REV2"), "POB-TZVP-REV2 -> POB-DZVP-REV2"),
        (Edit("basis", "CHARGED", set=""), " -> CHARGED"),
    ],
)
def test_an_edit_changes_what_it_names_and_nothing_else(edit: Edit, said: str) -> None:
    assert after(OPTIMISATION, edit) == said


def test_a_trust_radius_is_halved_again_and_again() -> None:
    edit = Edit("optgeom", "MAXTRADIUS", multiply=0.5, default=4.0, least=0.3)
    deck = parse_deck(OPTIMISATION)
    seen = []
    for _ in range(5):
        deck = edited(deck, [edit])
        seen.append(deck.keywords[0].entries[-1].lines)
    assert seen == [("2",), ("1",), ("0.5",), ("0.3",), ("0.3",)]


def test_what_stands_around_a_number_stays() -> None:
    text = OPTIMISATION.replace("7 7 7 7 14", "7 7  7 7 14 # tight")
    assert after(text, Edit("scf", "TOLINTEG", add=-1, index=4)) == "7 7  7 7 14 # tight -> 7 7  7 7 13 # tight"


def test_a_value_that_stays_is_not_rewritten() -> None:
    text = OPTIMISATION.replace("FMIXING\n60", "FMIXING\n080")
    assert after(text, Edit("scf", "FMIXING", add=10, most=80)) == " -> "


def test_of_two_the_last_is_meant() -> None:
    text = SLAB.replace("SHRINK", "FMIXING\n30\nFMIXING\n50\nSHRINK")
    assert after(text, Edit("scf", "FMIXING", add=10)) == "50 -> 60"
    assert after(text, Edit("scf", "FMIXING", remove=True)) == "FMIXING|30|FMIXING|50 -> "


def test_a_basis_of_its_own_gives_way_to_one_with_a_name() -> None:
    deck = edited(parse_deck(EXPLICIT), [Edit("basis", "BASISSET", set="STO-3G")])
    assert deck.basis.entries == (Entry("BASISSET", ("STO-3G",)), Entry("CHARGED"))
    assert deck.end is None
    assert "END\nBASISSET" not in render_deck(deck)


def test_edits_come_one_after_another() -> None:
    edits = [Edit("scf", "FMIXING", add=10), Edit("scf", "fmixing", add=5)]
    assert after(OPTIMISATION, *edits) == "60 -> 75"


@pytest.mark.parametrize(
    ("text", "edit", "said"),
    [
        (SLAB, Edit("optgeom", "MAXCYCLE", add=1), "MAXCYCLE (optgeom): the deck has no OPTGEOM block"),
        (EXPLICIT, Edit("dft", "XLGRID", set=""), "XLGRID (dft): the deck has no DFT block"),
        (SLAB, Edit("scf", "FMIXING", add=10), "FMIXING (scf): not in the deck, so there is nothing to change"),
        (SLAB, Edit("scf", "SHRINK", add=1, index=2), "SHRINK (scf): has no value with index 2"),
        (SLAB, Edit("basis", "BASISSET", add=1), "BASISSET (basis): 'POB-TZVP' is not a number"),
        (SLAB, Edit("scf", "DFT", set=""), "DFT (scf): DFT is a block; edit what is within it, or remove it"),
        (
            SLAB,
            Edit("scf", "LEVSHIFT", set="6 1\nGUESSP"),
            "LEVSHIFT (scf): its values would be read as something else",
        ),
        (SLAB, Edit("scf", "LEVSHIFT", set="END"), "LEVSHIFT (scf): its values would be read as something else"),
        (SLAB, Edit("geometry", "SUPERCEL", set="END"), "SUPERCEL (geometry): "),
        (SLAB, Edit("basis", "BASISSET", set="A\nB"), "BASISSET (basis): its values would be read as something else"),
        (SLAB, Edit("basis", "BASISSET", remove=True), "BASISSET (basis): the deck could no longer be read"),
        (SLAB, Edit("basis", "SYMMOPS", set=""), "SYMMOPS (basis): its values would be read as something else"),
        (SLAB, Edit("scf", "FMIXING", set=float("inf")), "inf is not finite"),
    ],
)
def test_what_cannot_be_done_is_said(text: str, edit: Edit, said: str) -> None:
    assert said in refusal(text, edit)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"block": "scf", "keyword": "A"}, "exactly one of"),
        ({"block": "scf", "keyword": "A", "set": 1, "add": 1}, "exactly one of"),
        ({"block": "scf", "keyword": "END", "set": 1}, "no keyword"),
        ({"block": "scf", "keyword": "A\nB", "set": 1}, "no keyword"),
        ({"block": "scf", "keyword": "A", "add": 1, "index": -1}, "counts from 0"),
        ({"block": "basin", "keyword": "A", "set": 1}, "Invalid enum value 'basin'"),
        ({"block": "scf", "keyword": "A", "put": 1}, "unknown field `put`"),
        ({"block": "scf", "keyword": "A", "set": True}, "Expected"),
        ({"block": "scf", "keyword": "A", "add": float("nan")}, "not finite"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(table: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(table, Edit)


def test_an_edit_is_json() -> None:
    edit = Edit("scf", "LEVSHIFT", set=[6, 1])
    assert msgspec.to_builtins(edit) == {"block": "scf", "keyword": "LEVSHIFT", "set": [6, 1]}
    assert msgspec.json.decode(msgspec.json.encode(edit), type=Edit) == edit


@pytest.mark.parametrize(
    ("given_lines", "step", "lines"),
    [
        ("0 24\n12 12 12", 0, ("12 24",)),
        ("0 24\n12 12 6", 1, ("14 28",)),
        ("0 16\n4 8 1", 2, ("12 24",)),
        ("6 12", 1, ("8 16",)),
        ("8 8", 1, ("10 10",)),
    ],
)
def test_a_mesh_becomes_uniform(given_lines: str, step: int, lines: tuple[str, ...]) -> None:
    deck = with_uniform_shrink(parse_deck(SLAB.replace("12 24\nEND", f"{given_lines}\nEND")), step)
    assert deck.scf[-1] == Entry("SHRINK", lines)


@pytest.mark.parametrize("shrink", ["", "SHRINK\n", "SHRINK\n0 24\n", "SHRINK\n0 8\n0 0 0\n"])
def test_without_a_mesh_none_becomes_uniform(shrink: str) -> None:
    with pytest.raises(ValueError, match="SHRINK"):
        with_uniform_shrink(parse_deck(SLAB.replace("SHRINK\n12 24\n", shrink)), 1)


VALUES: st.SearchStrategy[list[Value] | Value] = st.one_of(
    st.integers(-999, 999), st.just(""), st.lists(st.integers(-9, 99) | st.floats(-9, 9), min_size=1, max_size=5)
)
KEYWORDS = st.sampled_from(["MAXCYCLE", "FMIXING", "NEWWORD", "SHRINK", "TOLDEE", "XLGRID"])
EDITS = st.one_of(
    st.builds(Edit, st.sampled_from(["geometry", "optgeom", "freqcalc", "dft", "scf"]), KEYWORDS, set=VALUES),
    st.builds(Edit, st.sampled_from(["geometry", "dft", "scf"]), KEYWORDS, remove=st.just(True)),
    st.builds(Edit, st.sampled_from(["optgeom", "scf"]), KEYWORDS, add=st.floats(-9, 9), default=st.floats(-9, 9)),
)


def without(deck: Deck, edit: Edit) -> list[list[Entry]]:
    """All entries of a deck, level by level, but those of the edit's keyword and the blocks they are in."""
    levels = [[*deck.keywords], [*deck.basis.entries], [*deck.scf]]
    levels += [list(entry.entries) for entry in (*deck.keywords, *deck.scf) if entry.is_block]
    return [
        [entry if not entry.is_block else Entry(entry.keyword) for entry in level if entry.name != edit.keyword]
        for level in levels
    ]


@given(st.sampled_from(ALL), EDITS)
def test_any_edit_leaves_the_rest_as_it_was(text: str, edit: Edit) -> None:
    deck = parse_deck(text)
    try:
        changed = edited(deck, [edit])
    except ValueError:
        return
    assert (changed.title, changed.geometry, changed.basis) == (deck.title, deck.geometry, deck.basis)
    assert without(changed, edit) == without(deck, edit)
    assert parse_deck(render_deck(changed)) == changed


@with_samples
def test_cycles_of_real_decks_are_changed_in_the_block_that_is_meant() -> None:
    texts = dict(sample_texts(".d12"))
    text = texts["1_dia_opt.d12"].replace("\r\n", "\n")
    deck = edited(parse_deck(text), [Edit("scf", "MAXCYCLE", add=1000)])
    assert render_deck(deck).replace("MAXCYCLE\n2600", "MAXCYCLE\n1600").split() == text.split()
    assert deck.keywords[0].entries[1].lines == ("1600",)


def test_a_frequency_block_is_edited_within() -> None:
    assert after(FREQUENCIES, Edit("freqcalc", "NUMDERIV", set=1)) == "2 -> 1"
    assert after(FREQUENCIES, Edit("freqcalc", "NOINTENS", set="")) == " -> NOINTENS"
