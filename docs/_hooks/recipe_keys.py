"""The page of recipe keys: from the schema, the registries and their docstrings."""

import inspect
from typing import Any

import api
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from roles import ROLE

from gliodistill.distillation import LOSSES
from gliodistill.distillation.registry import SUPPLIED
from gliodistill.methods import METHODS
from gliodistill.methods.segmentation import SEGMENTATION_LOSSES
from gliodistill.networks import describe
from gliodistill.networks import names as network_names
from gliodistill.recipes import schema

SECTIONS: tuple[tuple[str, str, str, type[BaseModel]], ...] = (
    ("The experiment", "", "", schema.Recipe),
    ("`data`", "Which sequences, at what resolution, and who validates.", "data.", schema.DataPart),
    ("`sampling`", "Where patches are cut.", "sampling.", schema.SamplingPart),
    (
        "`augmentation`",
        "What may happen to a patch. Each transform is drawn once a patch, so that a teacher and its"
        " student are shown the same one. At the top level for every run; under"
        " `runs.<name>.augmentation` for one run, key by key.",
        "augmentation.",
        schema.AugmentationPart,
    ),
    (
        "`training`",
        "Schedule and arithmetic. At the top level for every run; under `runs.<name>.training` for"
        " one run, key by key.",
        "training.",
        schema.TrainingPart,
    ),
    ("`runs.<name>`", "One training.", "", schema.RunPart),
)
SET_BY_THE_RECIPE = {"in_channels", "out_channels", "student", "outputs"}


def as_written(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(as_written(item) for item in value)}]"
    return str(value) if not isinstance(value, str) or str(value) else '""'


