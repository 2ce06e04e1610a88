"""What a failed run of pw.x is tried again with. The first rule that answers a failure and still changes something."""

from __future__ import annotations

from typing import Final

from penstock.domain.calculation import FailureClass
from penstock.domain.remedy import Change, Rule

_WEEK_S: Final = 7 * 86400
_DIAGONALIZATION: Final = (
    r"c_bands|bands are not converged|cholesky|cdiaghg|rdiaghg|diaghg|eigenvectors|cegterg|regterg"
)

RULES: Final = (
    Rule(
        name="damp-mixing",
        on=FailureClass.SCF_NOT_CONVERGED,
        change={
            "electrons.mixing_beta": Change(multiply=0.5, default=0.7, least=0.1),
            "electrons.electron_maxstep": Change(add=100, default=100, most=500),
        },
        restart=True,
        why="half as much of the new density in every iteration, and more iterations",
    ),
    Rule(
        name="local-mixing",
        on=FailureClass.SCF_NOT_CONVERGED,
        change={
            "electrons.mixing_mode": Change(set="local-TF"),
            "electrons.mixing_beta": Change(multiply=0.7, default=0.7, least=0.1),
        },
        restart=True,
        why="screening that follows the density: for surfaces and other inhomogeneous systems",
    ),
    Rule(
        name="smear",
        on=FailureClass.SCF_NOT_CONVERGED,
        change={"occupations": Change(set="smearing"), "degauss_ry": Change(multiply=1.0, default=0.01)},
        restart=True,
        why="partial occupations, in case there is no gap after all; the energy then has a term of the smearing",
        alters=True,
    ),
    Rule(
        name="conjugate-gradients",
        on=FailureClass.MODULE_CRASH,
        when=_DIAGONALIZATION,
        change={"electrons.diagonalization": Change(set="cg")},
        restart=True,
        why="a slower way to the bands that seldom fails",
    ),
    Rule(
        name="parallel-orbitals",
        on=FailureClass.MODULE_CRASH,
        when=_DIAGONALIZATION,
        change={"electrons.diagonalization": Change(set="paro")},
        restart=True,
        why="another way to the bands, of pw.x 6.6 and later",
    ),
    Rule(
        name="larger-radial-table",
        on=FailureClass.MODULE_CRASH,
        when="cell_factor",
        limit=2,
        change={"cell.cell_factor": Change(multiply=1.5, default=2.0, most=10.0)},
        restart=True,
        why="the cell grew out of the tables made for it",
    ),
    Rule(
        name="no-symmetry",
        on=FailureClass.MODULE_CRASH,
        when="checkallsym|symmetry operation",
        change={"system.nosym": Change(set=True)},
        restart=True,
        why="the atoms left a symmetry that was found in the beginning",
    ),
    Rule(
        name="overlap-conjugate-gradients",
        on=FailureClass.LINEAR_DEPENDENCE,
        change={"electrons.diagonalization": Change(set="cg")},
        restart=True,
        why="does without the overlap that is not positive",
    ),
    Rule(
        name="finer-density",
        on=FailureClass.LINEAR_DEPENDENCE,
        change={"ecutrho_factor": Change(multiply=1.5, default=1.0, most=3.0)},
        restart=True,
        why="augmentation charges that the grid of the density was too coarse for",
        alters=True,
    ),
    Rule(
        name="smear-charge",
        on=FailureClass.INPUT_ERROR,
        when="smearing is needed",
        change={"occupations": Change(set="smearing"), "degauss_ry": Change(multiply=1.0, default=0.01)},
        why="its bands are not all full or empty",
        alters=True,
    ),
    Rule(
        name="random-start",
        on=FailureClass.INPUT_ERROR,
        when="charge is wrong",
        change={
            "electrons.startingwfc": Change(set="random"),
            "system.nbnd": Change(add=8),
        },
        why="a start that misses no band; and more of them, where their number was given",
    ),
    Rule(
        name="input",
        on=FailureClass.INPUT_ERROR,
        person="pw.x does not accept the input; correct the [engine] table or the structure",
    ),
    Rule(
        name="pseudopotential",
        on=FailureClass.BASIS_ERROR,
        person="a pseudopotential is missing or cannot be read where pw.x runs; look at pseudo_dir there",
    ),
    Rule(
        name="magnetisation",
        on=FailureClass.MULTIPLICITY_ERROR,
        person="the multiplicity does not go with the number of electrons or the occupations",
    ),
    Rule(
        name="smaller-steps",
        on=FailureClass.GEOMETRY_NOT_CONVERGED,
        limit=2,
        change={
            "control.nstep": Change(add=50, default=50, most=500),
            "ions.trust_radius_max": Change(multiply=0.5, default=0.8, least=0.1),
        },
        restart=True,
        why="more steps, each shorter",
    ),
    Rule(
        name="stopped",
        on=FailureClass.WALLTIME,
        when="user request",
        person="somebody stopped it with an EXIT file; retry it when it may go on",
    ),
    Rule(
        name="more-time",
        on=FailureClass.WALLTIME,
        limit=2,
        change={"control.max_seconds": Change(multiply=2.0)},
        walltime=2.0,
        walltime_most_s=_WEEK_S,
        restart=True,
        why="it needs longer",
    ),
    Rule(name="more-memory", on=FailureClass.OUT_OF_MEMORY, limit=2, memory=1.5, restart=True, why="it needs more"),
    Rule(
        name="gentle-start",
        on=FailureClass.BLOWN_UP,
        change={
            "electrons.startingwfc": Change(set="random"),
            "electrons.mixing_beta": Change(multiply=0.5, default=0.7, least=0.1),
        },
        why="another start and less of the new density, from the geometry it began with",
    ),
    Rule(
        name="processes",
        on=FailureClass.MPI_ERROR,
        person="MPI could not use what it was given; fewer tasks, or other pools (command = 'pw.x -nk ...')",
    ),
    Rule(name="disk", on=FailureClass.DISK, person="there is no room for its files; ./out needs a larger disk"),
)
"""In the order they are tried."""
