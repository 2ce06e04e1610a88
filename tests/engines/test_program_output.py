import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.units
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import engines
from penstock.domain.calculation import HARTREE_EV, Calculation, Exit, FailureClass, Outcome
from penstock.engines import program_output

ENGINE = engines.get("command")
DONE = Exit(0, None, 0.0, 1.0)
ENERGY = {"energy_hartree": r"FINAL ENERGY\s+(\S+)"}


def read(
    directory: Path, results: dict[str, Any] | None = None, ended: Exit = DONE, keep: tuple[str, ...] = ()
) -> Outcome:
    table = {"command": "prog", "results": results or {}, "keep": list(keep)}
    return ENGINE.read(directory, ended, ENGINE.parameters(table, str))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], None]:
    def write(name: str, content: str | bytes) -> None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def test_one_hartree_is_that_of_ase() -> None:
    assert ase.units.Hartree == HARTREE_EV


def test_a_real_program_from_template_to_outcome(tmp_path: Path) -> None:
    program = f"""{sys.executable} -c 'print(open("in.txt").read()); print("FINAL ENERGY", -0.5 * $natoms)'"""
    table = {"command": program, "templates": {"in.txt": "t"}, "results": {"patterns": ENERGY}, "keep": ["in.txt"]}
    parameters = ENGINE.parameters(table, lambda _: "$geometry")
    rendered = ENGINE.render(Calculation("x", "2\n\nH 0 0 0\nH 0 0 1\n", 0, 1, 1, 100), parameters)
    for name, text in rendered.files.items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "stdout").open("wb") as out:
        assert rendered.argv is not None
        subprocess.run(rendered.argv, cwd=tmp_path, stdout=out, check=True)
    assert ENGINE.read(tmp_path, DONE, parameters) == Outcome(None, final_energy_hartree=-1.0, files=["in.txt"])
    assert (tmp_path / "stdout").read_text().startswith("H 0 0 0\nH 0 0 1")


def test_without_rules_code_zero_is_success(tmp_path: Path) -> None:
    assert read(tmp_path) == Outcome(None)


