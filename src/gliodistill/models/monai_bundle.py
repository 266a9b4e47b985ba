"""A trained network as a MONAI bundle (MONAI bundle specification).

| file | what |
|---|---|
| ``configs/metadata.json`` | channels, labels, sides the network takes, versions |
| ``configs/inference.json`` | network, preprocessing, inferer, postprocessing, for
``monai.bundle.ConfigParser`` | | ``models/model.pt`` | the weights: a plain state dict, which
``torch.load(weights_only=True)`` reads | | ``docs/README.md`` | the model card |

MONAI reads weights in ``torch.save``'s format; gliodistill does not read this file. Network and
preprocessing are classes of gliodistill, which must be installed where the bundle is used.
"""

import copy
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gliodistill.errors import PackageError
from gliodistill.files import atomic_folder
from gliodistill.models.outputs import OutputChannels
from gliodistill.models.package import NOTICE, versions_in_use
from gliodistill.models.spec import ModelSpec
from gliodistill.networks import Network, build
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.quantise import CLIP
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import DEFAULT, find_task, glioma
from gliodistill.tasks.description import description_of

_ROOM = __name__


class BundleNetwork(nn.Module):
    """A network of the registry as MONAI's engines expect one: a tensor in, a tensor out.

    Args:
        name: of the registry.
        options: of the network.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = build(name, **options)
        self.network.strip()

    def forward(self, image: Tensor) -> Tensor:
        """z-scores (float32, B C X Y Z) → logits (float32, B K X Y Z)."""
        logits: Tensor = self.network(image)[0]
        return logits


class PrepareStudy:
    """The model's own preparation as a MONAI transform.

    Args:
        preparation: as in ``model.json``.
    """

    def __init__(self, preparation: Mapping[str, Any]) -> None:
        self.preparation = Preparation.from_dict(dict(preparation))

    def __call__(self, study: str | os.PathLike[str]) -> Tensor:
        """Folder of a study in any layout → z-scores (MONAI ``MetaTensor``, float32 C X Y Z) with
        their affine (RAS+, mm).

        Raises:
            StudyError: it cannot be read, or lacks every sequence.
        """
        from monai.data.meta_tensor import MetaTensor

        prepared = self.preparation.apply(Study.open(study))
        tensor: Tensor = MetaTensor(
            torch.from_numpy(prepared.values()), affine=torch.from_numpy(prepared.affine)
        )
        return tensor


class DrawRegions:
    """From logits to the regions that gliodistill predicts, as a MONAI transform.

    A voxel belongs to a region if its probability is above the threshold, and if it belongs to the
    region around: TC is limited to WT and ET to TC. The probability of a region of a ``classes``
    network is the sum of its tissues'.

    Args:
        kind: ``regions`` or ``classes``.
        names: names of the logit channels.
        threshold: on the probability, between 0 and 1.
        task: description of what is segmented; None = glioma.
    """

    def __init__(
        self,
        kind: str,
        names: Iterable[str],
        threshold: float,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        self.outputs = OutputChannels(kind, tuple(names), find_task(task or DEFAULT))
        self.threshold = math.log(threshold / (1 - threshold))

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (float32, K X Y Z) → the regions (0 or 1, float32, R X Y Z), nested."""
        drawn = list(self._scores(logits) > self.threshold)
        for index, parent in enumerate(self.outputs.task.parents):
            if parent is not None:
                drawn[index] = drawn[index] & drawn[parent]
        return torch.stack(drawn).to(logits.dtype)

    def _scores(self, logits: Tensor) -> Tensor:
        """Logits of the regions (R X Y Z), as :meth:`OutputChannels.region_logits` has them."""
        if self.outputs.kind == "regions":
            return logits
        scores = []
        for region in self.outputs.task.names:
            members = self.outputs.members(region)
            others = [channel for channel in range(len(logits)) if channel not in members]
            inside = logits[members].logsumexp(0) if members else logits[0] - torch.inf
            scores.append(inside - logits[others].logsumexp(0))
        return torch.stack(scores)


