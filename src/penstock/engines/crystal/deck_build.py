"""A whole deck from typed settings, for those who have none."""

from __future__ import annotations

import math
import re
from typing import Final, Literal

import msgspec

from penstock.engines.crystal.deck import parse_deck, render_deck
from penstock.engines.crystal.deck_model import Basis, Deck, Entry, GeometryInput
from penstock.engines.crystal.geometry_expand import shortest_period

HARTREE_FOCK: Final = frozenset({"HF", "RHF", "UHF"})
COMPOSITE_HF: Final = {"HF3C": "MINIX", "HFSOL3C": "SOLMINIX"}
COMPOSITE_DFT: Final = {
    "PBEH3C": "DEF2-MSVP",
    "HSE3C": "DEF2-MSVP",
    "B973C": "MTZVP",
    "PBESOL03C": "SOLDEF2MSVP",
    "HSESOL3C": "SOLDEF2MSVP",
}
"""Composite methods, which bring dispersion and other corrections along, with the basis they were made for."""
_NAME: Final = re.compile(r"[A-Z0-9][A-Z0-9/+*._()-]*")
_MESH_ANGSTROM: Final = 30.0
"""The default shrinking factor times the shortest lattice vector: 12 for diamond, 1 for a cell of 30 Å."""


class BasisChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A basis by the name CRYSTAL knows it by, or its text, each element's block, ended by `99 0` or not.

    Neither: the basis of a composite method, else POB-TZVP-REV2.
    """

    name: str | None = None
    text: str | None = None


class Hamiltonian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """HF, HF3C, HFSOL3C, or a functional as the DFT block has it (PBE, B3LYP, HSE06, HSESOL3C).

    `dispersion` D3 is Grimme's with Becke-Johnson damping (PBE-D3). `spin` frees alpha from beta electrons.
    """

    functional: str = "PBE"
    dispersion: Literal["", "D3"] = ""
    spin: bool = False
    grid: Literal["", "LGRID", "XLGRID", "XXLGRID", "XXXLGRID"] = "XLGRID"


class ScfSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the SCF section; None leaves CRYSTAL's own default, but of a periodic deck's `shrink`.

    `shrink` is (IS, ISP) or (IS1, IS2, IS3, ISP); `spinlock` the alpha minus beta electrons and for how many cycles.
    `more` are keywords with their value lines, as they stand in a deck.
    """

    shrink: tuple[int, ...] | None = None
    tolinteg: tuple[int, int, int, int, int] | None = (7, 7, 7, 7, 14)
    toldee: int | None = 7
    maxcycle: int | None = 800
    fmixing: int | None = 30
    diis: bool = True
    histdiis: int | None = None
    biposize: int | None = None
    exchsize: int | None = None
    levshift: tuple[int, int] | None = None
    smear_hartree: float | None = None
    spinlock: tuple[int, int] | None = None
    more: str = ""


def build_deck(
    title: str, geometry: GeometryInput, basis: BasisChoice, hamiltonian: Hamiltonian, scf: ScfSettings
) -> Deck:
    """A deck for one point (`as_task` makes others of it); ValueError says which setting is wrong."""
    title = " ".join(title.split()) or "untitled"
    given = _basis(basis, hamiltonian)
    entries = (*_hamiltonian(hamiltonian), *_scf(geometry, scf))
    deck = Deck(title, geometry, (), None if given.entries else "END", given, entries)
    text = render_deck(deck).removesuffix("END\n") + scf.more.strip("\n") + "\nEND\n"
    return parse_deck(text)


def mesh_for(geometry: GeometryInput) -> tuple[int, int] | None:
    """IS and ISP by the cell's size; None for a molecule."""
    if geometry.dimensionality == 0:
        return None
    period = shortest_period(geometry)
    factor = max(1, math.ceil(_MESH_ANGSTROM / period - 0.5)) if period else 8
    return factor, 2 * factor


