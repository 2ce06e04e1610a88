"""The space group of a structure, as spglib finds it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import spglib

from penstock.domain.geometry import ATOMIC_NUMBERS


def spacegroup_number(
    cell: Sequence[Sequence[float]], positions: Sequence[Sequence[float]], symbols: Sequence[str]
) -> int:
    """Positions in Å."""
    scaled = (np.array(positions) @ np.linalg.inv(np.array(cell))).tolist()
    numbers = [ATOMIC_NUMBERS[one] for one in symbols]
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of spglib's way to tell errors
        dataset = spglib.get_symmetry_dataset((cell, scaled, numbers), symprec=1e-5)
    assert dataset is not None
    return int(dataset.number)
