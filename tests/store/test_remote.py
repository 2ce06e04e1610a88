"""Archives at URLs: put there, read back, refused where something else is, and nothing secret in any message."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.daemons import free_ports

from penstock.actors.archive_tasks import ReadArchiveHead, UploadArchive, VerifyArchive
from penstock.domain.errors import SpecError, StoreError
from penstock.domain.life_cycle import ArchiveDigest, ArchiveHead, check_place
from penstock.store.archive_writer import write_archive
from penstock.store.remote import opened, without_secrets

TOKEN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
HEAD = ArchiveHead(1, "0", 4, "w", "isolated", "w", "campaign", "completed", {}, 0.0, 0.0, 0.0, TOKEN, "here", {})


def packed(folder: Path) -> tuple[Path, ArchiveDigest]:
    """A small archive."""
    tree = folder / "w"
    tree.mkdir()
    (tree / "a").write_text("a")
    database = folder / "db"
    database.write_bytes(b"rows")
    path = folder / "w.tar.zst"
    return path, write_archive(tree, database, HEAD, path)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket in an S3 server on this machine."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    [port] = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    given = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing-key",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(given)
    try:
        assert server.stderr is not None
        while b"Running on" not in (line := server.stderr.readline()):
            assert line, "the server has ended"
        request = urllib.request.Request(f"{given['AWS_ENDPOINT_URL']}/bucket", method="PUT")
        urllib.request.urlopen(request).close()
        yield "s3://bucket/kept"
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.terminate()
        server.wait()
        assert server.stderr is not None
        server.stderr.close()


def in_worker(code: str, *arguments: str) -> str:
    """What a process of its own prints, as a worker is one; s3fs keeps threads and connections to its end."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UPLOAD = """
import sys
from penstock.actors.archive_tasks import UploadArchive, VerifyArchive, ReadArchiveHead
path, url, token, size, sha = sys.argv[1:]
try:
    UploadArchive(path, url, token, int(size), sha).run()
    assert ReadArchiveHead(url).run().token == token
    assert VerifyArchive(url, sha).run().digest.sha256 == sha
    print("there")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_s3(s3: str, tmp_path: Path) -> None:
    path, digest = packed(tmp_path)
    url = f"{s3}/w.tar.zst"
    size, sha = str(digest.bytes), digest.sha256
    assert in_worker(UPLOAD, str(path), url, TOKEN, size, sha) == "there"
    assert in_worker(UPLOAD, str(path), url, TOKEN, size, sha) == "there"  # as after a crash
    other = in_worker(UPLOAD, str(path), url, TOKEN[::-1], size, sha)
    assert other == f"SpecError destination: {url} exists; choose another destination"
    wrong = in_worker(UPLOAD, str(path), f"{s3}/x.tar.zst", TOKEN, size, "0" * 64)
    assert wrong.startswith("StoreError")
    assert "does not hold what was put there" in wrong
    missing = in_worker(UPLOAD, str(path), "s3://nowhere/w.tar.zst", TOKEN, size, sha)
    assert missing.startswith("SpecError destination: s3://nowhere/w.tar.zst cannot be written")
    assert "hush" not in missing


def test_any_file_system_of_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    path, digest = packed(tmp_path)
    url = f"local://{tmp_path}/there.tar.zst"  # needs another name first, as sftp does
    UploadArchive(str(path), url, TOKEN, digest.bytes, digest.sha256).run()
    assert (tmp_path / "there.tar.zst").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("*.zst*")) == ["there.tar.zst", "w.tar.zst"]
    assert VerifyArchive(url, digest.sha256).run().head == HEAD
    (tmp_path / "there.tar.zst").write_bytes(b"something else")
    with pytest.raises(SpecError, match="exists"):
        UploadArchive(str(path), url, TOKEN, digest.bytes, digest.sha256).run()
    with pytest.raises(StoreError, match="not whole"):
        VerifyArchive(url).run()
    with pytest.raises(SpecError, match="there is no archive"):
        ReadArchiveHead(f"local://{tmp_path}/none.tar.zst").run()


def test_secrets_stay_out_of_messages() -> None:
    environ = {"AWS_SECRET_ACCESS_KEY": "abcdefgh", "HOME": "/home/me", "MY_TOKEN": "short"}
    assert without_secrets("key abcdefgh of /home/me, short", environ) == "key *** of /home/me, short"
    url = "s3://me:pass/word@host/x"
    assert without_secrets('no bucket "me:pass", no "pass/word"', {}, url) == 'no bucket "me:***", no "***"'
    assert without_secrets("me at host/x", {}, "s3://bucket/me:at@x") == "me at host/x"


def test_a_place_that_cannot_keep_an_archive_is_refused() -> None:
    with pytest.raises(SpecError, match="gone with the process"):
        check_place("memory://kept/", "destination")
    with pytest.raises(SpecError, match=r"no storage is known for nosuch://; give a path"), opened("nosuch://a/b"):
        pass
