"""The rules about engines: which one, and with which settings. Of those about one key the first that holds sets it."""

from __future__ import annotations

from typing import Final

from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.recipes.goals.goal import DIFFUSION, ELASTIC, EQUILIBRATE, PHASE_DIAGRAM
from penstock.recipes.goals.rules import CONVENTION, Caution, Known, Rule, Times, When, by_accuracy

_QE: Final = ("espresso",)
_CLASSICAL: Final = ("emt",)
_ASE: Final = ("emt", "tblite", "ase")
_EMT_METALS: Final = frozenset({"Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"})
_XTB_HEAVIEST: Final = 86
MAGNETIC: Final = frozenset({"Cr", "Mn", "Fe", "Co", "Ni"})
_JAIN: Final = "Jain et al. 2011, Comput. Mater. Sci. 50, 2295"
_MARZARI: Final = "Marzari et al. 1999, Phys. Rev. Lett. 82, 3296"
_EMT: Final = "Jacobsen, Stoltze and Nørskov 1996, Surf. Sci. 366, 394"
_XTB: Final = "Bannwarth, Ehlert and Grimme 2019, J. Chem. Theory Comput. 15, 1652"
GAMMA_ATOMS: Final = 50

ENGINE: Final = (
    Rule(
        "engine.name",
        "espresso",
        "first principles: pseudopotentials of all elements are at hand",
        "Giannozzi et al. 2017, J. Phys. Condens. Matter 29, 465901",
        When(
            goals=(ELASTIC, EQUILIBRATE, PHASE_DIAGRAM),
            known=("pseudopotentials",),
            unless=("equilibrate.temperature_k",),
        ),
    ),
    Rule(
        "engine.name", "emt", "a model potential: good for trends, not for the last word", _EMT, When(among=_EMT_METALS)
    ),
    Rule(
        "engine.name",
        "tblite",
        "tight binding at the Gamma point only: check it against a better method",
        _XTB,
        When(goals=(DIFFUSION,), heaviest_up_to=_XTB_HEAVIEST),
    ),
    Rule(
        "engine.name",
        "tblite",
        "tight binding at the Gamma point only: check it against a better method",
        _XTB,
        When(goals=(ELASTIC, EQUILIBRATE, PHASE_DIAGRAM), heaviest_up_to=_XTB_HEAVIEST, atoms_from=GAMMA_ATOMS),
    ),
    Rule(
        "engine.name",
        "espresso",
        "nothing that is at hand can do it; with pseudopotentials of yours, first principles can",
        "Giannozzi et al. 2017, J. Phys. Condens. Matter 29, 465901",
        When(
            goals=(ELASTIC, EQUILIBRATE, PHASE_DIAGRAM), lacking=("pseudo_dir",), unless=("equilibrate.temperature_k",)
        ),
    ),
)

