"""A browser, and an evaluation with its page: made once for all tests of the reports."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluated_cohort import write
from gliodistill.evaluation.evaluate import Pairs
from gliodistill.evaluation.scores import Scores
from gliodistill.reports.pages.evaluation import write_evaluation_report
from headless import NAMES, Browser, find_browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, or the tests that need one are skipped."""
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on PATH")
    window = Browser(program, tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pairs, Scores]:
    """An evaluation with a study that failed."""
    return write(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="session")
def evaluation_page(
    evaluated: tuple[Pairs, Scores], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_evaluation_report(
        path, evaluated[1], evaluated[0], title="Eight studies", settings={"made by": "<tests>"}
    )
    return path
