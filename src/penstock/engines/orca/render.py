"""ORCA's input for one attempt: from the parameters, from a template or by a hook."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec

from penstock.domain.calculation import Calculation, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.geometry import bare_atoms, parse_comment
from penstock.domain.spec import is_file_name
from penstock.engines.orca import template
from penstock.engines.orca.parameters import HOOKS, RAW, OrcaParameters

INPUT: Final = "job.inp"
ORBITALS: Final = "job.gbw"
HESSIANS: Final = ("job.opt", "job.hess")
"""What a Hessian is read from: that of an unfinished optimisation is nearer than one calculated before it."""

_MEMORY_SHARE: Final = 0.75  # ORCA takes more than maxcore at times
_TASK_WORDS: Final = {
    "energy": [],
    "gradient": ["EnGrad"],
    "opt": ["Opt"],
    "freq": ["Freq"],
    "opt+freq": ["Opt", "Freq"],
}
_OPTIMISES: Final = frozenset({"opt", "opt+freq"})
_FROM_PATH: Final = (
    'program=$(command -v "$1") || { echo "$1 is not on the PATH" >&2; exit 127; }; shift; exec "$program" "$@"'
)

Hook = Callable[[Calculation, Mapping[str, Any]], object]


def render(calculation: Calculation, parameters: OrcaParameters) -> Rendered:
    """The input, the command line, and the files of an earlier attempt that it goes on from."""
    if parse_comment(calculation.geometry.split("\n", 2)[1]):
        raise SpecError("ORCA calculates molecules; this structure is periodic")
    cores = _cores(calculation, parameters)
    carry = _carry(calculation, parameters)
    files = _files(calculation, parameters, cores, carry)
    return Rendered(files, _argv(parameters, cores), carry, launches=True)


def _cores(calculation: Calculation, parameters: OrcaParameters) -> int:
    """How many processes ORCA starts."""
    given = parameters.cores or calculation.cores * calculation.tasks
    return max(1, int(given * parameters.core_share))


def _maxcore_mb(calculation: Calculation, parameters: OrcaParameters, cores: int) -> int:
    return parameters.maxcore_mb or max(1, int(calculation.memory_mb * _MEMORY_SHARE / cores))


def _argv(parameters: OrcaParameters, cores: int) -> list[str]:
    """A parallel ORCA must be called by its full path, which the PATH of the node knows and not the daemon's."""
    arguments = [parameters.command, INPUT, *([parameters.mpirun_options] if parameters.mpirun_options else [])]
    if cores == 1 or parameters.command.startswith("/"):
        return arguments
    return ["/bin/sh", "-c", _FROM_PATH, "sh", *arguments]


def _carry(calculation: Calculation, parameters: OrcaParameters) -> dict[str, str]:
    carry = {}
    has_guess = "MOREAD" in template.words(parameters.template)
    if parameters.reuse_guess and ORBITALS in calculation.previous and not has_guess:
        carry[ORBITALS] = "guess.gbw"
    hessian = next((name for name in HESSIANS if name in calculation.previous), None)
    if hessian is not None and _wants_hessian(parameters):
        carry[hessian] = f"guess{hessian.removeprefix('job')}"
    return carry


def _wants_hessian(parameters: OrcaParameters) -> bool:
    """Whether an optimisation begins that does not say itself where its Hessian comes from."""
    settings = (parameters.template + render_blocks(parameters.blocks)).lower()
    is_own = "inhess" in settings or "calc_hess" in settings
    words = template.words(parameters.template) | {word.upper() for word in _words(parameters)}
    return parameters.task in _OPTIMISES and parameters.reuse_hessian and not is_own and "COPT" not in words


def _files(
    calculation: Calculation, parameters: OrcaParameters, cores: int, carry: Mapping[str, str]
) -> dict[str, str]:
    if parameters.hook:
        return _call_hook(calculation, parameters)
    maxcore_mb = _maxcore_mb(calculation, parameters, cores)
    restart = _restart_lines(carry)
    if parameters.template:
        return {INPUT: _fill_template(calculation, parameters, cores, maxcore_mb, restart)}
    words = " ".join(_words(parameters))
    head = f"! {words}\n%maxcore {maxcore_mb}\n" + (f"%pal nprocs {cores} end\n" if cores > 1 else "")
    atoms = bare_atoms(calculation.geometry)
    coordinates = f"* xyz {calculation.charge} {calculation.multiplicity}\n{atoms}*\n"
    return {INPUT: head + restart + render_blocks(parameters.blocks) + coordinates}


def _words(parameters: OrcaParameters) -> list[str]:
    """Method, basis, task and keywords, each once: ORCA refuses a keyword that comes twice."""
    given = [*parameters.method.split(), *parameters.basis.split(), *_task_words(parameters), *_keywords(parameters)]
    words: dict[str, str] = {}
    for word in given:
        words.setdefault(word.upper(), word)
    return list(words.values())


