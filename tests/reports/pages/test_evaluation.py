"""The page of one evaluation: its numbers are the scores', nothing is dropped, nobody is named."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from evaluated_cohort import BROKEN, SECRET, SHIFTS
from gliodistill.evaluation.evaluate import Pairs
from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.reports.pages.cases import BEST, WORST, rank_studies
from gliodistill.reports.pages.evaluation import write_evaluation_report

Evaluated = tuple[Pairs, Scores]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def words(html: str) -> str:
    """What a reader sees."""
    plain = re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").split())


def section(html: str, title: str) -> str:
    found = re.search(rf"<h2>{title}</h2>.*?</section>", html, flags=re.DOTALL)
    assert found, title
    return found[0]


def test_everything_a_reader_needs_is_there(evaluation_page: Path) -> None:
    said = words(text(evaluation_page))
    for part in (
        "Eight studies",
        "8 studies · rules plain · task gli",
        "Research use, not a medical device",
        "7 of 8 scored; 1 failed",
        "Dice = 2|P∩T|/(|P|+|T|)",
        "gliodistill 0.",
        "NumPy",
        "truth labels brats2021 (detected)",
        "made by <tests>",
        "Only 7 studies: intervals over so few are too narrow.",
        "Limits of agreement are mean ± 1.96",
    ):
        assert part in said, part
    titles = re.findall(r"<h2>(.*?)</h2>", text(evaluation_page))
    expected = (
        "Regions, Distributions, Volumes, Lesions, Calibration, Worst cases, Best cases, Every"
        " study, Rules, Settings and versions"
    )
    assert ", ".join(titles) == expected


def test_it_loads_nothing_and_equal_scores_give_equal_bytes(
    evaluated: Evaluated, evaluation_page: Path, tmp_path: Path
) -> None:
    html = text(evaluation_page)
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<link|<iframe|<img", re.sub('base64,[^"]+', "", html)
    )
    assert all(
        link.startswith(("#", "data:image/png"))
        for link in re.findall(r'(?:href|src)="([^"]*)"', html)
    )
    again = tmp_path / "again.html"
    write_evaluation_report(
        again, evaluated[1], evaluated[0], title="Eight studies", settings={"made by": "<tests>"}
    )
    assert text(again) == html


def test_nothing_of_a_header_and_no_folder_is_on_it(
    evaluated: Evaluated, evaluation_page: Path
) -> None:
    html = text(evaluation_page)
    assert SECRET not in html
    assert "p<b>" not in html
    assert "p&lt;b&gt;&amp;7" in html
    for pair in evaluated[0].pairs:
        for file in (pair.truth.path, pair.prediction.path):
            assert str(file.parent) not in html


def test_summary_holds_mean_interval_and_quartiles(
    evaluated: Evaluated, evaluation_page: Path
) -> None:
    values = evaluated[1].values("WT")
    low, high = mean_interval(values)
    row = words(
        section(text(evaluation_page), "Regions").split('<th scope="row">Dice')[1].split("</tr>")[0]
    )
    assert f"{sum(values) / 7:.4f} [{low:.4f}, {high:.4f}]" in row
    assert f"{sorted(values)[3]:.4f} (" in row  # the median of seven


def test_every_study_is_in_the_table_and_the_failed_one_with_its_reason(
    evaluated: Evaluated, evaluation_page: Path
) -> None:
    table = section(text(evaluation_page), "Every study")
    rows = [words(row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)]
    assert len(rows) == 1 + 1 + len(SHIFTS)
    assert rows[1].startswith(f"{BROKEN} failed: ")
    assert evaluated[1].failed[BROKEN].endswith(rows[1].rpartition(f"{BROKEN}.nii.gz: ")[2])
    for id in SHIFTS:
        (row,) = [row for row in rows if row.startswith(f"{id} ")]
        assert f" {evaluated[1].studies[id]['TC']['hd95_mm']:.2f} " in row


def test_worst_and_best_are_drawn_in_three_planes_with_both_outlines(
    evaluated: Evaluated, evaluation_page: Path
) -> None:
    # The further a prediction lies beside its truth, the worse: known without any score (radius
    # differs a little).
    ranked = [id for id, _ in rank_studies(evaluated[1])]
    assert ranked[0] == "case-4"
    assert ranked[-1] == "p<b>&7"
    html = text(evaluation_page)
    for title, count, first in (("Worst cases", WORST, "case-4"), ("Best cases", BEST, "p<b>&7")):
        part = section(html, title)
        assert part.count("<figure") == count
        assert f"1: {first}" in words(part)
        pictures = re.findall(r"data:image/png;base64,([^\"]+)", part)
        assert len(pictures) == count * 3 * 2
        assert imread(io.BytesIO(base64.b64decode(pictures[0]))).max() > 0.5
        assert (
            part.count('class="layer l0 truth"') == part.count('class="layer l1"') == len(pictures)
        )


def test_cases_without_images_are_drawn_on_the_label_maps(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    pairs, scores = evaluated
    bare = replace(pairs, pairs=tuple(replace(pair, images={}) for pair in pairs.pairs))
    write_evaluation_report(tmp_path / "r.html", scores, bare)
    html = text(tmp_path / "r.html")
    assert "outlines are shown on the label maps" in html
    assert len(re.findall("data:image/png", html)) == (WORST + BEST) * 3


def test_files_that_are_gone_cost_the_picture_not_the_page(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    pairs, scores = evaluated
    gone = replace(
        pairs,
        pairs=tuple(
            replace(pair, truth=replace(pair.truth, path=tmp_path / "gone.nii.gz"))
            for pair in pairs.pairs
        ),
    )
    write_evaluation_report(tmp_path / "r.html", scores, gone)
    assert "can no longer be read" in text(tmp_path / "r.html")
    assert "gone.nii.gz" not in text(tmp_path / "r.html")


@pytest.mark.parametrize(
    ("rules", "task"), [("plain", "ped"), ("brats2023", "gli-post"), ("brats2026", "met")]
)
def test_every_task_and_rule_set(rules: str, task: str, tmp_path: Path) -> None:
    rule_set = get_rules(rules, task)
    one = {region: dict.fromkeys(rule_set.metrics, 0.5) for region in rule_set.regions}
    none: dict[str, dict[str, float | None]] = {
        region: dict.fromkeys(rule_set.metrics) for region in rule_set.regions
    }
    for studies in ({"a": one, "b": none}, {"b": none}, {}):
        write_evaluation_report(
            tmp_path / "r.html", Scores(rule_set, studies, {"c": "no prediction"})
        )
        said = words(text(tmp_path / "r.html"))
        assert "nan" not in said.lower().replace("finance", "")
        assert "failed: no prediction" in said
        for region in rule_set.regions:
            assert f"{region} Dice" in said
