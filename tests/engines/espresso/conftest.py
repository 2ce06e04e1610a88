from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ...services.pw import RealPw
from .real_runs import RealRun, attempt, parameters, silicon

Runs = Callable[[str], RealRun]


@pytest.fixture(scope="session")
def runs(real_pw: RealPw, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Real runs by name, each made once, when it is first asked for."""
    made: dict[str, RealRun] = {}

    def run(name: str) -> RealRun:
        if name not in made:
            made[name] = _make(real_pw, name, tmp_path_factory.mktemp("pw"))
        return made[name]

    return run


def _make(pw: RealPw, name: str, folder: Path) -> RealRun:
    directory = folder / name
    metal = {"occupations": "smearing", "degauss_ry": 0.02}
    moved, bare = silicon(1.40), silicon()
    match name:
        case "scf":
            return attempt(pw, directory, bare, parameters(pw, task="gradient", stress=True))
        case "gap":
            return attempt(pw, directory, bare, parameters(pw, system={"nbnd": 8}))
        case "smeared":
            return attempt(pw, directory, bare, parameters(pw, **metal))
        case "relax":
            return attempt(pw, directory, moved, parameters(pw, task="relax"))
        case "vc-relax":
            return attempt(pw, directory, silicon(1.37), parameters(pw, task="vc-relax"))
        case "not converged":
            few = {"electron_maxstep": 1, "mixing_beta": 0.1}
            return attempt(pw, directory, bare, parameters(pw, task="gradient", electrons=few))
        case "few steps":
            return attempt(pw, directory, moved, parameters(pw, task="relax", control={"nstep": 2}))
        case "out of time":
            return attempt(pw, directory, moved, parameters(pw, task="relax"), break_input="max_seconds = 0.001")
        case "no pseudopotential":
            given = parameters(pw, pseudo_dir=str(directory / "absent"), pseudopotentials={"Si": "Si.missing.UPF"})
            return attempt(pw, directory, bare, given)
        case "bad namelist":
            return attempt(pw, directory, bare, parameters(pw), break_input="nonsense = 1")
        case "bad value":
            return attempt(pw, directory, bare, parameters(pw, system={"input_dft": "nonsense"}))
        case "charge":
            from penstock.engines.espresso.render import INPUT

            odd = attempt(pw, directory, bare, parameters(pw), break_input="")
            text = (directory / INPUT).read_text().replace("ibrav = 0", "ibrav = 0\n tot_charge = 1.0")
            (directory / INPUT).write_text(text)
            pw.run(directory, [pw.program, "-in", INPUT])
            return odd
        case "killed":
            return attempt(pw, directory, moved, parameters(pw, task="relax"), file_size_kb=8)
    raise KeyError(name)