def _keywords(parameters: OrcaParameters) -> list[str]:
    return [word for keyword in parameters.keywords for word in keyword.split()]


def _task_words(parameters: OrcaParameters) -> list[str]:
    """The task's own words, unless the keywords hold a variant of them (TightOpt, NumFreq)."""
    given = [word.upper() for word in [*parameters.method.split(), *_keywords(parameters)]]
    return [word for word in _TASK_WORDS[parameters.task] if not any(word.upper() in other for other in given)]


def _restart_lines(carry: Mapping[str, str]) -> str:
    lines = ""
    if (orbitals := carry.get(ORBITALS)) is not None:
        lines += f'! MORead\n%moinp "{orbitals}"\n'
    hessian = next((carry[name] for name in HESSIANS if name in carry), None)
    if hessian is not None:
        lines += f'%geom\n  InHess Read\n  InHessName "{hessian}"\nend\n'
    return lines


def _fill_template(
    calculation: Calculation, parameters: OrcaParameters, cores: int, maxcore_mb: int, restart: str
) -> str:
    """The template with what it has no placeholder for put before its coordinates, so that remedies reach it too."""
    text = parameters.template
    blocks = render_blocks(parameters.blocks)
    given = template.words(text)
    keywords = " ".join(dict.fromkeys(word for word in _keywords(parameters) if word.upper() not in given))
    values = {
        "name": " ".join(calculation.name.split()),
        "geometry": bare_atoms(calculation.geometry).rstrip("\n"),
        "xyz": calculation.geometry.rstrip("\n"),
        "charge": str(calculation.charge),
        "multiplicity": str(calculation.multiplicity),
        "unpaired": str(calculation.multiplicity - 1),
        "natoms": calculation.geometry.split("\n", 1)[0],
        "method": parameters.method,
        "basis": parameters.basis,
        "task": " ".join(_task_words(parameters)),
        "keywords": keywords,
        "blocks": blocks.rstrip("\n"),
        "cores": str(cores),
        "maxcore_mb": str(maxcore_mb),
        "memory_mb": str(calculation.memory_mb),
    }
    first = restart
    if parameters.maxcore_mb or not (template.uses(text, "maxcore_mb") or template.sets_maxcore(text)):
        first += f"%maxcore {maxcore_mb}\n"
    has_cores = template.uses(text, "cores") or template.sets_cores(text)
    if parameters.core_share < 1 or (cores > 1 and not has_cores):
        first += f"%pal nprocs {cores} end\n"
    every = f"! {keywords}\n" if keywords and not template.uses(text, "keywords") else ""
    every += blocks if not template.uses(text, "blocks") else ""
    return template.fill(text, values, first, every)


def render_blocks(blocks: Mapping[str, Mapping[str, Any]]) -> str:
    """`%name ... end` for each block that has something in it."""
    parts = []
    for name, settings in blocks.items():
        if settings:
            parts += [f"%{name}", *_setting_lines(settings, "  "), "end"]
    return "".join(f"{line}\n" for line in parts)


def _setting_lines(settings: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for name, value in settings.items():
        if name == RAW:
            lines += str(value).splitlines()
        elif isinstance(value, Mapping):
            lines += [indent + name, *_setting_lines(value, indent + "  "), f"{indent}end"]
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            lines += [indent + name, *(f"{indent}  {item}" for item in value), f"{indent}end"]
        else:
            items = value if isinstance(value, list) else [value]
            lines.append(f"{indent}{name} {', '.join(map(_show, items))}")
    return lines


def _show(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _call_hook(calculation: Calculation, parameters: OrcaParameters) -> dict[str, str]:
    """The files that the hook writes; SpecError where they cannot be used."""
    given = _load_hook(parameters.hook)(calculation, msgspec.to_builtins(parameters))
    if not isinstance(given, Mapping):
        raise SpecError(f"the hook {parameters.hook} gave no mapping of file names to texts", key="engine.hook")
    files = dict(given)
    for name, text in files.items():
        if not isinstance(name, str) or not isinstance(text, str) or not is_file_name(name):
            message = f"the hook {parameters.hook} gave {name!r}, which is no plain file name with a text"
            raise SpecError(message, key="engine.hook")
    if INPUT not in files:
        raise SpecError(f"the hook {parameters.hook} gave no {INPUT}, which ORCA is to read", key="engine.hook")
    return files


@functools.cache
def _load_hook(name: str) -> Hook:
    for entry in entry_points(group=HOOKS, name=name):
        hook: Hook = entry.load()
        return hook
    raise SpecError(f"the hook {name!r} is not installed beside the daemon", key="engine.hook")
