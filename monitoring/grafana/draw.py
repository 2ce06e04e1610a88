"""Draws the dashboards with what a Prometheus has: one picture each, a small plot for each panel.

    python -m monitoring.grafana.draw --url http://127.0.0.1:9090 --minutes 10 --workflow screen --out docs/monitoring

It is no Grafana: it shows which data each panel has, in the panel's unit, under the names of its legend.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import textwrap
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .board import COLOURS
from .make import FOLDER
from .reader import Panel, filled, read_panels

_COLUMNS: Final = 4
_POINTS: Final = 240
_SERIES_MAX: Final = 8
_DRAWN: Final = {
    "green": "#56a64b",
    "red": "#e02f44",
    "blue": "#3274d9",
    "orange": "#ff780a",
    "purple": "#a352cc",
    "yellow": "#f2cc0c",
    "semi-dark-blue": "#1f60c4",
    "light-blue": "#8ab8ff",
    "super-light-blue": "#c0d8ff",
    "light-yellow": "#ffee52",
    "dark-orange": "#e55400",
    "dark-red": "#ad0317",
}
_SCALES: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "s": ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "percentunit": ((0.01, "%"),),
    "opm": ((1, "/min"),),
    "short": ((1e9, "G"), (1e6, "M"), (1e4, "k"), (1, "")),
}


class Span(NamedTuple):
    """A Prometheus, and the time that is drawn of it, in seconds since the epoch; `values` of Grafana's variables."""

    url: str
    begin: float
    end: float
    values: Mapping[str, str]

    @property
    def step_s(self) -> float:
        """Between two points of a course."""
        return max(1.0, (self.end - self.begin) / _POINTS)

    def course(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression over the time."""
        times = {"start": str(self.begin), "end": str(self.end), "step": str(self.step_s)}
        return self._ask("query_range", {"query": filled(expression, self.values), **times})

    def newest(self, expression: str) -> list[dict[str, Any]]:
        """The values of an expression at the end of the time."""
        return self._ask("query", {"query": filled(expression, self.values), "time": str(self.end)})

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def draw(panels: Sequence[Panel], span: Span, title: str) -> Figure:
    """A picture of a dashboard's panels in their order."""
    tables = [panel for panel in panels if panel.kind == "table"]
    others = [panel for panel in panels if panel.kind != "table"]
    height = math.ceil(len(others) / _COLUMNS)
    figure = Figure(figsize=(16, 2.35 * (height + len(tables)) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(height + len(tables), _COLUMNS)
    for place, panel in enumerate(others):
        _draw_panel(figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS]), panel, span)
    for place, panel in enumerate(tables):
        _draw_table(figure.add_subplot(grid[height + place, :]), panel, span)
    return figure


def said(value: float, unit: str) -> str:
    """A value in its unit, shortly."""
    if unit == "dateTimeAsIso":
        return time.strftime("%Y-%m-%d\n%H:%M:%S", time.gmtime(value / 1000))
    for scale, name in _SCALES[unit]:
        if abs(value) >= scale or scale == _SCALES[unit][-1][0]:
            number = f"{value / scale:.3g}" if abs(value / scale) < 1000 else f"{value / scale:.0f}"
            return f"{number} {name}".strip()
    raise AssertionError(unit)


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, as Grafana makes it of a legend."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend).strip() or "value"


def _draw_panel(axes: Axes, panel: Panel, span: Span) -> None:
    axes.set_title(panel.title, fontsize=9, loc="left")
    {"stat": _draw_stat, "bargauge": _draw_bars, "timeseries": _draw_lines}[panel.kind](axes, panel, span)


def _draw_stat(axes: Axes, panel: Panel, span: Span) -> None:
    axes.axis("off")
    words = []
    for target in panel.targets:
        for series in span.newest(target.expression):
            value = float(series["value"][1])
            name = named(target.legend, series["metric"])
            words.append(name if panel.names_only else panel.words.get(f"{value:g}", said(value, panel.unit)))
    text = "\n".join(textwrap.shorten(word, 28) if "\n" not in word else word for word in words) or "none"
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=20 if len(text) < 12 else 13, color="#1f60c4")


