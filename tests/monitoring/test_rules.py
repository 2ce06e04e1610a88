"""Prometheus' configuration and the alerts: checked by its own tools; each fires, resolves, and has its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.monitoring.promql import metrics, operands
from tests.services.prometheus import RealPrometheus

from penstock.ctl.main import cli

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "monitoring" / "prometheus"
RULES = FOLDER / "penstock.rules.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "What users notice", "How to look", "How to mend", "When to ignore it"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules()}
every_alert = pytest.mark.parametrize("name", sorted(ALERTS))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", FOLDER / "prometheus.yml"),
        ("check", "rules", RULES),
        *(("test", "rules", path) for path in sorted((FOLDER / "tests").iterdir())),
    ],
    ids=lambda arguments: f"{arguments[1]}-{arguments[2].stem}",
)
def test_promtool_is_content(arguments: tuple[str | Path, ...], real_prometheus_tools: type[RealPrometheus]) -> None:
    done = real_prometheus_tools.promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_notice(real_prometheus_tools: type[RealPrometheus], tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / RULES.name).write_text(RULES.read_text(encoding="utf-8").replace("up{", "down{"), encoding="utf-8")
    copy = tmp_path / "tests" / "alerts.yml"
    copy.write_text((FOLDER / "tests" / "alerts.yml").read_text(encoding="utf-8"), encoding="utf-8")
    done = real_prometheus_tools.promtool("test", "rules", copy)
    assert done.returncode != 0
    assert "PenstockDown" in done.stderr


@every_alert
def test_it_is_quiet_then_fires_then_resolves(name: str) -> None:
    """As its unit tests, which promtool runs, say: in one of them in this order."""
    cases = yaml.safe_load((FOLDER / "tests" / "alerts.yml").read_text(encoding="utf-8"))["tests"]
    courses = [
        [bool(step["exp_alerts"]) for step in case.get("alert_rule_test", ()) if step["alertname"] == name]
        for case in cases
    ]
    assert any(course[0] is course[-1] is False and any(course) for course in courses if course)


@every_alert
def test_it_says_what_where_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert "$labels." in rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"].endswith(f"/{name}.md")
    assert operands(rule["expr"])


@every_alert
def test_it_has_its_page(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n\nSeverity: {ALERTS[name]['labels']['severity']}.")
    assert re.findall(r"(?m)^## (.*)$", page) == SECTIONS
    assert f"[{name}]({name}.md) |" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


def test_there_is_no_page_without_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.iterdir()} == {*ALERTS, "README"}


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in RUNBOOKS.iterdir():
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert (RUNBOOKS / target).is_file(), (page.name, target)


@every_alert
def test_every_metric_is_on_the_page_of_metrics(name: str) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in metrics(ALERTS[name]["expr"]) - {"up", "process_start_time_seconds"}:
        assert f"`{metric.removesuffix('_bucket')}`" in page, metric


def test_the_pages_name_commands_and_options_that_are_there() -> None:
    group = cli
    named = 0
    for page in RUNBOOKS.iterdir():
        for words in re.findall(r"penstockctl ((?:[^\n`#;()]|--)+)", page.read_text(encoding="utf-8")):
            command: click.Command | None = group
            context = click.Context(group)
            for word in words.split():
                if isinstance(command, click.Group):
                    command = command.get_command(context, word)
                    assert command is not None, (page.name, word)
                    named += 1
                elif word.startswith("--"):
                    assert command is not None
                    options = {name for parameter in command.params for name in parameter.opts}
                    assert word in options, (page.name, words, word)
    assert named > 30
