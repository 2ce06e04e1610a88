"""Job directories as worker processes look into them: real files, real engines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from penstock import engines
from penstock.actors import directories
from penstock.actors.directories import look_through
from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.engines.command import CommandEngine, CommandParameters
from penstock.store.reviews import Look, ReviewKind, Seen

RESULT = json.dumps({"energy_hartree": -1.5})
ENDED_AT = 1_700_000_000.0


def put(root: Path, job: int, number: int, name: str, text: str) -> Path:
    """An output of an attempt."""
    path = root / "jobs" / "0000" / str(job) / str(number) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def see(
    kind: ReviewKind, root: Path, *looks: Look, engine: Any = None, parameters: bytes = b'{"task": "energy"}'
) -> list[Seen]:
    """What is found of these jobs, of EMT energies unless said otherwise."""
    engine = engine or engines.get("emt")
    return look_through(kind, engine, parameters, root, looks)


def command(**results: Any) -> dict[str, Any]:
    """A command whose outputs are judged by these rules."""
    return {"engine": CommandEngine(), "parameters": json.dumps({"argv": ["true"], "results": results}).encode()}


def rescan(root: Path, *looks: Look, **how: Any) -> list[Seen]:
    """What a rescan finds of these jobs."""
    return see(ReviewKind.RESCAN, root, *(looks or (Look(1, 0, "jobs/0000/1"),)), **how)


def test_the_newest_attempt_that_succeeded_counts(tmp_path: Path) -> None:
    put(tmp_path, 1, 2, "result.json", RESULT)
    put(tmp_path, 1, 10, "result.json", "{")
    put(tmp_path, 1, 9, "result.json", json.dumps({"energy_hartree": -2.5}))
    for name in ("012", "x", "-3", "²"):
        (tmp_path / "jobs/0000/1" / name).mkdir()
    (tmp_path / "jobs/0000/1/99").touch()
    [seen] = rescan(tmp_path)
    assert (seen.found, seen.highest, seen.number) == (True, 10, 9)
    assert seen.outcome is not None
    assert seen.outcome.final_energy_hartree == -2.5


def test_a_job_without_a_success_is_left_with_what_is_wrong_with_its_newest_attempt(tmp_path: Path) -> None:
    put(tmp_path, 1, 1, "input.json", "{}")
    put(tmp_path, 1, 2, "result.json", "{")
    (tmp_path / "jobs/0000/3").mkdir()
    first, second, third = rescan(tmp_path, *(Look(job, 0, f"jobs/0000/{job}") for job in (1, 2, 3)))
    assert (first.found, first.highest, first.reason) == (False, 2, "output_invalid")
    assert first.detail.startswith("jobs/0000/1/2: result.json:")
    assert (second.reason, third.reason) == ("no attempt directory", "no attempt directory")


def test_an_attempt_that_a_retry_set_aside_is_not_taken_up_again(tmp_path: Path) -> None:
    put(tmp_path, 1, 1, "result.json", RESULT)
    [seen] = rescan(tmp_path, Look(1, 1, "jobs/0000/1", {}, [1]))
    assert (seen.found, seen.reason) == (False, "set aside by a retry")


@pytest.mark.parametrize(("later_s", "found"), [(59.0, False), (61.0, True)])
def test_an_exit_that_was_seen_counts_for_outputs_no_younger_than_it(
    tmp_path: Path, later_s: float, *, found: bool
) -> None:
    output = put(tmp_path, 1, 1, "result.json", RESULT)
    os.utime(output, (ENDED_AT + later_s, ENDED_AT + later_s))
    [seen] = rescan(tmp_path, Look(1, 1, "jobs/0000/1", {1: (1, None, ENDED_AT)}))
    assert (seen.found, seen.reason) == (found, "" if found else "exit_code")


@pytest.mark.parametrize(
    ("rules", "text", "reason"),
    [
        ({}, "fine", "nothing in the spec says what a success looks like"),
        ({"success": "fine"}, "all is fine", ""),
        ({"success": "fine"}, "no", "output_invalid"),
        ({"patterns": {"energy_hartree": "E=(.*)"}}, "E=-1.5", ""),
        ({"patterns": {"energy_hartree": "E=(.*)"}}, "nothing", "output_missing"),
        ({"patterns": {"gap": "gap=(.*)"}}, "gap=2", ""),
        ({"patterns": {"gap": "gap=(.*)"}}, "nothing", "nothing in the spec says what a success looks like"),
        ({"file": "stdout"}, '{"energy_ev": 1.0}', ""),
    ],
)
def test_a_program_is_judged_by_what_the_spec_says_of_its_outputs(
    tmp_path: Path, rules: dict[str, Any], text: str, reason: str
) -> None:
    put(tmp_path, 1, 3, "stdout", text)
    [seen] = rescan(tmp_path, **command(**rules))
    assert (seen.found, seen.highest, seen.reason) == (not reason, 3, reason)


def test_an_engine_that_raises_costs_no_other_job_anything(tmp_path: Path) -> None:
    class Poisonous(CommandEngine):
        def read(self, directory: Path, exit: Exit, parameters: CommandParameters) -> Outcome:  # noqa: A002
            if directory.parent.name == "1":
                raise RecursionError("too deep")
            return super().read(directory, exit, parameters)

    for job in (1, 2):
        put(tmp_path, job, 1, "stdout", "fine")
    looks = [Look(job, 0, f"jobs/0000/{job}") for job in (1, 2)]
    first, second = rescan(tmp_path, *looks, **command(success="fine") | {"engine": Poisonous()})
    assert (first.reason, first.detail) == ("unreadable", "jobs/0000/1: RecursionError: too deep")
    assert second.found


def test_a_worker_is_given_back_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_SLICE_S", 0.0)
    assert len(rescan(tmp_path, *(Look(job, 0, f"jobs/0000/{job}") for job in range(1, 9)))) == 1


def test_outputs_read_again(tmp_path: Path) -> None:
    put(tmp_path, 1, 3, "result.json", RESULT)
    put(tmp_path, 2, 1, "result.json", "{")
    looks = [Look(1, 3, "jobs/0000/1/3"), Look(2, 1, "jobs/0000/2/1")]
    first, second = see(ReviewKind.RECOMPUTE, tmp_path, *looks)
    assert (first.found, first.number) == (True, 3)
    assert (second.found, second.reason) == (False, str(FailureClass.OUTPUT_INVALID))


class Printing(CommandEngine):
    """A program whose main output can be told by its name."""

    def main_output(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name.endswith(".out")]


@pytest.mark.parametrize(
    ("how", "names", "missing"),
    [
        ({}, ["result.json"], False),
        ({}, ["stderr", "input.json"], True),
        (command(), ["stderr"], False),
        (command(), ["a.txt"], True),
        (command(file="r.json"), ["stdout", "stderr"], True),
        (command(file="r.json"), ["r.json"], False),
        (command() | {"engine": Printing()}, ["stdout"], True),
        (command() | {"engine": Printing()}, ["job.out"], False),
    ],
)
def test_which_outputs_are_missed(tmp_path: Path, how: dict[str, Any], names: list[str], *, missing: bool) -> None:
    for name in names:
        put(tmp_path, 1, 1, name, "")
    looks = [Look(1, 1, "jobs/0000/1/1"), Look(2, 1, "jobs/0000/2/1")]
    first, second = see(ReviewKind.RESET_MISSING, tmp_path, *looks, **how)
    assert (first.found, first.reason) == (missing, "")
    assert second.found


def test_a_directory_that_cannot_be_read_is_not_missed(tmp_path: Path) -> None:
    attempt = tmp_path / "jobs/0000/1/1"
    attempt.parent.mkdir(parents=True)
    attempt.symlink_to(attempt)
    [seen] = see(ReviewKind.RESET_MISSING, tmp_path, Look(1, 1, "jobs/0000/1/1"))
    assert (seen.found, seen.reason) == (False, "unreadable")
