"""What a failed ORCA run is followed by: a table that a person can read, and a spec override."""

from __future__ import annotations

from typing import Final

from penstock.domain.calculation import FailureClass
from penstock.domain.remedy import Change, Rule

_WEEK_S: Final = 7 * 24 * 3600
_NOT_IN_SCF: Final = r"(?s)\A(?!.*(?:coupled-cluster|CASSCF|TD-DFT))"  # failures of what comes after the SCF
_FRESH_SCF: Final = {
    "keywords": Change(append=["SlowConv"]),
    "blocks.scf.guess": Change(set="PAtom"),
    "blocks.scf.maxiter": Change(multiply=4, default=125, most=1000),
    "reuse_guess": Change(set=False),
}

_CONVERGENCE: Final = (
    Rule(
        "orca_coupled_cluster",
        FailureClass.SCF_NOT_CONVERGED,
        when="coupled-cluster",
        limit=2,
        change={
            "blocks.mdci.maxiter": Change(multiply=2, default=50, most=400),
            "blocks.mdci.lshift": Change(set=0.5),
        },
        restart=True,
        why="the coupled-cluster iterations get more time and a larger level shift",
    ),
    Rule(
        "orca_casscf",
        FailureClass.SCF_NOT_CONVERGED,
        when="CASSCF",
        change={"blocks.casscf.maxiter": Change(multiply=4, default=75, most=1000)},
        restart=True,
        why="CASSCF goes on from the orbitals it had, with more iterations",
    ),
    Rule(
        "orca_tddft",
        FailureClass.SCF_NOT_CONVERGED,
        when="TD-DFT",
        change={
            "blocks.tddft.maxiter": Change(multiply=4, default=35, most=500),
            "blocks.tddft.maxdim": Change(multiply=2, default=5, most=40),
        },
        restart=True,
        why="the excited states get more iterations and a larger space",
    ),
    Rule(
        "orca_scf_slow",
        FailureClass.SCF_NOT_CONVERGED,
        when=_NOT_IN_SCF,
        change={
            "keywords": Change(append=["SlowConv"]),
            "blocks.scf.maxiter": Change(multiply=4, default=125, most=1000),
        },
        restart=True,
        why="the SCF goes on from its last orbitals, damped and with more cycles",
    ),
    Rule(
        "orca_scf_shift",
        FailureClass.SCF_NOT_CONVERGED,
        when=_NOT_IN_SCF,
        change={**_FRESH_SCF, "blocks.scf.shift": Change(merge={"shift": 0.3, "erroff": 0.05})},
        why="the SCF begins again from another guess, damped and with shifted levels",
    ),
    Rule(
        "orca_scf_kdiis",
        FailureClass.SCF_NOT_CONVERGED,
        when=_NOT_IN_SCF,
        change={"keywords": Change(append=["KDIIS", "NoSOSCF"]), "reuse_guess": Change(set=False)},
        why="the SCF begins again with another way to converge",
    ),
    Rule(
        "orca_geometry_cycles",
        FailureClass.GEOMETRY_NOT_CONVERGED,
        limit=2,
        change={"blocks.geom.maxiter": Change(multiply=2, default=100, most=1000)},
        restart=True,
        why="the optimisation goes on from its last geometry with more cycles",
    ),
    Rule(
        "orca_geometry_hessian",
        FailureClass.GEOMETRY_NOT_CONVERGED,
        change={
            "blocks.geom.calc_hess": Change(set=True),
            "blocks.geom.recalc_hess": Change(set=10),
            "reuse_hessian": Change(set=False),
        },
        restart=True,
        why="the optimisation goes on with a Hessian that is calculated, and again every 10 cycles",
    ),
    Rule(
        "orca_blown_up_guess",
        FailureClass.BLOWN_UP,
        change=_FRESH_SCF,
        why="the SCF ran away; it begins again from another guess and damped",
    ),
    Rule(
        "orca_blown_up_basis",
        FailureClass.BLOWN_UP,
        change={"blocks.scf.sthresh": Change(set=1e-6)},
        why="the SCF ran away again; what is nearly linearly dependent leaves the basis",
        alters=True,
    ),
)

