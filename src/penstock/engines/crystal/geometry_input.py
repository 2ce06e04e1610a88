"""From the one form of geometries to a deck's geometry input. numpy and spglib are imported on first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from penstock.domain.geometry import ATOMIC_NUMBERS, Geometry, parse_geometry
from penstock.engines.crystal.deck_keywords import free_cell
from penstock.engines.crystal.deck_model import Atom, GeometryInput, Record
from penstock.engines.crystal.symmetry import (
    SAME_SITE_ANGSTROM,
    Setting,
    distances,
    find_symmetry,
    operations,
    standard_setting,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOLERANCE_ANGSTROM: Final = 1e-3
"""How far atoms may be from where symmetry puts them."""
_KINDS: Final = ("MOLECULE", "POLYMER", "SLAB", "CRYSTAL")
_DIGITS: Final = 12


def deck_of_geometry(title: str, geometry_block: str, tolerance: float = TOLERANCE_ANGSTROM) -> GeometryInput:
    """The geometry input of a structure in the one form; `tolerance` (Å) is for its symmetry.

    A crystal is given by its space group, the cell parameters that leaves free and its irreducible atoms, all in
    CRYSTAL's setting (`0 0 0`). Slabs, polymers and molecules are given without symmetry, their periodic directions
    in the xy plane or along x. ValueError (with `title`) where no symmetry can be found.
    """
    geometry = parse_geometry(geometry_block)
    dimensionality = sum(geometry.pbc)
    try:
        if dimensionality == 3:
            return _crystal(geometry, tolerance)
        return _without_symmetry(geometry, dimensionality)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error


def _crystal(geometry: Geometry, tolerance: float) -> GeometryInput:
    assert geometry.lattice is not None
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in geometry.symbols]
    cell = (geometry.lattice, _fractional(geometry).tolist(), numbers)
    space_group = int(find_symmetry(cell, tolerance).number)
    setting = standard_setting(space_group)
    dataset = find_symmetry(cell, tolerance, setting.hall_number)
    lattice = dataset.std_lattice
    atoms = _irreducible(dataset.std_positions, dataset.std_types.tolist(), setting, lattice)
    parameters = _parameters(lattice)
    values = tuple(cell_text(parameters[index]) for index in free_cell(3, space_group))
    return GeometryInput(
        "CRYSTAL", Record(("0", "0", "0")), Record((str(space_group),)), None, Record(values), "", atoms
    )


def _fractional(geometry: Geometry) -> Floats:
    import numpy as np

    return np.linalg.solve(np.array(geometry.lattice).T, np.array(geometry.positions).T).T


def _parameters(lattice: Floats) -> list[float]:
    from ase.geometry import cell_to_cellpar

    parameters: list[float] = cell_to_cellpar(lattice).tolist()
    return parameters


def _irreducible(positions: Floats, numbers: list[int], setting: Setting, lattice: Floats) -> tuple[Atom, ...]:
    """One atom of each set of equivalent ones, exactly where its site symmetry puts it."""
    import numpy as np

    left, kinds = np.arange(len(numbers)), np.array(numbers)
    atoms: list[Atom] = []
    while len(left):
        first = left[0]
        site, images = _exact(positions[first], setting, lattice)
        atoms.append(atom_of(numbers[first], site - np.floor(site + 1e-9)))
        far = np.full(len(left), fill_value=True)
        for image in images:
            far &= distances(positions[left] - image, lattice) > SAME_SITE_ANGSTROM
        left = left[far | (kinds[left] != kinds[first])]
    return tuple(atoms)


def _exact(position: Floats, setting: Setting, lattice: Floats) -> tuple[Floats, Floats]:
    """The mean of all images that fall onto the position itself, and all images of that mean."""
    import numpy as np

    rotations, translations = operations(setting)
    images = rotations @ position + translations
    images -= np.round(images - position)
    here = images[distances(images - position, lattice) <= SAME_SITE_ANGSTROM]
    exact: Floats = np.mean(here, axis=0)
    return exact, rotations @ exact + translations


def _without_symmetry(geometry: Geometry, dimensionality: int) -> GeometryInput:
    import numpy as np

    numbers = [ATOMIC_NUMBERS[symbol] for symbol in geometry.symbols]
    positions = np.array(geometry.positions)
    group = Record(("1",))
    if dimensionality == 0:
        atoms = tuple(atom_of(number, site) for number, site in zip(numbers, positions, strict=True))
        return GeometryInput("MOLECULE", group=group, atoms=atoms)
    assert geometry.lattice is not None
    pairs = zip(geometry.lattice, geometry.pbc, strict=True)
    vectors = np.array([vector for vector, periodic in pairs if periodic])
    # Rows of an orthonormal frame: the periodic vectors lie along x, or in the xy plane.
    frame = _frame(vectors)
    local = positions @ frame.T
    within = (vectors @ frame.T)[:, :dimensionality]
    local[:, :dimensionality] = np.linalg.solve(within.T, local[:, :dimensionality].T).T
    parameters = _parameters(_completed(vectors))
    values = tuple(cell_text(parameters[index]) for index in free_cell(dimensionality, 1))
    atoms = tuple(atom_of(number, site) for number, site in zip(numbers, local, strict=True))
    return GeometryInput(_KINDS[dimensionality], group=group, cell=Record(values), atoms=atoms)


def _completed(vectors: Floats) -> Floats:
    """Three independent vectors, right-handed: the given ones, then unit vectors at right angles to them."""
    import numpy as np

    if len(vectors) == 1:
        direction = vectors[0] / np.linalg.norm(vectors[0])
        other = np.cross(direction, np.eye(3)[int(np.argmin(np.abs(direction)))])
        vectors = np.array([vectors[0], other / np.linalg.norm(other)])
    normal = np.cross(vectors[0], vectors[1])
    size = float(np.linalg.norm(normal))
    if size < 1e-6:
        raise ValueError("the periodic cell vectors are parallel")
    return np.array([*vectors, normal / size])


def _frame(vectors: Floats) -> Floats:
    """Orthonormal rows: the first along the first vector, the first two in the plane of the first two vectors."""
    import numpy as np

    first, _, third = _completed(vectors)
    first = first / np.linalg.norm(first)
    return np.array([first, np.cross(third, first), third])


def atom_of(number: int, site: Iterable[float]) -> Atom:
    """An irreducible atom at a site, coordinates written with 12 decimals."""
    x, y, z = (f"{value:.{_DIGITS}f}" for value in site)
    x, y, z = (text.removeprefix("-") if float(text) == 0 else text for text in (x, y, z))
    return Atom(number, (x, y, z))


def cell_text(value: float) -> str:
    """A cell parameter as decks have it."""
    return f"{value:.8f}"
