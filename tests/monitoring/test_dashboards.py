"""The dashboards' files: made by the script that is beside them, known to Grafana's library, and complete."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from monitoring.grafana.make import BOARDS, FOLDER, rendered
from monitoring.grafana.reader import filled, read_panels
from tests.monitoring.promql import metrics
from tests.services.prometheus import RealPrometheus

ROOT = Path(__file__).parents[2]
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
VALUES = {"instance": "head:9464", "cluster": "hpc", "workflow": "screen", "__rate_interval": "1m"}
ELSEWHERE = {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"}
"""What Prometheus itself knows of what it scrapes."""

every_board = pytest.mark.parametrize("name", sorted(BOARDS))


def load(name: str) -> dict[str, Any]:
    found = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_there_is_no_other_file() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(BOARDS)


@every_board
def test_the_file_is_what_the_script_makes(name: str) -> None:
    made = rendered(name) == (FOLDER / name).read_text(encoding="utf-8")
    assert made, "made anew by: python -m monitoring.grafana.make"


@every_board
def test_grafanas_own_library_reads_it_and_loses_nothing(name: str) -> None:
    register_default_plugins()
    found = load(name)
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(found))) == found
    assert found["schemaVersion"] >= 41


def test_what_the_library_does_not_know_would_be_found() -> None:
    register_default_plugins()
    found = load("overview.json")
    found["panels"][1]["fieldConfig"]["defaults"]["custom"] = {"drawStlye": "line"}
    found["panels"][1]["descripton"] = "x"
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(found))) != found


@every_board
def test_every_panel_has_a_title_a_unit_a_description_and_names_for_what_it_shows(name: str) -> None:
    panels = read_panels(FOLDER / name)
    assert panels
    for panel in panels:
        assert panel.title
        assert panel.unit in UNITS, panel.title
        assert len(panel.about) > 20, panel.title
        assert panel.about.endswith("."), panel.title
        assert panel.targets, panel.title
        for target in panel.targets:
            assert panel.kind in ("stat", "table") or target.legend, panel.title
            assert panel.kind != "table" or not target.title or target.unit in UNITS, (panel.title, target.title)
    titles = [panel.title for panel in panels]
    assert len(set(titles)) == len(titles)


@every_board
def test_panels_stand_side_by_side(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in load(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in taken, (panel["title"], taken[cell])
            taken[cell] = panel["title"]


def test_ids_and_links() -> None:
    boards = {name: load(name) for name in BOARDS}
    variables = {board["uid"]: {v["name"] for v in board["templating"]["list"]} for board in boards.values()}
    assert len(variables) == len(BOARDS)
    links = 0
    for board in boards.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert all(link["tags"][0] in other["tags"] for link in board["links"] for other in boards.values())
        for uid, query in re.findall(r'"url": "/d/([\w-]+)\?([^"]*)"', json.dumps(board)):
            assert set(re.findall(r"var-(\w+)=", query)) <= variables[uid]
            links += 1
    assert links >= 3


@every_board
def test_every_variable_that_is_used_is_there(name: str) -> None:
    board = load(name)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([board["panels"], board["templating"], board["annotations"]])))
    known = {variable["name"] for variable in board["templating"]["list"]}
    assert {"datasource", "instance"} <= known
    assert used - known <= {"__rate_interval", "__url_time_range", "__value", "__field", "__data", "__all"}


@every_board
def test_nothing_of_what_else_prometheus_watches_is_shown(name: str) -> None:
    """Its own `up`, and every exporter's memory and CPU, are in the same Prometheus."""
    board = load(name)
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for expression in [*shown, *(note["expr"] for note in board["annotations"]["list"])]:
        chosen = re.findall(r"\{[^}]*\}", expression)
        assert chosen
        assert all('job="penstock"' in matchers for matchers in chosen), expression


def test_workflows_and_clusters_of_several_daemons_are_not_summed() -> None:
    """Everybody's daemon has a cluster `local`, and may have a workflow `first`."""
    tables = [panel for panel in load("overview.json")["panels"] if panel["type"] == "table"]
    assert {panel["title"] for panel in tables} == {"Workflows", "Clusters"}
    for panel in tables:
        for target in panel["targets"]:
            assert set(re.findall(r"by \((\w+),", target["expr"])) == {"instance"}, target["expr"]
        assert "var-instance=${__data.fields.instance}" in json.dumps(panel)


@every_board
def test_every_metric_is_on_the_page_of_metrics(name: str) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for panel in read_panels(FOLDER / name):
        for target in panel.targets:
            for metric in metrics(target.expression) - ELSEWHERE:
                bare = re.sub(r"_(bucket|sum|count)$", "", metric)
                assert metric.startswith("process_") or f"`{bare}`" in page, (panel.title, metric)


@every_board
def test_every_expression_is_promql(name: str, real_prometheus_tools: type[RealPrometheus], tmp_path: Path) -> None:
    rules = [
        {"record": f"panel_{panel.id}_{place}", "expr": filled(target.expression, VALUES)}
        for panel in read_panels(FOLDER / name)
        for place, target in enumerate(panel.targets)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = real_prometheus_tools.promtool("check", "rules", path)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_provisioning_names_what_is_there() -> None:
    folder = ROOT / "monitoring" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "penstock.yml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((folder / "dashboards" / "penstock.yml").read_text(encoding="utf-8"))
    assert source["apiVersion"] == provider["apiVersion"] == 1
    assert [found["type"] for found in source["datasources"]] == ["prometheus"]
    scraped = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    path = provider["providers"][0]["options"]["path"]
    assert path in (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
