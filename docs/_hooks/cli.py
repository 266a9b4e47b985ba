"""The page of commands, written from the program itself."""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

from gliodistill.cli.main import app

MARKUP = re.compile(r"\[/?(?:cyan|bold|green|red|dim|italic)\]")


def plain(text: str | None) -> str:
    """Help text without the terminal's markup, on one line."""
    return " ".join(MARKUP.sub("", text or "").split())


def cell(text: str) -> str:
    """Text for a table's cell."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def of_command(name: str, command: Any) -> str:
    """One command: what it does, an example, arguments and options."""
    text = MARKUP.sub("", command.help or "")
    about, _, example = text.partition("Example:")
    paragraphs = [" ".join(part.split()) for part in about.strip().split("\n\n")]
    parts = [f"## `gliodistill {name}`", *(p.replace("<", "&lt;") for p in paragraphs if p)]
    if example:
        parts.append(f"```bash\n{' '.join(example.split())}\n```")
    lines = ["| argument or option | meaning |", "|---|---|"]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            if parameter.hidden or "--help" in parameter.opts:
                continue
            names = ", ".join(
                f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts)
            )
        else:
            names = f"`{(parameter.metavar or parameter.name.upper()).strip('[]')}`"
        notes = [plain(getattr(parameter, "help", None))]
        notes += ["Required."] if parameter.required else []
        notes += ["May be repeated."] if getattr(parameter, "multiple", False) else []
        lines.append(f"| {names} | {cell(' '.join(filter(None, notes)))} |")
    return "\n\n".join([*parts, "\n".join(lines)])


def page() -> str:
    """All commands."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    listed = "\n".join(
        f"| [`{name}`](#gliodistill-{name}) | {cell(plain(command.help).split('. ')[0].rstrip('.'))} |"
        for name, command in commands.items()
    )
    intro = (
        "# Commands\n\nEvery command has `--help` with an example, and `--json` where a script would"
        " read its output. An error is one line on standard error; the exit code is then not 0.\n\n"
        f"| command | what it does |\n|---|---|\n{listed}"
    )
    sections = [of_command(name, command) for name, command in commands.items()]
    return "\n\n".join([intro, *sections]) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "reference/cli.md", content=page()))
    return files
