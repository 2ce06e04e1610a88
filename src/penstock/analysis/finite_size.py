"""Diffusion coefficients of an infinite system from those in periodic boxes.

A box holds back what would flow around a particle: in a cubic box of length L of a liquid with viscosity η,
D(∞) = D(L) + ξ k T / (6 π η L) with ξ = 2.837297 (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004, doi
10.1021/jp0477147). It assumes hydrodynamics: a liquid, all three directions, a box much larger than the particles. Hops
in a solid have no such correction.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.constants import Boltzmann

_CUBIC: Final = 2.837297


def correct_finite_size(d_m2_s: float, temperature_k: float, viscosity_pa_s: float, length_a: float) -> float:
    """D in m²/s in an unbounded liquid from that in a cubic box of `length_a` Å. ValueError unless all are positive."""
    if not all(np.isfinite(given) and given > 0 for given in (d_m2_s, temperature_k, viscosity_pa_s, length_a)):
        raise ValueError("D, temperature, viscosity and length of the box are positive numbers.")
    return d_m2_s + float(_CUBIC * Boltzmann * temperature_k / (6 * np.pi * viscosity_pa_s * length_a * 1e-10))
