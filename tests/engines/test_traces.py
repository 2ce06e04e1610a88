"""Logs and trajectories of optimisers, whole and broken, against values read from them by hand."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS, FIRE, BFGSLineSearch
from ase.units import Bohr, Hartree
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.traces import Trace, TracePoint, last_geometry, read_trace

SELLA = """\
     Step     Time          Energy         fmax         cmax       rtrust          rho
Sella   0 23:59:58    -3115.123456       2.0000       0.0000       0.1000       1.0000
Sella   1 00:00:03    -3115.623456       0.5000       0.0000       0.1150       0.9870
     Step     Time          Energy         fmax         cmax       rtrust          rho
# Sella 00:01:00: starting Hessian diagonalization
Sella   0 00:01:07    -3115.623456       0.5000       0.0000       0.1000       1.0000
Sella   1 00:01:09    -3115.700000       0.0400       0.0000       0.1000       1.0000
"""
ORCA = """\
2
Coordinates from ORCA-job water E -1.13000000
H 0.0 0.0 0.0
H 0.0 0.0 0.74
2
Coordinates from ORCA-job E E -1.14000000
H 0.0 0.0 0.0
H 0.0 0.0 0.75
"""
OURS = """\
1
 step=0 energy=-27.211386024367243
H 0.0 0.0 0.0
1
Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T" step=5 energy=-54.422772048734486
H 0.0 0.0 0.1
"""
FORCE = Bohr / Hartree


def read(directory: Path, data: str | bytes, points_most: int = 1000) -> Trace:
    path = directory / "trace"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_trace(path, points_most)


def test_a_log_of_sella_with_a_restart(tmp_path: Path) -> None:
    trace = read(tmp_path, SELLA)
    assert (trace.kind, trace.runs, trace.left_out) == ("log", 2, 0)
    assert [(point.run, point.step) for point in trace.points] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    energies = [-3115.123456, -3115.623456, -3115.623456, -3115.7]
    assert [point.energy_hartree for point in trace.points] == pytest.approx([e / Hartree for e in energies], rel=1e-14)
    forces = [point.max_force_hartree_per_bohr for point in trace.points]
    assert forces == pytest.approx([force * FORCE for force in (2.0, 0.5, 0.5, 0.04)], rel=1e-14)


@pytest.mark.parametrize("optimizer", [BFGS, FIRE, BFGSLineSearch])
def test_logs_of_ase_are_read_as_ase_wrote_them(tmp_path: Path, optimizer: type) -> None:
    log = io.StringIO()
    energies = []
    for _ in range(2):
        atoms = molecule("H2O")
        atoms.calc = EMT()
        run = optimizer(atoms, logfile=log)
        run.attach(lambda atoms=atoms: energies.append(atoms.get_potential_energy() / Hartree))
        run.run(fmax=0.05, steps=20)
    trace = read(tmp_path, log.getvalue())
    assert trace.runs == 2
    assert [point.energy_hartree for point in trace.points] == pytest.approx(energies, abs=1e-6)


def test_a_trajectory_of_orca(tmp_path: Path) -> None:
    points = [TracePoint(1, 0, -1.13), TracePoint(1, 1, -1.14)]
    assert read(tmp_path, ORCA) == Trace("trajectory", 1, points)
    assert read(tmp_path, ORCA.replace("\n", "\r\n")) == Trace("trajectory", 1, points)
    assert read(tmp_path, ORCA.replace("E -1.", "E -1,")) == Trace("trajectory", 1, points)


def test_a_trajectory_of_ours(tmp_path: Path) -> None:
    assert read(tmp_path, OURS) == Trace("trajectory", 1, [TracePoint(1, 0, -1.0), TracePoint(1, 5, -2.0)])
    again = read(tmp_path, OURS + OURS)
    assert [(point.run, point.step) for point in again.points] == [(1, 0), (1, 5), (2, 0), (2, 5)]


def test_a_frame_that_breaks_off_costs_only_itself(tmp_path: Path) -> None:
    first, second = ORCA[: ORCA.index("2\nCoordinates", 5)], ORCA[ORCA.index("2\nCoordinates", 5) :]
    broken = first[: first.index("H 0.0 0.0 0.74")]
    assert [point.energy_hartree for point in read(tmp_path, broken + second).points] == [-1.14]


def test_the_last_points_are_kept_where_there_are_too_many(tmp_path: Path) -> None:
    rows = "".join(f"BFGS: {step:4} 12:00:00 {-step}.5 0.1\n" for step in range(100))
    trace = read(tmp_path, rows, 10)
    assert ([point.step for point in trace.points], trace.left_out) == (list(range(90, 100)), 90)


@pytest.mark.parametrize(("text", "energy"), [("nan", None), ("inf", None), ("-1.5*", -1.5), ("-1,5", -1.5)])
def test_odd_numbers(tmp_path: Path, text: str, energy: float | None) -> None:
    [point] = read(tmp_path, f"BFGS:    0 12:00:00   {text}   0.1\n").points
    assert point.energy_hartree == (None if energy is None else pytest.approx(energy / Hartree))


@pytest.mark.parametrize("text", ["", "\n\n", "some text\n", "\x00" * 300_000, "9" * 300_000 + "\n", "3\n"])
def test_what_is_no_trace_has_no_points(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).points == []


@pytest.mark.parametrize("text", [SELLA, ORCA, OURS])
def test_a_file_that_is_cut_has_the_points_before_the_cut(tmp_path: Path, text: str) -> None:
    whole = read(tmp_path, text).points
    for cut in range(len(text)):
        points = read(tmp_path, text[:cut]).points
        assert points == whole[: len(points)]
        assert len(points) < len(whole)


@given(cut=st.integers(0, 20_000))
def test_a_gzip_that_is_cut_has_the_points_before_the_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    rows = "".join(f"BFGS: {step:4} 12:00:00 {-step * 7919 % 10007}.{step} 0.1\n" for step in range(3000))
    directory = tmp_path_factory.mktemp("cut")
    whole = read(directory, rows, 5000).points
    points = read(directory, gzip.compress(rows.encode())[:cut], 5000).points
    assert points == whole[: len(points)]


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_flipped_byte_does_no_harm(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    directory = tmp_path_factory.mktemp("flip")
    for text in (SELLA, ORCA, OURS):
        data = bytearray(text.encode())
        data[at % len(data)] = byte
        assert len(read(directory, bytes(data)).points) <= 4


def test_what_is_no_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_trace(tmp_path / "gone")


def test_the_last_geometry_is_that_of_the_last_whole_frame(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.xyz"
    assert last_geometry(path) is None
    path.write_text(ORCA)
    assert last_geometry(path) == "2\n\nH 0.0 0.0 0.0\nH 0.0 0.0 0.75\n"
    path.write_text(ORCA[:-6])
    assert last_geometry(path) == "2\n\nH 0.0 0.0 0.0\nH 0.0 0.0 0.74\n"
    path.write_text(OURS)
    assert last_geometry(path) == '1\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T T"\nH 0.0 0.0 0.1\n'
    path.write_text("1\n\nQq 0 0 0\n")
    assert last_geometry(path) is None
