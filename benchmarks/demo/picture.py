"""The picture of README and docs: the axial slices of a finished demo's page.

``python -m benchmarks.demo.picture demo`` photographs ``demo/report.html`` with a headless Chromium
and writes ``docs/images/demo.png``.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "demo.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1224, 434
ONLY_THE_FIRST_ROW = """<style>
header, footer, h2, section:not(:has(figure.study)), .planes > :nth-child(n+2), .planes ~ * {
  display: none !important }
body, main, section, figure { margin-top: 0 !important; padding-top: 0 !important }
main { padding-top: 10px !important }
</style></head>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    photograph(parser.parse_args().demo / "report.html", PICTURE)


def photograph(page: Path, picture: Path) -> None:
    """The first row of the study's figure as PNG."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "page.html"
        cut.write_text(page.read_text().replace("</head>", ONLY_THE_FIRST_ROW, 1))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}"]
        command += [f"--screenshot={picture.resolve()}", cut.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