def allowed(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key takes, in words, from its JSON schema."""
    if "$ref" in part:
        return allowed(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(allowed(one, definitions) for one in part["anyOf"]))
    kind = part.get("type")
    if kind == "array":
        items = part.get("items") or (part.get("prefixItems") or [{}])[0]
        sizes = {part.get("minItems"), part.get("maxItems")}
        count = f"{part['minItems']} × " if len(sizes) == 1 and part.get("minItems") else "list of "
        return count + allowed(items, definitions)
    words = {"number": "number", "integer": "whole number", "boolean": "`true`, `false`"}
    text = words.get(
        str(kind), {"string": "text", "object": "mapping", "null": "`null`"}.get(str(kind), "")
    )
    low, high = part.get("minimum"), part.get("maximum")
    if low is not None and high is not None and high < 1e6:
        return f"{text}, {low:g} to {high:g}"
    if low is not None:
        return f"{text}, {low:g} or more" + (
            f", below {part['exclusiveMaximum']:g}"
            if part.get("exclusiveMaximum", 1e9) < 1e6
            else ""
        )
    if "exclusiveMinimum" in part:
        return f"{text} above {part['exclusiveMinimum']:g}" + (
            f", at most {high:g}" if high else ""
        )
    return text


def rows(model: type[BaseModel], prefix: str, root: griffe.Module) -> list[list[str]]:
    """Key, default, what it takes and what it means, for every leaf of a part."""
    shape = model.model_json_schema()
    definitions = shape.get("$defs", {})
    written = root[f"recipes.schema.{model.__name__}"]
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            shared = {"DataPart", "SamplingPart", "AugmentationPart", "TrainingPart"}
            if not (model in (schema.Recipe, schema.RunPart) and kind.__name__ in shared):
                found += rows(kind, f"{prefix}{name}.", root)
            continue
        default = "required" if field.is_required() else f"`{as_written(field.get_default())}`"
        meaning = written[name].docstring.value if written[name].docstring else ""
        takes = (
            "runs by name" if name == "runs" else allowed(shape["properties"][name], definitions)
        )
        found.append([f"`{prefix}{name}`", default, takes, cell(meaning)])
    return found


def cell(text: str) -> str:
    """A docstring in a table."""
    text = ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def undocumented(root: griffe.Module) -> list[str]:
    """Keys without a meaning."""
    every = [row for *_, prefix, model in SECTIONS for row in rows(model, prefix, root)]
    return [row[0] for row in every if not row[3]]


def options(thing: Any, hidden: set[str]) -> list[list[str]]:
    """Name, default and meaning of what a recipe may set of a method, loss or network."""
    described = griffe.Docstring(inspect.getdoc(thing) or "", lineno=1).parse(
        "google", warnings=False
    )
    meanings = {
        name.strip(): item.description
        for section in described
        if section.kind is griffe.DocstringSectionKind.parameters
        for item in section.value
        for name in item.name.split(",")
    }
    signature = inspect.signature(thing)
    return [
        [
            f"`{name}`",
            "required" if p.default is p.empty else f"`{as_written(p.default)}`",
            cell(meanings.get(name, "")),
        ]
        for name, p in signature.parameters.items()
        if name not in hidden and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def table(head: str, lines: list[list[str]]) -> str:
    """Markdown."""
    rule = "|---" * (head.count("|") - 1) + "|"
    return "\n".join([head, rule, *(f"| {' | '.join(line)} |" for line in lines)])


def page(root: griffe.Module) -> str:
    """Everything a recipe may say."""
    parts = [
        "# Recipe keys",
        "Every key of a recipe, written from the schema that checks it. How recipes are made and run:"
        " [recipes](../recipes.md).",
    ]
    for title, about, prefix, model in SECTIONS:
        lines = rows(model, prefix, root)
        parts += [f"## {title}", about, table("| key | default | takes | meaning |", lines)]
    parts += [
        "## Options of methods",
        "Under `runs.<name>.method.options`. `losses` maps names of [losses](#options-of-losses) to"
        " their settings.",
    ]
    for name in METHODS.names():
        lines = options(METHODS.find(name), SET_BY_THE_RECIPE)
        text = table("| option | default | meaning |", lines) if lines else "No options."
        parts += [f"### `{name}`", text]
    parts += [
        "## Options of losses",
        "Under `runs.<name>.method.options.losses`. Every loss takes `weight` (default 1; 0 leaves it"
        " out). A loss on features also takes `taps`, pairs `[student's stage, teacher's stage]`:"
        " `encoder0`, the finest, … `bottleneck` … `decoder0`. The default is all stages that both"
        " networks have under one name.",
    ]
    for name in LOSSES.names():
        loss = LOSSES.find(name)
        hidden = set(SUPPLIED) | {
            p.name
            for p in inspect.signature(loss.function).parameters.values()
            if p.kind is not p.KEYWORD_ONLY
        }
        lines = options(loss.function, hidden)
        text = table("| option | default | meaning |", lines) if lines else "No options of its own."
        parts += [f"### `{name}` (on {loss.compares})", text]
    parts += [
        "## Options of segmentation losses",
        "Under `segmentation_loss.options`, for all runs or under `runs.<name>`.",
    ]
    for name in SEGMENTATION_LOSSES.names():
        function = SEGMENTATION_LOSSES.find(name)
        lines = options(function, {"logits", "regions", "known", *SET_BY_THE_RECIPE})
        text = table("| option | default | meaning |", lines) if lines else "No options."
        parts += [f"### `{name}`", text]
    parts += [
        "## Options of networks",
        "Under `runs.<name>.network.options`. Channels in and out follow from the sequences and"
        " outputs, and are not options. Where an option has no text here, the network's page in the"
        " [Python API](api/index.md) describes it. Costs: [networks](../networks.md).",
    ]
    for name in network_names():
        about = describe(name)
        lines = [
            [f"`{key}`", f"`{as_written(value)}`"]
            for key, value in about.options.items()
            if key not in SET_BY_THE_RECIPE
        ]
        parts += [f"### `{name}`", table("| option | default |", lines)]
    return "\n\n".join(filter(None, parts)) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    root = api.load()
    for key in undocumented(root):
        api.LOG.warning("recipe key without a docstring: %s", key)
    files.append(File.generated(config, "reference/recipe-keys.md", content=page(root)))
    return files
