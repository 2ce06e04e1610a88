"""What a goal grows in: the settings that are there already, and the pseudopotentials that lie ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.engines.espresso.pseudopotentials import Pseudopotential, find_candidates

PSEUDO_VARIABLE: Final = "ESPRESSO_PSEUDO"
"""The environment variable with the folder of the pseudopotentials, the one that pw.x itself looks at."""
USUAL_FOLDERS: Final = ("/usr/share/espresso/pseudo",)
"""Where distributions put pseudopotentials (Debian's quantum-espresso-data)."""
_FUNCTIONALS: Final = ("PBE", "PBESOL", "LDA")


class Surroundings(msgspec.Struct, frozen=True):
    """`settings` are those that somebody has set where they rank lower than a spec, by dotted key.

    Of `pseudo_dir`, if there is one, `files` has one file for each element of the system, all of one `functional`;
    `lacking` are the elements that have none. The cut-off (Ry) is the largest that they suggest, None where
    one suggests none.
    """

    settings: dict[str, Any] = {}
    pseudo_dir: str = ""
    functional: str = ""
    files: dict[str, str] = {}
    lacking: tuple[str, ...] = ()
    cutoff_ry: float | None = None
    is_norm_conserving: bool = False  # all files


def find_pseudo_dir(environment: Mapping[str, str]) -> str:
    """The folder that `ESPRESSO_PSEUDO` names, else the usual one that is there, else ""."""
    named = environment.get(PSEUDO_VARIABLE, "")
    return named or next((folder for folder in USUAL_FOLDERS if Path(folder).is_dir()), "")


def look_around(
    elements: Sequence[str], pseudo_dir: str, functional: str | None, settings: Mapping[str, Any]
) -> Surroundings:
    """The surroundings of a system with these elements. Reads the headers of the files in `pseudo_dir`, "" for none.

    `functional`: the only one that is wanted; without it, the first that has a file for every element.
    """
    none = Surroundings(dict(settings), pseudo_dir, lacking=tuple(elements))
    best = none
    for name in (functional,) if functional else _FUNCTIONALS:
        try:
            candidates = find_candidates(Path(pseudo_dir), name, relativistic=False) if pseudo_dir else {}
        except SpecError:  # no such folder, or nothing of that functional in it
            continue
        lacking = tuple(element for element in elements if element not in candidates)
        chosen = {element: _choose(candidates[element]) for element in elements if element in candidates}
        if len(lacking) < len(best.lacking):
            best = _with_files(none, name, chosen, lacking)
    return best


def _choose(candidates: Sequence[Pseudopotential]) -> Pseudopotential:
    """The first, by name, that suggests a cut-off and is not called relativistic; else the first."""
    return min(candidates, key=lambda one: (".rel-" in one.file, one.wfc_cutoff_ry is None, one.file))


def _with_files(
    none: Surroundings, functional: str, chosen: Mapping[str, Pseudopotential], lacking: tuple[str, ...]
) -> Surroundings:
    suggested = [one.wfc_cutoff_ry for one in chosen.values()]
    return msgspec.structs.replace(
        none,
        functional=functional,
        files={element: one.file for element, one in chosen.items()},
        lacking=lacking,
        cutoff_ry=None if None in suggested else max(filter(None, suggested)),
        is_norm_conserving=all(one.is_norm_conserving for one in chosen.values()),
    )
