"""Draws the dashboards with what a Prometheus has: one picture each, a small plot for each panel.

    python -m monitoring.grafana.draw --url http://127.0.0.1:9090 --minutes 10 --workflow screen --out docs/monitoring

It is no Grafana: it shows which data each panel has, in the panel's unit, under the names of its legend.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
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

_KINDS: Final = (("stat",), ("timeseries", "bargauge"), ("table",))
_WIDE: Final = (6, 4, 1)
_HEIGHTS: Final = (0.95, 2.35, 1.9)
"""What is drawn how many in a row, and how high, in inches."""
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
_SCALES: Final[dict[str, tuple[tuple[float, float, str], ...]]] = {
    "s": ((86400, 86400, "d"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s"), (1e-3, 1e-3, "ms"), (0, 1, "s")),
    "bytes": ((2**40, 2**40, "TiB"), (2**30, 2**30, "GiB"), (2**20, 2**20, "MiB"), (2**10, 2**10, "KiB"), (0, 1, "B")),
    "percentunit": ((0, 0.01, "%"),),
    "opm": ((0, 1, "/min"),),
    "short": ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0, 1, "")),
}
"""By unit: from which value on it is divided by what, and called what."""


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
    """A picture of a dashboard's panels: figures in rows of six, courses in rows of four, then tables."""
    kinds = [[panel for panel in panels if panel.kind in kinds] for kinds in _KINDS]
    rows = [
        [group[at : at + wide] for at in range(0, len(group), wide)] for group, wide in zip(kinds, _WIDE, strict=True)
    ]
    heights = [height for group, height in zip(rows, _HEIGHTS, strict=True) for _ in group]
    figure = Figure(figsize=(16, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(len(heights), 12, height_ratios=heights)
    for row, found in enumerate(itertools.chain(*rows)):
        wide = _WIDE[next(place for place, kinds in enumerate(_KINDS) if found[0].kind in kinds)]
        for place, panel in enumerate(found):
            axes = figure.add_subplot(grid[row, place * 12 // wide : (place + 1) * 12 // wide])
            axes.set_title(panel.title, fontsize=9, loc="left")
            _DRAW[panel.kind](axes, panel, span)
    return figure


def said(value: float, unit: str) -> str:
    """A value in its unit, shortly."""
    if unit == "dateTimeAsIso":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(value / 1000))
    for least, divisor, name in _SCALES[unit]:
        if abs(value) >= least:
            number = value / divisor
            return f"{number:.0f} {name}".strip() if abs(number) >= 1000 else f"{number:.3g} {name}".strip()
    raise ValueError(f"{value} is no number of a {unit}")


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, as Grafana makes it of a legend."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend).strip() or "value"


def _draw_stat(axes: Axes, panel: Panel, span: Span) -> None:
    axes.axis("off")
    words = []
    for target in panel.targets:
        for series in span.newest(target.expression):
            value = float(series["value"][1])
            name = named(target.legend, series["metric"])
            words.append(name if panel.names_only else panel.words.get(f"{value:g}", said(value, panel.unit)))
    text = "\n".join(words) or "none"
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=20 if len(text) < 12 else 11, color="#1f60c4")


def _draw_bars(axes: Axes, panel: Panel, span: Span) -> None:
    bars = [
        (named(target.legend, series["metric"]), float(series["value"][1]))
        for target in panel.targets
        for series in span.newest(target.expression)
    ][:_SERIES_MAX]
    axes.barh([name for name, _ in reversed(bars)], [value for _, value in reversed(bars)], color=_DRAWN["orange"])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value, panel.unit)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)
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
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.xaxis.set_major_locator(MaxNLocator(5))
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


_DRAW: Final = {"stat": _draw_stat, "bargauge": _draw_bars, "timeseries": _draw_lines, "table": _draw_table}


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
