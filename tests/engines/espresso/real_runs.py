"""Runs of the real pw.x that the tests read: a crystal of silicon, with cut-offs that take a fraction of a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.services.pw import RealPw

from penstock.domain.calculation import Calculation, Exit, Outcome
from penstock.engines.espresso import EspressoEngine
from penstock.engines.espresso.parameters import EspressoParameters

ENGINE = EspressoEngine()
CELL = 'Lattice="0 {h} {h} {h} 0 {h} {h} {h} 0" pbc="T T T"'


def silicon(second: float = 1.3575, half: float = 2.715) -> str:
    """A primitive cell; `second` is x of the second atom, `half` half the cubic lattice constant, in Å."""
    quarter = half / 2
    return f"2\n{CELL.format(h=half)}\nSi 0 0 0\nSi {second} {quarter} {quarter}\n"


def calculation(geometry: str, charge: int = 0, multiplicity: int = 1) -> Calculation:
    """An attempt on one core."""
    return Calculation("silicon", geometry, charge, multiplicity, 1, 1000)


def parameters(pw: RealPw, **table: Any) -> EspressoParameters:
    """A table for quick runs; `table` goes over it."""
    given = {
        "command": pw.program,
        "pseudo_dir": str(pw.pseudo_dir),
        "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
        "ecutwfc_ry": 12.0,
        "kpoints": [2, 2, 2],
        "kpoints_shift": [1, 1, 1],
        **table,
    }
    return ENGINE.parameters(given, lambda name: name)


class RealRun(NamedTuple):
    """An attempt that was made."""

    directory: Path
    exit: Exit
    outcome: Outcome
    parameters: EspressoParameters

    @property
    def output(self) -> Path:
        """What pw.x printed."""
        return self.directory / "stdout"


def attempt(
    pw: RealPw,
    directory: Path,
    geometry: str,
    given: EspressoParameters,
    *,
    spoil: tuple[str, str] = ("", ""),
    file_size_kb: int | None = None,
) -> RealRun:
    """Render, run and read one; `spoil` replaces a text of the input by one that the engine would not write."""
    directory.mkdir(parents=True)
    rendered = ENGINE.render(calculation(geometry), given)
    assert rendered.argv is not None
    for name, text in rendered.files.items():
        (directory / name).write_text(text.replace(*spoil, 1) if spoil[0] else text)
    started = time.time()
    code = pw.run(directory, rendered.argv, file_size_kb=file_size_kb)
    ended = Exit(code if code >= 0 else None, -code if code < 0 else None, started, time.time())
    return RealRun(directory, ended, ENGINE.read(directory, ended, given), given)
