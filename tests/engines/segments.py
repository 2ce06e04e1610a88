"""Attempts at segments of molecular dynamics, run as a runner runs them, and killed where a test wants it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from penstock import engines
from penstock.clusters.carry import carry_files
from penstock.domain.calculation import Calculation, Exit, Outcome
from penstock.domain.geometry import format_geometry

DONE = Exit(0, None, 0.0, 1.0)
_KILLED = """
import os, signal, sys
from pathlib import Path
from penstock import engines

name, directory, at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
engine = engines.get_python(name)
engine.load()
import ase.calculators.emt, penstock.engines.dynamics_run
penstock.engines.dynamics_run.SAVING_SHARE = 0.0  # at each checkpoint, whatever that takes
left = at

def dies(function):
    def counted(*arguments, **keywords):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return counted

os.pwrite, os.fsync = dies(os.pwrite), dies(os.fsync)
Path.rename = dies(Path.rename)
ase.calculators.emt.EMT.calculate = dies(ase.calculators.emt.EMT.calculate)
engine.run(directory)
"""


def block(atoms: Atoms) -> str:
    """A geometry block."""
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )


class Chain:
    """A run of one structure in segments; each attempt has a directory of its own."""

    def __init__(self, root: Path, atoms: Atoms, engine: str = "emt", **table: Any) -> None:
        self.engine = engines.get_python(engine)
        self.parameters = self.engine.parameters({"task": "dynamics", **table}, str)
        self.attempts: list[Path] = []
        self.outcome: Any = None
        self._root = root
        self._geometry = block(atoms)
        self._from: tuple[Path, Sequence[str]] | None = None

    def goes_on_from(self, other: Chain) -> None:
        """Begin with the state in which another run ended."""
        self._from = other._from

    def attempt(self, kill_at: int | None = None) -> Outcome:
        """One attempt at what is to be done next; `kill_at`: the write or calculation that it does not survive."""
        previous = tuple(self._from[1]) if self._from else ()
        calculation = Calculation("x", self._geometry, 0, 1, 1, 1000, previous=previous)
        rendered = self.engine.render(calculation, self.parameters)
        directory = self._root / str(len(self.attempts))
        directory.mkdir(parents=True)
        self.attempts.append(directory)
        if self._from:
            carry_files(self._from[0], directory, rendered.carry)
        for name, text in rendered.files.items():
            (directory / name).write_text(text)
        ended = self._run(directory, kill_at)
        outcome: Outcome = self.engine.read(directory, ended, self.parameters)
        if outcome.checkpoint:
            self._from = (directory, outcome.checkpoint)
        self.outcome = outcome
        return outcome

    def _run(self, directory: Path, kill_at: int | None) -> Exit:
        if kill_at is not None:
            argv = [sys.executable, "-c", _KILLED, self.engine.name, str(directory), str(kill_at)]
            done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, check=False)
            assert done.returncode in (0, -9), done.stderr
            return DONE if done.returncode == 0 else Exit(None, 9, 0.0, 1.0, verdict="lost")
        self.engine.load()
        try:
            self.engine.run(directory)
        except Exception as error:  # noqa: BLE001 - as the runner does it
            return Exit(1, None, 0.0, 1.0, message=f"{type(error).__name__}: {error}")
        return DONE

    def array(self, name: str) -> NDArray[np.float64]:
        """An array of the last attempt."""
        array: NDArray[np.float64] = np.load(self.attempts[-1] / f"{name}.npy")
        return array

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of the last attempt's samples."""
        columns = json.loads((self.attempts[-1] / "dynamics.json").read_text())["columns"]
        return self.array("samples")[:, columns.index(name)]
