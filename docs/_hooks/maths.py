"""Formulae between ``$$`` become MathML, which browsers draw without any script."""

import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

FORMULA = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert every formula."""
    return FORMULA.sub(
        lambda found: f'<div class="formula">{convert(found[1], display="block")}</div>', markdown
    )
