"""The file server is what tests of hanging file systems take it for."""

from __future__ import annotations

import subprocess

from penstock.files.kinds import file_system_of

from .file_server import RealFileServer


def test_it_hangs_and_goes_on_as_if_nothing_had_been(real_file_server: RealFileServer) -> None:
    file = real_file_server.mount / "file"
    file.write_text("it")
    assert file_system_of(file) == "fuse"
    real_file_server.freeze()
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as asking:
        try:
            asking.wait(0.5)
            raise AssertionError("it answers")
        except subprocess.TimeoutExpired:
            real_file_server.thaw()
        assert asking.stdout is not None
        assert asking.stdout.read() == b"it"
