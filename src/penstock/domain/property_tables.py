"""The tables of a spec that say what a property recipe is to find out, and their limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula
from penstock.domain.geometry import ATOMIC_NUMBERS

STRAIN_MAX: Final = 0.1
PRESSURE_MAX_GPA: Final = 10_000.0
TEMPERATURE_MAX_K: Final = 100_000.0


class ElasticTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[elastic]`: each strain is applied with each of `amplitudes`, both ways.

    `relax`: the cell first, at `pressure_gpa`. `symmetry`: only strains that symmetry does not give for nothing.
    """

    amplitudes: tuple[float, ...] = (0.005, 0.01)
    relax: bool = True
    symmetry: bool = True
    pressure_gpa: float = 0.0
    symprec_angstrom: float = 1e-3


class EquilibrateTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[equilibrate]`: structure and cell at a pressure; without temperature where the forces vanish, else on average.

    At a temperature: molecular dynamics of at least `min_atoms` atoms for `produce_ps`.
    """

    pressure_gpa: float = 0.0
    temperature_k: float | None = None
    produce_ps: float = 20.0
    timestep_fs: float = 2.0
    min_atoms: int = 100
    segments: int = 1
    seed: int = 1


class DiffusionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[diffusion]`: molecular dynamics at each of `temperatures_k`, in `segments` that go on from one another.

    The cell is that of the structure, relaxed before where `relax` says so. `species`: whose diffusion is wanted; all
    without it. `dimensions` are those that atoms can move along.
    """

    temperatures_k: list[float] = []
    equilibrate_ps: float = 5.0
    produce_ps: float = 50.0
    segments: int = 5
    timestep_fs: float = 2.0
    sample_fs: float = 20.0
    min_atoms: int = 100
    relax: bool = False
    species: list[str] = []
    dimensions: str = "xyz"
    viscosity_pa_s: float | None = None  # for the correction of the finite size of a cubic box
    seed: int = 1


class PhaseDiagramTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[phase_diagram]`: which structures are stable against decay into others.

    `energies_ev_per_atom` are phases that are known from elsewhere, by formula, on the same footing;
    `references_ev_per_atom` what elements are measured against instead of the lowest of them that is there. `refine`:
    engine parameters with which those at most `refine_below_ev_per_atom` above the hull are calculated once more.
    """

    relax: Literal["cell", "ions", "none"] = "cell"
    energies_ev_per_atom: dict[str, float] = {}
    references_ev_per_atom: dict[str, float] = {}
    error_ev_per_atom: float = 0.0  # of an energy, one standard error
    refine_below_ev_per_atom: float | None = None
    refine: dict[str, Any] = {}


PROPERTY_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "elastic": ElasticTable,
    "equilibrate": EquilibrateTable,
    "diffusion": DiffusionTable,
    "phase_diagram": PhaseDiagramTable,
}
"""By the name of table and recipe alike."""

CHANGEABLE: Final[dict[str, frozenset[str]]] = {
    "elastic": frozenset({"amplitudes", "symmetry"}),
    "equilibrate": frozenset(),
    "diffusion": frozenset({"species", "dimensions", "viscosity_pa_s"}),
    "phase_diagram": frozenset(
        {"references_ev_per_atom", "energies_ev_per_atom", "error_ev_per_atom", "refine_below_ev_per_atom"}
    ),
}
"""Keys that may change once there are results: they add jobs, or say how those that are there are analysed."""


def check_property_table(recipe: str, tables: dict[str, msgspec.Struct]) -> None:
    """SpecError for values that cannot be meant, and for a table of another recipe than the spec's."""
    for name, given in tables.items():
        if name != recipe and given != PROPERTY_TABLES[name]():
            raise SpecError(f"belongs to recipe {name!r}, and this one is {recipe!r}; leave one of them out", key=name)
    match tables.get(recipe):
        case ElasticTable() as table:
            _check_elastic(table)
        case EquilibrateTable() as table:
            _check_equilibrate(table)
        case DiffusionTable() as table:
            _check_diffusion(table)
        case PhaseDiagramTable() as table:
            _check_phase_diagram(table)


def _check_elastic(table: ElasticTable) -> None:
    if not table.amplitudes:
        raise SpecError("empty; give strains such as [0.005, 0.01]", key="elastic.amplitudes")
    for amplitude in table.amplitudes:
        if not 0 < amplitude <= STRAIN_MAX:
            message = (
                f"{amplitude:g} is no amplitude of a strain: above 0, at most {STRAIN_MAX:g}; both signs are tried"
            )
            raise SpecError(message, key="elastic.amplitudes")
    if len(set(table.amplitudes)) < len(table.amplitudes):
        raise SpecError("names an amplitude twice; name each once", key="elastic.amplitudes")
    _check_within("elastic", table, {"symprec_angstrom": (1e-8, 1.0)})
    _check_pressure("elastic", table.pressure_gpa)
    if table.pressure_gpa and not table.relax:
        message = "a structure that is not relaxed has the pressure that it has; leave pressure_gpa out, or relax"
        raise SpecError(message, key="elastic.pressure_gpa")


