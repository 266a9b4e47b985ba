"""The README is short, and its blocks run when pasted in order into an empty folder."""

from pasting import ROOT, blocks, differs, paste

README = ROOT / "README.md"


def test_pasted_in_order_into_an_empty_folder(tmp_path):
    """Each block ends well in a shell, and prints the lines that are shown, but for numbers."""
    ran = 0
    for block, printed in paste(README, tmp_path):
        ran += 1
        if block.shown is not None:
            assert differs(block.shown, printed) == [], printed
    assert ran == len(blocks(README.read_text())) > 5


def test_it_is_short():
    """At most 130 lines, and five tasks of at most twelve."""
    text = README.read_text()
    assert len(text.splitlines()) <= 130
    tasks = text.split("## Five tasks")[1].split("\n## ")[0].split("\n**")[1:]
    code = [sum(len(block.code.splitlines()) for block in blocks(task)) for task in tasks]
    assert len(code) == 5 and max(code) <= 12
