"""Versions: of Python, SQLite, the kernel, and of the packages that Penstock is built on."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.contact import numbers
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.doctor.importing import ONE_OF_THEM, run_imports
from penstock.domain.views import Finding

_PACKAGE: Final = "penstock"
_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?")
_LEAST: Final = re.compile(r">=\s*([\w.]+)")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
_FOR_USERS: Final = ("xtb", "parquet", "sella", "remote")
_SQLITE_LEAST: Final = (3, 35, 0)  # RETURNING
_WAL_MENDED: Final = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
_KERNEL_LEAST: Final = (5, 3)  # pidfd_open
_PYTHON_LEAST: Final = (3, 11)


class Requirement(msgspec.Struct, frozen=True):
    """A package that Penstock needs, at least in `least` (empty: any), for `extra` (empty: always)."""

    name: str
    least: str
    extra: str

    @property
    def module(self) -> str:
        """What is imported of it; all that we need are named so."""
        return re.sub(r"[-.]+", "_", self.name).lower()


def parse_requirement(text: str) -> Requirement | None:
    """A line such as `anyio>=4.10` or `tblite>=0.5; extra == 'xtb'` of a package's metadata; None for what is none."""
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        return None
    name, specifier, marker = match.groups()
    least, extra = _LEAST.search(specifier or ""), _EXTRA.search(marker or "")
    return Requirement(name, least[1] if least else "", extra[1] if extra else "")


# ---- the system's ---------------------------------------------------------------------------------------------------


def judge_python(version: tuple[int, ...], executable: str) -> Finding:
    """Whether it is new enough."""
    shown = ".".join(map(str, version))
    if version[:2] < _PYTHON_LEAST:
        return problem("Python", f"{shown} ({executable})", "install Penstock with Python 3.11 or newer")
    return well("Python", f"{shown} ({executable})")


def judge_kernel(release: str) -> Finding:
    """Whether it has what processes are watched with."""
    if numbers(release.replace("-", ".")) < _KERNEL_LEAST:
        return problem(
            "kernel", f"{release} has no pidfd_open", "5.3 or newer is needed: the daemon cannot follow runners"
        )
    return well("kernel", release)


def judge_sqlite(version: tuple[int, ...]) -> Finding:
    """Whether it can what we ask of it, and has not the fault that may damage a WAL file with several writers."""
    shown = ".".join(map(str, version))
    if version < _SQLITE_LEAST:
        return problem("SQLite", f"{shown} is too old", "a Python that is built with SQLite 3.35 or newer is needed")
    if not has_mended_wal(version):
        detail = f"{shown}: a rare fault of it may damage a database that several processes write to at once"
        remedy = "where workflows share a database: a Python with SQLite 3.51.3 (or 3.50.7, 3.44.6); keep backups"
        return note("SQLite", detail, remedy)
    return well("SQLite", shown)


def has_mended_wal(version: tuple[int, ...]) -> bool:
    """Whether the WAL-reset fault (sqlite.org/wal.html) is mended: in 3.51.3 and later, and in two older lines."""
    return version >= _WAL_MENDED[-1] or any(version[:2] == m[:2] and version >= m for m in _WAL_MENDED)


def judge_init(*, has_systemd: bool) -> Finding:
    """Whether there is somebody who starts a daemon at boot."""
    if has_systemd:
        return well("systemd", "runs here")
    detail = "does not run here: nobody starts the daemon at boot or after a crash"
    return note("systemd", detail, "start penstockd by whatever starts services here; it stays in the foreground")


# ---- packages -------------------------------------------------------------------------------------------------------


class Packages(msgspec.Struct, frozen=True):
    """What is needed, what is installed (by name), and which of it cannot be imported and why."""

    requirements: tuple[Requirement, ...]
    installed: dict[str, str]
    broken: dict[str, str]  # by module


def look_at_packages() -> Packages:
    """What is installed beside this program. Importing happens in a process of its own, which may crash or hang."""
    parsed = map(parse_requirement, metadata.requires(_PACKAGE) or [])
    known = {"", *_FOR_USERS}
    wanted = tuple(requirement for requirement in parsed if requirement is not None and requirement.extra in known)
    installed = {}
    for requirement in wanted:
        try:
            installed[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
    modules = dict.fromkeys(requirement.module for requirement in wanted if requirement.name in installed)
    return Packages(wanted, installed, try_imports(modules))


def try_imports(modules: Iterable[str]) -> dict[str, str]:
    """Those that cannot be imported, and why. TimeoutError when it takes too long."""
    return run_imports(sys.executable, "importlib.import_module(name)", modules)


def judge_packages(seen: Packages) -> list[Finding]:
    """Whether all that is always needed is there and works, and what of the rest."""
    findings = [
        problem("package", wrong, f"pip install '{requirement.name}{_at_least(requirement)}'")
        for requirement in seen.requirements
        if not requirement.extra and (wrong := _wrong(requirement, seen)) is not None
    ]
    if ONE_OF_THEM in seen.broken:
        findings.append(problem("packages", seen.broken[ONE_OF_THEM], "install Penstock into a new environment"))
    if not findings:
        needed = [requirement for requirement in seen.requirements if not requirement.extra]
        ssh = f", asyncssh {seen.installed['asyncssh']} among them" if "asyncssh" in seen.installed else ""
        findings.append(well("packages", f"all {len(needed)} are there and new enough{ssh}"))
    return [*findings, *_extras(seen)]


def _wrong(requirement: Requirement, seen: Packages) -> str | None:
    found = seen.installed.get(requirement.name)
    if found is None:
        return f"{requirement.name} is not installed"
    if numbers(found) < numbers(requirement.least):
        return f"{requirement.name} {found} is too old, {requirement.least} is needed"
    if (error := seen.broken.get(requirement.module)) is not None:
        return f"{requirement.name} {found} cannot be imported: {error}"
    return None


def _at_least(requirement: Requirement) -> str:
    return f">={requirement.least}" if requirement.least else ""


def _extras(seen: Packages) -> list[Finding]:
    """An extra that is not installed at all is nobody's fault; one that is there in part is."""
    findings, there, missing = [], [], []
    for extra in _FOR_USERS:
        wanted = [requirement for requirement in seen.requirements if requirement.extra == extra]
        wrong = [fault for requirement in wanted if (fault := _wrong(requirement, seen)) is not None]
        if not wanted:
            continue
        if not wrong:
            there.append(extra)
        elif all(requirement.name not in seen.installed for requirement in wanted):
            missing.append(extra)
        else:
            findings.append(warning(f"extra {extra}", "; ".join(wrong), f"pip install 'penstock[{extra}]'"))
    said = [f"{', '.join(there)} there"] * bool(there) + [f"{', '.join(missing)} not installed"] * bool(missing)
    if said:
        findings.append(well("extras", "; ".join(said)))
    return findings


def look_at_versions() -> list[Finding]:
    """All but the packages."""
    return [
        judge_python(sys.version_info[:3], sys.executable),
        judge_kernel(os.uname().release),
        judge_sqlite(sqlite3.sqlite_version_info),
        judge_init(has_systemd=Path("/run/systemd/system").is_dir()),
    ]
