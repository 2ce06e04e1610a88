"""Molecular dynamics as values: what may be asked for, what is carried on, and what an attempt came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.segments import DONE, Chain, block

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass
from penstock.domain.errors import SpecError
from penstock.engines.dynamics import read_description, read_facts

ENGINE = engines.get_python("emt")
TABLE: dict[str, Any] = {"task": "dynamics", "temperature_k": 300.0}
STOPPED = Exit(None, 15, 0.0, 1.0, verdict="timeout")


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({"temperature_k": None}, "temperature_k", "needs a temperature"),
        ({"ensemble": "nve", "thermostat": "bussi"}, "thermostat", "has no thermostat"),
        ({"ensemble": "npt", "thermostat": "bussi"}, "thermostat", "langevin only"),
        ({"steps": 10, "sample_every": 11}, "sample_every", "must not be more than steps (10)"),
        ({"sample_every": 2, "checkpoint_every": 2001}, "checkpoint_every", "not be more than 2000"),
        ({"supercell": [2, 2, 2], "min_atoms": 9}, "min_atoms", "not both"),
        ({"supercell": [2, 2]}, "supercell", ""),
        ({"timestep_fs": 0}, "timestep_fs", "> 0"),
        ({"ensemble": "nvp"}, "ensemble", "did you mean"),
        ({"temperature": 300}, "temperature", "did you mean 'temperature_k'?"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_key(table: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        ENGINE.parameters({key: value for key, value in (TABLE | table).items() if value is not None}, str)
    assert raised.value.key == f"engine.{key}"
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("table", "integrator"),
    [
        ({}, "bussi"),
        ({"ensemble": "nvt", "thermostat": "langevin"}, "langevin"),
        ({"ensemble": "nve"}, "nve"),
        ({"ensemble": "npt"}, "npt"),
        ({"ensemble": "npt", "thermostat": "langevin"}, "npt"),
    ],
)
def test_the_ensemble_and_the_thermostat_choose_the_integrator(table: dict[str, Any], integrator: str) -> None:
    assert ENGINE.parameters(TABLE | table, str).integrator == integrator


def test_other_tasks_need_none_of_it() -> None:
    assert ENGINE.parameters({"task": "gradient", "ensemble": "nve", "thermostat": "bussi"}, str).task == "gradient"


@pytest.mark.parametrize(
    ("previous", "goes_on", "carry"),
    [
        ((), "", {}),
        (("orbitals.gbw",), "", {}),
        (("state.npz",), "segment", {"state.npz": "previous.npz"}),
        (
            ("state.npz", "positions.npy", "samples.npy"),
            "attempt",
            {"state.npz": "previous.npz", "positions.npy": "positions.npy", "samples.npy": "samples.npy"},
        ),
    ],
)
def test_what_was_left_says_whether_a_segment_begins_or_goes_on(
    previous: tuple[str, ...], goes_on: str, carry: dict[str, str]
) -> None:
    calculation = Calculation("x", block(bulk("Cu")), 0, 1, 1, 1000, previous=previous)
    rendered = ENGINE.render(calculation, ENGINE.parameters(TABLE, str))
    assert f'"goes_on":"{goes_on}"' in rendered.files["input.json"]
    assert rendered.carry == carry
    other = ENGINE.render(calculation, ENGINE.parameters({"task": "gradient"}, str))
    assert other.carry == {}


def test_all_that_may_be_left_is_fetched() -> None:
    names = ("result.json", "stderr", "dynamics.json", "state.npz", "positions.npy", "cells.npy", "samples.npy")
    assert set(ENGINE.outputs(ENGINE.parameters(TABLE, str))) == set(names)


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A finished one, of which each test looks at files of its own."""
    table: dict[str, Any] = {"temperature_k": 300.0, "steps": 20, "sample_every": 5, "checkpoint_every": 10}
    chain = Chain(tmp_path_factory.mktemp("segment"), bulk("Cu", cubic=True), **table)
    chain.attempt()
    return chain


def copy(chain: Chain, directory: Path) -> Path:
    for file in chain.attempts[-1].iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory


