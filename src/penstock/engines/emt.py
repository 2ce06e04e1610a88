"""EMT, the effective medium theory potential of ASE: for metals and for trying things out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from penstock.engines.ase_calculation import INPUT, Input, InputError, load_ase, write_result
from penstock.engines.ase_tasks import CalculatorEngine, run_task
from penstock.engines.dynamics import DynamicsParameters


class EmtParameters(DynamicsParameters, frozen=True):
    """The `[engine]` table of `emt`."""


_INPUT_DECODER: Final = msgspec.json.Decoder(Input[EmtParameters])


class EmtEngine(CalculatorEngine[EmtParameters]):
    """ASE's EMT calculator. It knows no charge and no spin: a charge is an input error, the multiplicity is ignored."""

    name = "emt"
    parameters_type = EmtParameters

    def load(self) -> None:
        """Import ASE's calculator."""
        import ase.calculators.emt  # noqa: F401

        load_ase()

    def run(self, directory: Path) -> None:
        """Calculate; raises InputError for a charge and what ASE raises."""
        from ase.calculators.emt import EMT

        data = _INPUT_DECODER.decode((directory / INPUT).read_bytes())
        if data.charge != 0:
            raise InputError(f"EMT knows no charge, this structure has {data.charge:+d}; use another engine for it")
        write_result(directory, run_task(directory, data, EMT()))
