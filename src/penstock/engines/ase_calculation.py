"""What engines that are ASE calculators share: the files `input.json` and `result.json`, and the way between them.

Called thousands of times in one warm process, so it does little: one file in, one out by rename. ASE and numpy are
imported inside functions only, because the daemon imports this module and must stay without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TextIO, TypeVar

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.geometry import ATOMIC_NUMBERS, format_geometry, parse_geometry
from penstock.engines.engine import (
    Role,
    classify_exhausted,
    fail,
    last_line_of,
    read_output,
    read_tail,
    read_verdict,
    signal_message,
)

if TYPE_CHECKING:
    from ase import Atoms

INPUT: Final = "input.json"
RESULT: Final = "result.json"
TRAJECTORY: Final = "trajectory.xyz"
_RESULT_MAX: Final = 64 * 1024 * 1024
_PARTIAL: Final = "result.json.partial"
TASKS: Final = frozenset({"energy", "gradient", "optimize"})
ASE_ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {Role.SINGLE_POINT: {"task": "gradient"}, Role.RELAX_IONS: {"task": "optimize"}},
)
_INPUT_SIGNS: Final = ("InputError", "No EMT-potential", "number unpaired electrons")
_SCF_SIGNS: Final = ("SCF not converged", "SCC not converged")

PositiveFloat = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class AseParameters(msgspec.Struct, frozen=True):
    """What every ASE engine may be told; `fmax` and `max_steps` matter to `optimize` only (BFGS, the cell is kept)."""

    task: Literal["energy", "gradient", "optimize"] = "gradient"
    fmax: PositiveFloat = 0.05  # eV/Å, the largest force on any atom
    max_steps: PositiveInt = 500


P = TypeVar("P", bound=AseParameters)


class Input(msgspec.Struct, Generic[P], frozen=True):
    """`input.json`: all that a calculation needs to run in its directory. Geometry as in `Structure`."""

    name: str
    charge: int
    multiplicity: int
    cores: int
    memory_mb: int
    parameters: P
    geometry: str


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """`result.json`: what came out. An energy or force that is not finite is written as null."""

    energy_hartree: float | None
    max_force_hartree_per_bohr: float | None = None
    scf_cycles: int | None = None
    converged: bool = True  # of an optimisation
    steps: int | None = None  # of an optimisation
    geometry: str | None = None
    properties: dict[str, float | int | str | bool | list[float]] = {}


class InputError(Exception):
    """The engine cannot calculate what it was asked to, whatever is tried."""


_RESULT_DECODER: Final = msgspec.json.Decoder(Result)


def render_input(calculation: Calculation, parameters: AseParameters) -> Rendered:
    """The one input file of a Python engine."""
    data = Input(
        calculation.name,
        calculation.charge,
        calculation.multiplicity,
        calculation.cores,
        calculation.memory_mb,
        parameters,
        calculation.geometry,
    )
    return Rendered({INPUT: msgspec.json.encode(data).decode()})


def load_ase() -> None:
    """Import what `build_atoms` and `solve` need."""
    import ase.calculators.calculator
    import ase.optimize
    import ase.units  # noqa: F401


def build_atoms(geometry: str) -> Atoms:
    """ASE atoms from a geometry block."""
    from ase import Atoms

    symbols, positions, lattice, pbc = parse_geometry(geometry)
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in symbols]
    if lattice is None:
        return Atoms(numbers=numbers, positions=positions)
    return Atoms(numbers=numbers, positions=positions, cell=lattice, pbc=pbc)


def solve(
    directory: Path,
    atoms: Atoms,
    calculator: Any,
    parameters: AseParameters,
    make_optimizer: Callable[[Atoms], Any] | None = None,
) -> Result:
    """Do the task on `atoms` with an ASE calculator; an optimisation moves `atoms` and writes its trajectory.

    `make_optimizer` makes an ASE optimiser of atoms that have their calculator; BFGS if it is not given.
    """
    from ase.calculators.calculator import all_changes
    from ase.units import Bohr, Hartree

    converged, steps = True, None
    if parameters.task == "optimize":
        atoms.calc = calculator
        converged, steps = _optimize(directory, atoms, parameters, make_optimizer or _make_bfgs)
    else:
        wanted = ["energy"] if parameters.task == "energy" else ["energy", "forces"]
        calculator.calculate(atoms, wanted, all_changes)
    results = calculator.results
    force = None if parameters.task == "energy" else float(abs(results["forces"]).max()) * Bohr / Hartree
    geometry = None if steps is None else _block(atoms)
    return Result(float(results["energy"]) / Hartree, force, None, converged, steps, geometry)


def write_result(directory: Path, result: Result) -> None:
    """Leave `result.json`, whole or not at all."""
    partial = directory / _PARTIAL
    partial.write_bytes(msgspec.json.encode(result))
    partial.rename(directory / RESULT)


def read_result(directory: Path, exit: Exit, parameters: AseParameters) -> Outcome:  # noqa: A002 - the contract's word
    """The outcome of an attempt from its exit and `result.json`, which must hold what the task asks for."""
    if exit.code == 1 and exit.message is None:  # it ran in a process of its own
        exit = msgspec.structs.replace(exit, message=last_line_of(read_tail(directory / "stderr")) or None)  # noqa: A001
    if (ended := read_verdict(exit) or _read_exit(exit)) is not None:
        return ended
    try:
        result = _RESULT_DECODER.decode(read_output(directory / RESULT, _RESULT_MAX))
    except FileNotFoundError:
        return fail(FailureClass.OUTPUT_MISSING, f"{RESULT} is missing")
    except OSError as error:
        return fail(FailureClass.OUTPUT_INVALID, f"{RESULT} cannot be read: {error.strerror}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return fail(FailureClass.OUTPUT_INVALID, f"{RESULT}: {error}")
    return _to_outcome(result, parameters)


def result_files(parameters: AseParameters) -> tuple[str, ...]:
    """What a calculation leaves behind."""
    return (RESULT, "stderr", TRAJECTORY) if parameters.task == "optimize" else (RESULT, "stderr")


def _to_outcome(result: Result, parameters: AseParameters) -> Outcome:
    failure = message = None
    if result.energy_hartree is None:
        failure, message = FailureClass.OUTPUT_INVALID, "the energy is not a finite number"
    elif result.max_force_hartree_per_bohr is None and parameters.task != "energy":
        failure, message = FailureClass.OUTPUT_INVALID, "the forces are not finite numbers"
    elif not result.converged:
        failure = FailureClass.GEOMETRY_NOT_CONVERGED
        message = f"forces still above fmax after {result.steps} steps; raise max_steps or start from {TRAJECTORY}"
    optimized = result.steps is not None
    return Outcome(
        failure,
        message,
        result.energy_hartree,
        result.max_force_hartree_per_bohr,
        result.scf_cycles,
        result.geometry,
        result.properties | {"optimization_steps": result.steps} if result.steps is not None else result.properties,
        [RESULT, TRAJECTORY] if optimized else [RESULT],
    )


def _read_exit(exit: Exit) -> Outcome | None:  # noqa: A002
    """The failure of a calculation that raised or whose process died."""
    if exit.signal is not None:
        return fail(FailureClass.SIGNAL, signal_message(exit.signal))
    if exit.message is None:
        return None if exit.code == 0 else fail(FailureClass.EXIT_CODE, f"the process ended with code {exit.code}")
    message = exit.message
    failure = classify_exhausted(message)
    if failure is None and any(sign in message for sign in _SCF_SIGNS):
        failure = FailureClass.SCF_NOT_CONVERGED
    elif failure is None and any(sign in message for sign in _INPUT_SIGNS):
        failure = FailureClass.INPUT_ERROR
    return fail(failure or FailureClass.ENGINE_ERROR, message)


def _make_bfgs(atoms: Atoms) -> Any:
    from ase.optimize import BFGS

    return BFGS(atoms, logfile=None)


def _optimize(
    directory: Path, atoms: Atoms, parameters: AseParameters, make_optimizer: Callable[[Atoms], Any]
) -> tuple[bool, int]:
    with (directory / TRAJECTORY).open("w", encoding="utf-8") as file:
        optimizer = make_optimizer(atoms)
        optimizer.attach(_write_frame, 1, file, atoms, optimizer)
        converged = optimizer.run(fmax=parameters.fmax, steps=parameters.max_steps)
    atoms.get_forces()  # an optimiser may have looked around before it ended
    return bool(converged), int(optimizer.nsteps)


def _write_frame(file: TextIO, atoms: Atoms, optimizer: Any) -> None:
    """One more frame of the trajectory; energy in eV, as ext-XYZ has it."""
    count, comment, body = _block(atoms).split("\n", 2)
    energy_ev = float(atoms.get_potential_energy())
    file.write(f"{count}\n{comment} step={optimizer.nsteps} energy={energy_ev!r}\n{body}")
    file.flush()


def _block(atoms: Atoms) -> str:
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )
