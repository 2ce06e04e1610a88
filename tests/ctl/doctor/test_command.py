"""The command: how it shows what it found, in text and in JSON, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.control.reported import FINDING, HPC
from tests.ctl.conftest import CLUSTER

from penstock.control import messages
from penstock.control.messages import AnyItem
from penstock.ctl.doctor import versions
from penstock.ctl.doctor.command import summary
from penstock.ctl.doctor.finding import Level, level_of
from penstock.domain.views import Finding
from penstock.testing.scripted_daemon import Script, ScriptedDaemon


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PENSTOCK_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    monkeypatch.setattr(versions, "try_imports", lambda _: {})  # takes seconds; looked at elsewhere


def calm(script: Script) -> None:
    hpc = msgspec.structs.replace(HPC, jobs_in_doubt=0)
    script.answers[messages.ListClusters] = lambda _: messages.Clusters((CLUSTER, hpc))


def test_json_is_one_finding_a_line_with_every_field(
    daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    calm(script)
    ran = run("doctor", "--json")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.err == ""
    assert all(list(finding) == list(Finding.__struct_fields__) for finding in found)
    assert all(finding["level"] in set(Level) and finding["group"] for finding in found)
    assert ran.code == int(not all(finding["ok"] for finding in found))
    assert {type(request) for request in script.seen} == {
        messages.Ping,
        messages.ListWorkflows,
        messages.ListClusters,
    }


def test_people_get_groups_and_nothing_that_forges_lines(
    daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    ran = run("doctor")  # the reason that the cluster is down is evil
    assert ran.code == 1
    assert not set(ran.out) & {"\x1b", "\x07", "\u202e"}
    assert "\nforged" not in ran.out
    lines = ran.out.splitlines()
    assert [line for line in lines if line and line.endswith(":") and not line.startswith(" ")] == [
        "configuration:",
        "state:",
        "daemon:",
        "limits:",
        "versions:",
        "engines:",
        "clock:",
        "clusters:",
        "may become a problem:",
        "must be mended:",
    ]
    mended = lines[lines.index("must be mended:") :]
    assert any(line.startswith("FAIL  clusters, cluster hpc: down: evil") for line in mended)


def test_clusters_are_checked_whole_on_request(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    calm(script)

    async def findings(_: messages.CheckCluster) -> AsyncGenerator[AnyItem]:
        yield Finding("clock", ok=True, detail="+0.1 s against ours")
        yield FINDING

    script.streams[messages.CheckCluster] = findings
    for option in (["--cluster", "hpc"], ["--clusters"]):
        ran = run("doctor", *option, "--json")
        assert ran.code == 1
        found = [json.loads(line) for line in ran.out.splitlines()]
        assert [(f["group"], f["what"], f["level"]) for f in found[-2:]] == [
            ("clusters", "hpc: clock", "ok"),
            ("clusters", "hpc: sbatch", "problem"),
        ]
    assert messages.CheckCluster("hpc") in script.seen
    assert messages.CheckCluster("local") not in script.seen


def test_a_check_that_breaks_off_is_a_finding(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    calm(script)
    script.streams.pop(messages.CheckCluster)
    last = json.loads(run("doctor", "--clusters", "--json").out.splitlines()[-1])
    assert (last["what"], last["level"]) == ("hpc", "problem")


def test_nobody_checks_clusters_without_a_daemon(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    daemon.stop()
    ran = run("doctor", "--clusters")
    assert (ran.code, ran.err) == (2, "penstockctl: clusters are checked by a running daemon; start it first\n")


def test_the_sentence_at_the_end() -> None:
    counts = {Level.OK: 20, Level.NOTE: 3, Level.WARNING: 0, Level.PROBLEM: 0}
    assert summary(counts) == "nothing must be mended: 23 findings"
    assert summary(counts | {Level.WARNING: 1}) == "nothing must be mended: 24 findings, 1 warning"
    assert summary(counts | {Level.WARNING: 2, Level.PROBLEM: 1}) == "1 of 26 findings must be mended, 2 warnings"


def test_findings_of_older_daemons_have_a_level() -> None:
    assert level_of(Finding("x", ok=True)) is Level.OK
    assert level_of(FINDING) is Level.PROBLEM
    assert level_of(Finding("x", ok=True, level="warning")) is Level.WARNING
