"""Tar streams: what GNU tar makes of ours, and what is made of bad ones."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from penstock.clusters.tar_stream import pack, unpack
from penstock.domain.errors import ClusterError

FILES = {
    "a": b"1",
    "b/c": bytes(512),
    "d" * 150 + "/" + "e" * 150: b"long",
    "big": bytes(range(256)) * 4000,
    "empty": b"",
}


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return io.BytesIO(file.getvalue())


def linked(name: str, kind: bytes, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_tar_reads_what_is_packed(tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", "-", "-C", tmp_path], input=b"".join(pack(FILES)), check=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


def test_there_and_back(tmp_path: Path) -> None:
    unpack(io.BytesIO(b"".join(pack(FILES))), FILES, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(FILES)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "other"])
def test_what_nobody_asked_for_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClusterError, match="which nobody asked for"):
        unpack(archive((tarfile.TarInfo(name), b"x")), {"out"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links(tmp_path: Path) -> None:
    one = tarfile.TarInfo("./one")
    links = (linked("./two", tarfile.LNKTYPE, "./one"), b""), (linked("./three", tarfile.SYMTYPE, "/etc"), b"")
    unpack(archive((one, b"1"), *links), {"one", "two", "three"}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"1", "two": b"1"}
    with pytest.raises(ClusterError, match="which nobody asked for"):
        unpack(archive((linked("./two", tarfile.LNKTYPE, "/etc/passwd"), b"")), {"two"}, tmp_path)


def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError):
        unpack(io.BytesIO(b"".join(pack(FILES))[:700_000]), FILES, tmp_path)
    assert not (tmp_path / "big").exists()
    unpack(io.BytesIO(b""), FILES, tmp_path)
