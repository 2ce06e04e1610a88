"""The command trace: what it finds, what it prints."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOG = """\
      Step     Time          Energy          fmax
BFGS:    0 12:00:00      -27.211386        0.514221
BFGS:    1 12:00:01      -54.422772        0.051422
      Step     Time          Energy          fmax
BFGS:    0 12:00:02      -54.422772        0.051422
"""
FRAME = "1\nstep=0 energy=-27.211386024367243\nH 0 0 0\n"


def test_a_log_is_shown_as_a_table(tmp_path: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "opt.log").write_text(LOG)
    code, out, err = run("trace", str(tmp_path / "opt.log"))
    assert (code, err) == (0, "3 steps of 2 runs\n")
    assert [line.split() for line in out.splitlines()] == [
        ["run", "step", "energy/Eh", "change/Eh", "max", "force/(Eh/bohr)"],
        ["1", "0", "-1.00000000", "-", "0.010000"],
        ["1", "1", "-2.00000000", "-1.00000000", "0.001000"],
        ["2", "0", "-2.00000000", "-", "0.001000"],
    ]


def test_programs_get_one_object(tmp_path: Path, run: Callable[..., Any]) -> None:
    path = tmp_path / "trajectory.xyz"
    path.write_text(FRAME)
    code, out, err = run("trace", str(path), "--json")
    assert (code, err) == (0, "")
    point = {"run": 1, "step": 0, "energy_hartree": -1.0, "max_force_hartree_per_bohr": None}
    assert json.loads(out) == {"path": str(path), "kind": "trajectory", "runs": 1, "points": [point], "left_out": 0}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["trajectory.xyz", "sella.log"], "sella.log"),
        (["trajectory.xyz", "start.xyz"], "trajectory.xyz"),
        (["job_trj.xyz.gz", "start.xyz"], "job_trj.xyz.gz"),
    ],
)
def test_a_directory_s_trace_is_the_one_that_tells_most(
    tmp_path: Path, run: Callable[..., Any], names: list[str], chosen: str
) -> None:
    for name in names:
        data = (LOG if name.endswith(".log") else FRAME).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (tmp_path / "a.log").write_text("no trace\n")
    assert json.loads(run("trace", str(tmp_path), "--json").out)["path"] == str(tmp_path / chosen)


def test_where_there_is_none_it_is_said(tmp_path: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "start.xyz").write_text("1\n\nH 0 0 0\n")
    for path in (tmp_path, tmp_path / "start.xyz"):
        code, out, err = run("trace", str(path))
        assert (code, out) == (1, "")
        assert err.startswith(f"penstockctl: {path}: no trace of an optimisation is in it")
    code, _, err = run("trace", str(tmp_path / "gone"))
    assert (code, err) == (1, f"penstockctl: {tmp_path}/gone: No such file or directory\n")
