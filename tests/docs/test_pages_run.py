"""Every block of the README and of the pages that say how to start runs when pasted in order."""

import pytest

from pasting import ROOT, blocks, differs, paste

PAGES = [
    "README.md",
    "docs/start/segment.md",
    "docs/start/distil.md",
    "docs/how-to/deploy.md",
    "docs/how-to/extend.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_pasted_in_order_into_an_empty_folder(page, tmp_path):
    """Each ends well, and prints the lines that the page shows, but for numbers."""
    ran = 0
    for block, printed in paste(ROOT / page, tmp_path):
        ran += 1
        if block.shown is not None:
            assert differs(block.shown, printed) == [], printed
    assert ran == len(blocks((ROOT / page).read_text())) > 2


def test_the_readme_is_short():
    """What one reads before trying: at most 130 lines, five tasks of at most twelve."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    tasks = text.split("## Five tasks")[1].split("\n## ")[0].split("\n**")[1:]
    code = [sum(len(b.code.splitlines()) for b in blocks(task)) for task in tasks]
    assert len(code) == 5 and max(code) <= 12
