"""What a failed run of CRYSTAL is followed by: a table, the first rule that still changes something is taken."""

from __future__ import annotations

from typing import Final

from penstock.domain.calculation import FailureClass
from penstock.domain.remedy import Change, Rule

_MEMORY_MOST_MB: Final = 200_000
_WALLTIME_MOST_S: Final = 7 * 24 * 3600

RULES: Final = (
    Rule(
        "shrink",
        FailureClass.INPUT_ERROR,
        when="shrink",
        limit=3,
        change={"shrink_step": Change(add=1, default=0)},
        why="the same shrinking factor in all directions, each time another one",
        alters=True,
    ),
    Rule(
        "guess",
        FailureClass.INPUT_ERROR,
        when=r"guessp|fort\.20",
        change={"guess": Change(set=False)},
        restart=True,
        why="the SCF begins anew, without the wavefunction of a run before",
    ),
    Rule(
        "resume",
        FailureClass.INPUT_ERROR,
        when="restart|optinfo|freqinfo",
        change={"resume": Change(set=False)},
        restart=True,
        why="begins anew, without what an interrupted run left",
    ),
    Rule(
        "input",
        FailureClass.INPUT_ERROR,
        person="the deck is wrong: correct what the evidence names, then retry",
    ),
    Rule(
        "basis",
        FailureClass.BASIS_ERROR,
        person="the basis set does not fit: correct the deck's basis (or CHARGED), then retry",
    ),
    Rule(
        "spin",
        FailureClass.MULTIPLICITY_ERROR,
        person="charge and spin do not fit together: correct them, then retry",
    ),
    Rule(
        "eigs",
        FailureClass.LINEAR_DEPENDENCE,
        change={"eigs": Change(set=True)},
        why="EIGS, so that the output shows the overlap matrix's eigenvalues",
    ),
    Rule(
        "linear_dependence",
        FailureClass.LINEAR_DEPENDENCE,
        person="remove the most diffuse functions from the basis (exponents below 0.1); with EIGS the last attempt's "
        "output shows how many eigenvalues of the overlap matrix are too small",
    ),
    Rule(
        "memory",
        FailureClass.OUT_OF_MEMORY,
        limit=2,
        memory=1.5,
        memory_most_mb=_MEMORY_MOST_MB,
        restart=True,
        why="more memory",
    ),
    Rule(
        "scf_cycles",
        FailureClass.SCF_NOT_CONVERGED,
        when="cycles|scf failed",
        change={"more_scf_cycles": Change(add=1000, default=0)},
        restart=True,
        why="MAXCYCLE of the SCF 1000 higher",
    ),
    Rule(
        "mixing",
        FailureClass.SCF_NOT_CONVERGED,
        limit=2,
        change={"more_mixing": Change(add=10, default=0, most=50)},
        restart=True,
        why="FMIXING 10 higher, up to 80",
    ),
    Rule(
        "level_shift",
        FailureClass.SCF_NOT_CONVERGED,
        change={"level_shift": Change(set=True)},
        restart=True,
        why="LEVSHIFT 5 1 in place of DIIS",
    ),
    Rule(
        "trust_radius",
        FailureClass.GEOMETRY_NOT_CONVERGED,
        limit=2,
        change={"trust_radius": Change(multiply=0.5, default=1.0)},
        restart=True,
        why="MAXTRADIUS halved, from the last geometry, with a new Hessian",
    ),
    Rule(
        "walltime",
        FailureClass.WALLTIME,
        limit=2,
        walltime=2.0,
        walltime_most_s=_WALLTIME_MOST_S,
        restart=True,
        why="more time",
    ),
    Rule(
        "disk",
        FailureClass.DISK,
        person="make room where the job runs (its scratch directory or quota), then retry",
    ),
    Rule(
        "energy",
        FailureClass.BLOWN_UP,
        person="the energy is absurd: look at the geometry, the basis and the tolerances (TOLINTEG), then retry",
    ),
)