def test_the_last_match_counts(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    write("stdout", "FINAL ENERGY -1.0\nFINAL ENERGY  -2.5D+01 (a remark)\ncycles: 12\ngap 3.5 eV\nlabel: abc\n")
    patterns = ENERGY | {"scf_cycles": r"cycles: (\d+)", "gap_ev": r"gap (\S+)", "label": r"label: (\w+)", "no": "(zz)"}
    found = read(tmp_path, {"patterns": patterns})
    assert found.final_energy_hartree == -25.0
    assert found.scf_cycles == 12
    assert found.properties == {"gap_ev": 3.5, "label": "abc"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.0D-05", 1e-5), ("-.5d2", -50.0), ("1.E3", 1000.0), ("1D2", "1D2"), ("2d", "2d"), ("P2d1", "P2d1")],
)
def test_only_a_number_with_a_point_has_a_fortran_exponent(
    tmp_path: Path, write: Callable[[str, str | bytes], None], text: str, value: Any
) -> None:
    write("stdout", f"label: {text}\n")
    assert read(tmp_path, {"patterns": {"label": r"label: (\S+)"}}).properties == {"label": value}


def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    write("r.json", '\ufeff{"energy_hartree": -1}')
    assert read(tmp_path, {"file": "r.json"}).final_energy_hartree == -1.0


def test_another_file_electronvolts_and_forces(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    write("prog.out", "E = -27.211386024367243 eV\nforce: -0.01\n")
    patterns = {"energy_ev": r"E = (\S+)", "max_force_hartree_per_bohr": r"force: (\S+)"}
    found = read(tmp_path, {"from": "prog.out", "patterns": patterns})
    assert found.final_energy_hartree == -1.0
    assert found.max_force_hartree_per_bohr == 0.01


@pytest.mark.parametrize(
    ("text", "failure", "message"),
    [
        ("nothing here\n", FailureClass.OUTPUT_MISSING, "stdout nowhere matches energy_hartree"),
        ("FINAL ENERGY none\n", FailureClass.OUTPUT_INVALID, "energy_hartree is not a number: 'none'"),
        ("FINAL ENERGY 1D2\n", FailureClass.OUTPUT_INVALID, "energy_hartree is not a number: '1D2'"),
        ("FINAL ENERGY nan\n", FailureClass.OUTPUT_INVALID, "energy_hartree is not finite"),
        ("FINAL ENERGY 1e999\n", FailureClass.OUTPUT_INVALID, "energy_hartree is not finite"),
        (None, FailureClass.OUTPUT_MISSING, "stdout is missing"),
    ],
)
def test_an_energy_that_is_not_there(
    tmp_path: Path, write: Callable[[str, str | bytes], None], text: str, failure: FailureClass, message: str
) -> None:
    if text is not None:
        write("stdout", text)
    found = read(tmp_path, {"patterns": ENERGY})
    assert found.failure == failure
    assert message in (found.message or "")


def test_success_must_be_found(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    rules = {"patterns": ENERGY, "success": "TERMINATED NORMALLY"}
    write("stdout", "FINAL ENERGY -1\n")
    assert read(tmp_path, rules).failure == FailureClass.OUTPUT_INVALID
    write("stdout", "FINAL ENERGY -1\n*** TERMINATED NORMALLY ***\n")
    assert read(tmp_path, rules).final_energy_hartree == -1.0


def test_results_from_json(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    write(
        "result.json",
        '{"energy_ev": 27.211386024367243, "max_force_hartree_per_bohr": 0.5, "scf_cycles": 7.0, "ok": true, "n": 3,'
        ' "geometry": "H 0 0 0\\nH 0 0 0.74", "charges": [0, 0.5], "nested": {"a": 1}, "none": null, "word": "x",'
        ' "mixed": ["a"], "huge": 99999999999999999999}',
    )
    found = read(tmp_path, {"file": "result.json"}, keep=("result.json", "missing.txt"))
    assert found == Outcome(
        None,
        final_energy_hartree=1.0,
        max_force_hartree_per_bohr=0.5,
        scf_cycles=7,
        geometry="2\n\nH 0 0 0\nH 0 0 0.74\n",
        properties={"ok": True, "n": 3, "charges": [0, 0.5], "word": "x"},
        files=["result.json"],
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "result.json is not a JSON object"),
        ("{", "result.json is not a JSON object"),
        ("[" * 100_000, "result.json is not a JSON object"),
        ('{"energy_hartree": "x"}', "energy_hartree is not a number"),
        ('{"energy_hartree": true}', "energy_hartree is not a number"),
        ('{"energy_ev": 1e400}', "result.json is not a JSON object"),
        ('{"energy_hartree": 1' + "0" * 400 + "}", ""),
        ('{"scf_cycles": -1}', "scf_cycles is not a count"),
        ('{"scf_cycles": 1.5}', "scf_cycles is not a count"),
        ('{"geometry": "H 0 0"}', "geometry: line 1: expected"),
        ('{"geometry": 5}', "geometry: "),
    ],
)
def test_json_that_cannot_be_used(
    tmp_path: Path, write: Callable[[str, str | bytes], None], content: str | bytes, message: str
) -> None:
    write("result.json", content)
    found = read(tmp_path, {"file": "result.json"})
    assert found.failure == FailureClass.OUTPUT_INVALID
    assert message in (found.message or "")


def test_json_that_is_missing_or_no_file(tmp_path: Path) -> None:
    assert read(tmp_path, {"file": "r.json"}) == Outcome(FailureClass.OUTPUT_MISSING, "r.json is missing")
    os.mkfifo(tmp_path / "r.json")
    assert read(tmp_path, {"file": "r.json"}).message == "r.json cannot be read: not a regular file"


def test_a_nonzero_code_tells_the_last_line_of_stderr(
    tmp_path: Path, write: Callable[[str, str | bytes], None]
) -> None:
    write("stderr", b"warning: \xff\n" * 10_000 + b"fatal: no basis\n\n  \n")
    found = read(tmp_path, {"patterns": ENERGY}, Exit(2, None, 0.0, 1.0))
    assert found == Outcome(FailureClass.EXIT_CODE, "ended with code 2: fatal: no basis")


def test_a_nonzero_code_without_stderr(tmp_path: Path) -> None:
    assert read(tmp_path, ended=Exit(2, None, 0.0, 1.0)).message == "ended with code 2"


def test_a_program_that_could_not_be_started(tmp_path: Path) -> None:
    found = read(tmp_path, ended=Exit(127, None, 0.0, 1.0, message="orca: no such program"))
    assert found == Outcome(FailureClass.EXIT_CODE, "ended with code 127: orca: no such program")
    found = read(tmp_path, ended=Exit(None, None, 0.0, 1.0, message="[Errno 13] Permission denied: x"))
    assert found.message == "could not be started: [Errno 13] Permission denied: x"


def test_signals_memory_and_full_disks(tmp_path: Path, write: Callable[[str, str | bytes], None]) -> None:
    assert read(tmp_path, ended=Exit(None, signal.SIGSEGV, 0.0, 1.0)).failure == FailureClass.SIGNAL
    write("stderr", "terminate called: std::bad_alloc\naborting\n")
    assert read(tmp_path, ended=Exit(None, signal.SIGABRT, 0.0, 1.0)).failure == FailureClass.OUT_OF_MEMORY
    write("stderr", "write: No space left on device\naborting\n")
    found = read(tmp_path, ended=Exit(1, None, 0.0, 1.0))
    assert found == Outcome(FailureClass.DISK, "ended with code 1: aborting")


def test_large_outputs_and_long_lines_are_read_piece_by_piece(
    tmp_path: Path, write: Callable[[str, str | bytes], None]
) -> None:
    write("stdout", b"x" * 30_000_000 + b"\nFINAL ENERGY -3.0\n")
    assert read(tmp_path, {"patterns": ENERGY}).final_energy_hartree == -3.0
    assert max(map(len, program_output._lines(tmp_path / "stdout"))) <= 64 * 1024


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="FINAL ENERGY-1.5e\n\0", max_size=60).map(str.encode))
def test_reading_never_raises(tmp_path: Path, content: bytes) -> None:
    for name in ("stdout", "stderr", "r.json"):
        (tmp_path / name).write_bytes(content)
    for rules in ({"patterns": ENERGY, "success": "E"}, {"file": "r.json"}, {}):
        for ended in (DONE, Exit(1, None, 0.0, 1.0), Exit(None, 9, 0.0, 1.0)):
            assert isinstance(read(tmp_path, rules, ended), Outcome)