ESPRESSO: Final = (
    Rule("engine.command", "pw.x", "as the jobs find it", CONVENTION, When(engines=_QE)),
    Rule(
        "engine.pseudo_dir",
        Known("pseudo_dir", "the folder that ESPRESSO_PSEUDO names, else Debian's"),
        "where ESPRESSO_PSEUDO points, or where Debian puts them",
        CONVENTION,
        When(engines=_QE, known=("pseudo_dir",)),
    ),
    Rule(
        "engine.pseudo_dir",
        "",
        "to be filled in: the folder of your pseudopotentials, absolute, for ESPRESSO_PSEUDO names none",
        CONVENTION,
        When(engines=_QE, lacking=("pseudo_dir",)),
    ),
    Rule(
        "engine.functional",
        Known("functional", "the first of PBE, PBEsol and LDA with a file for every element"),
        "PBE is what most published values are of; then PBEsol, LDA, by what there is",
        "Perdew, Burke and Ernzerhof 1996, Phys. Rev. Lett. 77, 3865",
        When(engines=_QE, known=("pseudopotentials",)),
    ),
    Rule(
        "engine.pseudopotentials",
        Known("pseudopotentials", "a file for each element"),
        "of each element the first file that suggests a cut-off",
        CONVENTION,
        When(engines=_QE, known=("pseudopotentials",)),
    ),
    Rule(
        "engine.ecutwfc_ry",
        Times("cutoff_ry", 1.0),
        "the cut-off that the pseudopotentials suggest, and no more",
        CONVENTION,
        When(engines=_QE, accuracies=("quick",), known=("cutoff_ry",)),
    ),
    Rule(
        "engine.ecutwfc_ry",
        Times("cutoff_ry", 1.6),
        "well above the cut-off that the pseudopotentials suggest: stress needs more than energies",
        CONVENTION,
        When(engines=_QE, accuracies=("tight",), known=("cutoff_ry",)),
    ),
    Rule(
        "engine.ecutwfc_ry",
        Times("cutoff_ry", 1.3),
        "1.3 times the cut-off that the pseudopotentials suggest, since cells change",
        _JAIN,
        When(engines=_QE, known=("cutoff_ry",)),
    ),
    *by_accuracy(
        "engine.ecutwfc_ry",
        (40, 60, 80),
        "the pseudopotentials suggest none: converge it for yours",
        CONVENTION,
        engines=_QE,
        unless=("engine.pseudopotentials",),
    ),
    Rule(
        "engine.ecutrho_ry",
        Times("engine.ecutwfc_ry", 4.0),
        "holds the density of norm-conserving pseudopotentials exactly",
        CONVENTION,
        When(engines=_QE, known=("is_norm_conserving",)),
    ),
    Rule(
        "engine.ecutrho_ry",
        Times("engine.ecutwfc_ry", 8.0),
        "ultrasoft and PAW densities are sharper than squares of smooth waves",
        CONVENTION,
        When(engines=_QE, known=("pseudopotentials",)),
    ),
    *by_accuracy(
        "engine.kspacing_per_angstrom",
        (0.35, 0.2, 0.12),
        "dense enough for a metal; where there is a gap, more than enough",
        CONVENTION,
        engines=_QE,
        unless=("engine.kpoints",),
    ),
    Rule(
        "engine.occupations",
        "smearing",
        "right for metals, and harmless for insulators as long as it is small",
        _MARZARI,
        When(engines=_QE),
    ),
    Rule(
        "engine.smearing",
        "marzari-vanderbilt",
        "cold smearing: forces and stress hardly depend on its width",
        _MARZARI,
        When(engines=_QE, known=("is_smeared",)),
    ),
    *by_accuracy(
        "engine.degauss_ry",
        (0.02, 0.01, 0.005),
        "small against any gap that matters",
        CONVENTION,
        engines=_QE,
        known=("is_smeared",),
    ),
    Rule(
        "engine.spin",
        "free",
        "these elements may be magnetic; order other than ferromagnetic is not looked for",
        CONVENTION,
        When(engines=_QE, with_any=MAGNETIC, known=("is_smeared",), unless=("structures.multiplicity",)),
    ),
    Rule(
        "engine.spin",
        "none",
        "no element that is magnetic by itself",
        CONVENTION,
        When(engines=_QE, unless=("structures.multiplicity",)),
    ),
    Rule(
        "engine.system.starting_magnetization",
        Known("starting_magnetization", "0.5 for Cr, Mn, Fe, Co, Ni"),
        "without a start, the density stays unpolarised",
        CONVENTION,
        When(engines=_QE, with_any=MAGNETIC, known=("is_smeared",), unless=("structures.multiplicity",)),
    ),
)

POTENTIALS: Final = (
    *by_accuracy(
        "engine.fmax",
        (0.01, 0.002, 0.0005),
        "eV/Å; the stress of a strained cell is only as good as its forces are small",
        CONVENTION,
        engines=_ASE,
        goals=(ELASTIC,),
    ),
    *by_accuracy("engine.fmax", (0.05, 0.01, 0.002), "eV/Å; energies are good to its square", CONVENTION, engines=_ASE),
    Rule(
        "engine.accuracy",
        0.1,
        "stress is a small difference: ten times tighter than tblite's own",
        CONVENTION,
        When(engines=("tblite",), goals=(ELASTIC,)),
    ),
)

CAUTIONS: Final = (
    Caution(
        "EMT is a model potential; take from it what the method may teach, not numbers of a material",
        When(engines=_CLASSICAL),
    ),
    Caution(
        f"tblite knows the Gamma point only, and cells of fewer than {GAMMA_ATOMS} atoms come out wrong",
        When(engines=("tblite",), goals=(ELASTIC, EQUILIBRATE, PHASE_DIAGRAM), atoms_below=GAMMA_ATOMS),
    ),
    Caution(
        "pseudo_dir is empty: fill in the folder of your pseudopotentials before you submit this",
        When(engines=_QE, lacking=("pseudo_dir",), unless=("engine.pseudo_dir",)),
    ),
    Caution(
        "no magnetic order but the ferromagnetic one is tried",
        When(engines=_QE, with_any=MAGNETIC),
    ),
)

KNOWN_ELEMENTS: Final = {
    "emt": _EMT_METALS | {"H", "C", "N", "O"},
    "tblite": frozenset(symbol for symbol, number in ATOMIC_NUMBERS.items() if number <= _XTB_HEAVIEST),
}
"""The elements that an engine has parameters for, where it is not a person who gives them."""
