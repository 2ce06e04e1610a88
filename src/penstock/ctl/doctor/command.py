"""The command `penstockctl doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.ctl.doctor.configuration import Configuration
from penstock.ctl.doctor.contact import Contact
from penstock.ctl.doctor.examination import Examination
from penstock.ctl.doctor.finding import Level, level_of
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.domain.errors import NotFoundError
from penstock.domain.views import Finding

_SOMETHING_FAILED: Final = 1
_WORDS: Final = {Level.OK: "ok  ", Level.NOTE: "note", Level.WARNING: "warn", Level.PROBLEM: "FAIL"}
_LOCAL: Final = "local"


@command("doctor")
@click.option(
    "--cluster", "names", multiple=True, metavar="NAME", help="Check this cluster whole, with a job of its own."
)
@click.option("--clusters", "every", is_flag=True, help="Check all clusters that have a scheduler so.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="The configuration to look at; by default the running daemon's."
)
def doctor(ctl: Ctl, names: tuple[str, ...], every: bool, config: Path | None) -> int:
    """Look at everything Penstock needs here and say how to mend what is not well; nothing is changed."""

    def whole(contact: Contact, seen: Configuration) -> list[str]:
        return clusters_to_check(contact, seen, names, every=every)

    examination = Examination(ctl.socket, config, os.environ)
    findings = []
    try:
        for finding in examination.findings(whole):
            findings.append(finding)
            if ctl.json:
                ctl.emit(msgspec.structs.replace(finding, level=level_of(finding)))
                sys.stdout.flush()
    finally:
        examination.close()
    if not ctl.json:
        _show(ctl, findings)
    return _SOMETHING_FAILED if any(not finding.ok for finding in findings) else 0


def clusters_to_check(contact: Contact, seen: Configuration, names: tuple[str, ...], *, every: bool) -> list[str]:
    """Which clusters get a job. NotFoundError for a name that nobody knows, and where no daemon could check it."""
    if not names and not every:
        return []
    known = {info.name: info.kind for info in contact.clusters}
    if contact.pong is None:
        raise NotFoundError("clusters are checked by a running daemon; start it first")
    for name in names:
        if name not in known:
            more = " (a restart of the daemon makes it known)" if name in seen.config.clusters else ""
            raise NotFoundError(f"there is no cluster {name!r}{more}; known: {', '.join(known)}")
        if known[name] == _LOCAL:
            raise NotFoundError(f"cluster {name} has no scheduler to check")
    return list(names) if names else [name for name, kind in known.items() if kind != _LOCAL]


def _show(ctl: Ctl, findings: list[Finding]) -> None:
    """Group by group; what is not well stands at the end, where it is seen."""
    by_level = {level: [f for f in findings if level_of(f) is level] for level in Level}
    group = None
    for finding in (f for f in findings if level_of(f) in {Level.OK, Level.NOTE}):
        if finding.group != group:
            if group is not None:
                ctl.line()
            ctl.line(f"{finding.group}:")
            group = finding.group
        _show_finding(ctl, finding, "")
    for title, level in (("may become a problem:", Level.WARNING), ("must be mended:", Level.PROBLEM)):
        if by_level[level]:
            ctl.line()
            ctl.line(title)
        for finding in by_level[level]:
            _show_finding(ctl, finding, f"{finding.group}, ")
    ctl.note(summary({level: len(found) for level, found in by_level.items()}))


def _show_finding(ctl: Ctl, finding: Finding, place: str) -> None:
    detail = f": {finding.detail}" if finding.detail else ""
    what = finding.what if place.startswith(f"{finding.what},") else f"{place}{finding.what}"
    ctl.line(f"{_WORDS[level_of(finding)]}  {what}{detail}")
    if finding.remedy:
        ctl.line(f"      {finding.remedy}")


def summary(counts: dict[Level, int]) -> str:
    """One sentence on all of it."""
    total, problems, warnings = sum(counts.values()), counts[Level.PROBLEM], counts[Level.WARNING]
    warned = f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
    if not problems:
        return f"nothing must be mended: {total} findings{warned}"
    return f"{problems} of {total} findings must be mended{warned}"


COMMANDS: Final = {"doctor": doctor}
