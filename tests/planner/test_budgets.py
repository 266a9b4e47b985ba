"""Budgets as a person writes them."""

import pytest

from gliodistill.errors import BudgetError
from gliodistill.planner.budgets import Budget, exceeded, parse_budget, written


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("params<=11%", Budget("params", 0.11, relative=True)),
        ("params <= 1.2M", Budget("params", 1_200_000)),
        ("params<=900", Budget("params", 900)),
        ("flops≤200G", Budget("flops", 200e9)),
        ("size<=4MB", Budget("size", 4e6)),
        ("size<=.5kB", Budget("size", 500)),
        ("latency<=300ms", Budget("latency", 0.3)),
        (" latency<=1.5s ", Budget("latency", 1.5)),
        ("latency<=5%", Budget("latency", 0.05, relative=True)),
    ],
)
def test_a_budget_is_read(text, budget):
    assert parse_budget(text).quantity == budget.quantity
    assert parse_budget(text).relative == budget.relative
    assert parse_budget(text).limit == pytest.approx(budget.limit)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "parms<=11%",
            (
                "unknown quantity",
                "got parms<=11%",
                "params, flops, size, latency",
                "did you mean params?",
            ),
        ),
        ("latency<300ms", ("invalid budget", "got latency<300ms", "latency<=300ms")),
        ("latency<=", ("invalid budget",)),
        ("latency<=-3ms", ("invalid budget",)),
        ("latency<=300", ("latency has no such unit", "%, ms, s")),
        ("latency<=300min", ("latency has no such unit", "%, ms, s")),
        ("params<=3MB", ("params has no such unit", "%, none, k, M, G, T")),
        ("size<=0MB", ("out of range", "more than 0")),
        ("", ("invalid budget",)),
    ],
)
def test_a_misspelt_budget_is_one_line_with_the_way_out(text, parts):
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert "\n" not in str(caught.value)
    for part in ("--budget", *parts):
        assert part in str(caught.value)


def test_a_share_is_of_the_teacher():
    assert parse_budget("params<=11%").against(31_000_000) == Budget(
        "params", pytest.approx(3_410_000)
    )
    assert parse_budget("params<=2M").against(31_000_000) == Budget("params", 2e6)


def test_the_worst_ratio_counts_and_the_unknown_does_not():
    budgets = [Budget("params", 100), Budget("latency", 2.0)]
    assert exceeded({"params": 50, "latency": 3.0}, budgets) == 1.5
    assert exceeded({"params": 50, "latency": None}, budgets) == 0.5
    assert exceeded({}, budgets) == 0.0


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [("params", 1_240_000, (
        "1.24 M"
    )), ("params", 620, "620"), ("size", 3.6e6, "3.60 MB"), ("flops", 18.6e9, "18.6 G"),
     ("latency", 0.284, "284 ms"), ("latency", 2, "2.00 s"), ("latency", 0.0005, "0.50 ms")],
)  # fmt: skip
def test_values_are_written_in_the_unit_that_reads_best(quantity, value, text):
    assert written(quantity, value) == text


@pytest.mark.parametrize("text", ["params<=11%", "latency<=300 ms", "size<=4.00 MB"])
def test_a_budget_says_itself_as_it_is_read(text):
    assert str(parse_budget(text)) == text
