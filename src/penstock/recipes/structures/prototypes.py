"""Named crystal structures with elements of one's choice, and the elements as they are found.

Everything here needs ASE and is called in worker processes only; importing this module needs nothing.

Where no lattice parameter is given, a rule makes one to begin a relaxation with. A single element, or metals: the
volumes of the elements' own crystals are added up (Zen's law, E. Zen, Am. Mineral. 41, 523 (1956)), those from the
lattice parameters in ASE's table of reference states. Compounds of nonmetals: the closest atoms are as far apart as the
sum of their covalent radii (B. Cordero et al., Dalton Trans. 2832 (2008), as in ASE).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.domain.errors import SpecError
from penstock.domain.geometry import ATOMIC_NUMBERS, Lattice, Vector
from penstock.domain.spec import nearest

if TYPE_CHECKING:
    from ase import Atoms


class Crystal(NamedTuple):
    """Atoms in Å and the three vectors of their cell."""

    symbols: list[str]
    positions: list[Vector]
    cell: Lattice


class Prototype(NamedTuple):
    """A structure type: its space group, for each site the element's place in the list and a position.

    `ratio` is c/a, None of a cubic cell. `formula` shows by letters which element stands for what.
    """

    name: str
    designation: str  # of the Strukturbericht
    formula: str
    spacegroup: int
    sites: tuple[tuple[int, Vector], ...]
    aliases: tuple[str, ...]
    ratio: float | None = None

    @property
    def elements(self) -> int:
        """How many elements it takes."""
        return 1 + max(element for element, _ in self.sites)


_H: Final = 0.5
_Q: Final = 0.25
_IDEAL: Final = math.sqrt(8 / 3)
_ORIGIN: Final[Vector] = (0.0, 0.0, 0.0)
_MIDDLE: Final[Vector] = (_H, _H, _H)
_QUARTER: Final[Vector] = (_Q, _Q, _Q)

PROTOTYPES: Final = {
    one.name: one
    for one in (
        Prototype("fcc", "A1", "A", 225, ((0, _ORIGIN),), ("copper",)),
        Prototype("bcc", "A2", "A", 229, ((0, _ORIGIN),), ("tungsten",)),
        Prototype("hcp", "A3", "A", 194, ((0, (1 / 3, 2 / 3, _Q)),), ("magnesium",), _IDEAL),
        Prototype("diamond", "A4", "A", 227, ((0, _ORIGIN),), ()),
        Prototype("sc", "Ah", "A", 221, ((0, _ORIGIN),), ("polonium",)),
        Prototype("rocksalt", "B1", "AB", 225, ((0, _ORIGIN), (1, _MIDDLE)), ("NaCl", "halite")),
        Prototype("cesiumchloride", "B2", "AB", 221, ((0, _ORIGIN), (1, _MIDDLE)), ("CsCl",)),
        Prototype("zincblende", "B3", "AB", 216, ((0, _ORIGIN), (1, _QUARTER)), ("ZnS", "sphalerite")),
        Prototype("wurtzite", "B4", "AB", 186, ((0, (1 / 3, 2 / 3, 0.0)), (1, (1 / 3, 2 / 3, 0.375))), (), _IDEAL),
        Prototype("sodiumthallide", "B32", "AB", 227, ((0, _ORIGIN), (1, _MIDDLE)), ("NaTl",)),
        Prototype("fluorite", "C1", "AB2", 225, ((0, _ORIGIN), (1, _QUARTER)), ("CaF2",)),
        Prototype("l12", "L1_2", "A3B", 221, ((0, (0.0, _H, _H)), (1, _ORIGIN)), ("Cu3Au",)),
        Prototype("l10", "L1_0", "AB", 123, ((0, _ORIGIN), (1, _MIDDLE)), ("CuAu",), 1.0),
        Prototype("d03", "D0_3", "A3B", 225, ((1, _ORIGIN), (0, _MIDDLE), (0, _QUARTER)), ("BiF3", "Fe3Al")),
        Prototype(
            "d022", "D0_22", "A3B", 139, ((1, _ORIGIN), (0, (0.0, 0.0, _H)), (0, (0.0, _H, _Q))), ("Al3Ti",), 2.0
        ),
        Prototype(
            "heusler", "L2_1", "A2BC", 225, ((0, _QUARTER), (1, _MIDDLE), (2, _ORIGIN)), ("Cu2MnAl", "fullheusler")
        ),
        Prototype(
            "perovskite", "E2_1", "ABC3", 221, ((0, _ORIGIN), (1, _MIDDLE), (2, (_H, _H, 0.0))), ("CaTiO3", "SrTiO3")
        ),
    )
}
"""By name. Elements are given in the order of the formula: L1_2 with ("Cu", "Au") is Cu3Au."""

NONMETALS: Final = frozenset(
    {"H", "He", "B", "C", "N", "O", "F", "Ne", "Si", "P", "S", "Cl"}
    | {"Ar", "Ge", "As", "Se", "Br", "Kr", "Te", "I", "Xe", "At", "Rn"}
)
BOX_ANGSTROM: Final = 12.0
"""The edge of the cube that molecules and atoms of gases stand in."""

_ATOMS_PER_CELL: Final = {"B": 50, "Mn": 58, "Ga": 8, "Pa": 2, "U": 4, "Np": 8}
"""Of elements whose cell is in ASE's table without its atoms."""
_BUILT: Final = frozenset({"fcc", "bcc", "hcp", "diamond", "sc", "bct", "rhombohedral"})
"""Of the other lattices in its table ASE knows the cell only, and would put one atom there."""


