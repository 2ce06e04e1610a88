"""GFN1-xTB and GFN2-xTB through tblite's ASE calculator (the extra `penstock[xtb]`)."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.engines.ase_calculation import (
    INPUT,
    Input,
    PositiveFloat,
    PositiveInt,
    build_atoms,
    load_ase,
    write_result,
)
from penstock.engines.ase_tasks import CalculatorEngine, run_task
from penstock.engines.dynamics import DynamicsParameters

_CYCLE: Final = re.compile(r"\s*\d+\s+-?\d+\.\d+\s+\S+E[-+]\d+\s+\S+E[-+]\d+")


class TbliteParameters(DynamicsParameters, frozen=True):
    """The `[engine]` table of `tblite`."""

    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    accuracy: PositiveFloat = 1.0  # tblite's own measure; smaller is tighter
    electronic_temperature: PositiveFloat = 300.0  # K
    max_iterations: PositiveInt = 250


_INPUT_DECODER: Final = msgspec.json.Decoder(Input[TbliteParameters])


class TbliteEngine(CalculatorEngine[TbliteParameters]):
    """Extended tight binding; charge and multiplicity are those of the structure."""

    name = "tblite"
    parameters_type = TbliteParameters

    def load(self) -> None:
        """Import tblite; ImportError tells how to install it."""
        try:
            import tblite.ase  # noqa: F401
        except ImportError as error:
            raise ImportError("tblite is not installed here: pip install 'penstock[xtb]'") from error
        load_ase()

    def run(self, directory: Path) -> None:
        """Calculate; raises what tblite raises."""
        from tblite.ase import TBLite

        data = _INPUT_DECODER.decode((directory / INPUT).read_bytes())
        parameters = data.parameters
        calculator = TBLite(
            method=parameters.method,
            charge=data.charge,
            multiplicity=data.multiplicity,
            accuracy=parameters.accuracy,
            electronic_temperature=parameters.electronic_temperature,
            max_iterations=parameters.max_iterations,
            verbosity=1,
        )
        counter = _CycleCounter()
        with contextlib.redirect_stdout(counter):
            result = run_task(directory, data, calculator)
        found, atoms = calculator.results, build_atoms(data.geometry)
        properties = result.properties | {"mulliken_charges_e": found["charges"].tolist()}
        if not atoms.pbc.any():
            properties["dipole_e_angstrom"] = found["dipole"].tolist()
        write_result(directory, msgspec.structs.replace(result, scf_cycles=counter.cycles, properties=properties))


class _CycleCounter(io.TextIOBase):
    """Counts the SCF cycles that tblite prints; nothing else tells them."""

    def __init__(self) -> None:
        self.cycles = 0

    def write(self, text: str, /) -> int:
        self.cycles += _CYCLE.match(text) is not None
        return len(text)
