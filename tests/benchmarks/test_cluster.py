"""The cost model of many machines names what holds a cohort up."""

import pytest
from benchmarks.cluster.cost import seconds_per_study


@pytest.mark.parametrize(
    ("core_s", "cores", "reading_s", "overhead_s", "pace", "bottleneck"),
    [
        (1.0, 2, 0.1, 0.001, 0.55, "processors"),
        (1.0, 100, 0.1, 0.001, 0.1, "file system or network"),
        (1.0, 5000, 0.0001, 0.001, 0.001, "command"),
    ],
)
def test_the_slowest_part_sets_the_pace(core_s, cores, reading_s, overhead_s, pace, bottleneck):
    assert seconds_per_study(core_s, cores, reading_s, overhead_s) == (
        pytest.approx(pace),
        bottleneck,
    )
