"""Every rule walked with the stand-in: a run fails, is mended, and goes on, until it recovers or needs a person."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.engines.crystal.outputs import SAMPLES, STAND_IN

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome
from penstock.domain.remedy import NoRemedy, decide_remedy
from penstock.domain.resources import Resources
from penstock.engines.crystal.deck import parse_deck
from penstock.engines.crystal.deck_size import size_of
from penstock.engines.crystal.engine import CrystalEngine
from penstock.engines.crystal.parameters import CrystalParameters

ENGINE = CrystalEngine()
DAY_S = 24 * 3600


def deck(fault: str, *, optimises: bool = False) -> str:
    task = "OPTGEOM\nFULLOPTG\nMAXCYCLE\n100\nENDOPT\n" if optimises else ""
    return (
        f"diamond {fault} OPTGEOM MAXCYCLE\nCRYSTAL\n0 0 0\n227\n3.544\n1\n6 0.125 0.125 0.125\n{task}"
        "BASISSET\nPOB-TZVP\nDFT\nPBE\nENDDFT\nSHRINK\n0 24\n12 8 12\nMAXCYCLE\n60\nFMIXING\n20\nDIIS\nEND\n"
    )


class Attempt(NamedTuple):
    outcome: Outcome
    input: str
    parameters: CrystalParameters
    resources: Resources
    rule: str | None  # that it was made by


class Walk(NamedTuple):
    attempts: list[Attempt]
    end: NoRemedy | None

    @property
    def rules(self) -> list[str | None]:
        return [attempt.rule for attempt in self.attempts[1:]]


def run(directory: Path, argv: list[str]) -> Exit:
    """Run a program as the cluster would; one that does nothing but sleep any more is at its walltime."""
    with (directory / "stdout").open("wb") as output, (directory / "stderr").open("wb") as errors:
        process = subprocess.Popen(argv, cwd=directory, stdout=output, stderr=errors, stdin=subprocess.DEVNULL)
        while True:
            try:
                return Exit(process.wait(0.02), None, 0.0, 1.0)
            except subprocess.TimeoutExpired:
                if Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n":
                    process.terminate()
                    process.wait()
                    return Exit(None, signal.SIGTERM, 0.0, 1.0, verdict="timeout")


def walk(tmp_path: Path, text: str, task: str = "sp", total: int = 6, **table: Any) -> Walk:
    """A job with the deck `text` from attempt to attempt, as the daemon would lead it."""
    parameters = ENGINE.parameters({"task": task, "command": str(STAND_IN), **table}, lambda path: path)
    calculation = Calculation("diamond", "1\n\nC 0 0 0\n", 0, 1, 1, 4000, 32, text)
    had = Resources(cores=1, memory_mb=4000, walltime_s=DAY_S, tasks=32)
    used: dict[str, int] = {}
    attempts: list[Attempt] = []
    rule: str | None = None
    before = tmp_path
    while True:
        directory = tmp_path / str(len(attempts))
        directory.mkdir()
        rendered = ENGINE.render(calculation, parameters)
        for name, content in rendered.files.items():
            (directory / name).write_text(content)
        for there, here in rendered.carry.items():
            shutil.copyfile(before / there, directory / here)
        assert rendered.argv is not None
        outcome = ENGINE.read(directory, run(directory, rendered.argv), parameters)
        attempts.append(Attempt(outcome, rendered.files["INPUT"], parameters, had, rule))
        if outcome.failure is None:
            return Walk(attempts, None)
        said = f"{outcome.evidence.text if outcome.evidence else ''} {outcome.message}"
        builtins = msgspec.to_builtins(parameters)
        remedy = decide_remedy(ENGINE.rules, outcome.failure, said, builtins, used, total=total, had=had)
        if remedy is None or isinstance(remedy, NoRemedy):
            return Walk(attempts, remedy)
        rule = remedy.rule
        used[rule] = used.get(rule, 0) + 1
        parameters = msgspec.convert(remedy.parameters, CrystalParameters)
        had = msgspec.structs.replace(
            had, memory_mb=remedy.memory_mb or had.memory_mb, walltime_s=remedy.walltime_s or had.walltime_s
        )
        before = directory
        if remedy.restart:
            calculation = msgspec.structs.replace(
                calculation,
                geometry=outcome.geometry or calculation.geometry,
                deck=outcome.deck or calculation.deck,
                previous=tuple(outcome.checkpoint),
            )
        else:
            calculation = msgspec.structs.replace(calculation, previous=())


def lines_after(text: str, keyword: str) -> list[str]:
    lines = text.splitlines()
    return [lines[place + 1] for place, line in enumerate(lines[:-1]) if place and line == keyword]


def test_a_run_without_fault_needs_no_remedy(tmp_path: Path) -> None:
    done = walk(tmp_path, deck(""))
    assert done.rules == []
    assert done.attempts[0].outcome.checkpoint == ["fort.9"]


@pytest.mark.parametrize("task", ["sp", "opt"])
def test_scf_cycles(tmp_path: Path, task: str) -> None:
    done = walk(tmp_path, deck("[scf]", optimises=True), task)
    assert done.rules == ["scf_cycles"]
    first, second = done.attempts
    assert first.outcome.failure is FailureClass.SCF_NOT_CONVERGED
    assert lines_after(second.input, "MAXCYCLE") == (["100", "1060"] if task == "opt" else ["1060"])
    assert "GUESSP" in second.input
    assert "GUESSP" not in first.input


def test_mixing_after_cycles_and_no_remedy_twice_in_the_deck(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[mixing]"))
    assert done.rules == ["scf_cycles", "mixing", "mixing"]
    assert [lines_after(attempt.input, "FMIXING") for attempt in done.attempts] == [["20"], ["20"], ["30"], ["40"]]
    assert {tuple(lines_after(attempt.input, "MAXCYCLE")) for attempt in done.attempts[1:]} == {("1060",)}
    following = done.attempts[-1].outcome.deck or ""
    assert lines_after(following, "FMIXING") == ["40"]
    assert "GUESSP" not in following


def test_level_shift_as_the_last_of_the_scf(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[levshift]"))
    assert done.rules == ["scf_cycles", "mixing", "mixing", "level_shift"]
    last = done.attempts[-1].input.splitlines()
    assert "DIIS" not in last
    assert "NODIIS" in last
    assert lines_after(done.attempts[-1].input, "LEVSHIFT") == ["5 1"]


def test_no_more_than_the_total(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[levshift]"), total=3)
    assert len(done.attempts) == 4
    assert done.end is not None
    assert "3 remedies were tried" in done.end.reason


def test_shrink(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[shrink]"))
    assert done.rules == ["shrink"]
    assert done.attempts[0].outcome.failure is FailureClass.INPUT_ERROR
    assert lines_after(done.attempts[1].input, "SHRINK") == ["12 24"]
    assert lines_after(done.attempts[1].outcome.deck or "", "SHRINK") == ["12 24"]


def test_a_wavefunction_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[walltime] [guess]", optimises=True), "opt")
    assert done.rules == ["walltime", "guess"]
    assert "GUESSP" in done.attempts[1].input
    assert "GUESSP" not in done.attempts[2].input
    assert "RESTART" in done.attempts[2].input


def test_what_an_interrupted_run_left_is_left_out_where_it_does_not_fit(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[resume]", optimises=True), "opt")
    assert done.rules == ["walltime", "resume"]
    assert "RESTART" not in done.attempts[2].input
    assert "GUESSP" in done.attempts[2].input


def test_memory(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[memory]"))
    assert done.rules == ["memory"]
    assert [attempt.resources.memory_mb for attempt in done.attempts] == [4000, 6000]
    assert "GUESSP" in done.attempts[1].input


def test_walltime_of_an_optimisation_goes_on_from_where_it_was(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[walltime]", optimises=True), "opt")
    assert done.rules == ["walltime"]
    first, second = done.attempts
    assert first.outcome.failure is FailureClass.WALLTIME
    assert first.outcome.checkpoint == ["fort.9", "OPTINFO.DAT"]
    assert [attempt.resources.walltime_s for attempt in done.attempts] == [DAY_S, 2 * DAY_S]
    assert "RESTART" in second.input
    assert "GUESSP" in second.input
    assert lines_after(second.input, "227") == lines_after(first.input, "227")
    assert second.outcome.checkpoint == ["fort.9"]


def test_walltime_of_a_single_point_goes_on_from_its_wavefunction(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[walltime]"))
    assert done.rules == ["walltime"]
    assert done.attempts[0].outcome.checkpoint == ["fort.9"]


def test_a_geometry_that_does_not_converge_begins_again_where_it_ended(tmp_path: Path) -> None:
    done = walk(tmp_path, deck("[geometry]", optimises=True), "opt")
    assert done.rules == ["trust_radius"]
    first, second = done.attempts
    assert first.outcome.failure is FailureClass.GEOMETRY_NOT_CONVERGED
    assert lines_after(second.input, "MAXTRADIUS") == ["0.25"]
    assert "RESTART" not in second.input
    assert float(lines_after(second.input, "227")[0]) == pytest.approx(3.544 * 1.01)
    assert float(lines_after(second.outcome.deck or "", "227")[0]) == pytest.approx(3.544 * 1.01**2)
    assert "MAXTRADIUS" not in (second.outcome.deck or "")


def test_linear_dependence_shows_its_eigenvalues_once_and_then_needs_a_person(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mended = walk(tmp_path / "a", deck("[lindep]"))
    assert mended.rules == ["eigs"]
    assert "EIGS" not in (mended.attempts[-1].outcome.deck or "")
    lost = walk(tmp_path / "b", deck("[lindep!]"))
    assert lost.rules == ["eigs"]
    assert lost.end is not None
    assert lost.end.person
    assert "diffuse" in lost.end.reason


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("[input]", FailureClass.INPUT_ERROR),
        ("[basis]", FailureClass.BASIS_ERROR),
        ("[disk]", FailureClass.DISK),
        ("[blowup]", FailureClass.BLOWN_UP),
    ],
)
def test_what_only_a_person_can_mend(tmp_path: Path, fault: str, failure: FailureClass) -> None:
    done = walk(tmp_path, deck(fault))
    assert done.rules == []
    assert done.attempts[0].outcome.failure is failure
    assert done.end is not None
    assert done.end.person


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("[mpi]", FailureClass.MPI_ERROR),
        ("[crash]", FailureClass.MODULE_CRASH),
        ("[truncated]", FailureClass.TRUNCATED),
    ],
)
def test_what_the_table_says_nothing_of(tmp_path: Path, fault: str, failure: FailureClass) -> None:
    done = walk(tmp_path, deck(fault))
    assert (done.rules, done.end) == ([], None)
    assert done.attempts[0].outcome.failure is failure


def test_the_stand_in_wants_the_files_that_a_deck_asks_for(tmp_path: Path) -> None:
    for number, keyword in enumerate(("GUESSP", "RESTART")):
        directory = tmp_path / str(number)
        directory.mkdir()
        text = deck("", optimises=True)
        (directory / "INPUT").write_text(
            text.replace("DIIS\n", "DIIS\nGUESSP\n") if keyword == "GUESSP" else text.replace("FULLOPTG", "RESTART")
        )
        assert run(directory, [str(STAND_IN)]).code == 1
        outcome = ENGINE.read(directory, Exit(1, None, 0.0, 1.0), ENGINE.parameters({}, str))
        assert outcome.failure is FailureClass.INPUT_ERROR


def test_the_stand_in_reads_standard_input_too(tmp_path: Path) -> None:
    done = walk(tmp_path, deck(""), input="stdin")
    assert done.attempts[0].outcome.failure is None
    assert os.access(STAND_IN, os.X_OK)


@pytest.mark.parametrize("name", [path.name for path in sorted(SAMPLES.glob("*.d12"))])
@pytest.mark.parametrize("task", ["opt", "freq"])
def test_every_sample_deck_can_be_run_and_hands_on_a_deck(tmp_path: Path, name: str, task: str) -> None:
    text = (SAMPLES / name).read_text()
    done = walk(tmp_path, text, task)
    outcome = done.attempts[0].outcome
    assert outcome.failure is None
    before, after = parse_deck(text), parse_deck(outcome.deck or "")
    assert (after.title, len(after.geometry.atoms)) == (before.title, len(before.geometry.atoms))
    size = size_of(after.rest)
    assert size is not None
    assert len(size.numbers) == len(after.geometry.atoms)
    assert (outcome.geometry is None) == (task == "freq")
