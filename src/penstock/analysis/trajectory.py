"""Where atoms went: trajectories in periodic cells as continuous paths, read in blocks of atoms.

Lengths in Å, times in fs, masses in u. Frames are equally spaced, over the joints between segments too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import complete_cell, minkowski_reduce
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

AMBIGUOUS: Final = 0.4
"""A step that is longer than this part of the cell, along any of its vectors, may have been to another image."""

_BYTES_AN_ATOM_AND_FRAME: Final = 3 * 8 * 8  # positions, steps, fractions and what numpy holds between them


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Positions of `atoms` over `frames`, as they were written; made by `make_trajectory`, which checks them.

    `segments`: arrays (frames, atoms, 3) in Å, one going on where the one before ends. `cells` in Å, (1, 3, 3) for a
    constant cell or (frames, 3, 3), rows are vectors; None where nothing is periodic.
    """

    segments: tuple[NDArray[Any], ...]
    species: tuple[str, ...]
    masses_u: Floats
    interval_fs: float
    cells: Floats | None
    periodic: tuple[bool, bool, bool]

    @property
    def frames(self) -> int:
        """How many there are in all segments."""
        return sum(len(segment) for segment in self.segments)

    @property
    def atoms(self) -> int:
        """How many there are in every frame."""
        return len(self.species)

    def members(self, species: str) -> NDArray[np.intp]:
        """The indices of all atoms of `species`."""
        return np.flatnonzero(np.array(self.species) == species)


def make_trajectory(
    segments: Sequence[NDArray[Any]],
    species: Sequence[str],
    interval_fs: float,
    *,
    cells: ArrayLike | None = None,
    periodic: tuple[bool, bool, bool] = (True, True, True),
    masses_u: ArrayLike | None = None,
) -> Trajectory:
    """A checked trajectory. `segments` may be memory maps: nothing of them is read here.

    `cells`: (3, 3) or (frames of all segments, 3, 3) in Å, None for molecules. `masses_u`: (atoms), by default those of
    the elements that `species` names. Raises ValueError for shapes that do not fit together, and for cells without
    volume.
    """
    shapes = [np.shape(segment) for segment in segments]
    if not shapes or any(len(shape) != 3 or shape[1:] != (len(species), 3) for shape in shapes):
        given = ", ".join(map(str, shapes)) or "no segment"
        raise ValueError(f"A trajectory of {len(species)} atoms has segments (frames, {len(species)}, 3), not {given}.")
    frames = sum(shape[0] for shape in shapes)
    if frames < 2 or not species:
        raise ValueError(f"A trajectory has two frames and an atom at least, not {frames} and {len(species)}.")
    if not (np.isfinite(interval_fs) and interval_fs > 0):
        raise ValueError(f"The time between frames is a positive number of fs, not {interval_fs}.")
    checked = None if cells is None or not any(periodic) else _checked_cells(cells, frames, periodic)
    masses = _masses(species) if masses_u is None else np.asarray(masses_u, float)
    if masses.shape != (len(species),) or not (np.isfinite(masses).all() and (masses > 0).all()):
        raise ValueError(f"Masses are {len(species)} positive numbers in u, one an atom.")
    return Trajectory(tuple(segments), tuple(species), masses, float(interval_fs), checked, periodic)


