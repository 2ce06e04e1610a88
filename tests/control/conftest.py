"""What the tests of the control protocol share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.control.server import Limits
from penstock.testing.scripted_daemon import Script, ScriptedDaemon


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def daemon(tmp_path: Path, script: Script) -> Iterator[ScriptedDaemon]:
    with ScriptedDaemon(tmp_path / "s" / "penstockd.sock", script, Limits(drain_s=0.2)) as daemon:
        yield daemon
