"""The words that the dashboards are described in: what a panel shows, in which unit, and why one looks at it.

Every function returns a panel in the builders of Grafana's own library. In expressions `$here` stands for what the
dashboard is about (its daemon, and its workflow or clusters), `$daemon` for the daemon alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[model.Panel]
Steps = Sequence[tuple[float, str]]
"""Colours of a value: from each bound upwards, the first from the least value on."""

GOOD: Final = "green"
ODD: Final = "orange"
BAD: Final = "red"
ANY: Final = "text"
UP: Final = {"0": "down", "1": "up"}
"""Words for a value that says whether something is there."""
COLOURS: Final = {
    "completed": "green",
    "running": "blue",
    "collecting": "semi-dark-blue",
    "queued": "yellow",
    "submitting": "light-yellow",
    "ready": "light-blue",
    "waiting": "super-light-blue",
    "held": "purple",
    "paused": "purple",
    "skipped": "#808080",
    "cancelled": "#606060",
    "not_run": "#a0a0a0",
    "in_doubt": "dark-orange",
    "timeout": "orange",
    "failed": "red",
    "faulted": "dark-red",
}
"""A state has one colour wherever it is shown."""
_SOURCE: Final = shape.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG: Final = "penstock"
_DAEMON: Final = 'job="penstock",instance=~"$instance"'
"""With the job's name, since other things that Prometheus watches have `up` and `process_*`, too."""


class Query(NamedTuple):
    """A PromQL expression, and how its series are called (`{{label}}` is a label's value)."""

    expression: str
    legend: str = ""


class Column(NamedTuple):
    """A column of a table: a value for each row, with colours and words for values; without a title it is not shown."""

    title: str
    expression: str
    unit: str = "short"
    steps: Steps = ()
    words: Mapping[str, str] = {}


class Section(NamedTuple):
    """A row of a dashboard and the panels below it."""

    title: str
    panels: Sequence[Panel]


def figure(
    title: str,
    unit: str,
    about: str,
    *queries: Query,
    width: int = 4,
    steps: Steps = (),
    words: Mapping[str, str] | None = None,
    names_only: bool = False,
) -> Panel:
    """A number to be read at a glance, with its course behind it; of several queries, one beside the other.

    With `words` for values, or with `names_only`, it is a word.
    """
    several = shape.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else shape.BigValueTextMode.VALUE
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .span(width)
        .height(4)
        .color_mode(shape.BigValueColorMode.VALUE)
        .graph_mode(shape.BigValueGraphMode.NONE if words or names_only else shape.BigValueGraphMode.AREA)
        .text_mode(shape.BigValueTextMode.NAME if names_only else several)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .no_value("none")
        .datasource(_SOURCE)
        .targets(_targets(queries, instant=names_only))  # the course would bring back the names of the past
    )
    return panel.mappings([_mapping(words)]) if words else panel


def lines(
    title: str,
    unit: str,
    about: str,
    *queries: Query,
    width: int = 12,
    stacked: bool = False,
    steps: Steps = (),
    opens: str | None = None,
) -> Panel:
    """A course over time; `steps` draws bounds, `opens` is a label whose dashboard a click on a line opens."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .span(width)
        .height(8)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(shape.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(shape.LegendDisplayMode.LIST)
            .placement(shape.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(shape.TooltipDisplayMode.MULTI).sort(shape.SortOrder.DESCENDING))
        .datasource(_SOURCE)
        .targets(_targets(queries))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(shape.StackingMode.NORMAL).group("A"))
        for state, colour in COLOURS.items():
            panel.override_by_name(state, [_property("color", {"mode": "fixed", "fixedColor": colour})])
    if steps:
        panel.thresholds(_thresholds(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shape.GraphThresholdsStyleMode.DASHED))
    if opens is not None:
        panel.override_by_regexp(".*", [_property("links", [_link(opens, f"${{__field.labels.{opens}}}")])])
    return panel


def bars(title: str, unit: str, about: str, *queries: Query, width: int = 8, steps: Steps = ()) -> Panel:
    """The newest values, one bar for each series, the greatest first where the expression sorts them."""
    return (
        bargauge.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .span(width)
        .height(8)
        .min(0)
        .orientation(shape.VizOrientation.HORIZONTAL)
        .display_mode(shape.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .no_value("none")
        .datasource(_SOURCE)
        .targets(_targets(queries, instant=True))
    )


def rows(title: str, about: str, by: Sequence[str], columns: Sequence[Column], *, height: int = 9) -> Panel:
    """A table with a row for each value of the labels `by`, on each daemon; the first label opens its dashboard."""
    letters = [chr(ord("A") + place) for place in range(len(columns))]
    order = [*by, "instance", *(f"Value #{letter}" for letter in letters)]
    names = {f"Value #{letter}": column.title for letter, column in zip(letters, columns, strict=True)}
    organize = {
        "excludeByName": {"Time": True} | {name: True for name, title in names.items() if not title},
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": {name: title for name, title in names.items() if title},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(about)
        .unit("short")
        .span(24)
        .height(height)
        .show_header(show_header=True)
        .cell_height(shape.TableCellHeight.SM)
        .align(shape.FieldTextAlignment.AUTO)
        .datasource(_SOURCE)
        .targets(_targets([Query(column.expression) for column in columns], instant=True, tabular=True))
        .transformations(
            [
                model.DataTransformerConfig(id_val="merge", options={}),
                model.DataTransformerConfig(id_val="organize", options=organize),
            ]
        )
        .override_by_name(
            by[0], [_property("links", [_link(by[0], "${__value.raw}", "var-instance=${__data.fields.instance}")])]
        )
    )
    for column in filter(lambda column: column.title, columns):
        panel.override_by_name(column.title, _column_properties(column))
    return panel


def board(
    uid: str,
    title: str,
    about: str,
    here: str,
    variables: Sequence[Builder[model.VariableModel]],
    sections: Sequence[Section],
) -> model.Dashboard:
    """A dashboard; `here` is what its expressions' `$here` stands for beside the daemon, if anything."""
    builder = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([_TAG])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .links(
            [
                dashboard.DashboardLink("Penstock")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags([_TAG])
                .include_vars(include_vars=True)
                .keep_time(keep_time=True)
            ]
        )
        .variables([_datasource_variable(), variable("instance", "penstock_build_info", "Daemon"), *variables])
        .annotation(
            dashboard.AnnotationQuery()
            .name("Daemon started")
            .datasource(_SOURCE)
            .enable(enable=True)
            .hide(hide=False)
            .icon_color("purple")
            .expr(f"changes(process_start_time_seconds{{{_DAEMON}}}[$__rate_interval]) > 0")
        )
    )
    for section in sections:
        builder.with_row(dashboard.Row(section.title))
        for panel in section.panels:
            builder.with_panel(panel)
    built = builder.build()
    for number, element in enumerate(built.panels or [], 1):
        element.id_val = number
        for target in getattr(element, "targets", None) or []:
            target.expr = target.expr.replace("$here", ",".join(filter(None, ["$daemon", here]))).replace(
                "$daemon", _DAEMON
            )
    return built


def variable(
    name: str, metric: str, label: str, *, among: str = "", several: bool = True
) -> Builder[model.VariableModel]:
    """A choice among the values of a label; `among` narrows it by the choices before."""
    choice = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query({"query": f"label_values({metric}{{{among.replace('$daemon', _DAEMON)}}}, {name})", "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
        choice.multi(multi=True).include_all(include_all=True).all_value(".*").current(everything)
    return choice


def _datasource_variable() -> Builder[model.VariableModel]:
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _targets(queries: Sequence[Query], *, instant: bool = False, tabular: bool = False) -> list[Builder[Dataquery]]:
    """A target for each query: its newest value where `instant`, else its course."""
    targets: list[Builder[Dataquery]] = []
    for letter, query in zip("ABCDEFGHIJKLMNOP", queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expression).legend_format(query.legend)
        target = target.instant() if instant else target.range()
        targets.append(target.format(PromQueryFormat.TABLE) if tabular else target)
    return targets


def _thresholds(steps: Steps) -> Builder[model.ThresholdsConfig]:
    """Without steps every value has the colour of text."""
    first, *others = steps or [(0, ANY)]
    marks = [model.Threshold(value=None, color=first[1]), *(model.Threshold(*other) for other in others)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(marks)


def _mapping(words: Mapping[str, str]) -> model.ValueMap:
    return model.ValueMap({value: model.ValueMappingResult(text=word) for value, word in words.items()})


def _column_properties(column: Column) -> list[model.DynamicConfigValue]:
    properties = [_property("unit", column.unit)]
    if column.words:
        properties.append(_property("mappings", [_mapping(column.words)]))
    if column.steps:
        properties.append(_property("thresholds", _thresholds(column.steps).build()))
        properties.append(_property("custom.cellOptions", {"type": "color-text"}))
    return properties


def _link(kind: str, value: str, daemon: str = "${instance:queryparam}") -> dict[str, object]:
    """To the dashboard of a workflow or a cluster, of the daemons that are chosen or of one."""
    query = f"var-datasource=${{datasource}}&{daemon}&var-{kind}={value}"
    return {
        "title": f"Open this {kind}",
        "url": f"/d/penstock-{kind}?{query}&${{__url_time_range}}",
        "targetBlank": False,
    }


def _property(id: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=id, value=value)