def find_prototype(name: str) -> Prototype:
    """The prototype with this name, designation or alias, however written; SpecError with the nearest one."""
    known = {_plain(word): one for one in PROTOTYPES.values() for word in (one.name, one.designation, *one.aliases)}
    found = known.get(_plain(name))
    if found is None:
        hint = nearest(_plain(name), known) or f"known: {', '.join(PROTOTYPES)}"
        raise SpecError(f"there is no prototype {name!r}; {hint}")
    return found


def build_prototype(
    name: str, elements: Sequence[str], a_angstrom: float | None = None, c_angstrom: float | None = None
) -> Crystal:
    """The primitive cell of prototype `name` with `elements`, in the order of its formula.

    `a_angstrom` is of the conventional cell (of L1_0 and D0_22 the one like fcc), by default from the rule above;
    `c_angstrom` by default from the ideal ratio, of elements from ASE's table. SpecError for what is unknown, repeated,
    too few or too many elements, a c for a cubic structure, and where the rule has no answer.
    """
    prototype = find_prototype(name)
    _check_elements(prototype, elements)
    for letter, length in (("a", a_angstrom), ("c", c_angstrom)):
        if length is not None and not 0 < length < math.inf:
            raise SpecError(f"the lattice parameter {letter} is {length}; give a length in Å")
    if prototype.ratio is None and c_angstrom is not None:
        raise SpecError(f"{prototype.name} is cubic: it has no lattice parameter c")
    ratio = _ratio(prototype, elements)
    if a_angstrom is None:
        a_angstrom = _default_a(prototype, elements, ratio)
    height = a_angstrom * ratio if c_angstrom is None else c_angstrom
    return _as_crystal(_build(prototype, elements, a_angstrom, height))


def build_element(symbol: str) -> tuple[Crystal, str]:
    """An element as in ASE's table of reference states, and what that is ("fcc", "dimer in a box", ...).

    H, N, O and F are dimers, He an atom, each in a cube of 12 Å; spins and moments are the caller's business. SpecError
    for an unknown element and for those whose crystal the table does not hold (B, P, S, Mn, Ga, U, ...).
    """
    state = _reference_state(symbol)
    kind = state["symmetry"]
    middle = BOX_ANGSTROM / 2
    cell = _cube(BOX_ANGSTROM)
    if kind == "diatom":
        half = state["d"] / 2
        places = [(middle, middle, middle - half), (middle, middle, middle + half)]
        return Crystal([symbol] * 2, places, cell), "dimer in a box"
    if kind == "atom":
        return Crystal([symbol], [(middle, middle, middle)], cell), "atom in a box"
    crystal = _own_crystal(symbol)
    if crystal is None:
        raise SpecError(
            f"the crystal of {symbol} ({kind}) is not among those that can be built; give it as a structure file"
        )
    return crystal, kind


