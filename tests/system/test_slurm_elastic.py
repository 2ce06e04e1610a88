"""Elastic constants of silicon: real density-functional theory, through the daemon, on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.services.pw import RealPw
from tests.system.backends import Backend, Site
from tests.system.conftest import Penstockd
from tests.system.test_elastic import results

EXAMPLE = Path(__file__).parents[2] / "examples" / "elastic" / "silicon.toml"
PBE_GPA = {"C11": 153.0, "C12": 57.0, "C44": 75.0}
"""M. Råsander and M. A. Moram, J. Chem. Phys. 143, 144104 (2015)."""
COARSE = {
    '"Si.pbe-nl-rrkjus_psl.1.0.0.UPF"': '"Si.pbe-rrkj.UPF"',
    "ecutwfc_ry = 44": "ecutwfc_ry = 20",
    "ecutrho_ry = 176\n": "",
    "kpoints = [6, 6, 6]": "kpoints = [4, 4, 4]",
}
"""Settings that take a tenth of the time of the example's, and change the constants by 2 % at most."""


@pytest.fixture(scope="module", params=["slurm"])
def site(request: pytest.FixtureRequest) -> Site:
    """A real Slurm on this machine."""
    return Site.start(request)


@pytest.fixture
def backend(site: Site, stopped_daemon: Penstockd, home: Path) -> Iterator[Backend]:
    """A daemon before it; no job may be left there."""
    backend = Backend(site, stopped_daemon, home)
    backend.start()
    yield backend
    left = backend.close()
    assert not left, f"left behind: {'; '.join(left)}"


def test_silicon_is_as_stiff_as_the_literature_says(backend: Backend, real_pw: RealPw) -> None:
    spec = EXAMPLE.read_text().replace('cluster = "local"', f'cluster = "{backend.cluster}"')
    for fine, coarse in ({'"pw.x"': f'"{real_pw.program}"'} | COARSE).items():
        assert fine in spec
        spec = spec.replace(fine, coarse)
    backend.daemon.submit(spec)
    status = backend.daemon.wait("silicon-elastic").workflow
    assert status.state == "completed", status.reason
    found = results(backend.daemon, "silicon-elastic")
    tensor = np.array(found["elastic_tensor"]["value"])
    assert found["lattice_parameter"]["value"] == pytest.approx(5.47, abs=0.02)
    assert tensor[0, 0] == pytest.approx(PBE_GPA["C11"], rel=0.05)
    assert tensor[0, 1] == pytest.approx(PBE_GPA["C12"], rel=0.05)
    assert tensor[3, 3] == pytest.approx(PBE_GPA["C44"], rel=0.05)
    clamped = np.array(found["elastic_tensor_clamped"]["value"])
    assert clamped[3, 3] > 1.2 * tensor[3, 3]  # the ions give way to shear
    assert clamped[0, 0] == pytest.approx(tensor[0, 0], rel=0.01)  # and not to this
    report = backend.daemon.ctl("report", "silicon-elastic", "-o", "silicon.html")
    assert report.returncode == 0, report.stderr
    assert "<svg" in (backend.daemon.work / "silicon.html").read_text()
