"""Geometries as text: what people write, checked and brought to one form.

Accepted are bare `El x y z` lines (Å), an XYZ block (count, comment, atoms) and an extended-XYZ block with `Lattice`,
`pbc` and `Properties` in its comment. The one form is the block of `Structure.geometry`: count line, comment line
(empty, or the lattice), one line an atom. Numbers stay the text they were, so nothing is lost by rounding.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_PERIODIC_TABLE: Final = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr "
    "Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
SYMBOLS: Final = tuple(_PERIODIC_TABLE.split())
ATOMIC_NUMBERS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS, 1)}

Vector = tuple[float, float, float]
Lattice = tuple[Vector, Vector, Vector]
Periodicity = tuple[bool, bool, bool]

# Bounded digits keep every number the pattern takes finite; possessive quantifiers keep it linear.
_NUMBER: Final = r"-?[0-9]{1,15}+(?:\.[0-9]*+)?+(?:[eE][-+]?[0-9]{1,2}+)?+"
_ATOM: Final = rf"[ \t]*+[A-Z][a-z]?+[ \t]++{_NUMBER}[ \t]++{_NUMBER}[ \t]++{_NUMBER}[ \t]*+"
_ATOMS: Final = rf"(?:{_ATOM}(?:\n|\Z))++"
_BARE: Final = re.compile(_ATOMS)
_BLOCK: Final = re.compile(rf"([0-9]{{1,9}}+)[ \t]*+\n([^\n]*+)\n({_ATOMS})")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PAIR: Final = re.compile(r"""([A-Za-z_][\w.-]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|(\S+))""")
_TRUTH: Final = {"T": True, "TRUE": True, "1": True, "F": False, "FALSE": False, "0": False}
_KNOWN: Final = frozenset(SYMBOLS)
_SPECIES: Final = frozenset({"species", "symbols"})
_POSITIONS: Final = frozenset({"pos", "positions"})


class Geometry(NamedTuple):
    """Atoms in Å: a symbol and a position each; `lattice` holds the three cell vectors, None for a molecule."""

    symbols: list[str]
    positions: list[Vector]
    lattice: Lattice | None
    pbc: Periodicity


class Normalised(NamedTuple):
    """A checked geometry: distinct symbols joined by ";", how many atoms, the sum of their Z, the block itself."""

    elements: str
    natoms: int
    protons: int
    block: str


class _Cell(NamedTuple):
    lattice: Lattice
    pbc: Periodicity
    comment: str


class _Atoms(NamedTuple):
    """What every form comes down to: symbols as written, four columns a line in `body`, no blank line at its end."""

    symbols: list[str]
    cell: _Cell | None
    body: str


def normalise(text: str) -> Normalised:
    """Check `text` and bring it to one form; ValueError says which line is wrong and why."""
    symbols, cell, body = _read(text)
    natoms = len(symbols)
    elements, protons = _composition(tuple(symbols))
    comment = cell.comment if cell else ""
    return Normalised(elements, natoms, protons, f"{natoms}\n{comment}\n{body}\n")


@functools.lru_cache(4096)
def _composition(symbols: tuple[str, ...]) -> tuple[str, int]:
    """Distinct symbols joined, and the sum of their Z; campaigns repeat the same few compositions."""
    return ";".join(dict.fromkeys(symbols)), sum(map(ATOMIC_NUMBERS.__getitem__, symbols))


def parse_geometry(text: str) -> Geometry:
    """The atoms of `text` as numbers; accepts what `normalise` accepts, with the same errors."""
    symbols, cell, body = _read(text)
    tokens = body.split()
    columns = (map(float, tokens[column::4]) for column in (1, 2, 3))
    positions = list(zip(*columns, strict=True))
    if cell is None:
        return Geometry(symbols, positions, None, (False, False, False))
    return Geometry(symbols, positions, cell.lattice, cell.pbc)


def format_geometry(
    symbols: Iterable[str],
    positions: Iterable[Sequence[float]],
    lattice: Sequence[Sequence[float]] | None = None,
    pbc: Sequence[bool] = (False, False, False),
) -> str:
    """A block in the one form, with every number written so that it reads back the same; Å throughout."""
    lines = [f"{symbol} {x!r} {y!r} {z!r}" for symbol, (x, y, z) in zip(symbols, positions, strict=True)]
    comment = ""
    if lattice is not None and any(pbc):
        comment = _cell_comment([repr(number) for vector in lattice for number in vector], pbc)
    return "\n".join([str(len(lines)), comment, *lines, ""])


def bare_atoms(block: str) -> str:
    """The `El x y z` lines of a block in the one form, without count and comment."""
    return block.split("\n", 2)[2]


def parse_comment(comment: str) -> dict[str, str]:
    """The `key=value` pairs of an extended-XYZ comment line; values may be quoted."""
    if "=" not in comment:
        return {}
    return {match[1]: match[2] or match[3] or match[4] or match[5] or "" for match in _PAIR.finditer(comment)}


def is_atom_line(line: str) -> bool:
    """Whether `line` reads `El x y z`, with or without further columns."""
    columns = line.split()
    return len(columns) >= 4 and columns[0].capitalize() in ATOMIC_NUMBERS and all(map(_FLOAT.fullmatch, columns[1:4]))


def _read(text: str) -> _Atoms:
    text = text.strip()
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    atoms = _read_clean(text)
    if atoms is not None and _KNOWN.issuperset(atoms.symbols):
        return atoms
    return _read_lines(text)


def _read_clean(text: str) -> _Atoms | None:
    """The quick way: one pattern over the whole text. None where anything is out of the ordinary."""
    if not text[:1].isdigit():
        return _Atoms(text.split()[::4], None, text) if _BARE.fullmatch(text) else None
    block = _BLOCK.fullmatch(text)
    if block is None:
        return None
    count, comment, body = block.groups()
    symbols = body.split()[::4]
    if len(symbols) != int(count) or "properties" in comment.lower() or is_atom_line(comment):
        return None
    return _Atoms(symbols, _parse_cell(comment) if "=" in comment else None, body)


def _read_lines(text: str) -> _Atoms:
    """The thorough way, line by line: mends what can be mended and says where the rest is wrong."""
    if not text:
        raise ValueError("the geometry is empty")
    lines = text.split("\n")
    comment, first = "", 0
    if _COUNT.fullmatch(lines[0].strip()):
        comment, first = _split_head(lines)
    cell = _parse_cell(comment)
    symbol_column, position_column = _columns(comment)
    rows = [
        _parse_atom(line, number, symbol_column, position_column)
        for number, line in enumerate(lines[first:], first + 1)
    ]
    return _Atoms([symbol for symbol, _ in rows], cell, "\n".join(line for _, line in rows))


def _split_head(lines: list[str]) -> tuple[str, int]:
    """The comment of a block and the index of its first atom line; a block without a comment line is understood."""
    natoms = int(lines[0])
    if natoms == 0:
        raise ValueError("line 1: the geometry has no atoms")
    if len(lines) == natoms + 2:
        if is_atom_line(lines[1]):
            raise ValueError(f"line 1 promises {natoms} atoms, but {natoms + 1} follow; line 2 should be a comment")
        return lines[1], 2
    if len(lines) == natoms + 1 and is_atom_line(lines[1]):
        return "", 1
    raise ValueError(f"line 1 promises {natoms} atoms, but {max(0, len(lines) - 2)} lines follow the comment line")


def _parse_atom(line: str, number: int, symbol_column: int, position_column: int) -> tuple[str, str]:
    columns = line.split()
    if not columns:
        raise ValueError(f"line {number}: blank line among the atoms")
    given = columns[symbol_column : symbol_column + 1] + columns[position_column : position_column + 3]
    if len(line.strip().splitlines()) > 1 or (position_column == 1 and _holds_atom(columns[4:])):
        raise ValueError(f"line {number}: several atoms on one line: {_excerpt(line)}; write one a line")
    if len(given) < 4:
        raise ValueError(f"line {number}: expected 'El x y z', found {_excerpt(line)}")
    symbol = given[0] if given[0] in ATOMIC_NUMBERS else given[0].capitalize()
    if symbol not in ATOMIC_NUMBERS:
        raise ValueError(f"line {number}: unknown element {_excerpt(given[0])}")
    for coordinate in given[1:]:
        _parse_float(coordinate, number)
    return symbol, f"{symbol} {given[1]} {given[2]} {given[3]}"


def _holds_atom(columns: list[str]) -> bool:
    """Whether an element and numbers are among the further columns of an atom line."""
    return any(
        name.capitalize() in ATOMIC_NUMBERS and _FLOAT.fullmatch(x) and _FLOAT.fullmatch(y)
        for name, x, y in zip(columns, columns[1:], columns[2:], strict=False)
    )


def _parse_float(text: str, number: int) -> float:
    if _FLOAT.fullmatch(text) is None:
        reason = "is not finite" if text.lstrip("+-").lower() in {"nan", "inf", "infinity"} else "is not a number"
        raise ValueError(f"line {number}: {_excerpt(text)} {reason}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"line {number}: {_excerpt(text)} is not finite")
    return value


def _parse_keys(comment: str) -> dict[str, str]:
    """The pairs of a comment by their keys in lower case, for those keys that ext-XYZ itself defines."""
    return {key.lower(): value for key, value in parse_comment(comment).items()}


def _parse_cell(comment: str) -> _Cell | None:
    pairs = _parse_keys(comment)
    pbc = _parse_pbc(pairs["pbc"]) if "pbc" in pairs else None
    if "lattice" not in pairs:
        if pbc is not None and any(pbc):
            raise ValueError("line 2: pbc without a Lattice")
        return None
    tokens = pairs["lattice"].split()
    if len(tokens) != 9:
        raise ValueError(f"line 2: a Lattice has 9 numbers, this has {len(tokens)}")
    a1, a2, a3, b1, b2, b3, c1, c2, c3 = (_parse_float(token, 2) for token in tokens)
    lattice = ((a1, a2, a3), (b1, b2, b3), (c1, c2, c3))
    pbc = pbc or (True, True, True)
    if any(periodic and not any(vector) for vector, periodic in zip(lattice, pbc, strict=True)):
        raise ValueError("line 2: a periodic direction has a cell vector of length zero")
    if all(pbc) and _volume(lattice) < 1e-6:
        raise ValueError("line 2: the cell has no volume")
    return _Cell(lattice, pbc, _cell_comment(tokens, pbc))


def _parse_pbc(text: str) -> Periodicity:
    truths = [_TRUTH.get(token.upper()) for token in text.replace(",", " ").split()]
    if len(truths) != 3 or None in truths:
        raise ValueError(f"line 2: pbc is three of T and F, not {_excerpt(text)}")
    a, b, c = (bool(truth) for truth in truths)
    return a, b, c


def _cell_comment(numbers: Sequence[str], pbc: Sequence[bool]) -> str:
    return f'Lattice="{" ".join(numbers)}" pbc="{" ".join("T" if periodic else "F" for periodic in pbc)}"'


def _volume(lattice: Lattice) -> float:
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = lattice
    return abs(a1 * (b2 * c3 - b3 * c2) + a2 * (b3 * c1 - b1 * c3) + a3 * (b1 * c2 - b2 * c1))


def _columns(comment: str) -> tuple[int, int]:
    """Where an extended-XYZ comment's `Properties` puts the symbol and x; 0 and 1 where it has none."""
    properties = _parse_keys(comment).get("properties")
    if properties is None:
        return 0, 1
    parts = properties.split(":")
    starts: dict[str, int] = {}
    column = 0
    for name, width in zip(parts[::3], parts[2::3], strict=False):
        starts[name.lower()] = column
        column += int(width) if _COUNT.fullmatch(width) else 0
    symbol = [start for name, start in starts.items() if name in _SPECIES]
    position = [start for name, start in starts.items() if name in _POSITIONS]
    if not symbol or not position:
        raise ValueError(f"line 2: Properties={_excerpt(properties)} names no species or no pos")
    return symbol[0], position[0]


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
