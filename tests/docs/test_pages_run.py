"""The pages that say how to start, and how to deploy and extend, run when pasted in order."""

import pytest

from pasting import ROOT, blocks, differs, paste_in_one_process

PAGES = ["start/segment.md", "start/distil.md", "how-to/deploy.md", "how-to/extend.md"]


@pytest.mark.parametrize("page", PAGES)
def test_pasted_in_order_into_an_empty_folder(page, tmp_path):
    """Each block ends well, and prints the lines that the page shows, but for numbers."""
    done = paste_in_one_process(ROOT / "docs" / page, tmp_path)
    assert len(done) == len(blocks((ROOT / "docs" / page).read_text())) > 2
    for block, printed in done:
        if block.shown is not None:
            assert differs(block.shown, printed) == [], printed
