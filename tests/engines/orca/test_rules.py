from typing import Any

import msgspec
import pytest

from penstock.domain.calculation import Calculation, FailureClass
from penstock.domain.remedy import NoRemedy, Remedy, decide_remedy
from penstock.domain.resources import Resources
from penstock.engines.orca import OrcaEngine
from penstock.engines.orca.parameters import OrcaParameters

ENGINE = OrcaEngine()
RULES = {rule.name: rule for rule in ENGINE.rules}
HAD = Resources(cores=16, memory_mb=32000, walltime_s=3600)
CALCULATION = Calculation("water", "1\n\nO 0 0 0\n", 0, 1, 16, 32000)
SCF, CRASH, MPI = FailureClass.SCF_NOT_CONVERGED, FailureClass.MODULE_CRASH, FailureClass.MPI_ERROR
GEOMETRY, MEMORY = FailureClass.GEOMETRY_NOT_CONVERGED, FailureClass.OUT_OF_MEMORY
PAIRS = "Number of processes (16) in parallel calculation exceeds number of pairs (10)"


def given(**table: Any) -> OrcaParameters:
    return ENGINE.parameters({"method": "HF", **table}, str)


def decide(failure: FailureClass, text: str, parameters: OrcaParameters, used: dict[str, int]) -> Any:
    values = msgspec.to_builtins(parameters)
    return decide_remedy(ENGINE.rules, failure, text, values, used, total=100, had=HAD)


def walk(failure: FailureClass, text: str, parameters: OrcaParameters) -> tuple[list[Remedy], str]:
    """All remedies of a job that fails ever again in the same way, and the reason why there are no more."""
    used: dict[str, int] = {}
    remedies = []
    while isinstance(decision := decide(failure, text, parameters, used), Remedy):
        parameters = msgspec.convert(decision.parameters, OrcaParameters)
        used[decision.rule] = used.get(decision.rule, 0) + 1
        remedies.append(decision)
        assert len(remedies) < 20
    assert isinstance(decision, NoRemedy)
    return remedies, decision.reason


WALKS = {
    "scf": (SCF, "SCF NOT CONVERGED AFTER 125 CYCLES", ["orca_scf_slow", "orca_scf_shift", "orca_scf_kdiis"]),
    "coupled cluster": (SCF, "FINAL\nthe coupled-cluster iterations did not converge", ["orca_coupled_cluster"] * 2),
    "casscf": (SCF, "ERROR (ORCA_CASSCF): Convergence Failure.", ["orca_casscf"]),
    "excited states": (SCF, "RPA/TD-DFT DID NOT CONVERGE", ["orca_tddft"]),
    "geometry": (GEOMETRY, "did not converge", ["orca_geometry_cycles"] * 2 + ["orca_geometry_hessian"]),
    "absurd": (FailureClass.BLOWN_UP, "an absurd energy", ["orca_blown_up_guess", "orca_blown_up_basis"]),
    "memory": (MEMORY, "Not enough memory", ["orca_memory"] * 2 + ["orca_memory_processes"]),
    "pairs": (MPI, PAIRS, ["orca_processes"] * 3 + ["orca_mpi_again"]),
    "mpi": (MPI, "MPI_ABORT was invoked", ["orca_mpi_again"]),
    "walltime": (FailureClass.WALLTIME, "stopped at its walltime", ["orca_walltime"] * 2),
    "crash": (CRASH, "ORCA finished by error termination in PROP", ["orca_crash_again", "orca_crash_memory"]),
    "absurd crash": (
        CRASH,
        "termination in MDCI, after an absurd energy: -2e7",
        ["orca_crash_blown_up", "orca_crash_again", "orca_crash_memory"],
    ),
    "orbitals": (
        CRASH,
        "Your GBWFile is either corrupt or from a different ORCA version",
        ["orca_crash_orbitals", "orca_crash_again", "orca_crash_memory"],
    ),
    "internals": (
        CRASH,
        "ORCA finished by error termination in GSTEP",
        ["orca_crash_internals", "orca_crash_again", "orca_crash_memory"],
    ),
    "cut": (FailureClass.TRUNCATED, "", ["orca_truncated_again"]),
    "killed": (FailureClass.SIGNAL, "killed by SIGKILL", ["orca_killed_again"]),
}
PEOPLE = {
    FailureClass.INPUT_ERROR: "mend the spec",
    FailureClass.BASIS_ERROR: "choose a basis",
    FailureClass.MULTIPLICITY_ERROR: "charge and multiplicity cannot go together",
    FailureClass.DISK: "make room",
}


