"""The page of a comparison: its words are the conclusion's, its numbers the comparison's, and nothing
is dropped in silence.
"""

import re
from pathlib import Path

import numpy as np

from gliodistill.evaluation.comparison import compare
from gliodistill.evaluation.conclusions import conclusion
from gliodistill.evaluation.scores import Scores
from gliodistill.reports.pages.comparison import write_comparison_report
from made_up_scores import IDS, scores, two

EVIL = "<script>alert(1)</script>"


def page(tmp_path: Path, models: dict[str, Scores], **options: object) -> str:
    comparison = compare(models, **options)
    write_comparison_report(
        tmp_path / "comparison.html", comparison, {name: f"{name}.json" for name in models}
    )
    return (tmp_path / "comparison.html").read_text(encoding="utf-8")


def words(html: str) -> str:
    """The text that a reader sees."""
    return " ".join(
        re.sub(r"<(style|script|title)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL).split()
    )


def test_the_verdict_comes_first_and_all_sections_follow(tmp_path: Path) -> None:
    html = page(tmp_path, two())
    said = conclusion(compare(two()), ("a", "b"))
    text = words(html)
    order = [
        said.question,
        said.sentence,
        "Differences",
        "Ranking over patients",
        "Every study",
        "Strata",
        "All numbers",
        "Studies compared",
    ]
    body = text[text.index(said.question) :]
    assert [body.index(part) for part in order] == sorted(body.index(part) for part in order)
    for part in (
        "Research use, not a medical device",
        "Holm over 6 tests",
        "rules plain for gli",
        "a.json",
        "Here every model has scores for all 24",
    ):
        assert part in text, part


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    html = page(tmp_path, two())
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)", html)
    assert "http" not in html.replace("http-equiv", "").replace("http_equiv", "")
    assert page(tmp_path, two()) == html


def test_numbers_of_the_comparison_stand_in_the_table(tmp_path: Path) -> None:
    html = page(tmp_path, two())
    table = html[html.index("All comparisons") :]
    for contrast in compare(two()).contrasts:
        difference = contrast.difference
        assert difference is not None
        decimals = 4 if contrast.metric == "dice" else 2
        row = (
            f"{difference.mean:+.{decimals}f}",
            f"{difference.low:+.{decimals}f} to {difference.high:+.{decimals}f}",
        )
        for cell in (*row, f"{contrast.wins} / {contrast.ties} / {contrast.losses}"):
            assert cell.replace("-", "−") in table


def test_failed_and_undefined_are_in_sight(tmp_path: Path) -> None:
    failing = scores(np.linspace(0.5, 0.9, 24), failed=("s03", "s07"))
    failing.studies["s00"]["ET"]["dice"] = None
    text = words(page(tmp_path, {"a": two()["a"], "b": failing}))
    for part in (
        "b failed on 2 of 24 studies",
        "s03 image is truncated",
        "2 failed, 1 undefined",
        "is last on it: 12 of the rankings",
    ):
        assert part in text, part


def test_few_studies_are_cautioned_about_and_small_strata_not_drawn(tmp_path: Path) -> None:
    ids = IDS[:6]
    text = words(page(tmp_path, {"a": scores(0.6, ids=ids), "b": scores(0.5, ids=ids)}))
    assert "Only 6 studies" in text
    assert "Too few studies: enhancing (3), not enhancing (3)." in text


def test_many_models_and_names_that_are_markup(tmp_path: Path) -> None:
    models = {EVIL: scores(0.9)} | {f"model-{n}": scores(0.5 + 0.05 * n) for n in range(4)}
    html = page(tmp_path, models)
    assert EVIL not in html
    assert 'aria-label="Verdicts"' in html  # ten pairs are a table, not ten tiles
    assert "Only pairs with" in words(html)


def test_models_that_no_study_has_in_common(tmp_path: Path) -> None:
    models = {"a": scores(0.6, failed=IDS[:12]), "b": scores(0.5, failed=IDS[12:])}
    text = words(page(tmp_path, models, metrics=["dice"]))
    assert "No difference between a and b is shown." in text
    assert "nan" not in text.lower().split()
