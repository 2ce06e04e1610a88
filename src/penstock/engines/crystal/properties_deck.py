"""A deck of CRYSTAL's `properties` (.d3) as a value: text to structure and back, and the four that workflows need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.engines.crystal.band_path import BandPath
from penstock.engines.crystal.deck import render_entries
from penstock.engines.crystal.deck_lines import DeckLines, excerpt, is_end, split_numbers, word_of
from penstock.engines.crystal.deck_model import Deck, Entry, parse_number

_BLOCKS: Final = frozenset({"BOLTZTRA", "ECHG", "POTM", "CLAS", "EDFT", "ENECOR", "ADFT", "ACOR", "LOCALWF", "TOPO"})
_COMMENT: Final = ("#", "!")
_TITLE_MAX: Final = 300


class PropertiesDeck(msgspec.Struct, frozen=True):
    """Keywords in order; BAND's first line is a free title. `end` is None where the text has no END of its own."""

    entries: tuple[Entry, ...]
    end: str | None = "END"
    rest: tuple[str, ...] = ()


def parse_d3(text: str) -> PropertiesDeck:
    """The deck that `text` is; ValueError says `line N: ...`."""
    lines = DeckLines(text, titled=False)
    entries: list[Entry] = []
    while (line := lines.peek()) is not None and not is_end(line):
        entries.append(_parse_entry(lines))
    end = None if line is None else lines.take("END").strip()
    if not entries:
        raise ValueError("line 1: the deck has no keyword")
    return PropertiesDeck(tuple(entries), end, tuple(lines.take_all()))


def render_d3(deck: PropertiesDeck) -> str:
    """The text of `deck`, every line ended by a newline."""
    end = [] if deck.end is None else [deck.end]
    return "\n".join([*render_entries(deck.entries), *end, *deck.rest, ""])


def band_deck(
    title: str, path: BandPath, first_band: int, last_band: int, points: int = 1000, *, eigenvectors: bool = False
) -> PropertiesDeck:
    """Bands along `path`; bands count from 1, the last is at most the number of atomic orbitals.

    `points` are spread over the whole path. The energies go to BAND.DAT and fort.25.
    """
    _check_bands(first_band, last_band)
    header = (len(path.segments), path.shrink, points, first_band, last_band, 1, int(eigenvectors))
    segments = [
        f"{_joined(start)}  {_joined(end)}   {names[0]} -> {names[1]}"
        for (start, end), names in zip(path.segments, path.labels, strict=True)
    ]
    lines = (f"{_one_line(title)} - {path.label}"[:_TITLE_MAX], _joined(header), *segments)
    return PropertiesDeck((Entry("BAND", lines),))


def doss_deck(
    shrink: Sequence[int],
    bands: tuple[int, int] | None = None,
    energies_hartree: tuple[float, float] | None = None,
    atoms: Sequence[Sequence[int]] = (),
    orbitals: Sequence[Sequence[int]] = (),
    *,
    points: int = 10000,
) -> PropertiesDeck:
    """The density of states over `bands` (first and last, from 1) or within `energies_hartree`; exactly one of them.

    `shrink` is (IS, ISP) or (IS1, IS2, IS3, ISP), see `shrink_of`. Each group of `atoms`, and then of `orbitals`
    (numbers from 1), makes one projection.
    """
    if (bands is None) == (energies_hartree is None):
        raise ValueError("give the bands or the range of energies of a density of states")
    window: list[str] = []
    if bands is not None:
        _check_bands(*bands)
    else:
        assert energies_hartree is not None
        if energies_hartree[0] >= energies_hartree[1]:
            raise ValueError(f"the energies {energies_hartree[0]} to {energies_hartree[1]} hartree are no range")
        bands, window = (-1, -1), [_joined(energies_hartree)]
    groups = [_joined((-len(group), *group)) for group in atoms] + [_joined((len(g), *g)) for g in orbitals]
    header = _joined((len(groups), points, *bands, 2, 14, 0))
    return PropertiesDeck((_newk(shrink), Entry("DOSS", (header, *window, *groups))))


def transport_deck(
    shrink: Sequence[int],
    temperatures_k: tuple[float, float, float] = (100.0, 800.0, 50.0),
    potentials_ev: tuple[float, float, float] = (-2.0, 2.0, 0.01),
    distribution_ev: tuple[float, float, float] = (-5.0, 5.0, 0.01),
    relaxation_time_fs: float = 10.0,
) -> PropertiesDeck:
    """Boltzmann transport; every range is first, last and step, potentials and distribution on CRYSTAL's energy scale.

    `shrink` as in `doss_deck`; transport converges with meshes several times as dense as the SCF's.
    """
    named: dict[str, tuple[float, float, float]] = {
        "TRANGE": temperatures_k,
        "MURANGE": potentials_ev,
        "TDFRANGE": distribution_ev,
    }
    for keyword, (first, last, step) in named.items():
        if first > last or step <= 0:
            raise ValueError(f"{keyword}: {first} to {last} in steps of {step} is no range")
    inner = [Entry(keyword, (_joined(values),)) for keyword, values in named.items()]
    inner.append(Entry("RELAXTIM", (f"{relaxation_time_fs:g}",)))
    return PropertiesDeck((_newk(shrink), Entry("BOLTZTRA", entries=tuple(inner), end="END")))


