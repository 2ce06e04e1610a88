import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.marker_scan import MarkerScan, line_number, read_head

MARKERS = (b"ENERGY", b"ENERGY OF", b"end")
SCAN = MarkerScan(MARKERS)


def offsets(path: Path) -> list[tuple[int, int]]:
    return [(hit.marker, hit.offset) for hit in SCAN.hits(path)]


def test_hits_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"title\r\n the ENERGY is 1\r\n a\r\n b\nENERGY OF 2\nthe end")
    first, second, third = SCAN.hits(path)
    assert [first.marker, second.marker, third.marker] == [0, 1, 2]
    assert first.line() == " the ENERGY is 1"
    assert list(first.lines_after()) == [" a", " b", "ENERGY OF 2"]
    assert third.line() == "the end"
    assert line_number(path, second.offset) == 5


def test_a_long_text_is_read_in_blocks_and_no_hit_is_lost_or_seen_twice(tmp_path: Path) -> None:
    path, packed = tmp_path / "out", tmp_path / "out.gz"
    text = b"".join(b"%08d ENERGY %d\n" % (n, n) for n in range(600_000))
    path.write_bytes(text)
    packed.write_bytes(gzip.compress(text, 1))
    lines = [int(hit.line().split()[-1]) for hit in SCAN.hits(path)]
    assert lines == list(range(600_000))
    assert offsets(packed) == offsets(path)
    last = offsets(path)[-1][1]
    assert line_number(packed, last) == line_number(path, last) == 600_000


def test_a_block_without_an_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"x" * 9_000_000 + b"ENERGY" + b"y" * 9_000_000 + b"\nend")
    assert offsets(path) == [(0, 9_000_000), (2, 18_000_007)]


@pytest.mark.parametrize("cut", [0, 1, 5, 100, -1])
def test_a_gzip_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.gz"
    data = gzip.compress(b"ENERGY\n" * 1000 + b"end")
    path.write_bytes(data[:cut])
    assert len(offsets(path)) <= 1001


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_all_that_stands_before_the_cut_of_a_gzip_is_found(tmp_path: Path, part: float) -> None:
    path = tmp_path / "out.gz"
    data = gzip.compress(b"".join(b"%d ENERGY %d\n" % (line, line * 7919 % 100_003) for line in range(5000)))
    path.write_bytes(data[: int(len(data) * part)])
    assert 5000 * part * 0.8 < len(offsets(path)) <= 5000
    assert read_head(path, 100).startswith(b"0 ENERGY 0\n1 ENERGY 7919\n")


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_text(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "out"
    path.write_bytes(data)
    assert len(offsets(path)) <= len(data)
    path.write_bytes(b"\x1f\x8b" + data)
    assert offsets(path) == []
    assert isinstance(read_head(path), bytes)


def test_what_is_no_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        list(SCAN.hits(tmp_path))
    assert read_head(tmp_path / "none") == b""


@given(text=st.text("abc", max_size=60), markers=st.sets(st.text("abc", min_size=1, max_size=5), min_size=65))
def test_two_automata_find_what_one_does(
    text: str, markers: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [marker.encode() for marker in sorted(markers)][:128]
    path = tmp_path_factory.mktemp("halves") / "out"
    path.write_text(text)
    found = [(hit.start, names[hit.marker]) for hit in MarkerScan(names).hits(path)]
    assert found == list(leftmost_longest(text.encode(), names))


def leftmost_longest(text: bytes, markers: list[bytes]) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(text):
        here = max((marker for marker in markers if text.startswith(marker, place)), key=len, default=b"")
        if here:
            yield place, here
        place += len(here) or 1
