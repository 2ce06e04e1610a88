"""A real Prometheus scrapes a real daemon that works on a real Slurm: every panel and every rule has data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitoring.grafana.make import BOARDS
from tests.services.prometheus import RealPrometheus
from tests.system.backends import Backend, Site
from tests.system.conftest import Penstockd, eventually
from tests.system.monitored import ROOT, WINDOW, Monitored


@pytest.fixture(scope="module", params=["slurm-ssh"])
def site(request: pytest.FixtureRequest) -> Site:
    """Slurm, reached by SSH."""
    return Site.start(request)


@pytest.fixture(scope="module")
def monitored(site: Site, real_prometheus_tools: type[RealPrometheus]) -> Iterator[Monitored]:
    """It has run, and runs on."""
    home = Path(tempfile.mkdtemp(prefix="ps-"))
    backend = Backend(site, Penstockd(home), home)
    try:
        with Monitored.ready(backend) as found:
            found.begin(backend.gate())
            found.settle()
            yield found
    finally:
        left = backend.close()
        shutil.rmtree(home)
    assert not left, f"left behind: {'; '.join(left)}"


def test_every_panel_and_every_rule_has_data(monitored: Monitored) -> None:
    missing = monitored.expressions()
    assert len(missing) > 100

    def has_all() -> bool:
        """What is measured once a minute comes a little later."""
        nonlocal missing
        missing = monitored.without_data(missing)
        return not missing

    try:
        eventually(has_all, "everything has data")
    except AssertionError:
        pytest.fail("\n".join(f"no data: {place}: {asked}" for place, asked in missing.items()))


def test_prometheus_evaluates_every_rule(monitored: Monitored) -> None:
    def rules() -> list[dict[str, str]]:
        return [rule for group in monitored.prometheus.get("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule is evaluated")
    assert {rule["name"]: rule.get("lastError", "") for rule in rules() if rule["health"] != "ok"} == {}
    assert len(rules()) >= 10


def test_promtool_is_content_with_the_metrics(monitored: Monitored) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{monitored.port}/metrics") as answer:
        text = answer.read().decode()
    done = monitored.prometheus.promtool("check", "metrics", stdin=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_dashboard_is_drawn(monitored: Monitored, tmp_path: Path) -> None:
    """In a process of its own: matplotlib keeps its fonts open."""
    minutes = (time.time() - monitored.began) / 60
    options = {
        "url": monitored.prometheus.url,
        "minutes": minutes,
        "workflow": "screen",
        "window": WINDOW,
        "out": tmp_path,
    }
    argv = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run([sys.executable, "-m", "monitoring.grafana.draw", *argv], cwd=ROOT, check=True)
    assert {path.stem: path.stat().st_size > 20_000 for path in tmp_path.iterdir()} == {
        Path(name).stem: True for name in BOARDS
    }


def test_a_daemon_that_hangs_is_noticed(monitored: Monitored) -> None:

    def alert() -> str | None:
        found = monitored.prometheus.get("alerts")["alerts"]
        return next((alert["state"] for alert in found if alert["labels"]["alertname"] == "PenstockDown"), None)

    os.kill(monitored.daemon.pid, signal.SIGSTOP)
    try:
        eventually(lambda: alert() == "pending", "it is noticed")
    finally:
        os.kill(monitored.daemon.pid, signal.SIGCONT)
    eventually(lambda: alert() is None, "and that it is back")
