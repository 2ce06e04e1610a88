"""What one calculation is, what came of it, and why it failed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from penstock.domain.sameness import material_key

HARTREE_EV: Final = 27.211386024367243
"""One hartree in eV, ASE's value (CODATA 2014), so that an energy goes back to eV as it came."""


class Structure(msgspec.Struct, frozen=True, array_like=True):
    """One molecule or crystal as a campaign takes it in.

    `geometry` is an extended-XYZ block (count line, comment line, one `El x y z` line an atom, Å); a periodic
    structure carries `Lattice="..." pbc="..."` in its comment line. `line` is where it began in the source
    (1-based; the record number where a source has no lines). `orig_index` is its 0-based row in the source.
    """

    orig_index: int
    line: int
    name: str
    elements: str  # distinct symbols in order of first appearance, joined with ";"
    natoms: int
    charge: int
    multiplicity: int  # 2S + 1
    geometry: str
    deck: str | None = None  # its own input file, where the source is one (CRYSTAL's .d12)


class Rejected(msgspec.Struct, frozen=True, array_like=True):
    """A record of the source that could not be taken in, and why."""

    orig_index: int
    line: int
    reason: str


class StructureChunk(msgspec.Struct, frozen=True, array_like=True):
    """A run of records read from a source; `cursor` is where the next run begins, `done` that there is none."""

    structures: list[Structure]
    rejected: list[Rejected]
    cursor: str
    done: bool


class PackedChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk on its way into a database: `rows` is a JSON array of structures, each an array of its fields in order.

    The database reads JSON by itself, so that a million structures pass through the daemon without becoming objects.
    """

    rows: str
    count: int
    rejected: list[Rejected]
    cursor: str
    done: bool
    keys: list[str] = []  # of the materials, in the same order, where results are shared


def pack_chunk(chunk: StructureChunk, *, with_keys: bool = False, by_name: bool = False) -> PackedChunk:
    """`chunk` with its structures as JSON; `by_name`: what is called differently has another key."""
    rows = msgspec.json.encode(chunk.structures).decode()
    keys = [
        material_key(s.geometry, s.charge, s.multiplicity, s.deck, s.name if by_name else None)
        for s in (chunk.structures if with_keys else ())
    ]
    return PackedChunk(rows, len(chunk.structures), chunk.rejected, chunk.cursor, chunk.done, keys)


class Calculation(msgspec.Struct, frozen=True, array_like=True):
    """What an engine is asked to do for one structure. Geometry and deck as in `Structure`.

    `cores` are those of each of its `tasks` (MPI processes). `previous` names the files that will lie in the attempt's
    way to go on from: those that an earlier attempt, or the step before, left and called its checkpoint.
    """

    name: str
    geometry: str
    charge: int
    multiplicity: int
    cores: int
    memory_mb: int
    tasks: int = 1
    deck: str | None = None
    previous: tuple[str, ...] = ()


class Resume(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt goes on from: files in `directory` (relative to the workflow's), and the last geometry."""

    directory: str
    files: tuple[str, ...] = ()
    geometry: str | None = None
    deck: str | None = None


class Rendered(msgspec.Struct, frozen=True, array_like=True):
    """An attempt ready to run: its input files by name, and its command line, or None for a Python engine.

    `carry` says which of the calculation's `previous` files are copied beside them, and under which name. `launches`:
    the program starts its processes itself, so that no launcher (srun) is put before it.
    """

    files: dict[str, str]
    argv: list[str] | None = None
    carry: dict[str, str] = {}
    launches: bool = False


class FailureClass(StrEnum):
    """Why an attempt failed. Those in `BLAMELESS` are not the calculation's fault and cost it no attempt."""

    SCF_NOT_CONVERGED = "scf_not_converged"
    GEOMETRY_NOT_CONVERGED = "geometry_not_converged"
    INPUT_ERROR = "input_error"
    BASIS_ERROR = "basis_error"
    LINEAR_DEPENDENCE = "linear_dependence"
    MULTIPLICITY_ERROR = "multiplicity_error"
    OUT_OF_MEMORY = "out_of_memory"
    MPI_ERROR = "mpi_error"  # slots, more processes than the program can use, MPI_Abort
    WALLTIME = "walltime"
    DISK = "disk"
    BLOWN_UP = "blown_up"  # an absurd energy
    MODULE_CRASH = "module_crash"  # an error termination with no better name
    TRUNCATED = "truncated"  # the output stops without a word
    EXIT_CODE = "exit_code"  # a program ended with a code other than 0
    SIGNAL = "signal"  # killed by a signal nobody of ours sent
    OUTPUT_MISSING = "output_missing"
    OUTPUT_INVALID = "output_invalid"
    ENGINE_ERROR = "engine_error"  # the engine raised; its message is kept
    RUNNER_LOST = "runner_lost"  # what ran it vanished (reboot, killed by hand)
    CANCELLED = "cancelled"


BLAMELESS = frozenset({FailureClass.RUNNER_LOST, FailureClass.DISK})


class Exit(msgspec.Struct, frozen=True, array_like=True):
    """How an attempt's process ended: exactly what was seen, not what it means."""

    code: int | None  # None when a signal ended it
    signal: int | None
    started_at: float  # seconds since the epoch
    ended_at: float
    verdict: str | None = None  # "timeout", "oom" or "cancelled" when it was ended; "lost" when it vanished
    message: str | None = None  # what a Python engine raised, last line


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """The place in an output that a verdict rests on; `line` is 1-based, `text` that line without blanks around it."""

    file: str  # its name in the attempt's directory
    line: int
    text: str


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt's outputs say. Exactly one of success (`failure is None`) and failure.

    `geometry` and `deck` of a failure are the last there were: what a next attempt may start from. `progress` of a
    failure is how much further its checkpoint is than where the attempt began, in steps of the engine's own: a next
    attempt goes on from there, and the engine sees to it that no step is done over again.
    """

    failure: FailureClass | None
    message: str | None = None
    final_energy_hartree: float | None = None
    max_force_hartree_per_bohr: float | None = None  # largest Cartesian component, absolute
    scf_cycles: int | None = None
    geometry: str | None = None  # the final geometry where the task changes it
    properties: dict[str, float | int | str | bool | list[float]] = {}
    files: list[str] = []  # names in the attempt's directory worth keeping
    evidence: Evidence | None = None
    deck: str | None = None  # the structure's input file, at the final geometry
    checkpoint: list[str] = []  # names of files there that another attempt, or the next step, can go on from
    progress: int = 0