def _check_equilibrate(table: EquilibrateTable) -> None:
    _check_pressure("equilibrate", table.pressure_gpa)
    if table.temperature_k is not None:
        _check_temperatures("equilibrate.temperature_k", [table.temperature_k])
    limits = {"produce_ps": (1e-3, 1e7), "timestep_fs": (1e-3, 100.0), "min_atoms": (1, 10**7), "segments": (1, 1000)}
    _check_within("equilibrate", table, limits)


def _check_diffusion(table: DiffusionTable) -> None:
    if not table.temperatures_k:
        message = "missing; give temperatures such as temperatures_k = [800, 1000, 1200], in kelvin"
        raise SpecError(message, key="diffusion.temperatures_k")
    _check_temperatures("diffusion.temperatures_k", table.temperatures_k)
    limits = {
        "equilibrate_ps": (0.0, 1e7),
        "produce_ps": (1e-3, 1e7),
        "timestep_fs": (1e-3, 100.0),
        "sample_fs": (1e-3, 1e6),
        "min_atoms": (1, 10**7),
        "segments": (1, 1000),
    }
    _check_within("diffusion", table, limits)
    if table.sample_fs < table.timestep_fs:
        raise SpecError("shorter than timestep_fs; a sample needs at least one step", key="diffusion.sample_fs")
    _check_elements("diffusion.species", table.species)
    if not table.dimensions or set(table.dimensions) - set("xyz") or len(set(table.dimensions)) < len(table.dimensions):
        raise SpecError(f'{table.dimensions!r} is none of "x", "xy", "xyz" and the like', key="diffusion.dimensions")
    if table.viscosity_pa_s is not None:
        _check_viscosity(table, table.viscosity_pa_s)


def _check_viscosity(table: DiffusionTable, viscosity_pa_s: float) -> None:
    key = "diffusion.viscosity_pa_s"
    if not 0 < viscosity_pa_s < 1e12:
        raise SpecError("a viscosity is above 0, in Pa s", key=key)
    if len(table.temperatures_k) > 1:
        raise SpecError("a viscosity is that of one temperature; leave it out, or give one temperature", key=key)
    if len(table.dimensions) < 3:
        raise SpecError('the correction of the finite size is for dimensions = "xyz"; leave it out', key=key)


def _check_phase_diagram(table: PhaseDiagramTable) -> None:
    _check_elements("phase_diagram.references_ev_per_atom", table.references_ev_per_atom)
    for formula in table.energies_ev_per_atom:
        try:
            read_formula(formula)
        except ValueError as error:
            raise SpecError(str(error), key="phase_diagram.energies_ev_per_atom") from None
    for name in ("energies_ev_per_atom", "references_ev_per_atom"):
        for what, energy in getattr(table, name).items():
            if not math.isfinite(energy):
                raise SpecError(
                    f"{energy} is no energy; give a finite number in eV", key=f"phase_diagram.{name}.{what}"
                )
    _check_within("phase_diagram", table, {"error_ev_per_atom": (0.0, 10.0)})
    if table.refine_below_ev_per_atom is not None:
        _check_within("phase_diagram", table, {"refine_below_ev_per_atom": (0.0, 10.0)})
    if (table.refine_below_ev_per_atom is None) != (not table.refine):
        message = (
            "refining needs both: how near the hull (refine_below_ev_per_atom), and with which parameters (refine)"
        )
        raise SpecError(message, key="phase_diagram.refine")


def _check_temperatures(key: str, temperatures_k: list[float]) -> None:
    for temperature in temperatures_k:
        if not 0 < temperature <= TEMPERATURE_MAX_K:
            raise SpecError(f"{temperature:g} K is no temperature above 0, up to {TEMPERATURE_MAX_K:g} K", key=key)
    if len({f"{temperature:g}" for temperature in temperatures_k}) < len(temperatures_k):  # as steps are named
        raise SpecError("names a temperature twice (they count to six digits); name each once", key=key)


def _check_pressure(where: str, pressure_gpa: float) -> None:
    if math.isnan(pressure_gpa) or abs(pressure_gpa) > PRESSURE_MAX_GPA:
        raise SpecError(f"{pressure_gpa:g} GPa is out of all bounds", key=f"{where}.pressure_gpa")


def _check_elements(key: str, elements: Iterable[str]) -> None:
    for element in elements:
        if element not in ATOMIC_NUMBERS:
            raise SpecError(f"{element!r} is no element; write symbols such as Cu", key=key)


def _check_within(where: str, table: msgspec.Struct, limits: dict[str, tuple[float, float]]) -> None:
    for name, (least, most) in limits.items():
        value = getattr(table, name)
        if not least <= value <= most:
            raise SpecError(f"must be between {least:g} and {most:g}, not {value:g}", key=f"{where}.{name}")
