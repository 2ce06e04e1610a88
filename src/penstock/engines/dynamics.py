"""Molecular dynamics as values: its parameters, the names and contents of its files, what an attempt of it came to.

A run is a chain of segments, one a job, each going on from the state that the one before left. A segment has `steps`
steps; attempts at it that are stopped leave a state, too, from which the next goes on within the segment. Frames belong
to the steps whose number, counted from the first segment's beginning, is a multiple of `sample_every`; none belongs to
step 0. So the arrays of all segments, one after the other, are those of a run in one piece.

The daemon imports this module; what needs ASE is in `dynamics_run`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.engines.ase_calculation import RESULT, PositiveFloat, PositiveInt, read_result, render_input
from penstock.engines.cell_relaxation import RelaxParameters
from penstock.engines.engine import fail, read_output
from penstock.engines.npy_file import NpyHeaderError, read_shape
from penstock.engines.program_report import present

POSITIONS: Final = "positions.npy"  # (frames, atoms, 3), Å, unwrapped
CELLS: Final = "cells.npy"  # (frames, 3, 3), Å, of npt
SAMPLES: Final = "samples.npy"  # (frames, columns), as DESCRIPTION names them
DESCRIPTION: Final = "dynamics.json"
STATE: Final = "state.npz"
PREVIOUS: Final = "previous.npz"  # the state that an attempt goes on from
_ARRAYS: Final = (POSITIONS, CELLS, SAMPLES)
_DESCRIPTION_MAX: Final = 64 * 1024 * 1024
_STATE_MAX: Final = 1 << 32
_FRAMES_HELD: Final = 1000
_AS_BEFORE: Final = frozenset({FailureClass.INPUT_ERROR, FailureClass.BLOWN_UP, FailureClass.CANCELLED})

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Repeats = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class DynamicsParameters(RelaxParameters, frozen=True):
    """What the task `dynamics` may be told; of `npt`, `pressure_gpa` is the pressure from outside."""

    ensemble: Literal["nve", "nvt", "npt"] = "nvt"
    thermostat: Literal["auto", "bussi", "langevin"] = "auto"
    temperature_k: PositiveFloat | None = None
    timestep_fs: PositiveFloat = 1.0
    steps: Count = 1000  # of this segment
    sample_every: Count = 10
    checkpoint_every: Count = 100
    friction_per_fs: PositiveFloat = 0.01  # of langevin
    time_constant_fs: PositiveFloat = 100.0  # of bussi
    pressure_time_constant_fs: PositiveFloat = 1000.0  # of npt
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    supercell: tuple[Repeats, Repeats, Repeats] | None = None
    min_atoms: PositiveInt | None = None

    @property
    def integrator(self) -> Literal["nve", "bussi", "langevin", "npt"]:
        """What moves the atoms."""
        if self.ensemble == "nvt":
            return "langevin" if self.thermostat == "langevin" else "bussi"
        return self.ensemble


class Description(msgspec.Struct, frozen=True):
    """`dynamics.json`: what the arrays of a segment are.

    `cell_angstrom` is None of molecules, and of npt, whose cells are in `cells.npy`. `first_step` is the number of
    steps before the segment. `columns` are those of `samples.npy`.
    """

    symbols: list[str]
    masses_amu: list[float]
    pbc: list[bool]
    cell_angstrom: list[list[float]] | None
    timestep_fs: float
    sample_every: int
    first_step: int
    columns: list[str]
    ensemble: str
    thermostat: str | None
    temperature_k: float


class Facts(msgspec.Struct, frozen=True):
    """What a state holds beside its arrays. `step` counts from the first segment's beginning.

    `segment_start` and `attempt_start` are the steps at which this segment, and this attempt at it, began; `frames` how
    many frames of the segment are written. The rest is what the integrator remembers from step to step.
    """

    step: int
    segment_start: int
    attempt_start: int
    frames: int
    integrator: str
    random: str  # JSON, of numpy's generator
    bath_energy_ev: float = 0.0  # that the thermostat has given
    cell_momentum: float = 0.0
    cell_force: float | None = None


def check_dynamics(parameters: DynamicsParameters) -> None:
    """SpecError, with its key, for what cannot be meant; the other tasks do not look at any of it."""
    if parameters.task != "dynamics":
        return
    if parameters.temperature_k is None:
        raise SpecError("the task dynamics needs a temperature, in K", key="engine.temperature_k")
    if parameters.ensemble == "nve" and parameters.thermostat != "auto":
        raise SpecError("the ensemble nve has no thermostat; leave it out", key="engine.thermostat")
    if parameters.ensemble == "npt" and parameters.thermostat == "bussi":
        raise SpecError("the ensemble npt goes with the thermostat langevin only", key="engine.thermostat")
    if parameters.sample_every > parameters.steps:
        message = f"must not be more than steps ({parameters.steps}), or there would be no frame"
        raise SpecError(message, key="engine.sample_every")
    if parameters.checkpoint_every > _FRAMES_HELD * parameters.sample_every:
        most = _FRAMES_HELD * parameters.sample_every
        message = f"must not be more than {most}: {_FRAMES_HELD} frames are held in memory at a time"
        raise SpecError(message, key="engine.checkpoint_every")
    if parameters.supercell is not None and parameters.min_atoms is not None:
        raise SpecError("give supercell or min_atoms, not both", key="engine.min_atoms")


def render_dynamics(calculation: Calculation, parameters: DynamicsParameters) -> Rendered:
    """`input.json`, and what an earlier attempt, or the segment before, left to go on from.

    A failed attempt leaves its arrays beside its state, a finished segment the state alone: by that they are told.
    SpecError as of `check_dynamics`, since parameters may have been put together after they were checked.
    """
    check_dynamics(parameters)
    if STATE not in calculation.previous:
        return render_input(calculation, parameters)
    carry = {STATE: PREVIOUS} | {name: name for name in _ARRAYS if name in calculation.previous}
    goes_on: Literal["segment", "attempt"] = "attempt" if POSITIONS in carry else "segment"
    return msgspec.structs.replace(render_input(calculation, parameters, goes_on), carry=carry)


def read_dynamics(directory: Path, exit: Exit, parameters: DynamicsParameters) -> Outcome:  # noqa: A002
    """What an attempt at a segment came to; of one that was stopped, what the next can go on from."""
    outcome = read_result(directory, exit, parameters)
    if outcome.failure is None:
        arrays = present(directory, _ARRAYS)
        if (missing := _find_missing(directory, outcome, arrays, parameters)) is not None:
            return fail(FailureClass.OUTPUT_INVALID, missing)
        files = present(directory, (RESULT, DESCRIPTION, *arrays))
        return msgspec.structs.replace(outcome, files=files, checkpoint=[STATE])
    if outcome.failure in _AS_BEFORE or (facts := read_facts(directory / STATE)) is None:
        return outcome
    progress = facts.step - facts.attempt_start
    if progress <= 0:
        return outcome
    checkpoint = present(directory, (STATE, *_ARRAYS))
    message = f"{outcome.message}; it had come to step {facts.step}"
    return msgspec.structs.replace(outcome, message=message, checkpoint=checkpoint, progress=progress)


def dynamics_files() -> tuple[str, ...]:
    """What a segment leaves behind."""
    return (RESULT, "stderr", DESCRIPTION, STATE, *_ARRAYS)


def read_description(directory: Path) -> Description:
    """`dynamics.json` of a segment; OSError where it is missing, ValueError where it is damaged."""
    data = read_output(directory / DESCRIPTION, _DESCRIPTION_MAX)
    try:
        return msgspec.json.decode(data, type=Description)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{directory / DESCRIPTION} does not describe a trajectory: {error}") from error


def read_facts(path: Path) -> Facts | None:
    """The facts of a state; None where there is none, or not the whole of it."""
    import io

    import numpy as np

    try:
        data = read_output(path, _STATE_MAX)
        with np.load(io.BytesIO(data), allow_pickle=False) as state:
            return msgspec.json.decode(str(state["facts"]), type=Facts)
    except Exception:  # noqa: BLE001 - whatever bytes are there, they are no state
        return None


def _find_missing(directory: Path, outcome: Outcome, arrays: list[str], parameters: DynamicsParameters) -> str | None:
    """Why the arrays are not those of the whole segment; None where they are."""
    frames, atoms = outcome.properties.get("frames"), outcome.properties.get("atoms")
    wanted: dict[str, tuple[Any, ...]] = {POSITIONS: (frames, atoms, 3), SAMPLES: (frames, None)}
    if parameters.ensemble == "npt":
        wanted[CELLS] = (frames, 3, 3)
    for name, shape in wanted.items():
        if name not in arrays:
            return f"{name} is missing"
        try:
            found = read_shape(directory / name)
        except (OSError, NpyHeaderError) as error:
            return f"{name} cannot be read: {error}"
        if any(there not in (None, here) for there, here in zip(shape, found, strict=False)) or len(shape) != len(
            found
        ):
            return f"{name} has the shape {found}, not {shape}"
    if STATE not in present(directory, [STATE]):
        return f"{STATE} is missing"
    return None
