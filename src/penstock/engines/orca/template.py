"""Templates of ORCA inputs: placeholders filled in, and what a template does not say put before its coordinates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template
from typing import Final

from penstock.domain.errors import SpecError

PLACEHOLDERS: Final = (
    "name",
    "geometry",
    "xyz",
    "charge",
    "multiplicity",
    "unpaired",
    "natoms",
    "method",
    "basis",
    "task",
    "keywords",
    "blocks",
    "cores",
    "maxcore_mb",
    "memory_mb",
)
_NEXT_JOB: Final = "new_job"
_GEOMETRIES: Final = frozenset({"geometry", "xyz"})
_COORDINATES: Final = re.compile(r"^[ \t]*(?:\*[ \t]*[A-Za-z]|%[ \t]*coords\b)", re.MULTILINE | re.IGNORECASE)
_JOBS: Final = re.compile(r"(?im)^(?=[ \t]*\$new_job\b)")
_OWN_CORES: Final = re.compile(r"%[ \t]*pal\b|^[ \t]*!.*\bPAL\d+\b", re.MULTILINE | re.IGNORECASE)
_OWN_MAXCORE: Final = re.compile(r"%[ \t]*maxcore\b", re.IGNORECASE)


def check_template(text: str, path: str) -> None:
    """SpecError for a placeholder that does not exist, for a template without coordinates or without the structure."""
    key = "engine.template"
    names = set()
    for match in Template.pattern.finditer(text):
        found = match["named"] or match["braced"]
        names.add(found)
        if found in {*PLACEHOLDERS, _NEXT_JOB} or match["escaped"] is not None:
            continue
        line = text.count("\n", 0, match.start()) + 1
        what = f"unknown placeholder ${found}" if found else "a $ that begins no placeholder"
        known = ", ".join(f"${name}" for name in PLACEHOLDERS)
        raise SpecError(f"{path}, line {line}: {what}; known: {known}; write $$ for a dollar sign", key=key)
    if not names & _GEOMETRIES:
        raise SpecError(f"{path} has neither $geometry nor $xyz, so all structures would be the same", key=key)
    if _COORDINATES.search(text) is None:
        message = f"{path} has no coordinates; write * xyz $charge $multiplicity, then $geometry, then *"
        raise SpecError(message, key=key)


def uses(text: str, name: str) -> bool:
    """Whether the template holds the placeholder `name`."""
    return any(name in {match["named"], match["braced"]} for match in Template.pattern.finditer(text))


def words(text: str) -> set[str]:
    """The words of the template's own input lines, in capitals."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return {word.upper() for line in lines if line.startswith("!") for word in line[1:].split()}


def sets_cores(text: str) -> bool:
    """Whether the template itself says how many processes there are."""
    return _OWN_CORES.search(text) is not None


def sets_maxcore(text: str) -> bool:
    """Whether the template itself says how much memory a process gets."""
    return _OWN_MAXCORE.search(text) is not None


def fill(text: str, values: Mapping[str, str], first: str, every: str) -> str:
    """The input: `every` stands before the coordinates of every job of the template, `first` before the first one's."""
    filled = []
    for number, job in enumerate(part for part in _JOBS.split(text) if part):
        match = _COORDINATES.search(job)
        added = (first if number == 0 else "") + every
        at = match.start() if match else None
        parts = (job, "", "") if at is None else (job[:at], added, job[at:])
        filled += [_substitute(parts[0], values), parts[1], _substitute(parts[2], values)]
    return "".join(filled)


def _substitute(text: str, values: Mapping[str, str]) -> str:
    return Template(text).substitute({**values, _NEXT_JOB: f"${_NEXT_JOB}"})
