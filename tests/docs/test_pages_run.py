"""The pages that say how to start, and how to deploy and extend, run when pasted in order."""

import pytest

from nnunet_folders import write_nnunet
from pasting import ROOT, blocks, differs, paste_in_one_process

PAGES = ["start/segment.md", "start/distil.md", "how-to/deploy.md", "how-to/extend.md"]
SLOW = ["how-to/distil-a-monai-bundle.md", "how-to/distil-from-predictions.md"]


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_pages_on_other_teachers_run_too(page, tmp_path):
    assert len(paste_in_one_process(ROOT / "docs" / page, tmp_path)) > 2


@pytest.mark.slow
def test_the_page_on_nnunet_runs_with_a_trained_one(tmp_path):
    """Its folders lie where the page has them: the tiny nnU-Net of the tests of teachers."""
    pytest.importorskip("dynamic_network_architectures")
    write_nnunet(tmp_path, "Dataset137_BraTS")
    paste_in_one_process(ROOT / "docs" / "how-to" / "distil-your-nnunet.md", tmp_path)
    assert (tmp_path / "distilled" / "report.html").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_pasted_in_order_into_an_empty_folder(page, tmp_path):
    """Each block ends well, and prints the lines that the page shows, but for numbers."""
    done = paste_in_one_process(ROOT / "docs" / page, tmp_path)
    assert len(done) == len(blocks((ROOT / "docs" / page).read_text())) > 2
    for block, printed in done:
        if block.shown is not None:
            assert differs(block.shown, printed) == [], printed
