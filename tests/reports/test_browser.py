"""The page in a real browser: opens from a file, fits narrow and wide windows, follows dark, switches layers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gliodistill.images.volume import Volume
from gliodistill.reports.html import Section, page
from gliodistill.reports.pictures import study_figure
from gliodistill.reports.svg import Series, line_chart
from gliodistill.reports.tables import ModelRow, score_table, settings_table, tiles
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import Study

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on PATH")
    return found


def report() -> str:
    generator = np.random.default_rng(5)
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in (60, 72, 56)), indexing="ij")
    radius = np.sqrt(sum((a / (n / 2 - 4)) ** 2 for a, n in zip(axes, (60, 72, 56), strict=True)))
    head = np.where(radius < 1, generator.uniform(60, 90, radius.shape), 0).astype(np.float32)
    distance = np.sqrt((axes[0] - 8) ** 2 + (axes[1] - 6) ** 2 + axes[2] ** 2)
    truth = np.stack([distance < 14, distance < 9, (distance < 9) & (distance > 5)])
    study = Study("made-up", "made-up", {s: Volume(head + 60 * truth[0] * (s is Sequence.FLAIR), np.eye(4)) for s in Sequence})
    rows = [ModelRow("Teacher", 16_000_000, {r: [0.9, 0.8] for r in ("WT", "TC", "ET")}, 1e12, 3.2, teacher=True)]
    sections = [
        Section("", [tiles([("Dice", "0.87", "WT")] * 4)]),
        Section("Scores", [score_table(rows)]),
        Section("Curves", [line_chart([Series("Teacher", [0, 1, 2], [0.1, 0.5, 0.6])], "Dice", "step", "Dice")] * 2, columns=True),
        Section("Pictures", [study_figure(study, np.roll(truth, 3, axis=1), truth, "made-up")]),
        Section("Settings", [settings_table({"hash": "0123456789abcdef" * 4})]),
    ]
    return page("Report", sections)


def shoot(browser: str, html: str, folder: Path, width: int, *options: str) -> np.ndarray:
    """A screenshot of the page in a window ``width`` wide, RGB 0 … 1 on rows × columns × 3."""
    (folder / "report.html").write_text(html, encoding="utf-8")
    # Headless windows are at least 500 wide, so the page lies in a frame of its own width beside a magenta margin.
    frame = f'<body style="margin:0;background:#f0f"><iframe src="report.html" style="border:0;width:{width}px;height:2600px">'
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}")  # fmt: skip
    target = folder / "page.png"
    target.unlink(missing_ok=True)
    command = [browser, *quiet, *options, f"--screenshot={target}", f"--window-size={width + 120},2600", (folder / "frame.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    picture: np.ndarray = imread(target)[..., :3]
    margin = picture[:, width : width + 100]
    assert np.allclose(margin, [1, 0, 1], atol=0.02)
    return picture[:, :width]


LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_sticks_out(browser: str, tmp_path: Path, width: int) -> None:
    # Were anything wider than the window, the page could be scrolled: the last column would not be empty paper.
    picture = shoot(browser, report(), tmp_path, width, LIGHT)
    paper = picture[2, 2]
    assert np.allclose(picture[:, -6:], paper, atol=0.01)
    assert np.allclose(picture[:, :6], paper, atol=0.01)


def test_dark_and_light(browser: str, tmp_path: Path) -> None:
    assert shoot(browser, report(), tmp_path, 600, LIGHT)[2, 2].min() > 0.9
    assert shoot(browser, report(), tmp_path, 600, DARK)[2, 2].max() < 0.2


def test_unticking_a_layer_hides_its_outlines(browser: str, tmp_path: Path) -> None:
    def blue(html: str) -> int:
        picture = shoot(browser, html, tmp_path, 1000, LIGHT)
        return int((np.abs(picture - np.array([0x56, 0xB4, 0xE9]) / 255).max(axis=2) < 0.05).sum())

    both = blue(report())
    truth_only = blue(report().replace('class="on1" checked', 'class="on1"'))
    none = blue(report().replace(" checked>", ">"))
    assert both > truth_only > none
    assert none < 400  # the swatch of the legend
