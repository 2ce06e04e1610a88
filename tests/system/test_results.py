"""From a spec to numbers, tables, figures and a report, through the real daemon and command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.system.conftest import Penstockd

SPEC = """\
id = "cu"
recipe = "elastic"
slots = 2
[structures.build]
system = "Cu"
[engine]
name = "emt"
"""
CAMPAIGN = """\
id = "plain"
recipe = "campaign"
[structures]
source = "h.xyz"
[engine]
name = "command"
command = ["true"]
"""


def run(daemon: Penstockd, name: str, text: str) -> None:
    """Runs a workflow to its end."""
    (daemon.work / f"{name}.toml").write_text(text)
    ran = daemon.ctl("submit", f"{name}.toml", "--wait")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_results_are_shown_written_and_reported(daemon: Penstockd, tmp_path: Path) -> None:
    run(daemon, "cu", SPEC)
    ctl = daemon.ctl
    found = json.loads(ctl("results", "cu", "--json").stdout)
    names = {one["name"] for one in found["properties"]}
    assert {"elastic_tensor", "bulk_modulus_vrh"} <= names
    shown = ctl("results", "cu")
    assert "elastic_tensor of Cu-fcc, GPa" in shown.stdout
    assert "cu: elastic, completed" in shown.stdout

    assert "1 of 1 concluded" in ctl("status", "cu").stdout
    assert ctl("why", "cu").stdout.startswith("cu is completed")
    derived = json.loads(ctl("show", "cu", "2", "--json").stdout)
    assert derived["made_from"] == 1
    assert derived["label"]

    table, document = tmp_path / "r.csv", tmp_path / "r.json"
    assert f"properties written to {table}" in ctl("results", "cu", "-o", str(table)).stdout
    assert ctl("results", "cu", "-o", str(document)).returncode == 0
    with table.open(newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == names
    written = json.loads(document.read_text())
    assert written["properties"] == found["properties"]

    page = daemon.work / ".penstock" / "cu" / "report.html"
    assert "<svg" in page.read_text()  # at the workflow's end, by itself
    ran = ctl("report", "cu", "-o", str(tmp_path / "cu.html"), "--figures", str(tmp_path / "figures"))
    assert ran.returncode == 0, ran.stderr
    text = (tmp_path / "cu.html").read_text()
    assert text == page.read_text()
    assert "bulk_modulus_vrh" in text
    figures = sum(len(one["figures"]) for one in found["conclusions"])
    assert text.count("<svg") == figures > 0
    drawn = sorted(path.suffix for path in (tmp_path / "figures").iterdir())
    assert drawn == [".png"] * figures + [".svg"] * figures

    folder = tmp_path / "folder"
    assert ctl("export", "cu", "--to", "folder", "-o", str(folder)).returncode == 0
    assert (folder / "properties.json").read_bytes() == document.read_bytes()
    assert len(list((folder / "figures").iterdir())) == figures
    assert "properties.csv" in (folder / "README.txt").read_text()


def test_a_campaign_says_where_its_results_are(daemon: Penstockd) -> None:
    (daemon.work / "h.xyz").write_text("1\n\nH 0 0 0\n")
    run(daemon, "plain", CAMPAIGN)
    ran = daemon.ctl("results", "plain")
    assert ran.returncode == 2
    assert "penstockctl table plain" in ran.stderr
    assert daemon.ctl("report", "plain").returncode == 0
    assert "There are no properties" in (daemon.work / ".penstock" / "plain" / "report.html").read_text()
    assert not (daemon.work / ".penstock" / "plain" / "properties.json").exists()
