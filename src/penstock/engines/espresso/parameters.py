"""The `[engine]` table of `espresso`: as a person writes it, and checked."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.engines.engine import check_table
from penstock.engines.espresso.pseudopotentials import Pseudopotential, check_given, find_candidates

Task = Literal["energy", "gradient", "relax", "vc-relax"]
Occupations = Literal["fixed", "smearing", "tetrahedra", "tetrahedra_lin", "tetrahedra_opt"]
Smearing = Literal["gaussian", "methfessel-paxton", "marzari-vanderbilt", "fermi-dirac"]
Spin = Literal["structure", "none", "free"]
Namelist = dict[str, Any]

TASKS: Final = frozenset({"energy", "gradient", "relax", "vc-relax"})
PRESSURE_MAX_GPA: Final = 1e6
NAMELISTS: Final = ("control", "system", "electrons", "ions", "cell")
_OURS: Final = {
    "control": {
        "calculation": "task",
        "prefix": "nothing: it is job",
        "outdir": "nothing: it is ./out, in the attempt's directory",
        "pseudo_dir": "pseudo_dir",
        "tprnfor": "task",
        "tstress": "stress",
        "restart_mode": "nothing: every attempt starts from scratch, at the last geometry",
    },
    "system": {
        "ibrav": "nothing: the cell is the structure's",
        "nat": "nothing: it is the structure's",
        "ntyp": "nothing: it is the structure's",
        "ecutwfc": "ecutwfc_ry",
        "ecutrho": "ecutrho_ry",
        "occupations": "occupations",
        "smearing": "smearing",
        "degauss": "degauss_ry",
        "tot_charge": "the structure's charge",
        "tot_magnetization": "the structure's multiplicity",
        "nspin": "spin",
        **dict.fromkeys(("celldm", "a", "b", "c", "cosab", "cosac", "cosbc"), "nothing: the cell is the structure's"),
    },
    "electrons": {"scf_must_converge": "nothing: what does not converge is a failure"},
    "ions": {},
    "cell": {},
}
_KEY: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,60})(\([0-9]{1,4}(?:,[0-9]{1,4}){0,3}\))?")
_RANGES: Final[dict[str, tuple[type, float, float]]] = {
    "electrons.mixing_beta": (float, 1e-6, 1.0),
    "electrons.conv_thr": (float, 1e-20, 1.0),
    "electrons.electron_maxstep": (int, 1, 100_000),
    "electrons.mixing_ndim": (int, 1, 1000),
    "control.nstep": (int, 1, 1_000_000),
    "control.max_seconds": (float, 1, 1e8),
    "control.forc_conv_thr": (float, 1e-12, 1.0),
    "control.etot_conv_thr": (float, 1e-14, 1.0),
    "system.nbnd": (int, 1, 10_000_000),
    "cell.press": (float, -1e7, 1e7),
    "cell.cell_factor": (float, 1.0, 100.0),
}
_CHOICES: Final = {
    "electrons.mixing_mode": ("plain", "TF", "local-TF"),
    "electrons.diagonalization": ("david", "cg", "ppcg", "paro", "rmm-davidson", "rmm-paro"),
}


class EspressoTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table as a person writes it."""

    command: str | list[str] = "pw.x"
    task: Task = "energy"
    ecutwfc_ry: float | None = None
    ecutrho_ry: float | None = None
    kpoints: tuple[int, int, int] | None = None
    kpoints_shift: tuple[int, int, int] = (0, 0, 0)
    kspacing_per_angstrom: float | None = None
    occupations: Occupations | None = None
    smearing: Smearing | None = None
    degauss_ry: float | None = None
    spin: Spin = "structure"
    stress: bool = False
    tight: bool = False
    pressure_gpa: float | None = None
    pseudo_dir: str = ""
    pseudopotentials: dict[str, str] = {}
    functional: str | None = None
    control: Namelist = {}
    system: Namelist = {}
    electrons: Namelist = {}
    ions: Namelist = {}
    cell: Namelist = {}


class EspressoParameters(msgspec.Struct, frozen=True):
    """The checked table. `pseudopotentials`: the candidates of every element there is a file for, one where it is sure.

    `ecutrho_factor` multiplies the cut-off of the density, given or suggested; a remedy raises it. `tight`: thresholds
    for differences of stresses, where the namelists give none. `pressure_gpa` goes before `cell.press`.
    """

    command: list[str]
    pseudo_dir: str
    pseudopotentials: dict[str, list[Pseudopotential]]
    task: Task = "energy"
    ecutwfc_ry: float | None = None
    ecutrho_ry: float | None = None
    ecutrho_factor: float = 1.0
    kpoints: tuple[int, int, int] | None = None
    kpoints_shift: tuple[int, int, int] = (0, 0, 0)
    kspacing_per_angstrom: float = 0.2
    occupations: Occupations | None = None
    smearing: Smearing | None = None
    degauss_ry: float | None = None
    spin: Spin = "structure"
    stress: bool = False
    tight: bool = False
    pressure_gpa: float | None = None
    control: Namelist = {}
    system: Namelist = {}
    electrons: Namelist = {}
    ions: Namelist = {}
    cell: Namelist = {}


