"""Findings by how much they matter."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from penstock.domain.views import Finding


class Level(StrEnum):
    """How much a finding matters; only a problem makes the doctor fail."""

    OK = "ok"
    NOTE = "note"  # to be known, nothing to be done
    WARNING = "warning"  # works now, and may not tomorrow
    PROBLEM = "problem"  # must be mended


LEVELS: Final = tuple(Level)
"""From good to bad."""
SERVER_REMEDY: Final = (
    "see that its file server is up: findmnt -l names it, and asks it nothing; ls and df there would wait, too"
)
"""For what lies on a file system that does not answer."""


def well(what: str, detail: str = "") -> Finding:
    """All is well."""
    return Finding(what, ok=True, detail=detail, level=Level.OK)


def note(what: str, detail: str, remedy: str = "") -> Finding:
    """Something to know."""
    return Finding(what, ok=True, detail=detail, remedy=remedy, level=Level.NOTE)


def warning(what: str, detail: str, remedy: str) -> Finding:
    """Something that may become a problem."""
    return Finding(what, ok=True, detail=detail, remedy=remedy, level=Level.WARNING)


def problem(what: str, detail: str, remedy: str) -> Finding:
    """Something that must be mended."""
    return Finding(what, ok=False, detail=detail, remedy=remedy, level=Level.PROBLEM)


def level_of(finding: Finding) -> Level:
    """A finding's level; that of a check which knows only good and bad follows from `ok`."""
    if finding.level in LEVELS:
        return Level(finding.level)
    return Level.OK if finding.ok else Level.PROBLEM
