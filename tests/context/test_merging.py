"""`penstock.merge` and the command, without a daemon."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.context.conftest import HYDROGEN, WATER

import penstock
from penstock.context.access import why_read_only, why_running
from penstock.ctl.main import main
from penstock.domain.context import DaemonPlace
from penstock.domain.errors import NotFoundError, SpecError


def fill(name: str, mode: str, energy: float) -> None:
    with penstock.open_context(name, mode=mode) as context:
        water = context.materials.add("water", WATER)
        context.calculations.add(water, "mine", reuse=False).complete(energy_hartree=energy)


def test_results_are_merged_without_a_daemon(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(root / "no daemon"))
    fill("alpha", "isolated", -76.0)
    fill("beta", "shared", -76.5)
    assert main(["merge", "alpha"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].split() == ["water", "1", "beta", "job", "1", "-76.00000000", "-76.50000000", "-", "-"]
    assert "nothing was merged" in err
    assert main(["merge", "alpha", "--on-conflict", "replace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 1
    assert penstock.merge("alpha").unchanged == 1
    with penstock.open_context("gamma", mode="shared") as gamma:
        assert gamma.calculations.add("water", "mine").info.final_energy == -76.0
    assert main(["merge", "none"]) == 3  # no daemon, and no such workflow here


def test_another_work_root_finds_the_files_of_what_was_merged(root: Path, tmp_path: Path) -> None:
    with penstock.open_context("alpha") as alpha:
        calculation = alpha.calculations.add(alpha.materials.add("h", HYDROGEN), "mine")
        output = calculation.directory / "out"
        output.write_text("found")
        calculation.complete(energy_hartree=-1.0, files=[output])
    other = tmp_path / "other"
    other.mkdir()
    assert penstock.merge("alpha", into=other).target == str(other / ".penstock" / "shared" / "workflow.db")
    assert penstock.merge("alpha", into=tmp_path / "one.db").new == 1
    with penstock.open_context("beta", mode="shared", work_root=other) as beta:
        found = beta.calculations.add("h", "mine")
        assert [Path(file).read_text() for file in found.record().files] == ["found"]
    with pytest.raises(SpecError, match="neither a work directory nor a database"):
        penstock.merge("alpha", into=tmp_path / "nothing")
    with pytest.raises(SpecError, match="use keep, replace, both"):
        penstock.merge("alpha", on_conflict="drop")
    with pytest.raises(NotFoundError, match="did you mean 'alpha'"):
        penstock.merge("alpa")


def test_of_a_daemon_elsewhere_nobody_knows_whether_it_runs(tmp_path: Path) -> None:
    far, gone = DaemonPlace("elsewhere", "/s"), DaemonPlace(socket.gethostname(), str(tmp_path))
    assert "host elsewhere" in str(why_running(far))
    assert why_running(gone) is None
    (tmp_path / "penstockd.lock").write_text("1\n")  # of a daemon that was killed; the number is another's now
    assert why_running(gone) is None
    with penstock.open_context("alpha") as context:
        assert "write=True" in str(why_read_only(context.value, far, write=None))
        assert why_read_only(context.value, far, write=True) is None