def unwrap(trajectory: Trajectory, atoms: slice | NDArray[np.intp]) -> Floats:
    """How far `atoms` are from where they began: (frames, atoms, 3) in Å, not folded back into the cell.

    Every step goes to the nearest image. It is taken in fractions of the cell and added up in the cell of its later
    frame: where the cell changes, the paths neither depend on which image was written nor breathe with the cell
    (after von Bülow, Bullerjahn and Hummer, J. Chem. Phys. 153, 021101, 2020). Raises ValueError for numbers that are
    not finite, and where a step is so long that its image is a guess (`AMBIGUOUS`).
    """
    blocks = [np.asarray(segment[:, atoms], float) for segment in trajectory.segments]
    positions = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    del blocks
    indices = np.arange(trajectory.atoms)[atoms]
    if not np.isfinite(positions).all():
        frame, atom = np.argwhere(~np.isfinite(positions))[0, :2]
        raise ValueError(f"Atom {indices[atom]} has no finite position in frame {frame}: leave damaged frames out.")
    paths = np.zeros_like(positions)
    if trajectory.cells is None:
        np.subtract(positions[1:], positions[0], out=paths[1:])
        return paths
    cells = trajectory.cells
    inverses = np.linalg.inv(cells)
    if len(cells) == 1:
        cells, inverses = cells[0], inverses[0]
        steps = np.diff(positions, axis=0) @ inverses
    else:
        steps = np.diff(positions @ inverses, axis=0)
        cells = cells[1:]
    del positions
    periodic = np.array(trajectory.periodic)
    steps -= np.rint(steps) * periodic
    _refuse_guesses(steps * periodic, indices)
    np.cumsum(steps @ cells, axis=0, out=paths[1:])
    return paths


def compute_drift(trajectory: Trajectory, memory_mb: float = 1000.0) -> Floats:
    """How far the centre of mass of all atoms has moved since the first frame: (frames, 3) in Å."""
    drift = np.zeros((trajectory.frames, 3))
    everything = np.arange(trajectory.atoms)
    for block in atom_blocks(everything, trajectory.frames, memory_mb):
        drift += np.einsum("fax,a->fx", unwrap(trajectory, block), trajectory.masses_u[block])
    return drift / float(trajectory.masses_u.sum())


def atom_blocks(atoms: NDArray[np.intp], frames: int, memory_mb: float) -> Iterator[NDArray[np.intp]]:
    """`atoms` in blocks whose paths over `frames` are unwrapped within about `memory_mb`."""
    most = max(1, int(memory_mb * 1e6 / (frames * _BYTES_AN_ATOM_AND_FRAME)))
    for begin in range(0, len(atoms), most):
        yield atoms[begin : begin + most]


def _refuse_guesses(steps: Floats, atoms: NDArray[np.intp]) -> None:
    """`steps` (frames - 1, atoms, 3) in fractions of the cell, folded to the nearest image."""
    if max(steps.max(), -steps.min()) <= AMBIGUOUS:
        return
    frame, atom, axis = np.argwhere(np.abs(steps) > AMBIGUOUS)[0]
    raise ValueError(
        f"Atom {atoms[atom]} moves by {abs(steps[frame, atom, axis]):.2f} of the cell between frames {frame} and "
        f"{frame + 1}: which of its images it is cannot be told. Write frames more often, or take a larger cell."
    )


def _checked_cells(cells: ArrayLike, frames: int, periodic: tuple[bool, bool, bool]) -> Floats:
    """Cells of `frames` or of one, in the most compact form: there the nearest image is found by rounding."""
    array = np.array(cells, float)
    if array.shape == (3, 3):
        array = array[None]
    if array.shape not in {(1, 3, 3), (frames, 3, 3)}:
        raise ValueError(f"A cell is (3, 3), or ({frames}, 3, 3) for one a frame, not {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"Cell {np.argwhere(~np.isfinite(array))[0, 0]} of the trajectory is not finite.")
    array[:, [not along for along in periodic]] = 0.0  # what is not periodic needs no vector of its own
    array = np.array([complete_cell(cell) for cell in array])
    lengths = np.prod(np.linalg.norm(array, axis=2), axis=1)
    flat = np.abs(np.linalg.det(array)) < 1e-6 * lengths
    if flat.any():
        raise ValueError(f"Cell {int(np.argmax(flat))} of the trajectory has no volume.")
    _, change = minkowski_reduce(array[0], periodic)
    return np.asarray(change @ array, float)


def _masses(species: Sequence[str]) -> Floats:
    unknown = sorted(set(species) - atomic_numbers.keys())
    if unknown:
        raise ValueError(f"No element is called {', '.join(unknown)}: give the masses of the atoms.")
    return np.array([atomic_masses[atomic_numbers[symbol]] for symbol in species], float)
