"""A page's code blocks, pasted one after the other into an empty folder.

A ``bash`` block runs in bash and stops at the first command that fails; a ``python`` block runs as
a script. A ``text`` block directly after one is what it printed. ``python tests/pasting.py
README.md`` runs a page at full length and writes what it printed into it.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^```(bash|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)
NUMBER = re.compile(r"[-+−–]?\d[\d.,]*|–")
STEPS = "--set training.steps=4"
"""What a test adds to every training: the page is checked, not the student."""


@dataclass(frozen=True)
class Block:
    """One block of code, where it stands, and what the page says that it prints."""

    language: str
    code: str
    shown: str | None
    span: tuple[int, int]


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order; those that install or need make are the reader's."""
    found = [Block(m[1], m[2], m[3], m.span(3)) for m in BLOCK.finditer(text)]
    return [block for block in found if not re.match(r"make |pip |python3? -m venv", block.code)]


def paste(page: Path, folder: Path, fast: bool = True) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page; each with what it printed.

    Raises:
        AssertionError: one fails.
    """
    programs = folder / ".programs"
    programs.mkdir()
    (programs / "gliodistill").write_text(f'#!/bin/sh\nexec {sys.executable} -m gliodistill "$@"\n')
    (programs / "gliodistill").chmod(0o755)
    for block in blocks(page.read_text()):
        yield block, run(block, folder, fast)


def run(block: Block, folder: Path, fast: bool) -> str:
    """What one block prints on standard output."""
    code = block.code
    if block.language == "python":
        command = [sys.executable, "-c", code]
    else:
        if fast:
            code = re.sub(r"^(gliodistill train .*?[^\\])$", rf"\1 {STEPS}", code, flags=re.MULTILINE)
        command = ["bash", "-euo", "pipefail", "-c", code]
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PATH": f"{folder / '.programs'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "COLUMNS": "100",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(text: str) -> list[str]:
    """Output without what differs between machines: numbers and the width of columns."""
    plain = NUMBER.sub("#", text).replace("─", "")
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


def differs(shown: str, printed: str) -> list[str]:
    """Lines that a page shows and the program did not print, in order; ``…`` stands for any."""
    there = iter(shape(printed))
    lines = [line for line in shape(shown) if line != "…"]
    return [
        line
        for line in lines
        if not any(one.startswith(line.rstrip("…").rstrip()) for one in there)
    ]


def write(page: Path) -> None:
    """Put what the blocks print today in the place of what the page shows, ``…`` and all."""
    text = page.read_text()
    with tempfile.TemporaryDirectory() as folder:
        done = list(paste(page, Path(folder), fast=False))
    for block, printed in reversed(done):
        if block.shown is None:
            continue
        lines = [line.rstrip() for line in printed.splitlines() if line.strip()]
        kept = []
        for wanted in block.shown.splitlines():
            key = shape(wanted)
            match = next((line for line in lines if key and shape(line) == key), None)
            if match is not None:
                lines = lines[lines.index(match) + 1 :]
            kept.append(wanted if match is None else match)
        text = text[: block.span[0]] + "\n".join(kept) + "\n" + text[block.span[1] :]
    page.write_text(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