def check_parameters(table: Mapping[str, Any]) -> EspressoParameters:
    """The parameters of an `[engine]` table; SpecError says what is wrong with it."""
    given = check_table(table, EspressoTable)
    for name in NAMELISTS:
        _check_namelist(name, getattr(given, name))
    _check_cutoffs(given)
    _check_kpoints(given)
    _check_occupations(given)
    _check_pressure(given)
    return EspressoParameters(
        command=_check_command(given.command),
        pseudo_dir=given.pseudo_dir,
        pseudopotentials=_choose_pseudopotentials(given),
        kspacing_per_angstrom=given.kspacing_per_angstrom or 0.2,
        **{
            name: getattr(given, name)
            for name in EspressoTable.__struct_fields__
            if name not in {"command", "pseudo_dir", "pseudopotentials", "functional", "kspacing_per_angstrom"}
        },
    )


def _choose_pseudopotentials(given: EspressoTable) -> dict[str, list[Pseudopotential]]:
    directory = Path(given.pseudo_dir)
    if not directory.is_absolute() or not given.pseudo_dir.isprintable() or len(given.pseudo_dir) > 250:
        message = f"{given.pseudo_dir!r} is not the absolute path of the folder with the pseudopotentials"
        raise SpecError(message, key="engine.pseudo_dir")
    if given.pseudopotentials:
        chosen = check_given(given.pseudopotentials, directory)
        return {element: [pseudopotential] for element, pseudopotential in chosen.items()}
    relativistic = given.system.get("lspinorb") is True
    return find_candidates(directory, given.functional, relativistic=relativistic)


def _check_command(command: str | list[str]) -> list[str]:
    try:
        argv = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise SpecError(f"cannot be split into arguments: {error}", key="engine.command") from error
    if not argv or not argv[0] or any("\0" in argument for argument in argv):
        raise SpecError("empty, or holds a NUL; give pw.x, or its path", key="engine.command")
    if any(argument in {"-i", "-in", "-inp", "-input"} for argument in argv):
        raise SpecError("the input is given by Penstock; leave -in out", key="engine.command")
    return argv


def _check_namelist(name: str, values: Namelist) -> None:
    for key, value in values.items():
        where = f"engine.{name}.{key}"
        match = _KEY.fullmatch(key)
        if match is None:
            raise SpecError("no name of a variable; write name or name(1)", key=where)
        if (instead := _OURS[name].get(match[1].lower())) is not None:
            raise SpecError(f"this is Penstock's to write; use {instead}", key=where)
        _check_value(value, where)
        _check_known(f"{name}.{key}", value, where)


def _check_value(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for element, of_element in value.items():
            if element not in ATOMIC_NUMBERS:
                raise SpecError(f"{element!r} is no element; a table here has a value for each element", key=where)
            _check_scalar(of_element, where)
    else:
        _check_scalar(value, where)


def _check_scalar(value: Any, where: str) -> None:
    if isinstance(value, str):
        if not value.isprintable() or not value.isascii() or len(value) > 200:
            raise SpecError("a text here is one line of printable ASCII, of 200 characters at most", key=where)
    elif not isinstance(value, bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise SpecError("a value here is a text, a finite number, true or false", key=where)


def _check_known(name: str, value: Any, where: str) -> None:
    if name in _RANGES:
        kind, least, most = _RANGES[name]
        is_right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not is_right or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise SpecError(f"{value!r} is not {what} from {least:g} to {most:g}", key=where)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise SpecError(f"{value!r} is not known; use one of {', '.join(_CHOICES[name])}", key=where)


def _check_cutoffs(given: EspressoTable) -> None:
    for name in ("ecutwfc_ry", "ecutrho_ry", "degauss_ry", "kspacing_per_angstrom"):
        value = getattr(given, name)
        if value is not None and not 0 < value < 10_000:
            raise SpecError(f"{value!r} is not a number above 0 and below 10000", key=f"engine.{name}")
    if given.ecutwfc_ry and given.ecutrho_ry and given.ecutrho_ry < 4 * given.ecutwfc_ry:
        raise SpecError("less than 4 times ecutwfc_ry, which no density fits into", key="engine.ecutrho_ry")


def _check_kpoints(given: EspressoTable) -> None:
    if given.kpoints is not None and given.kspacing_per_angstrom is not None:
        raise SpecError("give kpoints or kspacing_per_angstrom, not both", key="engine.kpoints")
    if given.kpoints is not None and not all(1 <= n <= 1000 for n in given.kpoints):
        raise SpecError("three numbers of k-points along the axes, each from 1 to 1000", key="engine.kpoints")
    if not set(given.kpoints_shift) <= {0, 1}:
        raise SpecError("three of 0 and 1", key="engine.kpoints_shift")


def _check_occupations(given: EspressoTable) -> None:
    smeared = given.occupations == "smearing"
    for name in ("smearing", "degauss_ry"):
        if getattr(given, name) is not None and not smeared:
            raise SpecError('goes with occupations = "smearing" only', key=f"engine.{name}")
    if given.spin == "free" and given.occupations in {None, "fixed"}:
        message = 'a free magnetisation needs occupations = "smearing" or tetrahedra'
        raise SpecError(message, key="engine.spin")


def _check_pressure(given: EspressoTable) -> None:
    pressure = given.pressure_gpa
    if pressure is None:
        return
    if not -PRESSURE_MAX_GPA <= pressure <= PRESSURE_MAX_GPA:
        message = f"{pressure!r} is not a number from -{PRESSURE_MAX_GPA:g} to {PRESSURE_MAX_GPA:g}"
        raise SpecError(message, key="engine.pressure_gpa")
    if any(name.lower() == "press" for name in given.cell):
        raise SpecError("give pressure_gpa or cell.press (in kbar), not both", key="engine.pressure_gpa")
