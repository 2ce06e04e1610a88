"""Archives: what goes in comes out, whatever its names; what was changed by a bit or leads out is refused."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError, StoreError
from penstock.domain.life_cycle import ArchiveEnd, ArchiveHead
from penstock.store import archive_writer
from penstock.store.archive_format import TRAILER_MAGIC, checksum_line
from penstock.store.archive_proof import Proof
from penstock.store.archive_reader import Nobody, read_archive, read_head
from penstock.store.archive_unpacker import Unpacker
from penstock.store.archive_writer import write_archive
from penstock.store.tar_codec import BLOCK, DIRECTORY, FILE, LINK, Member, decode, encode, padding

TOKEN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
HEAD = ArchiveHead(1, "0", 4, "w", "isolated", "w", "campaign", "completed", {}, 0.0, 0.0, 0.0, TOKEN, "here", {})
NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=150)


@given(NAMES, st.integers(0, 0o777), st.integers(0, 2**34), st.integers(0, 2**36))
def test_headers_are_what_tar_reads(name: str, mode: int, mtime: int, size: int) -> None:
    member = Member(FILE, name.encode(), mode, mtime, size)
    data = encode(member)
    with tarfile.open(fileobj=io.BytesIO(data + b"\0" * BLOCK)) as tar:
        info = tar.next()
    assert info is not None
    assert (info.name, info.mode, info.mtime, info.size) == (name, mode, mtime, size)
    if len(data) == BLOCK:
        assert decode(data, {}) == member


def tree(folder: Path) -> Path:
    """Everything that a directory may hold."""
    top = folder / "w"
    (top / "jobs" / ("long" * 40)).mkdir(parents=True)
    (top / "jobs" / ("long" * 40) / "naïve").write_text("ü")
    Path(os.fsdecode(os.fsencode(top) + b"/not-utf8-\xff")).write_bytes(b"x")
    (top / "with\nline").write_text("line")
    (top / "empty").touch(mode=0o640)
    (top / "large").write_bytes(os.urandom(3 << 20))
    (top / "inside").symlink_to("large")
    (top / "jobs" / "up").symlink_to("../large")
    (top / "outside").symlink_to("/etc/passwd")
    (top / "beyond").symlink_to("../../secret")
    (top / "locks").mkdir()
    (top / "locks" / "held").touch()
    (top / "workflow.db-wal").touch()
    os.mkfifo(top / "fifo")
    return top


def packed(folder: Path, top: Path) -> Path:
    database = folder / "db"
    database.write_bytes(b"rows")
    path = folder / "w.tar.zst"
    digest = write_archive(top, database, HEAD, path)
    assert digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest.bytes == path.stat().st_size
    return path


def listing(top: Path) -> dict[str, object]:
    return {
        str(path.relative_to(top)): (
            path.readlink() if path.is_symlink() else (path.stat().st_mode, path.read_bytes() if path.is_file() else "")
        )
        for path in top.rglob("*")
        if path.name not in {"fifo", "held", "workflow.db-wal", "workflow.db"}
    }


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    top = tree(tmp_path)
    path = packed(tmp_path, top)
    with path.open("rb") as source:
        assert read_head(source, "w") == HEAD
    unpacker = Unpacker(tmp_path / "all", outside_links=True)
    with path.open("rb") as source:
        end = read_archive(source, "w", unpacker).end
    assert end.left_out == ["fifo"]
    assert listing(tmp_path / "all") == listing(top)
    assert (tmp_path / "all" / "workflow.db").read_bytes() == b"rows"

    careful = Unpacker(tmp_path / "careful")
    with path.open("rb") as source:
        read_archive(source, "w", careful)
    assert sorted(careful.left_out) == ["beyond", "outside"]
    assert {"inside", "jobs/up"} <= listing(tmp_path / "careful").keys()

    (tmp_path / "plain").mkdir()
    with path.open("rb") as source, tarfile.open(fileobj=zstandard.open(source, "rb"), mode="r|") as plain:
        plain.extractall(tmp_path / "plain", filter="fully_trusted")
    subprocess.run(["sha256sum", "--quiet", "-c", "CHECKSUMS"], cwd=tmp_path / "plain", check=True)


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path: Path) -> None:
    top = tmp_path / "w"
    top.mkdir()
    (top / "a").write_text("a")
    good = packed(tmp_path, top).read_bytes()
    read_archive(io.BytesIO(good), "w", Nobody())
    for at in range(len(good)):
        for bad in (good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :], good[:at]):
            with pytest.raises(StoreError, match="not whole"):
                read_archive(io.BytesIO(bad), "w", Nobody())
    with pytest.raises(StoreError, match="not whole"):
        read_archive(io.BytesIO(good + b"\0"), "w", Nobody())


class Grown(Proof):
    """Keeps the process that it started."""

    process: subprocess.Popen[bytes] | None = None

    def grown(self, size: int) -> None:
        super().grown(size)
        type(self).process = self._process


def test_a_large_archive_is_read_back_by_a_process_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_writer, "Proof", Grown)
    top = tmp_path / "w"
    top.mkdir()
    (top / "large").write_bytes(b"x" * (40 << 20))
    path = packed(tmp_path, top)
    assert Grown.process is not None
    assert Grown.process.returncode == 0
    with path.open("rb") as source:
        assert read_archive(source, "w", Nobody()).end.files == 3


def test_the_process_ends_with_the_writing_that_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_writer, "Proof", Grown)
    monkeypatch.setattr(archive_writer._TreeWriter, "add_checksums", lambda *_: 1 // 0)
    top = tmp_path / "w"
    top.mkdir()
    (top / "large").write_bytes(b"x" * (40 << 20))
    with pytest.raises(ZeroDivisionError):
        packed(tmp_path, top)
    assert Grown.process is not None
    assert Grown.process.returncode not in (0, None)


@pytest.mark.parametrize("size", [1 << 10, 40 << 20])
def test_what_is_in_the_file_is_what_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def keep(self: Any, data: bytes) -> None:
        """A disk that changes a bit at the end of every piece, and says nothing."""
        self._digest.update(data)
        self._file.write(data[:-1] + bytes([data[-1] ^ 1]) if data else data)
        self._file.flush()

    monkeypatch.setattr(archive_writer._Packer, "_keep", keep)
    top = tmp_path / "w"
    top.mkdir()
    (top / "a").write_bytes(os.urandom(1 << 10) * (size >> 10))
    with pytest.raises(StoreError, match=r"w\.tar\.zst is not whole"):
        packed(tmp_path, top)


def forged(*members: Member) -> io.BytesIO:
    """An archive that is whole, by somebody who means ill."""
    import msgspec

    tar, lines, counts = b"", b"", {FILE: 0, DIRECTORY: 0, LINK: 0}
    head = msgspec.json.encode(HEAD)
    for member, data in ((Member(FILE, b"penstock-archive.json", size=len(head)), head), *((m, b"") for m in members)):
        tar += encode(member) + data + padding(len(data))
        counts[member.kind] = counts.get(member.kind, 0) + 1
        if member.kind == FILE:
            lines += checksum_line(member.name, hashlib.sha256(data).hexdigest())
    listed = hashlib.sha256(lines).hexdigest()
    end = msgspec.json.encode(ArchiveEnd(counts[FILE], counts[DIRECTORY], counts[LINK], len(head), listed))
    tar += encode(Member(FILE, b"CHECKSUMS", size=len(lines))) + lines + padding(len(lines))
    tar += encode(Member(FILE, b"penstock-end.json", size=len(end))) + end + padding(len(end)) + b"\0" * 2 * BLOCK
    body = zstandard.ZstdCompressor(write_checksum=True).compress(tar)
    return io.BytesIO(body + TRAILER_MAGIC + hashlib.sha256(body).digest())


def test_a_forged_archive_is_read_where_it_does_no_harm(tmp_path: Path) -> None:
    read_archive(forged(Member(FILE, b"a")), "w", Unpacker(tmp_path / "x"))
    assert (tmp_path / "x" / "a").exists()


@pytest.mark.parametrize(
    "members",
    [
        (Member(FILE, b"../a"),),
        (Member(FILE, b"/tmp/penstock-never"),),
        (Member(DIRECTORY, b"d/"), Member(FILE, b"d/../../a")),
        (Member(LINK, b"d", target=b"/tmp"), Member(FILE, b"d/penstock-never")),
        (Member(LINK, b"d", target=b"."), Member(FILE, b"d/a")),
        (Member(FILE, b"missing/a"),),
        (Member(DIRECTORY, b"../"),),
        (Member(LINK, b"../l", target=b"a"),),
    ],
    ids=str,
)
@pytest.mark.parametrize("outside_links", [False, True])
def test_what_leads_out_is_refused(tmp_path: Path, members: tuple[Member, ...], outside_links: bool) -> None:
    with pytest.raises(StoreError, match="not whole"):
        read_archive(forged(*members), "w", Unpacker(tmp_path / "x", outside_links=outside_links))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not Path("/tmp/penstock-never").exists()


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    top = tmp_path / "w"
    top.mkdir()
    path = packed(tmp_path, top)
    with pytest.raises(SpecError, match=r"w\.tar\.zst cannot be written: File exists"):
        packed(tmp_path, top)
    with pytest.raises(StoreError, match="not whole"):
        read_head(io.BytesIO(b"no archive"), "n")
    assert path.exists()
