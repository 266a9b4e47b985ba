"""The rule that ranks candidates, and the front."""

from gliodistill.planner.alignment import Alignment, alignment, neighbours
from gliodistill.planner.budgets import Budget
from gliodistill.planner.candidate import Candidate, pareto_front, ranked
from gliodistill.planner.shapes import Shape


def candidate(trunk, stride=2, norm="batch", levels=3, seconds=(), parameters=None):
    widths = tuple(trunk * 2**level for level in range(levels))
    return Candidate(
        Shape("unet", widths, stride, norm),
        parameters or trunk,
        1000 * trunk,
        2 * trunk,
        list(seconds),
    )


def test_the_widest_trunk_comes_first_then_the_finest_grid_the_fewest_levels_and_the_norm():
    order = [
        candidate(16, 2),
        candidate(12, 1, levels=4),
        candidate(12, 2, "group"),
        candidate(12, 2, "batch"),
        candidate(12, 2, "group", levels=4),
        candidate(12, 4),
        candidate(8, 1),
    ]
    for start in range(len(order)):
        assert ranked(order[start:] + order[:start], ["group", "batch"]) == order


def test_of_the_front_nobody_has_as_many_parameters_in_less_time():
    fast, beaten, wide, unmeasured = (
        candidate(8, seconds=[1.0]),
        candidate(7, seconds=[2.0]),
        candidate(16, seconds=[3.0]),
        candidate(99),
    )
    assert pareto_front([wide, beaten, unmeasured, fast]) == [fast, wide]


def test_the_median_counts_and_a_prediction_only_where_asked():
    measured, predicted = candidate(8, seconds=[1.0, 9.0, 2.0]), candidate(8)
    predicted.predicted = 3.0
    budget = [Budget("latency", 2.0)]
    assert measured.excess(budget) == 1.0
    assert predicted.excess(budget) == 0.0
    assert predicted.excess(budget, guess=True) == 1.5


def test_the_block_of_channels_follows_the_processor_and_the_precision():
    amx = frozenset({"avx2", "avx512f", "amx_bf16"})
    assert alignment("bf16", amx).channels == 32
    assert alignment("f32", amx).channels == 16
    assert alignment("f32", frozenset({"avx2"})).channels == 8
    assert alignment("f32", frozenset()).channels == 4
    assert Alignment(8, "").filled(8) == 1.0
    assert Alignment(8, "").filled(9) == 9 / 16


def test_neighbours_are_whole_blocks_of_the_same_network():
    chosen, below, above = candidate(10), candidate(8), candidate(16)
    others = [candidate(12), candidate(8, 1), candidate(16, norm="group"), below, chosen, above]
    assert neighbours(chosen, others, Alignment(8, "")) == [below, above]
    assert neighbours(below, others, Alignment(8, "")) == []
