"""Outputs that are cut, flipped, appended to or packed: never a crash, never a success that was none."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engines.orca import texts

from penstock.domain.calculation import FailureClass
from penstock.domain.report import Report
from penstock.engines.orca import OrcaEngine

ENGINE = OrcaEngine()
GOOD = {
    "single point": texts.single_point("6.1.0"),
    "gradient": texts.engrad_run("4.2.1"),
    "optimisation": texts.optimisation("5.0.4"),
}
STUMBLE = " " * 15 + "*        SCF NOT CONVERGED AFTER 125 CYCLES         *\n"
ABORT = "     This SCF-wavefunction IS NOT FULLY CONVERGED!\n     Aborting the run ...\n"
FAILED = {
    "out of cycles": texts.failed_optimisation(),
    "absurd": texts.single_point(energy=-20006124.3),
    "scf": texts.head() + texts.geometry() + STUMBLE + texts.final(remark="   (SCF not fully converged!)") + ABORT,
    "no memory": texts.head() + " Error  (ORCA_SCF): Not enough memory available!\n [file x]: ... aborting the run\n",
}
WHOLE = st.sampled_from(sorted(GOOD))
SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent")) / "orca"
has_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory with real outputs of ORCA"
)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Report]:
    path = tmp_path_factory.mktemp("damaged") / "job.out"

    def report(data: bytes) -> Report:
        path.write_bytes(data)
        return ENGINE.report(path)

    return report


Read = Callable[[bytes], Report]


def is_success(found: Report) -> bool:
    return found.ended == "normal" and found.failure is None and found.converged is True


def cut_and_read(read: Read, text: str, cut: int) -> None:
    """Nothing but the last end of line may be missing from a success."""
    found = read(text.encode()[:cut])
    if cut < len(text.rstrip()):
        assert found.ended == "truncated"
        assert found.failure is FailureClass.TRUNCATED
        assert found.converged is None


@given(name=WHOLE, part=st.floats(0, 1))
def test_a_good_output_cut_at_any_byte_is_no_success(read: Read, name: str, part: float) -> None:
    cut_and_read(read, GOOD[name], int(part * len(GOOD[name])))


@pytest.mark.parametrize("name", GOOD)
def test_nor_is_one_cut_near_its_end(read: Read, name: str) -> None:
    assert is_success(read(GOOD[name].encode()))
    for cut in range(len(GOOD[name]) - 400, len(GOOD[name])):
        cut_and_read(read, GOOD[name], cut)


@has_samples
@pytest.mark.parametrize("name", ["orca_example_freq.log", "orca_example_opt.log", "orca_successful_sp.log"])
@settings(max_examples=50)
@given(part=st.floats(0, 1))
def test_nor_is_a_real_one(read: Read, name: str, part: float) -> None:
    text = (SAMPLES / name).read_text(encoding="utf-8")
    cut_and_read(read, text, int(part * len(text)))
    cut_and_read(read, text, len(text) - 1 - int(part * 300))


@given(first=WHOLE, second=WHOLE, part=st.floats(0, 1))
def test_a_good_run_followed_by_an_unfinished_one_is_no_success(
    read: Read, first: str, second: str, part: float
) -> None:
    margin = len("\n" + " " * 33 + "*")  # with less of it, there is no second run yet
    cut = margin + int(part * (len(GOOD[second]) - margin - 2))
    assert not is_success(read((GOOD[first] + GOOD[second][:cut]).encode()))
    assert is_success(read((GOOD[first][:cut] + GOOD[second]).encode()))


@given(
    name=st.sampled_from(sorted(GOOD | FAILED)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
@example(name="absurd", flips=[(0.5, 0)])
def test_flipped_bytes_make_no_success_of_a_failure(read: Read, name: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray((GOOD | FAILED)[name].encode())
    for place, byte in flips:
        data[int(place * len(data))] = byte
    found = read(bytes(data))
    if len(flips) == 1:
        assert not (name in FAILED and is_success(found))
    if found.evidence is not None:
        assert found.evidence.line <= bytes(data).count(b"\n") + 1


@given(name=st.sampled_from(sorted(GOOD | FAILED)))
def test_line_ends_change_nothing(read: Read, name: str) -> None:
    text = (GOOD | FAILED)[name]
    assert read(text.replace("\n", "\r\n").encode()) == read(text.encode())


@given(name=WHOLE, part=st.floats(0, 1, exclude_max=True))
def test_a_packed_output_that_is_cut_is_no_success(read: Read, name: str, part: float) -> None:
    packed = gzip.compress(GOOD[name].encode(), mtime=0)
    assert is_success(read(packed))
    trailer = 8
    assert not is_success(read(packed[: int(part * (len(packed) - trailer - 1))]))


@given(data=st.binary(max_size=500), at=st.floats(0, 1), name=WHOLE)
def test_any_bytes_can_be_read(read: Read, data: bytes, at: float, name: str) -> None:
    assert not is_success(read(data))
    whole = GOOD[name].encode()
    place = int(at * len(whole))
    read(whole[:place] + data + whole[place:])


@given(text=st.text(alphabet="ORCA*\n 0123456789.:|>-ENRGYSIFTL", max_size=400))
def test_any_text_like_it_can_be_read(read: Read, text: str) -> None:
    assert not is_success(read(texts.head().encode() + text.encode()))


@pytest.mark.parametrize("name", GOOD)
def test_numbers_of_any_length_can_be_read(read: Read, name: str) -> None:
    text = re.sub(r"[0-9]+", lambda match: match[0] * 5000 if len(match[0]) == 1 else match[0], GOOD[name])
    assert not is_success(read(text.encode()))
