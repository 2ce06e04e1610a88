"""The real Prometheus is what tests of monitoring take it for."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from .daemons import ServiceError
from .prometheus import RealPrometheus

NOTHING = "scrape_configs: []\n"


def test_it_answers_and_ends(real_prometheus_tools: type[RealPrometheus]) -> None:
    with real_prometheus_tools(NOTHING) as prometheus:
        [found] = prometheus.query("vector(4) / 2")
        assert found["value"][1] == "2"
        assert prometheus.query("up") == []
        with pytest.raises(ServiceError, match="parse error"):
            prometheus.query("sum(")
        with pytest.raises(ServiceError, match="no vector"):
            prometheus.query("1")
        home, url = prometheus.home.path, prometheus.url
    assert not home.exists()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/-/ready")


def test_a_configuration_it_does_not_take_is_told(real_prometheus_tools: type[RealPrometheus]) -> None:
    with pytest.raises(ServiceError, match="no_such_key"), real_prometheus_tools("no_such_key: 1\n"):
        pass


def test_promtool_says_what_it_finds(real_prometheus_tools: type[RealPrometheus]) -> None:
    done = real_prometheus_tools.promtool("check", "metrics", stdin="# TYPE penstock_x counter\npenstock_x 1\n")
    assert done.returncode != 0
    assert "_total" in done.stdout + done.stderr
