"""Space groups in the settings that CRYSTAL uses; spglib knows the operations (imported on first use)."""

from __future__ import annotations

import functools
import re
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.domain.geometry import Lattice
from penstock.engines.crystal.deck_keywords import crystal_system
from penstock.engines.crystal.deck_model import GeometryInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Cell = tuple[Lattice, list[list[float]], list[int]]

SAME_SITE_ANGSTROM: Final = 0.05
"""Two atoms of an element that are closer than this are one."""
HALL_NUMBERS: Final = range(1, 531)
_PRIMITIVE: Final = {
    "P": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "A": ((1, 0, 0), (0, 1 / 2, 1 / 2), (0, -1 / 2, 1 / 2)),
    "C": ((1 / 2, 1 / 2, 0), (-1 / 2, 1 / 2, 0), (0, 0, 1)),
    "F": ((0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2), (1 / 2, 1 / 2, 0)),
    "I": ((-1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (1 / 2, 1 / 2, -1 / 2)),
    "R": ((2 / 3, 1 / 3, 1 / 3), (-1 / 3, 1 / 3, 1 / 3), (-1 / 3, -2 / 3, 1 / 3)),
}
"""CRYSTAL's primitive vectors in terms of a, b, c of the conventional cell, by its centring (rows)."""


_OBLIQUE: Final = {2: "P-1", 3: "P112", 4: "P11M", 5: "P11A", 6: "P112/M", 7: "P112/A"}
_LAYERS: Final = {
    49: 75,
    50: 81,
    51: 83,
    53: 89,
    54: 90,
    55: 99,
    56: 100,
    57: 111,
    58: 113,
    59: 115,
    60: 117,
    61: 123,
    63: 127,
    65: 143,
    66: 147,
    67: 149,
    68: 150,
    69: 156,
    70: 157,
    71: 162,
    72: 164,
    73: 168,
    74: 174,
    75: 175,
    76: 177,
    77: 183,
    78: 187,
    79: 189,
    80: 191,
}
"""Layer groups of square and hexagonal lattices by the space group of their stacks (Int. Tables E)."""


class Setting(NamedTuple):
    """A setting of a space group: spglib's number for it, its centring, the unique axis (monoclinic, else "")."""

    hall_number: int
    space_group: int
    centring: str
    unique_axis: str


def standard_setting(space_group: int) -> Setting:
    """The one CRYSTAL takes for `0 0 0`: inversion at the origin, axis b unique, hexagonal axes where rhombohedral."""
    return _settings()[space_group, "standard"]


def setting_of(geometry: GeometryInput) -> Setting | None:
    """The setting a CRYSTAL input is in; None where its origin is shifted by hand or its symbol is not known."""
    if geometry.flags is None or geometry.group is None or geometry.shift is not None:
        return None
    number = geometry.group_number
    setting = standard_setting(number) if number is not None else _by_symbol("".join(geometry.group.values))
    if setting is None:
        return None
    if geometry.is_rhombohedral and setting.centring == "R":
        return _settings()[setting.space_group, "R"]
    if geometry.flags.values[2] == "1":
        return _settings().get((setting.space_group, "1"), setting)
    return setting


def layer_setting(layer_group: int) -> Setting | None:
    """The space group setting that has the operations of a layer group, c normal to the layer.

    None for those of rectangular lattices and for 52, 62 and 64, whose origin may be at more than one place.
    """
    if layer_group in _OBLIQUE:
        return _by_symbol(_OBLIQUE[layer_group])
    return standard_setting(_LAYERS[layer_group]) if layer_group in _LAYERS else None


@functools.cache
def operations(setting: Setting) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rotations (n, 3, 3) and translations (n, 3) of all operations in the conventional cell, centring included."""
    import spglib

    with _old_errors():
        database = spglib.get_symmetry_from_database(setting.hall_number)
    assert database is not None
    return database["rotations"], database["translations"]


def find_symmetry(cell: Cell, tolerance: float, hall_number: int = 0) -> Any:
    """spglib's dataset for lattice, fractional positions and atomic numbers, brought to a setting where one is given.

    ValueError where it finds none within `tolerance` (Å).
    """
    import spglib

    with _old_errors():
        try:
            dataset = spglib.get_symmetry_dataset(cell, tolerance, hall_number=hall_number)
        except Exception as error:  # its own kind of exception is new, and older versions have none
            raise ValueError(f"spglib finds no symmetry within {tolerance} Å: {error}") from error
    if dataset is None:
        raise ValueError(f"spglib finds no symmetry within {tolerance} Å; are two atoms at the same place?")
    return dataset


def _old_errors() -> warnings.catch_warnings[None]:
    """spglib 2.7 and 2.8 warn that errors will be exceptions one day, at every call."""
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)


def primitive_vectors(centring: str) -> Floats:
    """CRYSTAL's primitive vectors in terms of those of the conventional cell, one a row."""
    import numpy as np

    return np.array(_PRIMITIVE[centring], dtype=float)


def distances(differences: Floats, lattice: Floats) -> Floats:
    """The lengths (Å) of differences in fractional coordinates, the last axis, modulo lattice vectors."""
    import numpy as np

    lengths: Floats = np.linalg.norm((differences - np.round(differences)) @ lattice, axis=-1)
    return lengths


@functools.cache
def _settings() -> dict[tuple[int, str], Setting]:
    """By space group: the "standard" setting, "1" with the other origin, "R" with rhombohedral axes."""
    settings: dict[tuple[int, str], Setting] = {}
    for hall_number, kind in _types():
        setting = _setting(hall_number, kind)
        if kind.choice in {"", "2", "H", "b", "b1"}:
            settings[kind.number, "standard"] = setting
        elif kind.choice == "1":
            settings[kind.number, "1"] = setting
        elif kind.choice == "R":
            settings[kind.number, "R"] = setting._replace(centring="P")
    return settings


@functools.cache
def _types() -> list[tuple[int, Any]]:
    import spglib

    with _old_errors():
        return [(hall_number, spglib.get_spacegroup_type(hall_number)) for hall_number in HALL_NUMBERS]


def _setting(hall_number: int, kind: Any) -> Setting:
    axis = kind.choice.lstrip("-")[:1] if crystal_system(kind.number) == "monoclinic" else ""
    return Setting(hall_number, kind.number, kind.international_full[0], axis)


@functools.cache
def _by_symbol(symbol: str) -> Setting | None:
    """The setting with a Hermann-Mauguin symbol, full or short, as decks have it: `F D 3 M`, `P 21/C`, `P 1 21/C 1`.

    The standard setting goes first, since a short symbol may belong to several.
    """
    wanted = symbol.upper()
    for setting in (setting for (_, kind), setting in _settings().items() if kind == "standard"):
        if wanted in _symbols(_types()[setting.hall_number - 1][1]):
            return setting
    for hall_number, kind in _types():
        centred = kind.international_full[0] in _PRIMITIVE
        if centred and kind.choice != "1" and wanted in _symbols(kind):
            return _setting(hall_number, kind)
    return None


def _symbols(kind: Any) -> set[str]:
    """The ways CRYSTAL's users write a space group; in cubic ones the bar over the 3 may be left out."""
    names = {re.sub(r"[_\s]", "", name).upper() for name in (kind.international_short, kind.international_full)}
    if crystal_system(kind.number) == "cubic":
        names |= {name.replace("-3", "3") for name in names}
    return names
