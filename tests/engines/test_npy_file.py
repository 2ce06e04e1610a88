"""Arrays that grow while others read them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.engines.npy_file import NpyFile, NpyHeaderError, read_shape


def test_numpy_reads_it_after_every_append(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    rows = np.random.default_rng(1).standard_normal((7, 5, 3))
    file = NpyFile(path, (5, 3))
    assert np.load(path).shape == (0, 5, 3)
    for start, stop in ((0, 1), (1, 1), (1, 6), (6, 7)):
        file.append(rows[start:stop])
        assert np.array_equal(np.load(path, mmap_mode="r"), rows[:stop])
    file.close()
    assert read_shape(path) == (7, 5, 3)


def test_it_is_the_file_that_numpy_writes(tmp_path: Path) -> None:
    rows = np.arange(12.0).reshape(4, 3)
    file = NpyFile(tmp_path / "a.npy", (3,))
    file.append(rows)
    file.close()
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_going_on_cuts_what_came_after(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.npy"
    file = NpyFile(path, (2,))
    file.append(np.ones((3, 2)))
    os.pwrite(file._descriptor, b"torn", path.stat().st_size)
    file.close()
    again = NpyFile(path, (2,), kept)
    assert again.rows == kept
    again.append(np.zeros((1, 2)))
    again.close()
    assert np.load(path).tolist() == [[1.0, 1.0]] * kept + [[0.0, 0.0]]
    assert path.stat().st_size == 128 + 16 * (kept + 1)


@pytest.mark.parametrize(("shape", "rows"), [((2,), 4), ((3,), 2), ((2, 1), 2)])
def test_other_rows_than_there_are_cannot_be_gone_on_from(tmp_path: Path, shape: tuple[int, ...], rows: int) -> None:
    file = NpyFile(tmp_path / "a.npy", (2,))
    file.append(np.ones((3, 2)))
    file.close()
    with pytest.raises(NpyHeaderError, match=r"a.npy has the shape \(3, 2\)"):
        NpyFile(tmp_path / "a.npy", shape, rows)


def test_a_file_that_is_cut_short_is_told(tmp_path: Path) -> None:
    file = NpyFile(tmp_path / "a.npy", (2,))
    file.append(np.ones((3, 2)))
    file.close()
    os.truncate(tmp_path / "a.npy", 128 + 47)
    with pytest.raises(NpyHeaderError, match="cut short"):
        read_shape(tmp_path / "a.npy")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200) | st.binary(max_size=120).map(lambda tail: b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'" + tail)
)
def test_other_bytes_are_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(NpyHeaderError):
        read_shape(tmp_path / "a.npy")
