"""Pages may show and link files of the repository that lie outside docs/: they come along."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()((?:\.\./)+)((?:benchmarks|src|tests|CHANGELOG|CONTRIBUTING)[^)#\s]*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Copy what pages link to into the site, under the path it has in the repository."""
    wanted = {
        found[2].rstrip("/")
        for file in files.documentation_pages()
        if file.abs_src_path
        for found in LINK.finditer(Path(file.abs_src_path).read_text())
    }
    for path in sorted(wanted):
        source = ROOT / path
        if source.is_file():
            files.append(File.generated(config, _served(path), abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point those links at the copies."""
    up = "../" * page.file.src_uri.count("/")
    return LINK.sub(lambda found: f"{up}{_served(found[2].rstrip('/'))}", markdown)


def _served(path: str) -> str:
    """Markdown and scripts are served as the text they are."""
    return path if Path(path).suffix in {".png", ".svg", ".json"} else f"{path}.txt"
