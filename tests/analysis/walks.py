"""Motions whose diffusion is known: positions (frames, particles, 3) in Å, a frame every fs."""

from __future__ import annotations

import numpy as np

from penstock.analysis.trajectory import Floats

UNIT = 1e-5  # Å²/fs in m²/s


def brownian(seed: int, frames: int, particles: int, d: float | Floats = 1.0) -> Floats:
    """Free walkers; `d` in Å²/fs: a number, or one an axis, or a tensor (3, 3)."""
    steps = np.random.default_rng(seed).normal(size=(frames, particles, 3))
    if np.ndim(d) == 2:
        steps = steps @ np.linalg.cholesky(2 * np.asarray(d)).T
    else:
        steps *= np.sqrt(2 * np.asarray(d))
    return np.asarray(steps.cumsum(axis=0))


def persistent(seed: int, frames: int, particles: int, d: float, memory_frames: float) -> Floats:
    """Walkers that keep their velocity for a while (a discrete Langevin motion)."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory_frames)
    velocities = rng.normal(size=(frames, particles, 3))
    for frame in range(1, frames):
        velocities[frame] = keep * velocities[frame - 1] + np.sqrt(1 - keep**2) * velocities[frame]
    return np.asarray(velocities.cumsum(axis=0) * np.sqrt(2 * d * (1 - keep) / (1 + keep)))


def caged(seed: int, frames: int, particles: int, memory_frames: float = 5.0) -> Floats:
    """Ornstein-Uhlenbeck: each held by a spring."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory_frames)
    positions = rng.normal(size=(frames, particles, 3))
    for frame in range(1, frames):
        positions[frame] = keep * positions[frame - 1] + np.sqrt(1 - keep**2) * positions[frame]
    return positions


def hopping(seed: int, frames: int, particles: int, d: float, chance: float = 0.02) -> Floats:
    """Rare jumps between sites of a lattice: many steps are none, a few are long."""
    rng = np.random.default_rng(seed)
    hops = (rng.random((frames, particles, 3)) < chance) * rng.choice([-1.0, 1.0], (frames, particles, 3))
    return np.asarray(hops.cumsum(axis=0) * np.sqrt(2 * d / chance))