def _basis(choice: BasisChoice, hamiltonian: Hamiltonian) -> Basis:
    if choice.name is not None and choice.text is not None:
        raise ValueError("give the name of a basis or its text, not both")
    if choice.text is None:
        name = choice.name or (COMPOSITE_HF | COMPOSITE_DFT).get(_plain(hamiltonian.functional), "POB-TZVP-REV2")
        return Basis((), (Entry("BASISSET", (_checked(name, "basis"),)),))
    lines = [line.rstrip() for line in choice.text.splitlines() if line.strip()]
    if not lines or any(line.lstrip()[:3].upper() == "END" for line in lines):
        raise ValueError("the text of a basis is its elements' blocks, without an END")
    closed = lines[-1].split()[:2] == ["99", "0"]
    return Basis((*lines, *(() if closed else ("99 0",))), (), "END")


def _hamiltonian(hamiltonian: Hamiltonian) -> tuple[Entry, ...]:
    name = _checked(hamiltonian.functional, "functional")
    plain = _plain(name)
    if hamiltonian.dispersion and (plain in COMPOSITE_HF or plain in COMPOSITE_DFT):
        raise ValueError(f"{name} brings its dispersion along; leave dispersion empty")
    if plain in HARTREE_FOCK:
        if hamiltonian.dispersion:
            raise ValueError("dispersion is for functionals; HF3C is Hartree-Fock with it")
        return (Entry("UHF"),) if hamiltonian.spin or plain == "UHF" else ()
    spin = (Entry("SPIN"),) if hamiltonian.spin else ()
    if plain in COMPOSITE_HF:
        return (*((Entry("UHF"),) if hamiltonian.spin else ()), Entry(plain, end="END"))
    functional = plain if plain in COMPOSITE_DFT else name
    if hamiltonian.dispersion and not functional.endswith("-D3"):
        functional += "-D3"
    grid = (Entry(hamiltonian.grid),) if hamiltonian.grid else ()
    return (Entry("DFT", entries=(*spin, Entry(functional), *grid), end="ENDDFT"),)


def _plain(name: str) -> str:
    """A method's name without hyphens: HF-3C is HF3C to CRYSTAL."""
    return name.upper().replace("-", "")


def _checked(name: str, what: str) -> str:
    upper = name.strip().upper()
    if _NAME.fullmatch(upper) is None or upper.startswith("END"):
        raise ValueError(f"{name!r} is no name of a {what}")
    return upper


def _scf(geometry: GeometryInput, scf: ScfSettings) -> tuple[Entry, ...]:
    """The keywords in the order people are used to."""
    values: tuple[tuple[str, object], ...] = (
        ("TOLINTEG", scf.tolinteg),
        ("TOLDEE", scf.toldee),
        ("SHRINK", _shrink(geometry, scf.shrink)),
        ("BIPOSIZE", scf.biposize),
        ("EXCHSIZE", scf.exchsize),
        ("MAXCYCLE", scf.maxcycle),
        ("FMIXING", scf.fmixing),
        ("DIIS", "" if scf.diis else "-"),
        ("HISTDIIS", scf.histdiis),
        ("LEVSHIFT", scf.levshift),
        ("SMEAR", scf.smear_hartree),
        ("SPINLOCK", scf.spinlock),
    )
    entries = [Entry(keyword, _value_lines(value)) for keyword, value in values if value is not None and value != "-"]
    return (*entries, *(() if scf.diis else (Entry("NODIIS"),)), Entry("PPAN"))


def _value_lines(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split("\n")) if value else ()
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value),)


def _shrink(geometry: GeometryInput, given: tuple[int, ...] | None) -> str | None:
    if geometry.dimensionality == 0:
        if given is not None:
            raise ValueError("a molecule has no reciprocal space; leave shrink out")
        return None
    given = given or mesh_for(geometry)
    assert given is not None
    if len(given) not in {2, 4} or min(given) < 1:
        raise ValueError("shrink is IS and ISP, or IS1, IS2, IS3 and ISP, each at least 1")
    if len(given) == 2:
        return f"{given[0]} {given[1]}"
    return f"0 {given[3]}\n{given[0]} {given[1]} {given[2]}"
