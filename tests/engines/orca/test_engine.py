from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from tests.engines.orca import texts
from tests.engines.orca.test_engrad import TEXT as ENGRAD

from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.engines.engine import OutputEngine
from penstock.engines.orca import OrcaEngine
from penstock.engines.orca.parameters import OrcaParameters

ENGINE: OutputEngine[OrcaParameters] = OrcaEngine()
ENDED = Exit(0, None, 0.0, 1.0)


def read(
    directory: Path, stdout: str | None, ended: Exit = ENDED, files: tuple[str, ...] = (), **table: Any
) -> Outcome:
    if stdout is not None:
        (directory / "stdout").write_text(stdout, encoding="utf-8")
    for name in files:
        (directory / name).write_text(ENGRAD if name == "job.engrad" else "x", encoding="utf-8")
    return ENGINE.read(directory, ended, ENGINE.parameters({"method": "HF", **table}, str))


def test_the_engine_says_what_it_is() -> None:
    assert (ENGINE.name, ENGINE.kind, ENGINE.parameters_type) == ("orca", "program", OrcaParameters)
    assert ENGINE.tasks == {"energy", "gradient", "opt", "freq", "opt+freq"}
    ENGINE.load()


def test_a_single_point(tmp_path: Path) -> None:
    found = read(tmp_path, texts.single_point(), files=("job.gbw", "job.inp", "job.tmp"))
    assert (found.failure, found.final_energy_hartree, found.scf_cycles) == (None, texts.ENERGY, 11)
    assert found.geometry is None
    assert (found.files, found.checkpoint) == (["stdout", "job.inp", "job.gbw"], ["job.gbw"])
    assert found.properties["homo_lumo_gap_ev"] == 6.1422


def test_an_optimisation_gives_its_last_geometry_and_all_to_go_on_from(tmp_path: Path) -> None:
    names = ("job.gbw", "job.opt", "job.hess", "job.xyz", "job_trj.xyz")
    found = read(tmp_path, texts.optimisation(), files=names, task="opt")
    assert found.failure is None
    assert (found.geometry or "").splitlines()[2] == "O 0.000000 0.000000 0.120000"
    assert found.checkpoint == ["job.gbw", "job.opt", "job.hess"]
    assert found.files == ["stdout", "job.xyz", "job_trj.xyz", "job.gbw", "job.opt", "job.hess"]
    assert set(found.files) | {"stderr"} < set(ENGINE.outputs(OrcaParameters()))


def test_so_does_one_that_failed_or_was_stopped(tmp_path: Path) -> None:
    found = read(tmp_path, texts.failed_optimisation(), files=("job.gbw",), task="opt")
    assert (found.failure, found.checkpoint) == (FailureClass.GEOMETRY_NOT_CONVERGED, ["job.gbw"])
    assert (found.geometry or "").splitlines()[2] == "O 0.000000 0.000000 0.119000"
    assert found.evidence is not None
    assert found.evidence.file == "stdout"
    stopped = read(tmp_path, texts.unfinished_optimisation(), Exit(None, 15, 0.0, 1.0, "timeout"), task="opt")
    assert (stopped.failure, stopped.checkpoint) == (FailureClass.WALLTIME, ["job.gbw"])
    assert stopped.geometry == found.geometry


def test_the_gradient_comes_from_the_output_or_from_its_file(tmp_path: Path) -> None:
    found = read(tmp_path, texts.engrad_run(), files=("job.engrad",), task="gradient")
    assert (found.failure, found.max_force_hartree_per_bohr) == (None, 0.0149627221)
    found = read(tmp_path, texts.single_point(), files=("job.engrad",), task="gradient")
    assert (found.failure, found.max_force_hartree_per_bohr) == (None, 0.0124)


@pytest.mark.parametrize(
    ("task", "stdout", "missing"),
    [
        ("gradient", texts.single_point(), "gradient"),
        ("opt", texts.single_point(), "converged geometry"),
        ("freq", texts.single_point(), "frequencies"),
        ("opt+freq", texts.optimisation(), "frequencies"),
        ("energy", texts.head() + texts.end(), "readable final energy"),
    ],
)
def test_a_run_that_ends_well_must_give_what_the_task_asks_for(
    tmp_path: Path, task: str, stdout: str, missing: str
) -> None:
    found = read(tmp_path, stdout, task=task)
    assert found.failure is FailureClass.OUTPUT_INVALID
    assert found.message == f"it ended normally, but gives no {missing}"


def test_frequencies(tmp_path: Path) -> None:
    text = texts.single_point().replace(texts.end(), texts.FREQUENCIES + texts.end())
    found = read(tmp_path, text, task="freq")
    assert (found.failure, found.properties["imaginary_frequencies"]) == (None, 1)


def test_an_output_of_a_single_atom_beside_it_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "job_atom95.out").write_text(texts.single_point(), encoding="utf-8")
    assert read(tmp_path, texts.head()).failure is FailureClass.TRUNCATED
    (tmp_path / "stdout").unlink()
    assert read(tmp_path, None).failure is FailureClass.OUTPUT_MISSING
    assert read(tmp_path, None, Exit(None, 9, 0.0, 1.0, "oom")).failure is FailureClass.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("printed", "failure"),
    [
        ("There are not enough slots available in the system to satisfy the 16\n", FailureClass.MPI_ERROR),
        ("srun: error\nslurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0\n", FailureClass.OUT_OF_MEMORY),
        ("slurmstepd: error: *** JOB 1 ON a CANCELLED AT x DUE TO TIME LIMIT ***\n", FailureClass.WALLTIME),
        ("write: No space left on device\n", FailureClass.DISK),
    ],
)
def test_standard_error_has_a_better_name_for_a_crash(tmp_path: Path, printed: str, failure: FailureClass) -> None:
    crash = texts.head() + "ORCA finished by error termination in GTOInt\n  .... aborting the run\n"
    assert read(tmp_path, crash, Exit(64, None, 0.0, 1.0)).failure is FailureClass.MODULE_CRASH
    (tmp_path / "stderr").write_text(printed, encoding="utf-8")
    for stdout in (crash, texts.head()):
        found = read(tmp_path, stdout, Exit(64, None, 0.0, 1.0))
        assert found.failure is failure
        assert found.evidence is not None
        assert (found.evidence.file, found.evidence.text) == ("stderr", printed.splitlines()[-1])
    assert read(tmp_path, texts.single_point()).failure is None


def test_the_exit_must_agree(tmp_path: Path) -> None:
    assert read(tmp_path, texts.single_point(), Exit(3, None, 0.0, 1.0)).failure is FailureClass.EXIT_CODE
    assert read(tmp_path, texts.single_point(), Exit(None, 11, 0.0, 1.0)).failure is FailureClass.SIGNAL


@hypothesis_given(data=st.binary(max_size=300), code=st.integers(0, 255))
def test_any_output_can_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes, code: int) -> None:
    directory = tmp_path_factory.mktemp("attempt")
    (directory / "stdout").write_bytes(data)
    (directory / "job.engrad").write_bytes(data)
    found = ENGINE.read(directory, Exit(code, None, 0.0, 1.0), OrcaParameters(method="HF"))
    assert found.failure is not None
