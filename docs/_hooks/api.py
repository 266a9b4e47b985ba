"""One page for every public name: `gliodistill.__all__`, and what its public packages export."""

import logging
from collections.abc import Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

LOG = logging.getLogger("mkdocs.hooks.api")
PACKAGES = {
    "networks": "Networks: one published design a file, one registry, one interface.",
    "distillation": "Distillation losses. `gd.losses` is this package.",
    "methods": "Methods: a student, and what turns a batch into losses.",
    "methods.segmentation": "Segmentation losses. `gd.segmentation_losses` is this package.",
    "teachers": "Teachers that are no run of a recipe. `gd.teachers` is this package.",
    "training.transforms": "Augmentation transforms. `gd.transforms` is this package.",
    "studies": "Studies and cohorts.",
    "studies.layouts": "How studies lie on disk. `gd.layouts` is this package.",
    "studies.labels": "What label codes mean. `gd.label_conventions` is this module.",
    "images": "Volumes, and NIfTI files.",
    "preparation": "From a study to what a network takes, and back.",
    "phantom": "Synthetic studies.",
    "inference": "From a study to a segmentation.",
    "inference.runtimes": "What runs a model. `gd.runtimes` is this package.",
    "inference.postprocessing": "Clean-up rules. `gd.postprocessing` is this module.",
    "models": "Model packages and their descriptions.",
    "evaluation.rules": "Rule sets of the challenges.",
}
"""Public packages beside the root: dotted path below ``gliodistill`` → what a reader finds."""


def load() -> griffe.Module:
    """The package as its source says it, without importing it."""
    package = griffe.load("gliodistill", search_paths=[Path(__file__).parents[2] / "src"])
    assert isinstance(package, griffe.Module)
    return package


def exported(module: griffe.Module) -> list[str]:
    """The names in a package's ``__all__``, in order; else what a module documents."""
    if module.exports is not None:
        return [str(name) for name in module.exports if not str(name).startswith("_")]
    return [
        name
        for name, member in module.members.items()
        if not (name.startswith("_") or member.is_alias or member.is_module)
        and member.has_docstring
    ]


def public(root: griffe.Module) -> Iterator[tuple[str, str, griffe.Object | griffe.Alias]]:
    """Every public name once: its page, its path, and what it is; names of the root first."""
    seen: set[str] = set()
    for package in ("", *PACKAGES):
        module = root[package] if package else root
        for name in exported(module):
            thing = module[name]
            target = thing.final_target if thing.is_alias else thing
            if target.is_module:  # a function in a file of its own name
                target = target.members.get(name, target)
            if target.is_module or target.path in seen:
                continue
            seen.add(target.path)
            page = f"reference/api/{'.'.join(filter(None, [package, name]))}.md"
            if target.is_attribute and name.isupper():  # RULES beside Rules, whatever the disk
                page = page.replace(".md", "-constant.md")
            yield page, ".".join(filter(None, ["gliodistill", package, name])), target


def summary(thing: griffe.Object | griffe.Alias) -> str:
    """The first paragraph of a docstring, on one line."""
    text = thing.docstring.value if thing.docstring else ""
    return " ".join(text.split("\n\n")[0].replace("|", "\\|").split())


def undocumented(root: griffe.Module) -> list[str]:
    """Public names, and public members of public classes, that have no docstring."""
    missing = []
    for _, path, thing in public(root):
        if not thing.has_docstring:
            missing.append(path)
        if thing.is_class:
            missing += [
                f"{path}.{name}"
                for name, member in thing.members.items()
                if not name.startswith("_")
                and not member.is_alias
                and (member.is_function or "property" in member.labels)
                and not member.has_docstring
            ]
    return missing


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and one that lists them."""
    root = load()
    for path in undocumented(root):
        LOG.warning("public name without a docstring: %s", path)
    lists: dict[str, list[str]] = {}
    for page, path, thing in public(root):
        name = path.removeprefix("gliodistill.")
        text = f"---\ntitle: {name}\n---\n\n# `{name}`\n\n::: {thing.path}\n"
        files.append(File.generated(config, page, content=text))
        package = name.rpartition(".")[0]
        line = f"| [`{name.rpartition('.')[2]}`]({Path(page).name}) | {summary(thing)} |"
        lists.setdefault(package, []).append(line)
    parts = [
        "# Python API",
        "Every public name has a page here. `import gliodistill as gd` gives the names of the first"
        " table; torch is loaded when something that needs it is used first.",
    ]
    for package, lines in lists.items():
        title = f"## `gliodistill{'.' if package else ''}{package}`"
        parts += [
            title,
            PACKAGES.get(package, ""),
            "| name | what |\n|---|---|\n" + "\n".join(lines),
        ]
    files.append(
        File.generated(config, "reference/api/index.md", content="\n\n".join(parts) + "\n")
    )
    return files
