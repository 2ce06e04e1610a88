from __future__ import annotations

import pytest
from monitoring.grafana.draw import named, said
from monitoring.grafana.make import BOARDS, FOLDER
from monitoring.grafana.reader import filled, read_panels


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "s", "0 s"),
        (0.0042, "s", "4.2 ms"),
        (90, "s", "1.5 min"),
        (7200, "s", "2 h"),
        (3 * 2**30, "bytes", "3 GiB"),
        (0, "bytes", "0 B"),
        (0.256, "percentunit", "25.6 %"),
        (12, "opm", "12 /min"),
        (0, "short", "0"),
        (1234, "short", "1234"),
        (20_000, "short", "20 k"),
        (0, "dateTimeAsIso", "1970-01-01 00:00:00"),
    ],
)
def test_values_are_said_in_their_units(value: float, unit: str, expected: str) -> None:
    assert said(value, unit) == expected


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_unit_of_the_dashboards_can_be_said(name: str) -> None:
    for panel in read_panels(FOLDER / name):
        for unit in {panel.unit, *(target.unit for target in panel.targets if target.title)}:
            assert said(1.0, unit)


def test_series_are_named_by_their_legends() -> None:
    assert named("{{ end }} of {{cluster}}", {"end": "failed", "cluster": "hpc"}) == "failed of hpc"
    assert named("{{failure}}", {}) == "value"


def test_variables_are_filled_in() -> None:
    expression = 'rate(a{instance=~"$instance"}[$__rate_interval])'
    assert filled(expression, {"instance": "x", "__rate_interval": "1m"}) == 'rate(a{instance=~"x"}[1m])'
    with pytest.raises(KeyError, match="instance"):
        filled(expression, {"__rate_interval": "1m"})


def test_a_dashboard_is_read_with_its_tables() -> None:
    panels = {panel.title: panel for panel in read_panels(FOLDER / "overview.json")}
    assert panels["Jobs by state"].stacked
    assert panels["Workflows"].labels == ("workflow", "cluster", "state", "instance")
    assert [target.title for target in panels["Workflows"].targets][:3] == ["", "jobs", "ended"]
    assert panels["Daemon"].words == {"0": "down", "1": "up"}
