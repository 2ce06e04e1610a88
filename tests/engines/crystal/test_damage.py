"""Outputs that are cut, damaged, packed or put together: never an error, never a false success."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.crystal import outputs as out

from penstock.domain.geometry import parse_geometry
from penstock.domain.report import Report
from penstock.engines.crystal import output

VALID = [out.SINGLE_POINT, out.OPTIMISATION, out.SINGLE_POINT.replace(out.END, out.FREQUENCIES + out.END)]
FAILED = [
    out.SINGLE_POINT.replace(out.SCF_END, out.TOO_MANY),
    out.OPTIMISATION.replace(out.OPT_END, out.OPT_FAILED),
    out.HEAD + out.BULK + " ERROR **** CHOLSK **** BASIS SET LINEARLY DEPENDENT\n",
]
CASES = pytest.mark.parametrize("text", VALID, ids=["single point", "optimisation", "frequencies"])


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Report]:
    path = tmp_path / "stdout"

    def read_bytes(data: bytes) -> Report:
        path.write_bytes(data)
        found = output.report(path)
        if found.geometry:
            parse_geometry(found.geometry)
        return found

    return read_bytes


@CASES
def test_cut_at_any_byte_it_is_no_success(text: str, read: Callable[[bytes], Report]) -> None:
    whole = text.encode()
    end = whole.index(out.END.encode()) + len(out.END) - 1
    assert read(whole[:end]).failure is None
    for cut in {*range(0, end, 5), *range(end - 300, end)}:
        found = read(whole[:cut])
        assert found.failure is not None, cut
        assert found.ended == "truncated"


@CASES
@given(data=st.data())
def test_flipped_bytes_never_make_an_error_nor_a_success_of_a_failure(
    text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "stdout"
    for original, must_fail in ((text, False), (data.draw(st.sampled_from(FAILED)), True)):
        damaged = bytearray(original.encode())
        for _ in range(data.draw(st.integers(1, 8))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged)
        found = output.report(path)
        assert found.failure is not None or not must_fail


@CASES
def test_ends_of_line_and_decimal_commas_change_nothing(text: str, read: Callable[[bytes], Report]) -> None:
    plain = read(text.encode())
    assert read(text.replace("\n", "\r\n").encode()) == plain
    comma = read(text.replace("E(AU) -7.6", "E(AU) -7,6").replace("DISP (AU)        -7.6", "DISP (AU)  -7,6").encode())
    assert comma.energy_hartree == plain.energy_hartree


@CASES
def test_packed_or_not_it_reads_the_same_and_packed_and_cut_it_is_no_success(
    text: str, read: Callable[[bytes], Report]
) -> None:
    packed = gzip.compress(text.encode(), mtime=0)
    assert read(packed) == read(text.encode())
    for cut in (*range(0, len(packed) - 200, 7), *range(len(packed) - 20, len(packed))):
        assert read(packed[:cut]).failure is not None


@given(first=st.sampled_from([*VALID, *FAILED]), second=st.sampled_from([*VALID, *FAILED]), share=st.floats(0.05, 1))
def test_of_two_runs_in_a_file_the_second_one_counts(
    first: str, second: str, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("two") / "stdout"
    begun = second[: max(round(share * len(second)), len(out.BANNER))]
    path.write_text(first + begun)
    both = output.report(path)
    path.write_text(begun)
    alone = output.report(path)
    assert (both.failure, both.ended, both.energy_hartree) == (alone.failure, alone.ended, alone.energy_hartree)
    assert (both.scf_cycles, both.optimization, both.geometry) == (alone.scf_cycles, alone.optimization, alone.geometry)


@given(data=st.binary(max_size=500))
def test_any_bytes_are_read(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "stdout"
    path.write_bytes(data)
    assert output.report(path).failure is not None
    path.write_bytes(out.SINGLE_POINT.encode() + data)
    output.report(path)
    path.write_bytes(data + out.SINGLE_POINT.encode())
    output.report(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        output.report(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        output.report(tmp_path / "pipe")


SAMPLES = sorted(out.SAMPLES.glob("*.out"))


@pytest.mark.skipif(not SAMPLES, reason="PENSTOCK_SAMPLES names no directory of real outputs")
@given(data=st.data())
def test_a_real_output_cut_anywhere_is_no_success(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "stdout"
    whole = data.draw(st.sampled_from(SAMPLES)).read_bytes()
    end = whole.index(b" EEEEEEEEEE TERMINATION")
    path.write_bytes(whole[: data.draw(st.integers(0, end + len(out.END) - 2))])
    found = output.report(path)
    assert found.failure is not None
    assert found.ended == "truncated"
