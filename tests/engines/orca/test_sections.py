"""Tables of ORCA's output: the quick way of reading one says the same as the thorough one, or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.orca import sections
from penstock.engines.orca.lines import DOUBTS
from penstock.engines.orca.signs import SIGNS, spellings

HEADING = b"----------------\n"
COLUMNS = b"  NO   OCC          E(Eh)            E(eV) \n"
SPIN_UP, SPIN_DOWN = b"                 SPIN UP ORBITALS\n", b"                 SPIN DOWN ORBITALS\n"
ENERGIES = st.lists(st.floats(-900, 900), min_size=2, max_size=30)
FILLED = st.integers(0, 30)


def orbitals(energies: list[float], filled: int, electrons: int) -> bytes:
    return COLUMNS + b"".join(
        b"%4d   %6.4f %15.6f %15.4f \n" % (n, electrons if n < filled else 0, energy / 27.2114, energy)
        for n, energy in enumerate(energies)
    )


def frontier(table: bytes) -> tuple[float, float] | None:
    return sections.parse_frontier_ev(b"ORBITAL ENERGIES\n" + table, 0, 1 << 20)


def by_lines(table: bytes) -> bytes:
    """The same table, unfit for the quick way."""
    return table.replace(b"\n", b"\r\n")


def by_energy(energies: list[float], filled: int) -> list[float]:
    """Filled orbitals by their energy, then empty ones by theirs, as ORCA lists them."""
    return sorted(energies[:filled]) + sorted(energies[filled:])


@given(energies=ENERGIES, filled=FILLED)
def test_frontier_orbitals_of_one_table(energies: list[float], filled: int) -> None:
    energies = by_energy(energies, filled)
    table = HEADING + b"\n" + orbitals(energies, filled, 2) + b"\n    *****\n"
    rounded = [float(f"{energy:.4f}") for energy in energies]
    expected = (max(rounded[:filled]), min(rounded[filled:])) if 0 < filled < len(energies) else None
    assert frontier(table) == frontier(by_lines(table)) == expected


def test_orbitals_that_are_not_by_energy_are_all_read() -> None:
    for energies in ([-5.0, -9.0, 1.0, 2.0], [-9.0, -5.0, 2.0, 1.0]):
        assert frontier(HEADING + b"\n" + orbitals(energies, 2, 2) + b"\n    *****\n") == (-5.0, 1.0)


@given(up=ENERGIES, down=ENERGIES, filled=st.integers(1, 30))
def test_frontier_orbitals_of_both_spins(up: list[float], down: list[float], filled: int) -> None:
    up, down = by_energy(up, filled), by_energy(down, filled - 1)
    table = HEADING + SPIN_UP + orbitals(up, filled, 1) + b"\n" + SPIN_DOWN + orbitals(down, filled - 1, 1) + b"\n\n"
    assert frontier(table) == frontier(by_lines(table))


@given(place=st.floats(0, 1, exclude_max=True), byte=st.sampled_from(b"x,*\n e\xff"))
def test_a_damaged_table_of_orbitals_is_never_trouble(place: float, byte: int) -> None:
    table = bytearray(HEADING + b"\n" + orbitals([-20.0, -10.0, 5.0, 6.0], 2, 2) + b"\n    *****\n")
    table[int(place * len(table))] = byte
    found = frontier(bytes(table))
    assert found is None or len(found) == 2


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["H", "Cl", "C", "Xx", "cl"]), *[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=9
    )
)
def test_atoms_are_the_same_by_either_way(rows: list[tuple[str, float, float, float]]) -> None:
    lines = [f"  {symbol:<2} {x:15.6f} {y:11.6f} {z:11.6f}" for symbol, x, y, z in rows]
    table = "\n".join(["-" * 33, *lines]).encode()
    assert sections.parse_atoms(table) == sections.parse_atoms(by_lines(table))
    assert (sections.parse_atoms(table) is None) == any(symbol in {"Xx", "cl"} for symbol, *_ in rows)


def test_no_spelling_of_what_spoils_a_run_escapes_the_first_look() -> None:
    fatal = [text for sign in SIGNS if sign.fatal for text in spellings(sign)]
    assert all(any(doubt in text for doubt in DOUBTS) for text in fatal)