_RESOURCES: Final = (
    Rule(
        "orca_memory",
        FailureClass.OUT_OF_MEMORY,
        limit=2,
        change={"maxcore_mb": Change(multiply=1.5)},
        memory=1.5,
        restart=True,
        why="it gets half as much memory again",
    ),
    Rule(
        "orca_memory_processes",
        FailureClass.OUT_OF_MEMORY,
        change={"core_share": Change(multiply=0.5, least=0.01)},
        restart=True,
        why="half as many processes, each with twice the memory",
    ),
    Rule(
        "orca_no_mpirun",
        FailureClass.MPI_ERROR,
        when="mpirun.*not found",
        person="mpirun is not on the PATH; load the Open MPI that ORCA was built for in the cluster's setup",
    ),
    Rule(
        "orca_processes",
        FailureClass.MPI_ERROR,
        when="slots|exceeds|already filled",
        limit=3,
        change={"core_share": Change(multiply=0.5, least=0.01)},
        restart=True,
        why="half as many processes",
    ),
    Rule("orca_mpi_again", FailureClass.MPI_ERROR, restart=True, why="MPI failed; once again"),
    Rule(
        "orca_walltime",
        FailureClass.WALLTIME,
        limit=2,
        walltime=2.0,
        walltime_most_s=_WEEK_S,
        restart=True,
        why="twice the time, and on from where it was",
    ),
)

_PEOPLE: Final = (
    Rule("orca_input", FailureClass.INPUT_ERROR, person="ORCA does not understand its input; mend the spec"),
    Rule(
        "orca_basis",
        FailureClass.BASIS_ERROR,
        person="an element has no basis functions; choose a basis (or auxiliary basis) that covers all elements",
    ),
    Rule(
        "orca_multiplicity",
        FailureClass.MULTIPLICITY_ERROR,
        person="this charge and multiplicity cannot go together; mend them in the source",
    ),
    Rule("orca_disk", FailureClass.DISK, person="the disk or quota where it runs is full; make room"),
)

_CRASHES: Final = (
    Rule(
        "orca_crash_blown_up",
        FailureClass.MODULE_CRASH,
        when="absurd energy",
        change={**_FRESH_SCF, "blocks.scf.sthresh": Change(set=1e-6)},
        why="the SCF had run away before; it begins again from another guess, damped",
        alters=True,
    ),
    Rule(
        "orca_crash_orbitals",
        FailureClass.MODULE_CRASH,
        when="corrupt",
        change={"reuse_guess": Change(set=False)},
        why="once again without the orbitals of the earlier attempt",
    ),
    Rule(
        "orca_crash_internals",
        FailureClass.MODULE_CRASH,
        when="GSTEP",
        change={"keywords": Change(append=["COpt"]), "reuse_hessian": Change(set=False)},
        restart=True,
        why="the internal coordinates broke; the optimisation goes on in Cartesian ones",
    ),
    Rule("orca_crash_again", FailureClass.MODULE_CRASH, restart=True, why="once again, from where it was"),
    Rule(
        "orca_crash_memory",
        FailureClass.MODULE_CRASH,
        change={"maxcore_mb": Change(multiply=1.5)},
        memory=1.5,
        restart=True,
        why="a module that dies twice without a word often lacked memory",
    ),
    Rule("orca_truncated_again", FailureClass.TRUNCATED, restart=True, why="once again, from where it was"),
    Rule("orca_killed_again", FailureClass.SIGNAL, restart=True, why="once again, from where it was"),
)

RULES: Final = (*_CONVERGENCE, *_RESOURCES, *_PEOPLE, *_CRASHES)