def atomic_volume(symbol: str) -> float:
    """Å³ per atom in the element's own crystal; SpecError for gases and where nothing is known."""
    state = _reference_state(symbol)
    if symbol in _ATOMS_PER_CELL:
        edges = state["a"] ** 3 * state.get("b/a", 1.0) * state.get("c/a", 1.0)
        return float(edges / _ATOMS_PER_CELL[symbol])
    crystal = _own_crystal(symbol)
    if crystal is None:
        raise SpecError(f"the volume of an atom of {symbol} is not known; give the lattice parameter")
    return _volume(crystal.cell) / len(crystal.symbols)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _check_elements(prototype: Prototype, elements: Sequence[str]) -> None:
    for symbol in elements:
        check_symbol(symbol)
    if len(elements) != prototype.elements:
        given = ", ".join(elements) or "none"
        raise SpecError(f"{prototype.name} ({prototype.formula}) takes {prototype.elements} elements, given: {given}")
    if len(set(elements)) != len(elements):
        raise SpecError(f"{prototype.name} with {', '.join(elements)} names an element twice; name each once")


def check_symbol(symbol: str) -> None:
    """SpecError unless `symbol` is an element's."""
    if symbol not in ATOMIC_NUMBERS:
        hint = nearest(symbol.capitalize(), ATOMIC_NUMBERS) or "write it as in the periodic table"
        raise SpecError(f"there is no element {symbol!r}; {hint}")


def _reference_state(symbol: str) -> dict[str, Any]:
    from ase.data import reference_states

    check_symbol(symbol)
    number = ATOMIC_NUMBERS[symbol]
    state = reference_states[number] if number < len(reference_states) else None
    if state is None:
        raise SpecError(f"nothing is known of the crystal of {symbol}; give it as a structure file")
    return dict(state)


def _own_crystal(symbol: str) -> Crystal | None:
    from ase.build import bulk

    if _reference_state(symbol)["symmetry"] not in _BUILT:
        return None
    try:
        return _as_crystal(bulk(symbol))
    except (ValueError, RuntimeError):  # Se and Te are called hcp there, without the atoms' places
        return None


def _ratio(prototype: Prototype, elements: Sequence[str]) -> float:
    if prototype.name == "hcp":
        state = _reference_state(elements[0])
        if state["symmetry"] == "hcp":
            return float(state["c/a"])
    return prototype.ratio or 1.0


def _default_a(prototype: Prototype, elements: Sequence[str], ratio: float) -> float:
    unit = _build(prototype, elements, 1.0, ratio)
    if len(elements) == 1 or not NONMETALS.intersection(elements):
        volume = sum(atomic_volume(symbol) for symbol in unit.get_chemical_symbols())
        return float((volume / unit.get_volume()) ** (1 / 3))
    return _by_radii(unit)


def _by_radii(unit: Atoms) -> float:
    """The a with which the closest atoms of a cell made with a = 1 touch."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    first, second, distance = neighbor_list("ijd", unit, 1.01)
    radii = covalent_radii[unit.numbers]
    return float(max((radii[first] + radii[second]) / distance))


def _build(prototype: Prototype, elements: Sequence[str], a: float, c: float) -> Atoms:
    from ase.spacegroup import crystal

    edge = a / math.sqrt(2) if prototype.name == "l10" else a
    angles = (90, 90, 120) if 168 <= prototype.spacegroup <= 194 else (90, 90, 90)
    return crystal(
        [elements[element] for element, _ in prototype.sites],
        basis=[place for _, place in prototype.sites],
        spacegroup=prototype.spacegroup,
        cellpar=(edge, edge, c, *angles),
        primitive_cell=True,
        onduplicates="error",
    )


def _as_crystal(atoms: Atoms) -> Crystal:
    first, second, third = (_vector(row) for row in atoms.cell.tolist())
    places = [_vector(row) for row in atoms.positions.tolist()]
    return Crystal(list(atoms.get_chemical_symbols()), places, (first, second, third))


def _vector(row: Sequence[float]) -> Vector:
    return (float(row[0]), float(row[1]), float(row[2]))


def _cube(edge: float) -> Lattice:
    return ((edge, 0.0, 0.0), (0.0, edge, 0.0), (0.0, 0.0, edge))


def _volume(cell: Lattice) -> float:
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = cell
    return abs(a1 * (b2 * c3 - b3 * c2) + a2 * (b3 * c1 - b1 * c3) + a3 * (b1 * c2 - b2 * c1))
