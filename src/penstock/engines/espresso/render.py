"""The input of an attempt of pw.x: `job.in`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.domain.calculation import Calculation
from penstock.domain.errors import SpecError
from penstock.domain.geometry import Geometry, Lattice, Periodicity, Vector, bare_atoms, parse_geometry
from penstock.engines.espresso.parameters import EspressoParameters, Namelist
from penstock.engines.espresso.pseudopotentials import Pseudopotential, check_functionals

INPUT: Final = "job.in"
_CALCULATIONS: Final = {"energy": "scf", "gradient": "scf", "relax": "relax", "vc-relax": "vc-relax"}
_GPA_KBAR: Final = 10.0
_ULTRASOFT_FACTOR: Final = 8.0
"""The cut-off of the density over that of the wave functions, where an ultrasoft or PAW file suggests none."""
_VARIED: Final = {"structure": None, "none": 1, "free": 2}


def render_input(calculation: Calculation, parameters: EspressoParameters) -> str:
    """The text of `job.in`; SpecError where the structure cannot be calculated with these parameters."""
    geometry = parse_geometry(calculation.geometry)
    lattice = _lattice(geometry)
    elements = list(dict.fromkeys(geometry.symbols))
    chosen = {element: _pseudopotential(element, parameters) for element in elements}
    check_functionals(chosen, "engine.pseudo_dir")
    tight = _tight(len(geometry.symbols)) if parameters.tight else {}
    namelists = {
        "control": {**tight.get("control", {}), **_control(parameters)},
        "system": _system(calculation, geometry, chosen, parameters),
        "electrons": {**tight.get("electrons", {}), **parameters.electrons},
    }
    if parameters.task in {"relax", "vc-relax"}:
        namelists["ions"] = parameters.ions
    if parameters.task == "vc-relax":
        namelists["cell"] = {**tight.get("cell", {}), **parameters.cell, **_pressure(parameters)}
    parts = [_namelist(name, values, elements) for name, values in namelists.items()]
    parts += [_species(chosen), _kpoints(geometry, parameters), _cell(lattice)]
    return "\n".join([*parts, "ATOMIC_POSITIONS angstrom", bare_atoms(calculation.geometry)])


def cutoffs(chosen: Mapping[str, Pseudopotential], parameters: EspressoParameters) -> tuple[float, float | None]:
    """The cut-offs of wave functions and density, in Ry: those of the table, else the highest that a file suggests.

    None for the density is pw.x's own choice, 4 times that of the wave functions.
    """
    suggested = [p.wfc_cutoff_ry for p in chosen.values()]
    ecutwfc = parameters.ecutwfc_ry
    if ecutwfc is None:
        missing = [p.file for p in chosen.values() if p.wfc_cutoff_ry is None]
        if missing:
            raise SpecError(f"{', '.join(missing)} suggests no cut-off; give one", key="engine.ecutwfc_ry")
        ecutwfc = float(math.ceil(max(cutoff for cutoff in suggested if cutoff is not None)))
    factor = parameters.ecutrho_factor
    if parameters.ecutrho_ry is not None:
        return ecutwfc, parameters.ecutrho_ry * factor
    needed = [_density_cutoff(p, ecutwfc) for p in chosen.values()]
    ecutrho = max(needed)
    return ecutwfc, ecutrho * factor if ecutrho > 4 * ecutwfc or factor != 1.0 else None


def _density_cutoff(pseudopotential: Pseudopotential, ecutwfc: float) -> float:
    if pseudopotential.is_norm_conserving is not False:
        return 4 * ecutwfc
    if pseudopotential.rho_cutoff_ry is None:
        return _ULTRASOFT_FACTOR * ecutwfc
    return max(4 * ecutwfc, float(math.ceil(pseudopotential.rho_cutoff_ry)))


def _pseudopotential(element: str, parameters: EspressoParameters) -> Pseudopotential:
    candidates = parameters.pseudopotentials.get(element, [])
    if not candidates:
        raise SpecError(f"no pseudopotential for {element}; add one", key=f"engine.pseudopotentials.{element}")
    if len(candidates) > 1:
        names = ", ".join(candidate.file for candidate in candidates)
        message = (
            f"several pseudopotentials for {element} in {parameters.pseudo_dir}: {names}; name one, or a functional"
        )
        raise SpecError(message, key=f"engine.pseudopotentials.{element}")
    return candidates[0]


def _tight(natoms: int) -> dict[str, Namelist]:
    """Thresholds with which stresses are good to about 0.01 GPa. Those of energies are of the whole cell, so they grow.

    pw.x's own (1e-4 Ry, 1e-3 Ry/bohr, 1e-6 Ry, 0.5 kbar) may end a relaxation of a strained cell before its first step.
    """
    return {
        "control": {"etot_conv_thr": 5e-8 * natoms, "forc_conv_thr": 1e-5},
        "electrons": {"conv_thr": 5e-11 * natoms},
        "cell": {"press_conv_thr": 0.05},
    }


def _pressure(parameters: EspressoParameters) -> Namelist:
    return {} if parameters.pressure_gpa is None else {"press": parameters.pressure_gpa * _GPA_KBAR}


def _control(parameters: EspressoParameters) -> Namelist:
    ours = {
        "calculation": _CALCULATIONS[parameters.task],
        "prefix": "job",
        "outdir": "./out",
        "pseudo_dir": parameters.pseudo_dir,
        "tprnfor": parameters.task != "energy",
        "tstress": parameters.stress or parameters.task == "vc-relax",
    }
    return {**parameters.control, **ours}


def _system(
    calculation: Calculation,
    geometry: Geometry,
    chosen: Mapping[str, Pseudopotential],
    parameters: EspressoParameters,
) -> Namelist:
    ecutwfc, ecutrho = cutoffs(chosen, parameters)
    ours: dict[str, Any] = {
        "ibrav": 0,
        "nat": len(geometry.symbols),
        "ntyp": len(chosen),
        "ecutwfc": ecutwfc,
        "ecutrho": ecutrho,
        "tot_charge": float(calculation.charge) if calculation.charge else None,
        "occupations": parameters.occupations,
        **_smearing(parameters),
        **_spin(calculation, parameters),
    }
    return {**parameters.system, **{name: value for name, value in ours.items() if value is not None}}


def _smearing(parameters: EspressoParameters) -> Namelist:
    if parameters.occupations != "smearing":
        return {}
    return {"smearing": parameters.smearing or "marzari-vanderbilt", "degauss": parameters.degauss_ry or 0.01}


def _spin(calculation: Calculation, parameters: EspressoParameters) -> Namelist:
    if parameters.spin != "structure":
        return {"nspin": _VARIED[parameters.spin]} if not parameters.system.get("noncolin") else {}
    if calculation.multiplicity == 1:
        return {}
    if parameters.system.get("noncolin"):
        message = f'a multiplicity of {calculation.multiplicity} cannot be held with noncolin; use spin = "none"'
        raise SpecError(message, key="engine.spin")
    return {"nspin": 2, "tot_magnetization": float(calculation.multiplicity - 1)}


def _namelist(name: str, values: Mapping[str, Any], elements: Sequence[str]) -> str:
    lines = [f"&{name.upper()}"]
    for key, value in values.items():
        if isinstance(value, Mapping):
            found = ((index, value[element]) for index, element in enumerate(elements, 1) if element in value)
            lines.extend(f"  {key}({index}) = {_fortran(of_element)}" for index, of_element in found)
        else:
            lines.append(f"  {key} = {_fortran(value)}")
    return "\n".join([*lines, "/"])


def _fortran(value: Any) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def _species(chosen: Mapping[str, Pseudopotential]) -> str:
    from ase.data import atomic_masses, atomic_numbers

    rows = [f"{element} {atomic_masses[atomic_numbers[element]]:.4f} {p.file}" for element, p in chosen.items()]
    return "\n".join(["ATOMIC_SPECIES", *rows])


def _cell(lattice: Lattice) -> str:
    return "\n".join(["CELL_PARAMETERS angstrom", *(" ".join(map(repr, vector)) for vector in lattice)])


def kpoints_for(parameters: EspressoParameters, geometry: Geometry) -> tuple[int, int, int]:
    """The k-points along the reciprocal vectors; SpecError for a structure without a cell, or a cell without volume."""
    return parameters.kpoints or kpoint_counts(_lattice(geometry), geometry.pbc, parameters.kspacing_per_angstrom)


def _lattice(geometry: Geometry) -> Lattice:
    if geometry.lattice is None:
        raise SpecError("pw.x needs a cell, and this structure has none; give it a Lattice", key="structures")
    return geometry.lattice


def _kpoints(geometry: Geometry, parameters: EspressoParameters) -> str:
    shift = " ".join(map(str, parameters.kpoints_shift))
    counts = kpoints_for(parameters, geometry)
    is_gamma = set(counts) == {1} and not any(parameters.kpoints_shift)
    if is_gamma and not parameters.system.get("noncolin"):  # wave functions of a spinor are never real
        return "K_POINTS gamma"
    return f"K_POINTS automatic\n{' '.join(map(str, counts))} {shift}"


def kpoint_counts(lattice: Lattice, pbc: Periodicity, spacing: float) -> tuple[int, int, int]:
    """k-points along the reciprocal vectors (with 2π), at most `spacing` 1/Å apart; 1 where it is not periodic."""
    a, b, c = lattice
    volume = abs(_dot(a, _cross(b, c)))
    if volume < 1e-6:
        raise SpecError("the cell has no volume; pw.x needs three vectors", key="structures")
    lengths = [2 * math.pi * _norm(_cross(*pair)) / volume for pair in ((b, c), (c, a), (a, b))]
    first, second, third = (
        max(1, math.ceil(length / spacing - 1e-9)) if periodic else 1
        for length, periodic in zip(lengths, pbc, strict=True)
    )
    return first, second, third


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _norm(vector: Vector) -> float:
    return math.sqrt(_dot(vector, vector))
