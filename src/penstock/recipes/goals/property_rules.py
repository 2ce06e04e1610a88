"""The rules about what is wanted, and about what each job gets. Of those about one key the first that holds sets it."""

from __future__ import annotations

from typing import Final

from penstock.recipes.goals.goal import DIFFUSION, ELASTIC, EQUILIBRATE, PHASE_DIAGRAM
from penstock.recipes.goals.rules import CONVENTION, MEASURED, Known, Rule, Share, When, by_accuracy

_QE: Final = ("espresso",)
_CLASSICAL: Final = ("emt",)
_DE_JONG: Final = "de Jong et al. 2015, Sci. Data 2, 150009"
_FRENKEL: Final = "Frenkel and Smit 2002, Understanding Molecular Simulation"
_YEH: Final = "Yeh and Hummer 2004, J. Phys. Chem. B 108, 15873"

FIRST: Final = (
    Rule("recipe", Known("goal", "the goal"), "the recipe of that name", CONVENTION),
    Rule("slots", 16, "the cluster runs as many of them as its cores allow", CONVENTION),
)

PROPERTIES: Final = (
    Rule(
        "elastic.amplitudes",
        [0.0025, 0.005, 0.01],
        "those of accuracy normal, and a smaller one to judge how linear the response is",
        _DE_JONG,
        When(goals=(ELASTIC,), accuracies=("tight",)),
    ),
    Rule(
        "elastic.amplitudes",
        [0.005, 0.01],
        "small enough for linear response, large enough over numerical noise; two, or no error could be told",
        _DE_JONG,
        When(goals=(ELASTIC,)),
    ),
    Rule(
        "elastic.relax",
        value=True,
        why="elastic constants belong to the cell at the pressure asked for",
        source="Barron and Klein 1965, Proc. Phys. Soc. 85, 523",
        when=When(goals=(ELASTIC,)),
    ),
    Rule("elastic.pressure_gpa", 0.0, "what is measured is mostly near it", CONVENTION, When(goals=(ELASTIC,))),
    Rule(
        "elastic.symmetry",
        value=True,
        why="strains that symmetry makes of others are not calculated",
        source="Nye 1957, Physical Properties of Crystals",
        when=When(goals=(ELASTIC,)),
    ),
    Rule("equilibrate.pressure_gpa", 0.0, "what is measured is mostly near it", CONVENTION, When(goals=(EQUILIBRATE,))),
    *by_accuracy(
        "equilibrate.produce_ps",
        (5.0, 20.0, 100.0),
        "many times the period of the softest vibrations of the cell",
        _FRENKEL,
        goals=(EQUILIBRATE,),
        known=("is_hot",),
    ),
    *by_accuracy(
        "diffusion.equilibrate_ps",
        (2.0, 5.0, 20.0),
        "tens of periods of the vibrations; a melt from a crystal needs more",
        _FRENKEL,
        goals=(DIFFUSION,),
    ),
    *by_accuracy(
        "diffusion.produce_ps",
        (10.0, 50.0, 500.0),
        "enough for a melt; atoms of a solid may need a thousand times more, and the analysis says so",
        "He, Zhu, Epstein and Mo 2018, npj Comput. Mater. 4, 18",
        goals=(DIFFUSION,),
    ),
    *(
        rule
        for goal, condition in ((EQUILIBRATE, ("is_hot",)), (DIFFUSION, ()))
        for rule in (
            Rule(
                f"{goal}.timestep_fs",
                0.5,
                "a tenth of the period of a bond to hydrogen (9 fs) at most, with room",
                _FRENKEL,
                When(goals=(goal,), lightest_up_to=2, known=condition),
            ),
            Rule(
                f"{goal}.timestep_fs",
                1.0,
                "light atoms vibrate with periods down to 20 fs",
                _FRENKEL,
                When(goals=(goal,), lightest_up_to=10, known=condition),
            ),
            Rule(
                f"{goal}.timestep_fs",
                2.0,
                "no light atoms: the fastest vibrations take 60 fs or more",
                _FRENKEL,
                When(goals=(goal,), known=condition),
            ),
        )
    ),
    Rule(
        "diffusion.sample_fs",
        20.0,
        "shorter than any vibration that matters to a displacement, and the files stay small",
        CONVENTION,
        When(goals=(DIFFUSION,)),
    ),
    *(
        rule
        for goal, condition, source in ((EQUILIBRATE, ("is_hot",), CONVENTION), (DIFFUSION, (), _YEH))
        for rule in (
            *by_accuracy(
                f"{goal}.min_atoms",
                (64, 100, 500),
                "atoms must not meet their own images; what is left of it falls with the edge of the cell",
                source,
                goals=(goal,),
                known=condition,
            ),
            Rule(
                f"{goal}.segments",
                Share(f"{goal}.produce_ps", 10.0),
                "each job ends well within its walltime: 108 atoms and 10 ps take EMT two minutes",
                MEASURED,
                When(goals=(goal,), engines=_CLASSICAL, known=condition),
            ),
            Rule(
                f"{goal}.segments",
                Share(f"{goal}.produce_ps", 1.0),
                "each job ends within its walltime: a step of 64 atoms takes tblite 13 s on one core",
                MEASURED,
                When(goals=(goal,), known=condition),
            ),
        )
    ),
    Rule(
        "diffusion.relax",
        value=True,
        why="the lattice parameters of a built cell are another method's",
        source=CONVENTION,
        when=When(goals=(DIFFUSION,), is_built=True),
    ),
    Rule(
        "diffusion.relax",
        value=False,
        why="the cell is as you gave it",
        source=CONVENTION,
        when=When(goals=(DIFFUSION,), is_built=False),
    ),
    *by_accuracy(
        "structures.build.max_atoms",
        (3, 4, 6),
        "4 holds L1_0, L1_2 and B2; the number of orderings grows fast with it",
        "Hart and Forcade 2008, Phys. Rev. B 77, 224115",
        goals=(PHASE_DIAGRAM,),
        known=("lattices",),
    ),
    Rule(
        "phase_diagram.relax",
        "cell",
        "alloys differ in volume: energies compare only when each has its own",
        CONVENTION,
        When(goals=(PHASE_DIAGRAM,)),
    ),
)

RESOURCES: Final = (
    Rule("resources.cores", 1, "many jobs at a time use cores better than one job on many", CONVENTION),
    Rule("resources.memory", "8GB", "plane waves of larger cells", CONVENTION, When(engines=_QE, atoms_from=9)),
    Rule("resources.memory", "2GB", "ample for small cells", CONVENTION),
    Rule("resources.walltime", "1h", "ample: most jobs take seconds", MEASURED, When(engines=_CLASSICAL)),
    Rule("resources.walltime", "12h", "a relaxation of a larger cell", CONVENTION, When(engines=_QE, atoms_from=9)),
    Rule("resources.walltime", "2h", "a relaxation of a small cell", CONVENTION, When(engines=_QE)),
    Rule("resources.walltime", "12h", "thousands of steps, seconds each", MEASURED),
    Rule("retry.max_attempts", 3, "machines fail; what fails three times fails by itself", CONVENTION),
    Rule("retry.walltime_growth", 2.0, "what ran out of walltime gets twice as much", CONVENTION),
    Rule("retry.memory_growth", 1.5, "what ran out of memory gets half as much again", CONVENTION),
)
