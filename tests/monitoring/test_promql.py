from __future__ import annotations

import pytest
from tests.monitoring.promql import metrics, operands


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('up{job="penstock"} == 0', ['up{job="penstock"}']),
        ('rate(a[5m]) > 0.5 and on (x, y) b{c!="d",e>="f"} < 20e9', ["rate(a[5m])", 'b{c!="d",e>="f"}']),
        ('a / b < 0.05 and a < 1 or c >= 5 unless on (x) d{s="and > 0"} > 0', ["a / b", "a", "c", 'd{s="and > 0"}']),
        ("sum by (or_) (a)\n> 1", ["sum by (or_) (a)"]),
    ],
)
def test_what_stands_left_of_comparisons(expression: str, expected: list[str]) -> None:
    assert operands(expression) == expected


@pytest.mark.parametrize("expression", ["up", "count(up == 0) > 1", "a > b", "0 < a < 1", "(a > 1) or b > 2"])
def test_other_forms_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"compar|could not convert"):
        operands(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('60 * sum by (end) (rate(a_total{x="y_z",k=~"l"}[5m]))', {"a_total"}),
        ("time() - max by (workflow, cluster) (b) > 1 and on (job) c == 1", {"b", "c"}),
        ("predict_linear(free[3h], 6 * 3600) < 0 and free / size < 4e-1", {"free", "size"}),
        ("histogram_quantile(0.5, sum by (le) (rate(h_bucket{}[$__rate_interval])))", {"h_bucket"}),
        ('count(ALERTS{alertname=~"P.*"}) or vector(0)', {"ALERTS"}),
    ],
)
def test_the_metrics_of_an_expression(expression: str, expected: set[str]) -> None:
    assert metrics(expression) == expected
