"""Any program: a command line and template files with placeholders in, a JSON file or patterns in its output out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from penstock.domain.calculation import Calculation, Exit, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.geometry import bare_atoms
from penstock.domain.remedy import Rule
from penstock.engines.engine import Ability, ReadFile, Role, check_table, split_command
from penstock.engines.program_output import ResultRules, check_rules, read_program

_PLACEHOLDERS: Final[dict[str, Callable[[Calculation], str]]] = {
    "name": lambda calculation: calculation.name,
    "charge": lambda calculation: str(calculation.charge),
    "multiplicity": lambda calculation: str(calculation.multiplicity),
    "unpaired": lambda calculation: str(calculation.multiplicity - 1),
    "natoms": lambda calculation: calculation.geometry.split("\n", 1)[0],
    "cores": lambda calculation: str(calculation.cores),
    "memory_mb": lambda calculation: str(calculation.memory_mb),
    "geometry": lambda calculation: bare_atoms(calculation.geometry),
    "xyz": lambda calculation: calculation.geometry,
}
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@-]{0,199}")
_QUOTED: Final = re.compile(r"""(?s)\\.|'[^']*'|"(?:\\.|[^"\\])*\"""")
_SHELL_MARK: Final = re.compile(r"[0-9&]?>.*|<<?|\|[|&]?|&&?|;")
_OURS: Final = frozenset({"stdout", "stderr"})


class CommandTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[engine]` table of `command` as a person writes it; `templates`: file name to the path of its template."""

    command: str | list[str]
    templates: dict[str, str] = {}
    results: dict[str, Any] = {}
    keep: list[str] = []


class CommandParameters(msgspec.Struct, frozen=True):
    """The checked table: `templates` holds texts now. Arguments and texts still have their placeholders."""

    argv: list[str]
    templates: dict[str, str] = {}
    results: ResultRules = ResultRules()
    keep: list[str] = []


class CommandEngine:
    """Runs a program in the attempt's directory, without a shell; its output goes to the files stdout and stderr."""

    name = "command"
    kind: Literal["program"] = "program"
    tasks: frozenset[str] = frozenset()
    roles: Mapping[Role, Mapping[str, Any]] = MappingProxyType({})
    abilities: frozenset[Ability] = frozenset()
    rules: tuple[Rule, ...] = ()
    parameters_type = CommandParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> CommandParameters:
        """The checked `[engine]` table, its templates read; SpecError says what is wrong with it."""
        given = check_table(table, CommandTable)
        rules = check_rules(check_table(given.results, ResultRules, "engine.results"))
        templates = {}
        for name, path in given.templates.items():
            key = f"engine.templates.{name}"
            _check_file_name(name, key)
            if name in _OURS:
                raise SpecError(f"{name!r} is where the program's output goes; choose another name", key=key)
            templates[name] = read_file(path)
            _check_template(templates[name], key, path)
        for name in given.keep:
            _check_file_name(name, "engine.keep")
        for name in filter(None, (rules.file, rules.source)):
            _check_file_name(name, "engine.results")
        return CommandParameters(_check_argv(given.command), templates, rules, given.keep)

    def comparable(self, parameters: CommandParameters, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: what the program does with a cell is its own affair."""
        return {}

    def render(self, calculation: Calculation, parameters: CommandParameters) -> Rendered:
        """The template files and the command line with the placeholders filled in."""
        values = _Values(calculation)
        files = {name: Template(text).substitute(values) for name, text in parameters.templates.items()}
        return Rendered(files, [Template(argument).substitute(values) for argument in parameters.argv])

    def read(self, directory: Path, exit: Exit, parameters: CommandParameters) -> Outcome:  # noqa: A002
        """The outcome by the spec's rules; without any, that of the exit alone."""
        return read_program(directory, exit, parameters.results, parameters.keep)

    def programs(self, parameters: CommandParameters) -> Mapping[str, str]:
        """The first word of the command, in which there are no placeholders."""
        return {"engine.command": Template(parameters.argv[0]).substitute()}

    def outputs(self, parameters: CommandParameters) -> tuple[str, ...]:
        """What it prints, what its results are read from, and what is to be kept."""
        rules = parameters.results
        return tuple(dict.fromkeys(["stdout", "stderr", rules.file or rules.source, *parameters.keep]))

    def load(self) -> None:
        """Nothing: the program brings what it needs."""


class _Values(dict[str, str]):
    """The placeholders' values, made when asked for."""

    def __init__(self, calculation: Calculation) -> None:
        self._calculation = calculation

    def __missing__(self, name: str) -> str:
        value = self[name] = _PLACEHOLDERS[name](self._calculation)
        return value


def _check_argv(command: str | list[str]) -> list[str]:
    argv = split_command(command, "engine.command")
    if isinstance(command, str) and (mark := _shell_mark(command)):
        message = f'{mark!r} is for a shell, but there is none; write command = ["sh", "-c", "..."]'
        raise SpecError(f"{message}, or quote it if it is an argument", key="engine.command")
    for argument in argv:
        _check_template(argument, "engine.command", None)
    if Template(argv[0]).get_identifiers():
        raise SpecError("the program itself cannot be a placeholder", key="engine.command")
    return argv


def _shell_mark(command: str) -> str | None:
    """The first word of `command` that only a shell would understand: a redirection, a pipe, a list."""
    words = _QUOTED.sub("x", command).split()
    return next((word for word in words if _SHELL_MARK.fullmatch(word)), None)


def _check_template(text: str, key: str, path: str | None) -> None:
    """SpecError for a placeholder that does not exist, or a `$` that begins none."""
    for match in Template.pattern.finditer(text):
        found = match["named"] or match["braced"]
        if found in _PLACEHOLDERS or match["escaped"] is not None:
            continue
        line = text.count("\n", 0, match.start()) + 1
        where = f"{path}, line {line}: " if path else ""
        what = f"unknown placeholder ${found}" if found else "a $ that begins no placeholder"
        known = ", ".join(f"${name}" for name in _PLACEHOLDERS)
        raise SpecError(f"{where}{what}; known: {known}; write $$ for a dollar sign", key=key)


def _check_file_name(name: str, key: str) -> None:
    if _FILE_NAME.fullmatch(name) is None:
        message = f"{name!r} cannot name a file of the attempt; use letters, digits and _ . + = , @ -, without folders"
        raise SpecError(message, key=key)
