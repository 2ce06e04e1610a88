"""What the CRYSTAL manuals (14, 17, 23) say about the layout of a deck.

Which keyword opens a block, which is followed by a line of words, which cell parameters a symmetry group leaves free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DIMENSIONS: Final[Mapping[str, int]] = {"CRYSTAL": 3, "SLAB": 2, "POLYMER": 1, "MOLECULE": 0}
"""The geometry inputs that hold the atoms themselves, and in how many directions they are periodic."""

ELSEWHERE: Final = frozenset({"EXTERNAL", "DLVINPUT", "HELIX"})
"""The geometry inputs whose atoms are in another file, or in a form that is kept as it is."""

BASIS_KEYWORDS: Final = frozenset({"CHARGED", "CHEMOD", "GHOSTS", "NOPRINT", "PARAMPRT", "BASISSET"})
"""What may stand between the name of a predefined basis and the SCF section that follows without an END."""

INTEGERS: Final = frozenset(
    {"MAXCYCLE", "FMIXING", "LEVSHIFT", "SHRINK", "TOLINTEG", "TOLDEE", "BIPOSIZE", "EXCHSIZE", "ILASIZE", "HISTDIIS"}
    | {"SPINLOCK", "NUMDERIV", "POLEORDR", "INTGPACK", "FINALRUN", "LDREMO"}
)
"""Keywords whose values CRYSTAL reads as integers, so that a computed value must be one."""

AFTER_SCF: Final = frozenset({"GEOM", "BASE", "GEBA"})
"""With FIXINDEX, what follows the END of the SCF section: the geometry and basis that fix the classes of integrals."""

TASK_BLOCKS: Final = frozenset(
    {"OPTGEOM", "FREQCALC", "ELASTCON", "ELAPIEZO", "PIEZOCON", "PHOTOELA", "EOS", "QHA", "ANHARM", "CONFCNT"}
    | {"CONFRAND", "MOLDYN"}
)
"""The blocks after the atoms that say what is to be done with the geometry; a deck has at most one of them."""

_OPTIMISATION: Final = frozenset({"PREOPTGEOM"})
_GEOMETRY_BLOCKS: Final = TASK_BLOCKS | {"CPHF", "CPKS"}
_SCF_BLOCKS: Final = frozenset(
    {"DFT", "DFTD3", "DFTD4", "GCP", "GCPAUTO", "HF3C", "HFSOL3C", "CPHF", "CPKS", "TWOCOMPON"}
)

BLOCKS: Final[Mapping[str, frozenset[str]]] = {
    "geometry": _GEOMETRY_BLOCKS,
    "scf": _SCF_BLOCKS,
    "FREQCALC": _OPTIMISATION | {"IRSPEC", "RAMSPEC", "INTCPHF", "COMBMODE"},
    "ELASTCON": _OPTIMISATION,
    "ELAPIEZO": _OPTIMISATION,
    "PIEZOCON": _OPTIMISATION,
    "PHOTOELA": _OPTIMISATION,
    "EOS": _OPTIMISATION,
    "QHA": _OPTIMISATION | {"OPTGEOM", "FREQCALC"},
}
"""By the section or block they stand in: the keywords that open a block which an END of its own closes."""

WORD_LINES: Final = frozenset(
    {("basis", "BASISSET"), ("DFT", "EXCHANGE"), ("DFT", "CORRELAT"), ("DFTD3", "FUNC"), ("DFTD4", "FUNC")}
    | {("GCP", "METHOD"), ("GCPAUTO", "METHOD")}
)
"""By the section or block they stand in: the keywords whose next line is their value though it begins with a letter."""


def opens_block(section: str, keyword: str) -> bool:
    """Whether `keyword` begins a block of its own where it stands: in a section, or in the block of that name."""
    return keyword in BLOCKS.get(section, frozenset())


def crystal_system(space_group: int) -> str:
    """The crystal system of a space group by its number, 1 to 230."""
    last = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal", 194: "hexagonal"}
    return next((system for number, system in last.items() if space_group <= number), "cubic")


RHOMBOHEDRAL: Final = frozenset({146, 148, 155, 160, 161, 166, 167})


def free_cell(dimensionality: int, group: int, *, rhombohedral: bool = False) -> tuple[int, ...]:
    """Which of a, b, c, alpha, beta, gamma (0 to 5) a deck gives for the group, in its order.

    `group` is a space group (unique axis b where monoclinic), a layer group or a rod group by its number;
    `rhombohedral` that a rhombohedral space group is described by its rhombohedral cell.
    """
    if dimensionality == 3:
        if rhombohedral and group in RHOMBOHEDRAL:
            return (0, 3)
        by_system = {
            "triclinic": (0, 1, 2, 3, 4, 5),
            "monoclinic": (0, 1, 2, 4),
            "orthorhombic": (0, 1, 2),
            "cubic": (0,),
        }
        return by_system.get(crystal_system(group), (0, 2))
    if dimensionality == 2:
        return (0, 1, 5) if group <= 7 else (0, 1) if group <= 48 else (0,)
    return (0,) if dimensionality == 1 else ()