def test_a_success_names_its_state_to_go_on_from(segment: Chain, tmp_path: Path) -> None:
    found = ENGINE.read(copy(segment, tmp_path), DONE, segment.parameters)
    assert (found.failure, found.checkpoint, found.progress) == (None, ["state.npz"], 0)
    assert found.properties["steps_done"] == 20
    assert found.properties["frames"] == 4


@pytest.mark.parametrize("name", ["positions.npy", "samples.npy", "state.npz"])
def test_a_success_without_all_of_its_arrays_is_none(segment: Chain, tmp_path: Path, name: str) -> None:
    directory = copy(segment, tmp_path)
    (directory / name).unlink()
    found = ENGINE.read(directory, DONE, segment.parameters)
    assert (found.failure, found.message) == (FailureClass.OUTPUT_INVALID, f"{name} is missing")


@pytest.mark.parametrize("name", ["positions.npy", "samples.npy"])
def test_arrays_that_are_cut_short_are_no_success(segment: Chain, tmp_path: Path, name: str) -> None:
    directory = copy(segment, tmp_path)
    whole = (directory / name).read_bytes()
    for size in (1, 127, 128, len(whole) - 1):
        (directory / name).write_bytes(whole[:size])
        found = ENGINE.read(directory, DONE, segment.parameters)
        assert found.failure == FailureClass.OUTPUT_INVALID, size


def test_arrays_of_other_frames_are_no_success(segment: Chain, tmp_path: Path) -> None:
    directory = copy(segment, tmp_path)
    result = (directory / "result.json").read_text()
    (directory / "result.json").write_text(result.replace('"frames":4', '"frames":5'))
    found = ENGINE.read(directory, DONE, segment.parameters)
    assert found.failure == FailureClass.OUTPUT_INVALID
    assert "has the shape (4, 4, 3), not (5, 4, 3)" in (found.message or "")


def test_npt_has_cells(segment: Chain, tmp_path: Path) -> None:
    parameters = ENGINE.parameters({**TABLE, "ensemble": "npt"}, str)
    found = ENGINE.read(copy(segment, tmp_path), DONE, parameters)
    assert (found.failure, found.message) == (FailureClass.OUTPUT_INVALID, "cells.npy is missing")


def test_an_attempt_that_was_stopped_says_how_far_it_came(segment: Chain, tmp_path: Path) -> None:
    found = ENGINE.read(copy(segment, tmp_path), STOPPED, segment.parameters)
    assert (found.failure, found.progress) == (FailureClass.WALLTIME, 20)
    assert found.checkpoint == ["state.npz", "positions.npy", "samples.npy"]
    assert (found.message or "").endswith("; it had come to step 20")


@pytest.mark.parametrize(
    "ended",
    [
        Exit(1, None, 0.0, 1.0, message="BlownUpError: at step 3 the temperature is nan K"),
        Exit(1, None, 0.0, 1.0, message="InputError: no"),
        Exit(None, 15, 0.0, 1.0, verdict="cancelled"),
    ],
)
def test_what_would_fail_again_is_not_gone_on_from(segment: Chain, tmp_path: Path, ended: Exit) -> None:
    found = ENGINE.read(copy(segment, tmp_path), ended, segment.parameters)
    assert found.failure is not None
    assert (found.checkpoint, found.progress) == ([], 0)


def test_a_state_that_is_cut_short_is_none(segment: Chain, tmp_path: Path) -> None:
    directory = copy(segment, tmp_path)
    whole = (directory / "state.npz").read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        (directory / "state.npz").write_bytes(whole[:size])
        assert read_facts(directory / "state.npz") is None
        assert ENGINE.read(directory, STOPPED, segment.parameters).progress == 0
    assert read_facts(directory / "none.npz") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=100) | st.sampled_from([b"\x93NUMPY\x01\x00", b"PK\x05\x06" + b"\0" * 18]))
def test_reading_never_raises(tmp_path: Path, content: bytes) -> None:
    for name in ("state.npz", "positions.npy", "result.json"):
        (tmp_path / name).write_bytes(content)
    parameters = ENGINE.parameters(TABLE, str)
    assert ENGINE.read(tmp_path, DONE, parameters).failure == FailureClass.OUTPUT_INVALID
    assert ENGINE.read(tmp_path, STOPPED, parameters).failure == FailureClass.WALLTIME


def test_a_description_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "dynamics.json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe a trajectory"):
        read_description(tmp_path)