def write_bundle(network: Network, spec: ModelSpec, out: str | os.PathLike[str]) -> Path:
    """Write the bundle of a network, atomically.

    Args:
        network: trained; not changed. ``spec.network`` must build the same architecture.
        spec: what the model is.
        out: new or empty folder.

    Raises:
        PackageError: the model has clean-up rules, which a bundle cannot have.
        OutputError: ``out`` exists or cannot be written.
    """
    if spec.inference.postprocessing:
        raise PackageError(
            "a MONAI bundle has no clean-up rules",
            field="inference.postprocessing",
            got=", ".join(step.name for step in spec.inference.postprocessing),
            expected="none",
        )
    stripped = copy.deepcopy(network).cpu().float().eval()
    stripped.strip()
    wrapped = BundleNetwork(spec.network.name, spec.network.options)
    wrapped.network.load_state_dict(stripped.state_dict())
    with atomic_folder(out) as folder:
        for name in ("configs", "models", "docs"):
            (folder / name).mkdir()
        torch.save(wrapped.state_dict(), folder / "models" / "model.pt")
        for name, content in (
            ("metadata", _metadata(spec, network.divisor)),
            ("inference", _inference(spec)),
        ):
            (folder / "configs" / f"{name}.json").write_text(
                json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        (folder / "docs" / "README.md").write_text(_readme(spec, network.divisor), encoding="utf-8")
    return Path(out)


def _metadata(spec: ModelSpec, divisor: int) -> dict[str, Any]:
    versions = versions_in_use("gliodistill", "monai", "torch", "numpy")
    sides = [f"{divisor}*n"] * 3
    channels = {str(i): str(sequence) for i, sequence in enumerate(spec.sequences)}
    meanings = {str(i): name for i, name in enumerate(spec.outputs.names)}
    dice = {
        f"validation_dice_{region}": value
        for region, value in spec.training.validation_dice.items()
    }
    return {
        "version": versions["gliodistill"],
        "changelog": {versions["gliodistill"]: "exported"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"].partition("+")[0],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"gliodistill": versions["gliodistill"]},
        "name": spec.name,
        "task": "brain tumour segmentation",
        "description": (
            f"Segments {', '.join(spec.outputs.names)} of glioma on {', '.join(spec.sequences)}."
        ),
        "intended_use": NOTICE,
        "data_source": spec.training.data,
        "data_type": "nifti",
        "image_classes": f"{', '.join(spec.sequences)}; a missing one is 0 throughout",
        "label_classes": {str(code): str(tissue) for code, tissue in spec.convention.codes.items()},
        "pred_classes": f"{spec.outputs.kind}: {', '.join(spec.outputs.names)}",
        "eval_metrics": dice,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": len(spec.sequences),
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [-CLIP, CLIP],
                    "is_patch_data": True,
                    "channel_def": channels,
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "logits",
                    "num_channels": len(spec.outputs.names),
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": meanings,
                }
            },
        },
    }


def _inference(spec: ModelSpec) -> dict[str, Any]:
    settings = spec.inference
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": f"{_ROOM}.BundleNetwork",
            "name": spec.network.name,
            "options": dict(spec.network.options),
        },
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "weights": "$torch.load(@checkpoint, map_location=@device, weights_only=True)",
        "loaded": "$@network_def.load_state_dict(@weights)",
        "network": "$(@loaded, @network_def.to(@device).eval())[1]",
        "preprocessing": {
            "_target_": f"{_ROOM}.PrepareStudy",
            "preparation": spec.preparation.to_dict(),
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(settings.patch),
            "sw_batch_size": 1,
            "overlap": settings.overlap,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": f"{_ROOM}.DrawRegions",
            "kind": spec.outputs.kind,
            "names": list(spec.outputs.names),
            "threshold": settings.threshold,
            **({} if spec.task == glioma() else {"task": description_of(spec.task)}),
        },
    }


def _readme(spec: ModelSpec, divisor: int) -> str:
    return f"""# {spec.name}

**{NOTICE}**

A brain-tumour network of gliodistill as a MONAI bundle. gliodistill must be installed: `configs/inference.json` builds the network with
`{_ROOM}.BundleNetwork`, prepares studies with `{_ROOM}.PrepareStudy` and makes regions with `{_ROOM}.DrawRegions`. There is no training configuration and no evaluator.

    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config("THIS_FOLDER/configs/inference.json")
    parser["bundle_root"] = "THIS_FOLDER"
    network, prepare, infer, to_regions = (parser.get_parsed_content(k) for k in ("network", "preprocessing", "inferer", "postprocessing"))
    image = prepare("STUDY")
    with torch.inference_mode():
        regions = to_regions(infer(image[None], network)[0])

* In: {", ".join(spec.sequences)} as z-scores of the brain, 0 outside it; sides are multiples of {divisor}.
* Out: logits of {spec.outputs.kind} {", ".join(spec.outputs.names)} on the prepared grid, not on the study's own. `postprocessing` makes the regions {", ".join(spec.task.names)} as gliodistill does: probability above {spec.inference.threshold:g}, and nested ({spec.task.nesting}).
* `models/model.pt` is a plain state dict, read with `weights_only=True`. MONAI executes code named in a configuration: use only bundles you trust.
"""
