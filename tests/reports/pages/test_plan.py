"""The page of a plan, from facts as plan.json has them."""

import re

from gliodistill.reports.pages.plan import operations_chart, parameters_chart, write_plan_report


def row(trunk, seconds, *, chosen=False, front=True, within=True):
    return {
        "network": "unet",
        "options": {"widths": [trunk, 2 * trunk], "stem_stride": 2, "norm": "batch"},
        "parameters": 1000 * trunk,
        "flops": 10**9 * trunk,
        "size_bytes": 2000 * trunk,
        "latency_s": seconds,
        "latency_range_s": None if seconds is None else [seconds, seconds],
        "passes": 4,
        "predicted_latency_s": None,
        "chosen": chosen,
        "front": front,
        "within": within,
    }


ROWS = [
    row(8, 0.25, chosen=True),
    row(9, 0.5, front=False),
    row(16, 0.4, within=False),
    row(64, None),
]
FACTS = {
    "teacher": {
        "run": "teacher",
        "network": "nn<unet",
        "recipe": "r",
        "params": 80_000.0,
        "flops": 1e11,
        "size": 1.0,
    },
    "budgets": [{"asked": "latency<=300ms", "quantity": "latency", "limit": 0.3}],
    "rule": "The widest.",
    "proposed": ROWS[0],
    "shares": {"params": 0.1, "flops": 0.08},
    "runs": {},
    "alignment": {"channels": 8, "unit": "AVX2", "explanation": "Blocks of 8."},
    "measured": {
        "runtime": "openvino",
        "precision": "f32",
        "threads": 2,
        "shape": [144, 178, 145],
        "versions": {"gliodistill": "0"},
    },
    "candidates": ROWS,
}


def test_the_page_says_what_was_chosen_why_and_from_what(tmp_path):
    write_plan_report(tmp_path / "plan.html", FACTS, "runs: {planned: {}}")
    page = (tmp_path / "plan.html").read_text()
    for part in (
        "8 – 16",
        "10.0% of the teacher’s",
        "250 ms",
        "The widest.",
        "Blocks of 8.",
        "over budget",
        "144 × 178 × 145",
        "runs: {planned",
    ):
        assert part in page
    assert "nn&lt;unet" in page and "nn<unet" not in page
    assert "4 candidates counted, 3 measured" in page
    assert page.count("<b>proposed</b>") == 1


def test_the_charts_hold_every_measured_candidate():
    measured = ROWS[:3]
    assert operations_chart(measured).count('class="dot') == 3
    names = re.findall(r"</svg>([^<]+)</li>", parameters_chart(measured))
    assert names == ["Pareto front", "others", "proposed"]
