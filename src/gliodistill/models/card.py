"""The model card."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gliodistill.documents import Refusal, read_document
from gliodistill.errors import PackageError
from gliodistill.studies.labels import REGIONS

CARD = "README.md"


def read_card(folder: Path) -> str:
    """The card of the package in ``folder``, as it was written.

    Raises:
        PackageError: it cannot be read.
    """
    return read_document(folder / CARD, Refusal(PackageError, "model card cannot be read"))


def scores(card: str) -> dict[str, dict[str, float]]:
    """The mean Dice that a card tells in its table of cross-validation.

    Args:
        card: Markdown. Read are rows whose name is bold and whose next three cells begin with a
            number, WT, TC and ET in points: ``| **four sequences** | 87.0 [84.0, 89.6] | …``.

    Returns:
        setting → region → Dice from 0 to 1; empty if the card has no such table.
    """
    _, _, section = card.partition("\n## Cross-validation\n")
    number = r" *([\d.]+)\b[^|]*\|"
    rows = re.findall(rf"^\| *\*\*([^*|]+)\*\* *\|{number * 3}", section, re.MULTILINE)
    return {
        name: {region: float(points) / 100 for region, points in zip(REGIONS, values, strict=True)}
        for name, *values in rows
    }


def read_sections(path: str | os.PathLike[str]) -> str:
    """Additional sections of a model card, from a Markdown file.

    Raises:
        PackageError: no such file, not UTF-8, or it does not start with a section (``## …``): the
            title is the model's name.
    """
    text = read_document(path, Refusal(PackageError, "card cannot be read", field="--card")).strip()
    if not text.startswith("## "):
        start = text.partition("\n")[0][:60] or "nothing"
        raise PackageError(
            "card without sections",
            file=path,
            field="--card",
            got=start,
            expected="## Intended use, or another section",
        )
    return text


def write_card(values: Mapping[str, Any], sections: str = "") -> str:
    """Markdown from the contents of ``model.json``, and the author's ``sections``."""
    training, outputs, preparation, inference = (
        values[key] for key in ("training", "outputs", "preparation", "inference")
    )
    may_lack = ", ".join(values["may_lack"]) or "none"
    spacing = preparation["spacing"]
    grid = (
        "the study's own grid" if spacing is None else " × ".join(f"{s:g}" for s in spacing) + " mm"
    )
    bias = (
        f", after bias-field correction (smoothness {preparation['bias_mm']:g} mm)"
        if "bias_mm" in preparation
        else ""
    )
    dice = (
        ", ".join(f"{region} {value:.3f}" for region, value in training["validation_dice"].items())
        or "not measured"
    )
    codes = ", ".join(
        f"{code} = {tissue}" for code, tissue in values["convention"]["codes"].items()
    )
    cleaning = "; ".join(map(_rule, inference["postprocessing"])) or "none"
    exports = "\n".join(_row(export) for export in values["exports"])
    runtime = values["exports"][0]["runtime"]
    option, argument = (
        ("", "") if runtime == "openvino" else (f" --runtime {runtime}", f', "{runtime}"')
    )
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    added = f"{sections}\n\n" if sections else ""
    shares = any(export["weights"].startswith("shared") for export in values["exports"])
    sharing = "\n`model.onnx` reads its weights from `model.bin`: copy both.\n" if shares else ""
    return f"""# {values["name"]}

**{values["notice"]}** It segments glioma on MRI for research; its safety and benefit in care have not been shown.

* Input: {", ".join(preparation["sequences"])}, co-registered and skull-stripped; may lack: {may_lack}.
* Output: {outputs["kind"]} {", ".join(outputs["names"])}; label convention {values["convention"]["name"]} ({codes}).
* Threshold: a voxel belongs to a region if its probability exceeds {inference["threshold"]:g}; clean-up: {cleaning}.{_calibration(values)}
* Grid: {grid}{bias}.
* Network: `{values["network"]["name"]}`, {values["runtime"]["parameters"]:,} parameters.
* Training: method `{training["method"]}`, recipe `{training["recipe"]}`, seed {training["seed"]}, {training["steps"]} steps.
* Training data: {training["data"]}.
* Dice on the validation patients: {dice}. Expect lower values for other scanners, protocols and diseases.

{added}## Use

MODEL is this folder, or the name of a shipped model.

    gliodistill segment STUDY -m MODEL -o OUT{option}

From Python:

    import gliodistill as gd
    gd.load_model("MODEL"{argument}).segment(gd.Study.open("STUDY")).save("labels.nii.gz")

## Parity of the exports with the trained network

| runtime | weights | largest logit difference | Dice with the network's own output | images |
|---|---|---|---|---|
{exports}
{sharing}
Made with {versions}.
"""


def _calibration(values: Mapping[str, Any]) -> str:
    """A line on the calibration of the probabilities, if there is one."""
    if "calibration" not in values:
        return ""
    told = values["calibration"]
    parts = ", ".join(
        f"{region} {part['ece_before']:.3f} → {part['ece_after']:.3f}"
        for region, part in told["regions"].items()
    )
    return (
        f"\n* Probabilities: calibrated by temperatures fitted on {told['fitted_on']}. Expected"
        f" calibration error before and after, on patients left out: {parts}."
    )


def _rule(step: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} {value:g}" for name, value in step["options"].items())
    return f"`{step['name']}`" + (f" ({options})" if options else "")


def _row(export: Mapping[str, Any]) -> str:
    random, studies = export["random"], export["studies"]
    both = [agreement for agreement in (random, studies) if agreement]
    difference, logit = (
        max(agreement[key] for agreement in both) for key in ("max_abs_difference", "max_abs_logit")
    )
    dice = ", ".join(f"{region} {dice:.4f}" for region, dice in (studies or random)["dice"].items())
    images = f"{random['images']} random" + (
        f", {studies['images']} studies (their Dice)" if studies else ""
    )
    if calibrated := export["calibration"]:
        images += (
            f"; calibrated on {calibrated['patches']} patches of {calibrated['studies']} other"
            " studies"
        )
        images += (
            f", {calibrated['float_layers']} layers at each end in float"
            if calibrated["float_layers"]
            else ""
        )
    return (
        f"| {export['runtime']} | {export['weights']} | {difference:.2g} (logits to ±{logit:.1f}) |"
        f" {dice} | {images} |"
    )
