"""The `[engine]` table of ORCA, checked: what is calculated, and how the input comes about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest
from penstock.engines.engine import ReadFile, check_table
from penstock.engines.orca.template import check_template

HOOKS: Final = "penstock.inputs"
"""The group of entry points that name functions which write inputs."""

RAW: Final = "raw"
"""The setting under which a block's raw text is kept, so that further settings can be added to it."""

Task = Literal["energy", "gradient", "opt", "freq", "opt+freq"]

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SETTING: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\[[0-9,]+\])?")
_OURS: Final = {
    "maxcore": "engine.maxcore_mb",
    "pal": "engine.cores",
    "coords": "the structure",
    "moinp": "reuse_guess, which reads the orbitals of an earlier attempt",
}
_OPTIMISES: Final = re.compile(r"(?:(?:VERY)?TIGHT|LOOSE|NORMAL)?C?OPT(?:TS|H)?|L-OPTH?|OPT-CI|CI-OPT", re.IGNORECASE)
_FREQUENCIES: Final = re.compile(r"(?:NUM|AN)?FREQ", re.IGNORECASE)
_TASK_WORDS: Final = (
    (_OPTIMISES, ("opt", "opt+freq"), "opt"),
    (_FREQUENCIES, ("freq", "opt+freq"), "freq"),
    (re.compile(r"ENGRAD", re.IGNORECASE), ("gradient",), "gradient"),
    (re.compile(r"SP|ENERGY", re.IGNORECASE), ("energy",), "energy"),
)
_OTHER_TASKS: Final = re.compile(r"MD|IRC|GOAT.*|DOCK|(?:ZOOM-|FAST-|LOOSE-|TIGHT-)?NEB(?:-.*)?|SCANTS", re.IGNORECASE)
_PAL: Final = re.compile(r"PAL\d+", re.IGNORECASE)


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the table and the checked parameters have alike."""

    command: str = "orca"
    method: str = ""
    basis: str = ""
    task: Task = "energy"
    keywords: list[str] = []
    cores: int | None = None
    maxcore_mb: int | None = None
    core_share: float = 1.0
    mpirun_options: str = ""
    template: str = ""
    hook: str = ""
    reuse_guess: bool = True
    reuse_hessian: bool = True


class OrcaParameters(_Settings, frozen=True, forbid_unknown_fields=True):
    """What ORCA is to do. `template` is a template's text; `blocks` hold tables of settings, their names in lower case.

    `cores` and `maxcore_mb` are those of the attempt's resources where they are None; `core_share` is the part of the
    cores that gets a process. `reuse_guess` and `reuse_hessian` say whether an earlier attempt's are taken.
    """

    blocks: dict[str, dict[str, Any]] = {}


class _OrcaTable(_Settings, frozen=True, forbid_unknown_fields=True):
    """The table as a person writes it: `template` is a path, a block may be raw text."""

    blocks: dict[str, dict[str, Any] | str] = {}


def check_parameters(table: Mapping[str, Any], read_file: ReadFile) -> OrcaParameters:
    """The checked table, its template read; SpecError says what is wrong with it."""
    given = check_table(table, _OrcaTable)
    _check_command(given.command)
    _check_origin(given)
    _check_words(given.mpirun_options, "engine.mpirun_options")
    for key, texts in (("method", [given.method]), ("basis", [given.basis]), ("keywords", given.keywords)):
        for text in texts:
            _check_keywords(text, given.task, f"engine.{key}")
    if not all(map(str.strip, given.keywords)):
        raise SpecError("an empty keyword", key="engine.keywords")
    _check_numbers(given)
    template = read_file(given.template) if given.template else ""
    if template:
        check_template(template, given.template)
    if given.hook:
        _check_hook(given.hook)
    blocks = {name.lower(): _check_block(name, block) for name, block in given.blocks.items()}
    values = {name: getattr(given, name) for name in given.__struct_fields__}
    return OrcaParameters(**{**values, "template": template, "blocks": blocks})


def _check_command(command: str) -> None:
    """ORCA starts its parallel parts from where it lies, so it wants to be called by its full path."""
    if not command.strip() or _UNPRINTABLE.search(command):
        raise SpecError("name the program, such as /opt/orca/orca", key="engine.command")
    if "/" in command and not command.startswith("/"):
        message = f"{command!r} depends on the directory; write the full path, or just orca if it is on the PATH"
        raise SpecError(message, key="engine.command")


def _check_origin(given: _OrcaTable) -> None:
    if given.template and given.hook:
        raise SpecError("give a template or a hook, not both", key="engine.hook")
    if not given.method.strip() and not given.template and not given.hook:
        raise SpecError('missing; name a method, such as "B3LYP" or "r2SCAN-3c"', key="engine.method")


def _check_words(text: str, key: str) -> None:
    if _UNPRINTABLE.search(text) or any(mark in text for mark in "#!%"):
        raise SpecError(f"{text!r} cannot stand in a line of keywords; leave out #, !, % and line ends", key=key)


def _check_keywords(text: str, task: str, key: str) -> None:
    """SpecError for what is no word of an input line, and for a word that contradicts the task."""
    _check_words(text, key)
    for word in text.split():
        if _PAL.fullmatch(word):
            raise SpecError(f"{word}: give the number of processes as cores, or leave it to [resources]", key=key)
        if word.upper() == "MOREAD":
            raise SpecError("MOREAD is added where an earlier attempt left orbitals", key=key)
        if _OTHER_TASKS.fullmatch(word):
            raise SpecError(f"{word} is a task of its own; write a template for it", key=key)
        for pattern, tasks, name in _TASK_WORDS:
            if pattern.fullmatch(word) and task not in tasks:
                raise SpecError(f'{word} contradicts task = "{task}"; write task = "{name}"', key=key)


def _check_numbers(given: _OrcaTable) -> None:
    for key, value in (("cores", given.cores), ("maxcore_mb", given.maxcore_mb)):
        if value is not None and not 1 <= value <= 10**7:
            raise SpecError(f"must be at least 1, not {value}", key=f"engine.{key}")
    if not 0 < given.core_share <= 1:
        raise SpecError(
            f"is a part of the cores, more than 0 and at most 1, not {given.core_share}", key="engine.core_share"
        )


def _check_hook(name: str) -> None:
    installed = sorted(entry.name for entry in entry_points(group=HOOKS))
    if name not in installed:
        known = f"installed: {', '.join(installed)}" if installed else "none is installed"
        hint = " ".join(filter(None, [nearest(name, installed), f"{known} (entry points of the group {HOOKS})"]))
        raise SpecError(f"there is no hook {name!r}; {hint}", key="engine.hook")


def _check_block(name: str, block: Mapping[str, Any] | str) -> dict[str, Any]:
    key = f"engine.blocks.{name}"
    if _NAME.fullmatch(name) is None:
        raise SpecError(f"{name!r} cannot be a block; write its name without %", key="engine.blocks")
    if (meant := _OURS.get(name.lower())) is not None:
        raise SpecError(f"this comes from {meant}; leave the block out", key=key)
    if isinstance(block, str):
        return {RAW: _check_raw(block, key)}
    return _check_settings(block, key)


def _check_raw(text: str, key: str) -> str:
    """The lines inside a block, without its first and last."""
    for line in text.splitlines():
        if line.lstrip()[:1] in {"%", "*", "$", "!"}:
            message = f"{line.strip()!r} would end the block; write only the lines between % and end"
            raise SpecError(message, key=key)
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text.replace("\r\n", "\n")):
        raise SpecError("holds control characters; leave them out", key=key)
    return text.replace("\r\n", "\n").strip("\n")


def _check_settings(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Settings with their names in lower case; a table in them is a sub-block with an `end` of its own."""
    settings: dict[str, Any] = {}
    for name, value in table.items():
        where = f"{key}.{name}"
        if _SETTING.fullmatch(name) is None:
            raise SpecError(f"{name!r} cannot be a setting", key=key)
        if name.lower() == RAW and isinstance(value, str):
            settings[RAW] = _check_raw(value, where)
        elif isinstance(value, Mapping):
            settings[name.lower()] = _check_settings(value, where)
        else:
            _check_value(value, where)
            settings[name.lower()] = value
    return settings


def _check_value(value: Any, key: str) -> None:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, bool | int | float | str):
            raise SpecError("is a number, true, false, a text, a list of those or a table", key=key)
        if isinstance(item, str) and _UNPRINTABLE.search(item):
            raise SpecError(f"{item!r} holds line ends or control characters", key=key)
