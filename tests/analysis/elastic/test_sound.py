from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from tests.analysis.crystals import COLD_COPPER, SILICON, cubic, geometry_of

from penstock.analysis.elastic.sound import Density, compute_sound, crystal_density, phase_velocities, sound_errors
from penstock.analysis.voigt import UPPER
from penstock.domain.geometry import Geometry


def test_copper_has_the_debye_temperature_that_its_heat_capacity_has() -> None:
    """345 K, from low-temperature heat capacities: D. L. Martin, Phys. Rev. B 8, 5357 (1973) among others."""
    sound = compute_sound(COLD_COPPER, crystal_density(geometry_of(bulk("Cu", a=3.603))))
    assert sound.debye_exact_k == pytest.approx(345, abs=1.5)
    assert sound.debye_k == pytest.approx(sound.debye_exact_k, rel=0.03)


def test_silicon() -> None:
    """645 K from heat capacities: P. Flubacher, A. J. Leadbetter and J. A. Morrison, Philos. Mag. 4, 273 (1959)."""
    density = crystal_density(geometry_of(bulk("Si", a=5.431)))
    assert density.mass_kg_m3 == pytest.approx(2329, abs=1)
    assert density.atoms_per_m3 == pytest.approx(4.994e28, rel=1e-3)
    assert compute_sound(SILICON, density).debye_exact_k == pytest.approx(645, rel=0.01)


def test_in_an_isotropic_solid_the_average_is_andersons() -> None:
    sound = compute_sound(cubic(200.0, 100.0, 50.0), Density(5000.0, 5e28))
    assert sound.longitudinal_m_s == pytest.approx((200e9 / 5000) ** 0.5)
    assert sound.transverse_m_s == pytest.approx((50e9 / 5000) ** 0.5)
    assert sound.debye_exact_k == pytest.approx(sound.debye_k)


def test_waves_along_110() -> None:
    c11, c12, c44 = 165.78, 63.94, 79.62
    velocities = phase_velocities(SILICON, Density(2329.0, 5e28), np.array([1, 1, 0]) / 2**0.5)
    expected = np.sqrt(np.array([(c11 - c12) / 2, c44, (c11 + c12 + 2 * c44) / 2]) * 1e9 / 2329)
    np.testing.assert_allclose(velocities, expected)


def test_errors_are_of_first_order() -> None:
    """All constants known to 2 %, and wrong by the same factor: velocities are known to 1 %."""
    density = Density(2329.0, 5e28)
    upper = SILICON[UPPER]
    errors = sound_errors(SILICON, 0.02**2 * np.outer(upper, upper), density)
    np.testing.assert_allclose(errors, 0.01 * np.array(compute_sound(SILICON, density)), rtol=1e-5)


def test_masses_may_be_those_of_isotopes() -> None:
    heavy = crystal_density(geometry_of(bulk("Si")), [30.0, 30.0])
    light = crystal_density(geometry_of(bulk("Si")))
    assert heavy.mass_kg_m3 / light.mass_kg_m3 == pytest.approx(30 / 28.085)


def test_what_carries_no_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="not elastically stable"):
        compute_sound(cubic(100.0, 110.0, 50.0), Density(5000.0, 5e28))
    with pytest.raises(ValueError, match="not elastically stable"):
        phase_velocities(cubic(100.0, 110.0, 50.0), Density(5000.0, 5e28), [1, 0, 0])
    with pytest.raises(ValueError, match="periodic in all three directions"):
        crystal_density(Geometry(["He"], [(0.0, 0.0, 0.0)], None, (False,) * 3))
