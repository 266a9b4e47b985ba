"""A page's code blocks, pasted one after the other into an empty folder.

A ``bash`` block runs in bash and stops at the first command that fails; a ``python`` block runs as
a script; a block with a title is a file of that name. A ``text`` block directly after one is what it
printed. ``python tests/pasting.py README.md`` runs a page at full length and writes what it printed
into it.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r'^```(?:(bash|python)|\w+ title="([\w.]+)")\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?',
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"[-+−–]?\d[\d.,]*|–")
STEPS = {"train": "--set training.steps=2", "distil": "--set training.steps=2 --seconds 0"}
"""What a test adds to commands that train or measure: the page is checked, not the student."""
MARK = "-- end of block --"


@dataclass(frozen=True)
class Block:
    """One block of code, where it stands, and what the page says that it prints."""

    language: str | None
    title: str | None
    code: str
    shown: str | None
    span: tuple[int, int]

    @property
    def fast(self) -> str:
        """The code with a few steps of training, and without repeated measurements."""
        code = re.sub(r"\\\n\s*", " ", self.code) if self.language == "bash" else self.code
        command = re.compile(rf"^gliodistill ({'|'.join(STEPS)}) .*$", re.MULTILINE)
        return command.sub(lambda found: f"{found[0]} {STEPS[found[1]]}", code)


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order; those that install or need make are the reader's."""
    found = [Block(*m.groups(), m.span(4)) for m in BLOCK.finditer(text)]
    return [block for block in found if not re.match(r"make |pip |python3? -m venv", block.code)]


def paste(page: Path, folder: Path, fast: bool = True) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page in a shell; each with what it printed.

    Raises:
        AssertionError: one fails.
    """
    programs = folder / ".programs"
    programs.mkdir()
    (programs / "gliodistill").write_text(f'#!/bin/sh\nexec {sys.executable} -m gliodistill "$@"\n')
    (programs / "gliodistill").chmod(0o755)
    for block in blocks(page.read_text()):
        code = block.fast if fast else block.code
        if block.title is not None:
            (folder / block.title).write_text(code)
            yield block, ""
        elif block.language == "python":
            yield block, _call([sys.executable, "-c", code], folder)
        else:
            yield block, _call(["bash", "-euo", "pipefail", "-c", code], folder)


def paste_in_one_process(page: Path, folder: Path) -> list[tuple[Block, str]]:
    """As :func:`paste`, without starting Python for every command: half of the time."""
    return paste_pages({folder: page})[page]


def paste_pages(pages: Mapping[Path, Path]) -> dict[Path, list[tuple[Block, str]]]:
    """As :func:`paste_in_one_process`, of several pages in one process: folder → page."""
    lines = ["import os, sys", "from gliodistill.cli.main import run", "sys.path.insert(0, '')"]
    found: list[tuple[Path, Block]] = []
    for folder, page in pages.items():
        lines.append(f"os.chdir({str(folder)!r})")
        for block in blocks(page.read_text()):
            found.append((page, block))
            lines += _lines(block, folder)
    printed = _call([sys.executable, "-c", "\n".join(lines)], next(iter(pages))).split(MARK)
    done: dict[Path, list[tuple[Block, str]]] = {page: [] for page in pages.values()}
    for (page, block), text in zip(found, printed, strict=False):
        done[page].append((block, text))
    return done


def _lines(block: Block, folder: Path) -> list[str]:
    """The lines of Python that run a block; a file is written at once."""
    mark = f"print({MARK!r}, flush=True)"
    if block.title is not None:
        (folder / block.title).write_text(block.code)
        return [mark]
    if block.language == "python":
        return [f"exec(compile({block.code!r}, 'page', 'exec'), {{'__name__': 'page'}})", mark]
    lines = []
    for line in filter(None, block.fast.splitlines()):
        program, *words = shlex.split(line, comments=True)
        assert program == "gliodistill", line
        lines.append(f"assert run({words!r}) == 0, {line!r}")
    return [*lines, mark]


def _call(command: list[str], folder: Path) -> str:
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PATH": f"{folder / '.programs'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "COLUMNS": "100",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(text: str) -> list[str]:
    """Output without what differs between machines: numbers and the width of columns."""
    plain = NUMBER.sub("#", text).replace("─", "")
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


def differs(shown: str, printed: str) -> list[str]:
    """Lines that a page shows and the program did not print, in order; ``…`` stands for any."""
    there = iter(shape(printed))
    return [line for line in shape(shown) if line != "…" and line not in there]


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
            same = [line for line in lines if shape(wanted) and shape(line) == shape(wanted)]
            kept.append(same[0] if same else wanted)
            lines = lines[lines.index(same[0]) + 1 :] if same else lines
        text = text[: block.span[0]] + "\n".join(kept) + "\n" + text[block.span[1] :]
    page.write_text(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