def _draw_bars(axes: Axes, panel: Panel, span: Span) -> None:
    bars = [
        (named(target.legend, series["metric"]), float(series["value"][1]))
        for target in panel.targets
        for series in span.newest(target.expression)
    ][:_SERIES_MAX]
    axes.barh([name for name, _ in reversed(bars)], [value for _, value in reversed(bars)], color=_DRAWN["orange"])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value, panel.unit)))
    axes.tick_params(labelsize=7)


def _draw_lines(axes: Axes, panel: Panel, span: Span) -> None:
    courses: dict[str, tuple[list[float], list[float]]] = {}
    for target in panel.targets:
        for series in span.course(target.expression):
            points = [((at - span.begin) / 60, float(value)) for at, value in series["values"] if value != "NaN"]
            if points:
                times, values = map(list, zip(*points, strict=True))
                courses[named(target.legend, series["metric"])] = (times, values)
    shown = dict(sorted(courses.items(), key=lambda course: -max(course[1][1]))[:_SERIES_MAX])
    if panel.stacked:
        _stack(axes, shown)
    else:
        for name, (times, values) in shown.items():
            axes.plot(times, values, label=name, linewidth=1.1, marker="." if len(times) < 10 else None)
    axes.set_xlim(0, (span.end - span.begin) / 60)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value, panel.unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if shown:
        axes.legend(fontsize=6, loc="upper left", ncols=2, framealpha=0.6, borderpad=0.2, handlelength=1.2)


def _stack(axes: Axes, courses: Mapping[str, tuple[list[float], list[float]]]) -> None:
    """One on top of the other; where one has no point it is nothing."""
    times = sorted({at for found, _ in courses.values() for at in found})
    heights = [[dict(zip(*course, strict=True)).get(at, 0.0) for at in times] for course in courses.values()]
    colours = [COLOURS.get(name, "#8f8f8f") for name in courses]
    if times:
        axes.stackplot(times, heights, labels=list(courses), colors=[_DRAWN.get(c, c) for c in colours], alpha=0.8)


def _draw_table(axes: Axes, panel: Panel, span: Span) -> None:
    axes.axis("off")
    axes.set_title(panel.title, fontsize=9, loc="left")
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for target in panel.targets:
        for series in span.newest(target.expression):
            labels = series["metric"]
            rows = [
                key
                for key in found
                if all(key[place] == labels.get(name, key[place]) for place, name in enumerate(panel.labels))
            ]
            if not rows and all(name in labels for name in panel.labels):
                rows = [tuple(labels[name] for name in panel.labels)]
                found[rows[0]] = {}
            for row in rows if target.title else []:
                found[row][target.title] = said(float(series["value"][1]), target.unit)
    titles = [target.title for target in panel.targets if target.title]
    cells = [[*row, *(values.get(title, "") for title in titles)] for row, values in sorted(found.items())]
    if cells:
        table = axes.table(
            cells[:10], colLabels=[*panel.labels, *titles], loc="upper center", cellLoc="left", edges="horizontal"
        )
        table.auto_set_font_size(value=False)
        table.set_fontsize(7.5)


def main() -> None:
    """Draws every dashboard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--instance", default=".*")
    parser.add_argument("--cluster", default=".*")
    parser.add_argument("--workflow", required=True)
    parser.add_argument("--window", default="1m", help="what $__rate_interval stands for")
    parser.add_argument("--out", type=Path, default=Path("docs/monitoring"))
    asked = parser.parse_args()
    now = time.time()
    values = {"instance": asked.instance, "cluster": asked.cluster, "workflow": asked.workflow}
    span = Span(asked.url, now - 60 * asked.minutes, now, values | {"__rate_interval": asked.window})
    draw_all(span, asked.out)


def draw_all(span: Span, folder: Path) -> None:
    """A PNG of each dashboard in a folder."""
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.json")):
        title = json.loads(path.read_text(encoding="utf-8"))["title"]
        draw(read_panels(path), span, title).savefig(folder / f"{path.stem}.png", dpi=75)


if __name__ == "__main__":
    main()
