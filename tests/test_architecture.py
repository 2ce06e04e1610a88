"""What import-linter cannot see: what a process really loads when it starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCIENCE = {"ase", "numpy", "scipy", "tblite", "pyarrow", "matplotlib", "spglib"}
LOOP = {"asyncio", "anyio"}


def loaded_by(module: str) -> set[str]:
    """The names of all modules that a fresh interpreter holds after importing `module`."""
    code = f"import sys, {module}; print(*sys.modules)"
    argv = [sys.executable, "-c", code]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


def test_the_daemon_loads_no_science() -> None:
    assert not loaded_by("penstock.daemon.main") & SCIENCE


@pytest.mark.parametrize(
    "heavy", sorted(SCIENCE | LOOP | {"rich", "structlog", "prometheus_client", "aiosqlite", "textual"})
)
def test_the_command_line_starts_light(heavy: str) -> None:
    assert heavy not in loaded_by("penstock.ctl.main")
