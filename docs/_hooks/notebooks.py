"""Notebooks as pages: Markdown cells as they are, code cells as code with their stored outputs."""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def page(notebook: Path) -> str:
    """A notebook as Markdown; outputs that are text come along."""
    parts = []
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        shown = "".join(
            "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
            for output in cell["outputs"]
        ).rstrip()
        if shown:
            parts.append(f"```text\n{shown}\n```")
    name = notebook.name
    parts.insert(1, f"The notebook itself: `docs/notebooks/{name}`. The test suite executes it.")
    return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook."""
    for notebook in sorted((Path(config.docs_dir) / "notebooks").glob("*.ipynb")):
        uri = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, uri, content=page(notebook)))
    return files
