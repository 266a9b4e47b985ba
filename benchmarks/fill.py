"""Put every committed table where README and docs have ``<!-- results:NAME -->`` … ``<!-- end
-->``.

``python -m benchmarks.fill``; NAME is that of a Markdown file under ``benchmarks/results/``.
tests/docs/test_docs.py holds the pages to them.
"""

import re
from pathlib import Path

from gliodistill.files import write_text

ROOT = Path(__file__).parents[1]


def fill() -> None:
    """Rewrite the pages whose tables have changed."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        before = page.read_text()
        text = before
        for file in (ROOT / "benchmarks" / "results").glob("*/*.md"):
            block = re.compile(rf"(<!-- results:{file.stem} -->\n).*?(<!-- end -->)", re.DOTALL)
            text = block.sub(
                lambda found, file=file: f"{found[1]}{file.read_text()}{found[2]}", text
            )
        if text != before:
            write_text(page, text)


if __name__ == "__main__":
    fill()