def charge_potential_deck(
    dimensionality: int, points: int = 100, scale: float = 3.0, tolerance: int = 5
) -> PropertiesDeck:
    """Charge density and electrostatic potential on grids of `points` along each side.

    Along directions that are not periodic the grid is `scale` times as long as the structure.
    """
    free = 3 - dimensionality
    if not 0 <= free <= 3:
        raise ValueError(f"nothing is periodic in {dimensionality} directions")
    sides = (Entry("SCALE", (_joined([scale] * free),)),) if free else ()
    density = (Entry("ECH3", (str(points),)), *sides)
    potential = (Entry("POT3", (str(points), str(tolerance))), *sides)
    return PropertiesDeck((*density, *potential))


def shrink_of(deck: Deck, factor: int = 1) -> tuple[int, ...]:
    """The mesh of a deck's SCF times `factor`, as (IS, ISP) or (IS1, IS2, IS3, ISP), ISP at least twice the largest IS.

    ValueError where the deck has none: a molecule.
    """
    entry = next((entry for entry in reversed(deck.scf) if entry.name == "SHRINK"), None)
    numbers = [] if entry is None else [value for line in entry.lines for value in split_numbers(line, None).values]
    values = [int(parse_number(number)) for number in numbers]
    if len(values) >= 5 and values[0] == 0:
        mesh = [value * factor for value in values[2:5]]
        return (*mesh, max(values[1] * factor, 2 * max(mesh)))
    if len(values) >= 2 and values[0] > 0:
        return values[0] * factor, max(values[1] * factor, 2 * values[0] * factor)
    raise ValueError("the SCF section has no SHRINK with its values")


def _newk(shrink: Sequence[int]) -> Entry:
    """Eigenvectors on a mesh, with the Fermi energy computed again (1), nothing more printed (0)."""
    if len(shrink) not in {2, 4} or min(shrink) < 1:
        raise ValueError("shrink is IS and ISP, or IS1, IS2, IS3 and ISP, each at least 1")
    *mesh, net = shrink
    lines = (_joined((*mesh, net)),) if len(mesh) == 1 else (_joined((0, net)), _joined(mesh))
    return Entry("NEWK", (*lines, "1 0"))


def _check_bands(first: int, last: int) -> None:
    if not 1 <= first <= last:
        raise ValueError(f"bands {first} to {last} cannot be; they count from 1")


def _joined(values: Sequence[float]) -> str:
    return " ".join(str(int(value)) if float(value).is_integer() else f"{value:g}" for value in values)


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "untitled"


def _parse_entry(lines: DeckLines) -> Entry:
    number = lines.number
    line = lines.take("a keyword")
    name = word_of(line)
    if not name:
        if line.lstrip().startswith(_COMMENT):
            return Entry("", (line,))
        raise ValueError(f"line {number}: {excerpt(line)} belongs to no keyword")
    keyword, *notes = line.split(None, 1)
    note = notes[0].strip() if notes else ""
    if name == "BAND":
        return Entry(keyword, _take_band(lines, number), note=note)
    values: list[str] = []
    while (following := lines.peek()) is not None and not following.lstrip()[:1].isalpha():
        values.append(lines.take("a value"))
    if name not in _BLOCKS:
        return Entry(keyword, tuple(values), note=note)
    entries: list[Entry] = []
    while (inner := lines.peek()) is None or not is_end(inner):
        if inner is None:
            raise ValueError(f"line {number}: {name} has no END")
        entries.append(_parse_entry(lines))
    return Entry(keyword, tuple(values), tuple(entries), lines.take("END").strip(), note)


def _take_band(lines: DeckLines, band: int) -> tuple[str, ...]:
    """The title, the header and as many segments as it promises: numbers, or labels where its shrinking factor is 0."""
    title = lines.take("the title of BAND") if lines.number == band + 1 else ""
    number = lines.number
    header = lines.take("NLINE ISS NSUB INZB IFNB IPLO LPR66")
    values = split_numbers(header, 7).values
    if len(values) < 7:
        raise ValueError(f"line {number}: expected NLINE ISS NSUB INZB IFNB IPLO LPR66, found {excerpt(header)}")
    segments = []
    for index in range(int(parse_number(values[0]))):
        number = lines.number
        line = lines.take(f"segment {index + 1} of {values[0]}")
        if is_end(line):
            raise ValueError(f"line {number}: expected segment {index + 1} of {values[0]}, found {excerpt(line)}")
        segments.append(line)
    return (title, header, *segments)
