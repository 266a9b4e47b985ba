"""The model card: what a person should know before using a model."""

from collections.abc import Mapping
from typing import Any


def write_card(values: Mapping[str, Any]) -> str:
    """Markdown from the contents of ``model.json``."""
    training, outputs, preparation = values["training"], values["outputs"], values["preparation"]
    may_lack = ", ".join(values["may_lack"]) or "none"
    spacing = preparation["spacing"]
    grid = "the study's own grid" if spacing is None else " × ".join(f"{s:g}" for s in spacing) + " mm"
    dice = ", ".join(f"{region} {value:.3f}" for region, value in training["validation_dice"].items()) or "not measured"
    codes = ", ".join(f"{code} = {tissue}" for code, tissue in values["convention"]["codes"].items())
    parity = "\n".join(
        f"| {name} | {p['weights']} | {p['max_abs_difference']:.2g} (logits to ±{p['max_abs_logit']:.1f}) | "
        + ", ".join(f"{region} {d:.4f}" for region, d in p["dice"].items())
        + f" | {p['inputs']} |"
        for name, p in values["parity"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    return f"""# {values["name"]}

**{values["notice"]}** It outlines glioma on MRI for research; nobody has shown that it is safe or useful in care.

* Takes: {", ".join(preparation["sequences"])}, co-registered and skull-stripped; may lack: {may_lack}.
* Gives: {outputs["kind"]} {", ".join(outputs["names"])}; labels written as {values["convention"]["name"]} ({codes}).
* Works on: {grid}.
* Network: `{values["network"]["name"]}`, {values["runtime"]["parameters"]:,} parameters.
* Learned by: `{training["method"]}`, recipe `{training["recipe"]}`, seed {training["seed"]}, {training["steps"]} steps.
* Saw: {training["data"]}.
* Dice on its validation patients: {dice}. Expect less on other scanners, protocols and diseases.

## Use

    gliodistill segment STUDY -m THIS_FOLDER -o OUT

    import gliodistill as gd
    gd.load_model("THIS_FOLDER").segment(gd.Study.open("STUDY")).save("labels.nii.gz")

## Exported formats against the trained network

| format | weights | largest logit difference | Dice with the network's own answer | images |
|---|---|---|---|---|
{parity}

Made with {versions}.
"""