@pytest.mark.parametrize("name", WALKS)
def test_a_failure_that_stays_is_followed_by_every_rule_in_turn(name: str) -> None:
    failure, text, rules = WALKS[name]
    remedies, reason = walk(failure, text, given(task="opt", maxcore_mb=1000))
    assert [remedy.rule for remedy in remedies] == rules
    assert reason.startswith("no remedy is left")
    for remedy in remedies:
        assert remedy.restart is RULES[remedy.rule].restart
        assert remedy.changes


def test_every_rule_is_walked() -> None:
    walked = {rule for _, _, rules in WALKS.values() for rule in rules}
    assert walked == {rule.name for rule in ENGINE.rules if not rule.person}
    assert {rule.on for rule in ENGINE.rules if rule.person} - {MPI} == set(PEOPLE)
    assert all(rule.why or rule.person for rule in ENGINE.rules)
    assert len(RULES) == len(ENGINE.rules)


@pytest.mark.parametrize("failure", PEOPLE)
def test_what_no_program_can_mend_waits_for_a_person(failure: FailureClass) -> None:
    decision = decide(failure, "", given(), {})
    assert decision.person
    assert PEOPLE[failure] in decision.reason


def test_a_missing_mpirun_waits_for_a_person() -> None:
    decision = decide(MPI, "sh: 1: mpirun: not found", given(), {})
    assert decision.person
    assert "Open MPI" in decision.reason


def inputs(failure: FailureClass, text: str, **table: Any) -> list[str]:
    """The inputs that follow one another."""
    remedies, _ = walk(failure, text, given(**table))
    changed = [msgspec.convert(remedy.parameters, OrcaParameters) for remedy in remedies]
    return [ENGINE.render(CALCULATION, parameters).files["job.inp"] for parameters in changed]


def test_what_an_scf_is_tried_again_with() -> None:
    slow, shifted, kdiis = inputs(SCF, "SCF NOT CONVERGED")
    assert slow.startswith("! HF SlowConv\n")
    assert "%scf\n  maxiter 500\nend\n" in slow
    assert "  guess PAtom\n" in shifted
    assert "  maxiter 1000\n  shift\n    shift 0.3\n    erroff 0.05\n  end\nend\n" in shifted.replace(
        "  guess PAtom\n", ""
    )
    assert kdiis.startswith("! HF SlowConv KDIIS NoSOSCF\n")


def test_settings_of_the_spec_are_raised_and_kept() -> None:
    first, *_ = inputs(SCF, "SCF NOT CONVERGED", blocks={"SCF": {"MaxIter": 200, "TolE": 1e-9}}, keywords=["TightSCF"])
    assert first.startswith("! HF TightSCF SlowConv\n")
    assert "%scf\n  maxiter 800\n  tole 1e-09\nend\n" in first
    raw, *_ = inputs(SCF, "SCF NOT CONVERGED", blocks={"scf": "  TolE 1e-9"})
    assert "%scf\n  TolE 1e-9\n  maxiter 500\nend\n" in raw


def test_a_geometry_gets_more_cycles_then_a_hessian() -> None:
    first, second, third = inputs(GEOMETRY, "", task="opt")
    assert "%geom\n  maxiter 200\nend\n" in first
    assert "%geom\n  maxiter 400\nend\n" in second
    assert "%geom\n  maxiter 400\n  calc_hess true\n  recalc_hess 10\nend\n" in third


def test_fewer_processes_share_the_memory() -> None:
    eight, four, two, _ = inputs(MPI, PAIRS)
    assert "%maxcore 3000\n%pal nprocs 8 end\n" in eight
    assert "%maxcore 6000\n%pal nprocs 4 end\n" in four
    assert "%maxcore 12000\n%pal nprocs 2 end\n" in two


def test_memory_grows_with_the_job_and_with_what_the_spec_gave_a_process() -> None:
    remedies, _ = walk(MEMORY, "", given(maxcore_mb=1000))
    assert [(one.memory_mb, one.parameters["maxcore_mb"]) for one in remedies[:2]] == [(48000, 1500), (48000, 2250)]
    remedies, _ = walk(MEMORY, "", given())
    assert [one.parameters["maxcore_mb"] for one in remedies[:2]] == [None, None]


def test_remedies_reach_a_template() -> None:
    text = "! HF PAL16\n* xyz $charge $multiplicity\n$geometry\n*\n"
    parameters = ENGINE.parameters({"template": "t"}, {"t": text}.__getitem__)
    remedies, _ = walk(SCF, "SCF NOT CONVERGED", parameters)
    changed = msgspec.convert(remedies[0].parameters, OrcaParameters)
    written = ENGINE.render(CALCULATION, changed).files["job.inp"]
    assert written == "! HF PAL16\n%maxcore 1500\n! SlowConv\n%scf\n  maxiter 500\nend\n* xyz 0 1\nO 0 0 0\n*\n"
