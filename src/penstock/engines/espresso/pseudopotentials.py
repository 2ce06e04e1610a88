"""Pseudopotential files in UPF format: what their headers say, and which file is an element's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.domain.spec import is_file_name
from penstock.engines.engine import open_output

_HEADER_MAX: Final = 1 << 20
_HEADER: Final = re.compile(r"<PP_HEADER\b(.*?)(?:/>|</PP_HEADER>)", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ELEMENT_OF_NAME: Final = re.compile(r"([A-Z][a-z]?)(?=[._-])")
_NAMES: Final = {
    "SLA PZ NOGX NOGC": "LDA",
    "SLA PW NOGX NOGC": "LDA",
    "SLA PW": "LDA",
    "PZ": "LDA",
    "LDA": "LDA",
    "SLA PW PBE PBE": "PBE",
    "SLA PW PBX PBC": "PBE",
    "PBE": "PBE",
    "SLA PW PSX PSC": "PBESOL",
    "PBESOL": "PBESOL",
    "SLA LYP B88 BLYP": "BLYP",
    "B88 LYP": "BLYP",
    "BLYP": "BLYP",
}
_NORM_CONSERVING: Final = frozenset({"NC", "SL", "1/R"})


class Pseudopotential(msgspec.Struct, frozen=True):
    """A file, and what its header says; the numbers are None where it says nothing, or could not be looked at.

    Cut-offs in Ry. `functional` is its short name (LDA, PBE, PBESOL, BLYP) or what the header has.
    """

    file: str
    functional: str | None = None
    is_norm_conserving: bool | None = None
    is_relativistic: bool = False  # with spin-orbit coupling
    wfc_cutoff_ry: float | None = None
    rho_cutoff_ry: float | None = None


def short_functional(name: str) -> str:
    """A functional as people call it, for the spellings of UPF headers; capitals, single blanks."""
    plain = " ".join(re.sub(r"[^A-Z0-9/+]", " ", name.upper()).split())
    return _NAMES.get(plain, plain)


def read_header(path: Path) -> tuple[str, Pseudopotential]:
    """The element and the rest of the header of a UPF file of version 1 or 2; ValueError says why it is none."""
    try:
        with open(open_output(path), "rb") as file:  # noqa: PTH123 - it is a descriptor
            text = file.read(_HEADER_MAX).decode("utf-8", "replace")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    header = _HEADER.search(text)
    if header is None:
        raise ValueError(f"{path} is no UPF file: it has no PP_HEADER")
    values = {match[1]: match[2] or match[3] or "" for match in _ATTRIBUTE.finditer(header[1])}
    if "element" not in values:
        values = _old_header(header[1])
    element = values.get("element", "").strip().capitalize()
    if element not in ATOMIC_NUMBERS:
        raise ValueError(f"the header of {path} names no element")
    kind = values.get("pseudo_type", "").strip().upper()
    return element, Pseudopotential(
        file=path.name,
        functional=short_functional(values["functional"]) if values.get("functional", "").strip() else None,
        is_norm_conserving=kind in _NORM_CONSERVING if kind else None,
        is_relativistic=values.get("has_so", "").strip().lower().strip(".") in {"t", "true"},
        wfc_cutoff_ry=_positive(values.get("wfc_cutoff", "")),
        rho_cutoff_ry=_positive(values.get("rho_cutoff", "")),
    )


def check_given(given: Mapping[str, str], directory: Path) -> dict[str, Pseudopotential]:
    """The files that the spec names; their headers where the directory can be seen from here. SpecError."""
    found: dict[str, Pseudopotential] = {}
    for element, name in given.items():
        key = f"engine.pseudopotentials.{element}"
        if element not in ATOMIC_NUMBERS:
            raise SpecError(f"{element!r} is no element", key=key)
        if not is_file_name(name):
            raise SpecError(f"{name!r} is no plain file name; the folder is pseudo_dir", key=key)
        if not directory.is_dir():  # on another host; pw.x will see
            found[element] = Pseudopotential(name)
            continue
        try:
            named, found[element] = read_header(directory / name)
        except ValueError as error:
            raise SpecError(str(error), key=key) from error
        if named != element:
            raise SpecError(f"{name} is a pseudopotential of {named}, not of {element}", key=key)
    check_functionals(found, "engine.pseudopotentials")
    return found


def check_functionals(chosen: Mapping[str, Pseudopotential], key: str) -> None:
    """SpecError if the files were made for different functionals; pw.x would stop, or mix them."""
    by_functional = {p.functional: f"{element} {p.file}" for element, p in chosen.items() if p.functional is not None}
    if len(by_functional) > 1:
        listed = "; ".join(f"{functional}: {example}" for functional, example in sorted(by_functional.items()))
        raise SpecError(f"the pseudopotentials are of different functionals ({listed}); choose one", key=key)


def find_candidates(directory: Path, functional: str | None, *, relativistic: bool) -> dict[str, list[Pseudopotential]]:
    """The UPF files of a directory by element, of one functional if it is given. SpecError where there is nothing.

    An unreadable file, or one whose name promises another element than its header, is passed over: only what is sure
    is chosen without being asked for.
    """
    if not directory.is_dir():
        message = f"{directory} is no folder on the daemon's host; give pseudopotentials by element instead"
        raise SpecError(message, key="engine.pseudo_dir")
    candidates: dict[str, list[Pseudopotential]] = {}
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() != ".upf" or not is_file_name(path.name):
            continue
        try:
            element, found = read_header(path)
        except ValueError:
            continue
        named = _ELEMENT_OF_NAME.match(path.name)
        fits = functional is None or found.functional == short_functional(functional)
        if fits and found.is_relativistic == relativistic and (named is None or named[1] == element):
            candidates.setdefault(element, []).append(found)
    if not candidates:
        of = f" of {functional}" if functional else ""
        raise SpecError(f"{directory} holds no pseudopotentials{of} in UPF format", key="engine.pseudo_dir")
    return candidates


def _old_header(text: str) -> dict[str, str]:
    """The header of UPF version 1: a value or two a line, then what they are."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        columns = line.split()
        if line.rstrip().endswith("Element"):
            values["element"] = columns[0]
        elif line.rstrip().endswith("Exchange-Correlation functional"):
            names = line.partition("Exchange-Correlation")[0].split()
            values["functional"] = " ".join(names[:4])
        elif "pseudopotential" in line.lower() and columns:
            values["pseudo_type"] = columns[0]
        elif "Suggested cutoff" in line:
            values["wfc_cutoff"], values["rho_cutoff"] = columns[:2]
    return values


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None
