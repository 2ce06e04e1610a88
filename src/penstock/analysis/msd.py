"""Mean-squared displacements over all time origins, as tensors, for each species.

Displacements in Å, times in fs. A symmetric tensor is six numbers in Voigt order: xx yy zz yz xz xy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from penstock.analysis.trajectory import Floats, Trajectory, atom_blocks, compute_drift, unwrap

BLOCKS: Final = 20
"""Into how many stretches of time the origins are shared out, to see how much their means scatter."""

ALL: Final = np.eye(3)
"""The three directions of space."""

_PAIRS: Final = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_ROWS, _COLUMNS = np.array(_PAIRS).T
_LAGS_MOST: Final = 40
_NUMBERS_IN_CACHE: Final = 100_000
_LAG_PART: Final = 10  # the longest lag that is fitted is this part of the trajectory


@dataclass(frozen=True, eq=False)
class MeanSquaredDisplacement:
    """The mean of the products of displacements, over all origins and the `particles` of a species.

    `tensor_a2`: (frames, 6) in Å², one row for each lag of 0, 1, … frames. `lags`: (n), some of them, closer together
    where they are short; `block_tensors_a2`: (n, BLOCKS, 6), the same means over origins in successive stretches.
    """

    species: str
    particles: int
    interval_fs: float
    tensor_a2: Floats
    lags: NDArray[np.intp]
    block_tensors_a2: Floats

    @property
    def frames(self) -> int:
        """Of the trajectory."""
        return len(self.tensor_a2)

    @property
    def total_a2(self) -> Floats:
        """(frames): the trace, in Å²."""
        return np.asarray(self.tensor_a2[:, :3].sum(axis=1))


def compute_msd(
    trajectory: Trajectory,
    species: Sequence[str] | None = None,
    *,
    remove_drift: bool = True,
    memory_mb: float = 1000.0,
) -> dict[str, MeanSquaredDisplacement]:
    """Of each of `species` (None: all), relative to the centre of mass of all atoms unless the drift is to stay.

    Atoms are taken in blocks, so that about `memory_mb` are needed beside the trajectory. Of N equal particles that
    move independently, taking out the drift takes out 1/N of the displacement; where momentum is conserved there is
    none to take. Raises ValueError for a species that is not there, and as `unwrap`.
    """
    wanted = dict.fromkeys(trajectory.species if species is None else species)
    if absent := [name for name in wanted if name not in trajectory.species]:
        present = ", ".join(dict.fromkeys(trajectory.species))
        raise ValueError(f"No atom of the trajectory is {absent[0]}: there are {present}.")
    if remove_drift and trajectory.atoms == 1:
        raise ValueError("A single atom is its own centre of mass: leave the drift in.")
    drift = compute_drift(trajectory, memory_mb) if remove_drift else np.zeros((trajectory.frames, 3))
    found = {}
    for name in wanted:
        blocks = atom_blocks(trajectory.members(name), trajectory.frames, memory_mb)
        paths = (unwrap(trajectory, block) - drift[:, None] for block in blocks)
        found[name] = msd_of_paths(paths, trajectory.interval_fs, name)
    return found


def msd_of_paths(paths: Iterable[ArrayLike], interval_fs: float, species: str = "") -> MeanSquaredDisplacement:
    """Of continuous `paths`, arrays (frames, particles, 3) in Å that hold different particles over the same frames.

    By Fourier transform: Calandrini, Pellegrini, Calligari, Hinsen and Kneller, Collection SFN 12, 201 (2011), doi
    10.1051/sfn/201112010. Raises ValueError for other shapes, and numbers that are not finite.
    """
    sums: _Sums | None = None
    for block in paths:
        array = np.asarray(block, float)
        if array.ndim != 3 or array.shape[2] != 3 or len(array) < 2 or not array.shape[1]:
            raise ValueError(f"Paths are (frames, particles, 3) with two frames at least, not {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError("Paths hold numbers that are not finite: leave damaged frames out.")
        sums = sums or _Sums(len(array))
        if len(array) != sums.frames:
            raise ValueError(f"All blocks have the same frames, not {sums.frames} and {len(array)}.")
        sums.add(array)
    if sums is None:
        raise ValueError("Of no particle there is no mean-squared displacement.")
    return MeanSquaredDisplacement(
        species, sums.particles, interval_fs, sums.tensor(), sums.lags, sums.block_products / sums.particles
    )


def compute_projector(directions: ArrayLike) -> tuple[Floats, int]:
    """(3, 3): onto the space that `directions`, one to three vectors, span; and how many it has. ValueError if none."""
    vectors = np.atleast_2d(np.asarray(directions, float))
    if vectors.ndim != 2 or vectors.shape[1] != 3 or not 1 <= len(vectors) <= 3 or not np.isfinite(vectors).all():
        raise ValueError(f"Directions are one to three vectors of three numbers, not {np.shape(directions)}.")
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all() or np.linalg.matrix_rank(vectors / lengths[:, None], tol=1e-6) < len(vectors):
        raise ValueError("Directions are vectors of which none is zero or lies in the space of the others.")
    basis, _ = np.linalg.qr(vectors.T)
    return np.asarray(basis @ basis.T), len(vectors)


def trace_weights(projector: Floats) -> Floats:
    """(6): what a symmetric tensor in Voigt order is multiplied by to give the trace of its projection."""
    xx, yy, zz = np.diag(projector)
    return np.array([xx, yy, zz, 2 * projector[1, 2], 2 * projector[0, 2], 2 * projector[0, 1]])


class _Sums:
    """What is added up over particles: power spectra and squares for all lags, products of displacements for some."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.particles = 0
        self.lags = _spread_lags(frames)
        self._padded = fft.next_fast_len(2 * frames - 1, real=True)
        self._spectra = np.zeros((6, self._padded // 2 + 1))
        self._squares = np.zeros((6, frames))
        self.block_products = np.zeros((len(self.lags), BLOCKS, 6))

    def add(self, paths: Floats) -> None:
        """`paths` (frames, particles, 3) of further particles."""
        along = np.ascontiguousarray(paths.transpose(2, 1, 0))  # (3, particles, frames)
        self.particles += along.shape[1]
        along -= along.mean(axis=2, keepdims=True)  # small numbers lose less when they are subtracted
        for row, (a, b) in enumerate(_PAIRS):
            self._squares[row] += np.einsum("pf,pf->f", along[a], along[b])
        for particle in range(along.shape[1]):  # one by one: the transforms stay in the cache
            x, y, z = fft.rfft(along[:, particle], self._padded)
            axes = (x, y, z)
            for row, (a, b) in enumerate(_PAIRS):
                self._spectra[row] += axes[a].real * axes[b].real + axes[a].imag * axes[b].imag
        together = max(1, _NUMBERS_IN_CACHE // (3 * self.frames))
        for begin in range(0, along.shape[1], together):
            for number, lag in enumerate(self.lags):
                self.block_products[number] += _block_means(along[:, begin : begin + together], int(lag))

    def tensor(self) -> Floats:
        """(frames, 6): the means over origins and particles."""
        counts = np.arange(self.frames, 0, -1)
        found = np.zeros((self.frames, 6))
        for row in range(6):
            both = 2.0 * fft.irfft(self._spectra[row], self._padded)[: self.frames]
            heads = np.cumsum(self._squares[row])  # of the first 1, 2, … frames
            tails = heads[-1] - np.concatenate([[0.0], heads[:-1]])  # of all but the first 0, 1, … frames
            found[:, row] = (heads[::-1] + tails - both) / (counts * self.particles)
        found[0] = 0.0
        return found


def _block_means(along: Floats, lag: int) -> Floats:
    """(BLOCKS, 6): products of displacements over `lag`, summed over particles, their mean in each stretch of origins.

    The stretches are equally long; up to BLOCKS - 1 origins at the ends belong to none.
    """
    length, rest = divmod(along.shape[2] - lag, BLOCKS)
    if not length:
        return np.zeros((BLOCKS, 6))
    begin, end = rest // 2, rest // 2 + BLOCKS * length
    moved = along[:, :, begin + lag : end + lag] - along[:, :, begin:end]
    apart = moved.reshape(3, -1, BLOCKS, length).transpose(2, 0, 1, 3).reshape(BLOCKS, 3, -1)
    products = apart @ apart.transpose(0, 2, 1) / length
    return np.asarray(products[:, _ROWS, _COLUMNS])


def _spread_lags(frames: int) -> NDArray[np.intp]:
    """Lags from 1 to a tenth of the trajectory, about evenly spaced by their logarithm."""
    longest = max(1, (frames - 1) // _LAG_PART)
    return np.unique(np.rint(np.geomspace(1, longest, _LAGS_MOST)).astype(np.intp))
