"""The `[engine]` table of CRYSTAL: what a person writes, checked, and what remedies change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import readable_error
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_build import BasisChoice, Hamiltonian, ScfSettings, build_deck
from penstock.engines.crystal.deck_edit import Edit
from penstock.engines.crystal.deck_model import Atom, GeometryInput, Record
from penstock.engines.crystal.deck_task import Relaxed
from penstock.engines.engine import ReadFile, check_table, split_command

DeckTask = Literal["opt", "sp", "freq"]
PropertiesTask = Literal["band", "doss", "transport", "charge_potential"]
DECK_TASKS: Final = frozenset({"opt", "sp", "freq"})
PROPERTIES_TASKS: Final = frozenset({"band", "doss", "transport", "charge_potential"})

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Command = str | list[str]


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """BAND: k points along the whole path, and which bands (from, to; 1-based), all where it is not said."""

    points: Positive = 1000
    bands: tuple[Positive, Positive] | None = None


class Doss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """DOSS: over bands as in `Band`, or within `energies_hartree`; `mesh` times as dense as the SCF's.

    It is projected on `groups` of atoms (numbers from 1) where there are any, else on the elements, or on nothing.
    """

    points: Positive = 10_000
    bands: tuple[Positive, Positive] | None = None
    energies_hartree: tuple[float, float] | None = None
    projections: Literal["none", "elements"] = "elements"
    groups: list[list[Positive]] = []
    mesh: Positive = 1


class Transport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """BOLTZTRA: every range as first, last and step, energies on CRYSTAL's own scale; `mesh` as in `Doss`."""

    temperatures_k: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (100.0, 800.0, 50.0)
    potentials_ev: tuple[float, float, PositiveFloat] = (-10.0, 10.0, 0.05)
    distribution_ev: tuple[float, float, PositiveFloat] = (-10.0, 10.0, 0.05)
    relaxation_time_fs: PositiveFloat = 10.0
    mesh: Positive = 2


class ChargePotential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ECH3 and POT3: points along each side; how many times as long as the structure where it is not periodic."""

    points: Positive = 100
    scale: PositiveFloat = 3.0
    tolerance: Positive = 5


class CrystalTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[engine]` table of `crystal` as a person writes it; `deck` is the path of a template."""

    task: Literal["opt", "sp", "freq", "band", "doss", "transport", "charge_potential"] = "sp"
    command: Command = "Pcrystal"
    properties: Command = "Pproperties"
    input: Literal["file", "stdin"] = "file"
    deck: str | None = None
    basis: BasisChoice = BasisChoice()
    hamiltonian: Hamiltonian = Hamiltonian()
    scf: ScfSettings = ScfSettings()
    edits: list[dict[str, Any]] = []
    relax: Relaxed | None = None
    guess: bool = True
    resume: bool = True
    band: Band = Band()
    doss: Doss = Doss()
    transport: Transport = Transport()
    charge_potential: ChargePotential = ChargePotential()


class CrystalParameters(msgspec.Struct, frozen=True):
    """The checked table. `deck` is the text of the template now.

    The second half is for remedies, relative to what the deck has: the n-th uniform mesh that is tried, further SCF
    cycles, further per cents of FMIXING (up to 80), level shifting in place of DIIS, a factor on the trust radius, and
    EIGS.
    """

    task: Literal["opt", "sp", "freq", "band", "doss", "transport", "charge_potential"]
    argv: list[str]
    properties: list[str]
    input: Literal["file", "stdin"] = "file"
    deck: str | None = None
    is_built: bool = False  # from the three that follow, where there is no other deck
    basis: BasisChoice = BasisChoice()
    hamiltonian: Hamiltonian = Hamiltonian()
    scf: ScfSettings = ScfSettings()
    edits: list[Edit] = []
    relax: Relaxed | None = None  # of task opt: what an OPTGEOM block relaxes, in place of what it says
    guess: bool = True  # begin the SCF with the wavefunction of a run before
    resume: bool = True  # go on with an optimisation or with frequencies that were interrupted
    band: Band = Band()
    doss: Doss = Doss()
    transport: Transport = Transport()
    charge_potential: ChargePotential = ChargePotential()
    shrink_step: Count = 0
    more_scf_cycles: Count = 0
    more_mixing: Count = 0
    level_shift: bool = False
    trust_radius: PositiveFloat = 1.0
    eigs: bool = False

    @property
    def is_properties(self) -> bool:
        """Whether the task is one of the program properties."""
        return self.task in PROPERTIES_TASKS

    @property
    def program(self) -> list[str]:
        """The command line of the task's program."""
        return self.properties if self.is_properties else self.argv


_SETTINGS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "basis": BasisChoice,
    "hamiltonian": Hamiltonian,
    "scf": ScfSettings,
}
_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    **_SETTINGS,
    "band": Band,
    "doss": Doss,
    "transport": Transport,
    "charge_potential": ChargePotential,
}


def check_parameters(table: Mapping[str, Any], read_file: ReadFile) -> CrystalParameters:
    """The checked `[engine]` table, its template read and parsed; SpecError says what is wrong, and where."""
    for name, kind in _TABLES.items():
        if isinstance(table.get(name), Mapping):
            check_table(table[name], kind, f"engine.{name}")
    given = check_table(table, CrystalTable)
    _check_settings(given)
    return CrystalParameters(
        argv=split_command(given.command, "engine.command"),
        properties=split_command(given.properties, "engine.properties"),
        deck=None if given.deck is None else _template(given.deck, read_file),
        is_built=any(name in table for name in _SETTINGS),
        edits=[_edit(edit, number) for number, edit in enumerate(given.edits)],
        **{name: getattr(given, name) for name in (*_TABLES, "task", "input", "relax", "guess", "resume")},
    )


def _check_settings(given: CrystalTable) -> None:
    """That a deck can be made from the settings, tried with a crystal of one atom.

    A mesh is given where the settings leave it to the cell: what finds one needs numpy, and this runs in the daemon.
    """
    scf = given.scf if given.scf.shrink is not None else msgspec.structs.replace(given.scf, shrink=(8, 16))
    cell = Record(("10", "10", "10", "90", "90", "90"))
    atom = Atom(1, ("0", "0", "0"))
    geometry = GeometryInput("CRYSTAL", Record(("0", "0", "0")), Record(("1",)), cell=cell, atoms=(atom,))
    try:
        build_deck("trial", geometry, given.basis, given.hamiltonian, scf)
    except ValueError as error:
        raise SpecError(f"no deck can be made from basis, hamiltonian and scf: {error}", key="engine") from error


def _template(path: str, read_file: ReadFile) -> str:
    text = read_file(path)
    try:
        parse_deck(text)
    except ValueError as error:
        raise SpecError(f"{path}: {error}", key="engine.deck") from error
    return text


def _edit(table: dict[str, Any], number: int) -> Edit:
    key = f"engine.edits[{number}]"
    try:
        return msgspec.convert(table, Edit)
    except msgspec.ValidationError as error:
        message, where = readable_error(str(error))
        raise SpecError(message, key=f"{key}.{where}" if where else key) from error
