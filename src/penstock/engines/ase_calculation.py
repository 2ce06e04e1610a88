"""What engines that are ASE calculators share: the files `input.json` and `result.json`, and the way between them.

Called thousands of times in one warm process, so it does little: one file in, one out by rename. ASE and numpy are
imported inside functions only, because the daemon imports this module and must stay without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TextIO, TypeVar

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.geometry import ATOMIC_NUMBERS, format_geometry, parse_geometry
from penstock.engines.engine import (
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
_INPUT_SIGNS: Final = ("InputError", "No EMT-potential", "number unpaired electrons")
_BLOWN_UP_SIGN: Final = "BlownUpError"
_SCF_SIGNS: Final = ("SCF not converged", "SCC not converged")

PositiveFloat = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class AseParameters(msgspec.Struct, frozen=True):
    """What every ASE engine may be told; `fmax` and `max_steps` matter to optimisations only."""

    task: Literal["energy", "gradient", "optimize", "relax", "dynamics"] = "gradient"
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
    goes_on: Literal["", "segment", "attempt"] = ""  # of molecular dynamics: from the end of a segment, or within one


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """`result.json`: what came out. An energy or force that is not finite is written as null."""

    energy_hartree: float | None
    max_force_hartree_per_bohr: float | None = None
    scf_cycles: int | None = None
    converged: bool = True  # of an optimisation
    steps: int | None = None  # of an optimisation
    unconverged: str | None = None  # what an optimisation did not reach, where it is more than `fmax`
    geometry: str | None = None
    properties: dict[str, float | int | str | bool | list[float]] = {}


class InputError(Exception):
    """The engine cannot calculate what it was asked to, whatever is tried."""


class BlownUpError(Exception):
    """The atoms of a molecular dynamics run fly apart."""


_RESULT_DECODER: Final = msgspec.json.Decoder(Result)


def render_input(
    calculation: Calculation, parameters: AseParameters, goes_on: Literal["", "segment", "attempt"] = ""
) -> Rendered:
    """The one input file of a Python engine."""
    data = Input(
        calculation.name,
        calculation.charge,
        calculation.multiplicity,
        calculation.cores,
        calculation.memory_mb,
        parameters,
        calculation.geometry,
        goes_on,
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

    `make_optimizer` makes an ASE optimiser of atoms that have their calculator; BFGS if it is not given. Where there
    are forces, a crystal's stress is calculated, too, if the calculator can.
    """
    from ase.calculators.calculator import all_changes

    with_stress = parameters.task != "energy" and gives_stress(calculator, atoms)
    converged, steps = True, None
    properties: dict[str, Any] = {}
    if parameters.task == "optimize":
        atoms.calc = calculator
        if with_stress:
            atoms.get_forces()
            properties["initial_stress_gpa"] = to_stress_gpa(atoms.get_stress())
        converged, steps = _optimize(directory, atoms, parameters, make_optimizer or _make_bfgs)
        if with_stress:
            atoms.get_stress()
    else:
        wanted = ["energy"] if parameters.task == "energy" else ["energy", "forces"]
        calculator.calculate(atoms, [*wanted, "stress"] if with_stress else wanted, all_changes)
    results = calculator.results
    if with_stress:
        properties |= describe_stress(results["stress"])
    force = None if parameters.task == "energy" else max_force_hartree_per_bohr(results["forces"])
    geometry = None if steps is None else block_of(atoms)
    energy = to_hartree(results["energy"])
    return Result(energy, force, None, converged, steps, geometry=geometry, properties=properties)


def forget(calculator: Any) -> None:
    """Leave nothing in an ASE calculator that the next result could depend on."""
    if hasattr(calculator, "reset"):
        calculator.reset()


def gives_stress(calculator: Any, atoms: Atoms) -> bool:
    """Whether the stress of these atoms can be asked for: of a crystal, by a calculator that has it."""
    return bool(atoms.pbc.all()) and "stress" in getattr(calculator, "implemented_properties", ())


def to_stress_gpa(stress_ev_per_a3: Sequence[float]) -> list[float]:
    """Nine numbers row by row in GPa, positive where the crystal wants to expand, of ASE's six in eV/Å³.

    ASE's stress is in the order xx yy zz yz xz xy and has the other sign.
    """
    from ase.units import GPa

    xx, yy, zz, yz, xz, xy = (-float(component) / GPa for component in stress_ev_per_a3)
    return [xx, xy, xz, xy, yy, yz, xz, yz, zz]


def describe_stress(stress_ev_per_a3: Sequence[float]) -> dict[str, Any]:
    """The properties `stress_gpa` and `pressure_gpa`, its mean over the three directions."""
    stress = to_stress_gpa(stress_ev_per_a3)
    return {"stress_gpa": stress, "pressure_gpa": (stress[0] + stress[4] + stress[8]) / 3}


def to_hartree(energy_ev: float) -> float:
    """eV to Eh."""
    from ase.units import Hartree

    return float(energy_ev) / Hartree


def max_force_hartree_per_bohr(forces_ev_per_a: Any) -> float:
    """The largest Cartesian component, absolute, of forces of shape (atoms, 3) in eV/Å."""
    from ase.units import Bohr, Hartree

    return float(abs(forces_ev_per_a).max()) * Bohr / Hartree


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


def result_files(*, optimizes: bool) -> tuple[str, ...]:
    """What a calculation leaves behind."""
    return (RESULT, "stderr", TRAJECTORY) if optimizes else (RESULT, "stderr")


def _to_outcome(result: Result, parameters: AseParameters) -> Outcome:
    failure = message = None
    if result.energy_hartree is None:
        failure, message = FailureClass.OUTPUT_INVALID, "the energy is not a finite number"
    elif result.max_force_hartree_per_bohr is None and parameters.task != "energy":
        failure, message = FailureClass.OUTPUT_INVALID, "the forces are not finite numbers"
    elif not result.converged:
        failure = FailureClass.GEOMETRY_NOT_CONVERGED
        what = result.unconverged or "forces still above fmax"
        message = f"{what} after {result.steps} steps; raise max_steps or start from {TRAJECTORY}"
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
    if message.startswith(_BLOWN_UP_SIGN):
        failure = FailureClass.BLOWN_UP
    elif failure is None and any(sign in message for sign in _SCF_SIGNS):
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
        optimizer.attach(write_frame, 1, file, atoms, optimizer)
        converged = optimizer.run(fmax=parameters.fmax, steps=parameters.max_steps)
    atoms.get_forces()  # an optimiser may have looked around before it ended
    return bool(converged), int(optimizer.nsteps)


def write_frame(file: TextIO, atoms: Atoms, optimizer: Any) -> None:
    """One more frame of the trajectory; energy in eV, as ext-XYZ has it."""
    count, comment, body = block_of(atoms).split("\n", 2)
    energy_ev = float(atoms.get_potential_energy())
    file.write(f"{count}\n{comment} step={optimizer.nsteps} energy={energy_ev!r}\n{body}")
    file.flush()


def block_of(atoms: Atoms) -> str:
    """The geometry block of ASE atoms."""
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )
