"""What is written can be read again as it was meant: by the client library's parser, which is Prometheus' grammar."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.actors.histogram import Histogram
from penstock.daemon.metrics.exposition import Family, Page

GAUGE = Family("penstock_x", "gauge", "What it is", ("a", "b"))
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(st.tuples(_TEXT, _TEXT), st.floats(allow_nan=False) | st.integers(-(2**60), 2**60), min_size=1))
def test_labels_and_values_of_any_kind(values: dict[tuple[str, str], float]) -> None:
    page = Page()
    page.add(GAUGE, values.items())
    (family,) = text_string_to_metric_families(page.text())
    assert (family.name, family.type, family.documentation) == ("penstock_x", "gauge", "What it is")
    read = {(s.labels["a"], s.labels["b"]): float(s.value) for s in family.samples}
    assert read == {labels: float(value) for labels, value in values.items()}
    assert page.series == len(values)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_sums_up(values: list[float]) -> None:
    histogram = Histogram((0.5, 2.0, 60.0))
    for value in values:
        histogram.observe(value)
    page = Page()
    family = Family("penstock_h_seconds", "histogram", "How long")
    page.add_histograms(family, histogram.bounds, [((), histogram.filled())])
    (found,) = text_string_to_metric_families(page.text())
    read = {(s.name.removeprefix("penstock_h_seconds_"), s.labels.get("le")): s.value for s in found.samples}
    for bound in ("0.5", "2.0", "60.0", "+Inf"):
        assert read["bucket", bound] == sum(value <= float(bound) for value in values)
    assert read["count", None] == len(values)
    assert math.isclose(read["sum", None], sum(values), rel_tol=1e-9, abs_tol=1e-9)


def test_what_has_no_samples_is_left_out() -> None:
    page = Page()
    page.add(GAUGE, [])
    page.add_value(Family("penstock_y", "gauge", "Nothing"), None)
    assert (page.text(), page.series) == ("", 0)


def test_numbers_that_are_none() -> None:
    page = Page()
    page.add(GAUGE, [(("a", "1"), math.inf), (("a", "2"), -math.inf), (("a", "3"), math.nan)])
    assert [line.rpartition(" ")[2] for line in page.text().splitlines()[2:]] == ["+Inf", "-Inf", "NaN"]
