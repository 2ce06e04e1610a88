from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.services.pw import RealPw

from .real_runs import RealRun, attempt, parameters, silicon

Runs = Callable[[str], RealRun]


class Kind(NamedTuple):
    """A run: its table, its geometry, what is spoilt in its input, how long a file it may write."""

    table: dict[str, Any]
    geometry: str = silicon()
    spoil: tuple[str, str] = ("", "")
    file_size_kb: int | None = None


MOVED = silicon(1.40)
KINDS = {
    "scf": Kind({"task": "gradient", "stress": True}),
    "gap": Kind({"system": {"nbnd": 8}}),
    "smeared": Kind({"occupations": "smearing", "degauss_ry": 0.02}),
    "relax": Kind({"task": "relax"}, MOVED),
    "vc-relax": Kind({"task": "vc-relax"}, silicon(1.37)),
    "not converged": Kind({"task": "gradient", "electrons": {"electron_maxstep": 1, "mixing_beta": 0.1}}),
    "few steps": Kind({"task": "relax", "control": {"nstep": 2}}, MOVED),
    "out of time": Kind({"task": "relax"}, MOVED, ("&CONTROL", "&CONTROL\nmax_seconds = 0.001")),
    "no pseudopotential": Kind({}, spoil=("Si.pz-vbc.UPF", "Si.missing.UPF")),
    "bad namelist": Kind({}, spoil=("&CONTROL", "&CONTROL\nnonsense = 1")),
    "charge": Kind({}, spoil=("&SYSTEM", "&SYSTEM\ntot_charge = 1.0")),
    "killed": Kind({"task": "relax"}, MOVED, file_size_kb=8),
}


@pytest.fixture(scope="session")
def runs(real_pw: RealPw, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Real runs by name, each made once, when it is first asked for."""
    made: dict[str, RealRun] = {}

    def run(name: str) -> RealRun:
        if name not in made:
            made[name] = _make(real_pw, KINDS[name], tmp_path_factory.mktemp("pw") / "attempt")
        return made[name]

    return run


def _make(pw: RealPw, kind: Kind, directory: Path) -> RealRun:
    given = parameters(pw, **kind.table)
    return attempt(pw, directory, kind.geometry, given, spoil=kind.spoil, file_size_kb=kind.file_size_kb)
