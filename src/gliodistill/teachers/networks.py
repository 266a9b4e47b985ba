"""Teachers from weights: a state dict for a network of the registry, and MONAI bundles."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Refusal, read_json
from gliodistill.errors import CheckpointError
from gliodistill.studies.layouts.dataset_json import channel_sequences
from gliodistill.studies.sequence import MRSequence
from gliodistill.teachers.declared import Declared, Sides
from gliodistill.teachers.registry import register_teacher

if TYPE_CHECKING:
    from torch import nn

    from gliodistill.networks import Network

_NO_BUNDLE = Refusal(CheckpointError, "not a MONAI bundle", "give the folder with configs/")
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
WEIGHTS = "models/model.pt"
RECOGNISED = {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ConcatItemsd", "Orientationd"}
"""Transforms of bundles that change no number here, besides those that are carried out."""
REGION_NAMES = {
    "whole tumor": "WT", "tumor core": "TC", "enhancing tumor": "ET",
    "wt": "WT", "tc": "TC", "et": "ET",
}  # fmt: skip
"""What bundles call the regions, in lower case and with spaces."""


class _InTorch(Declared):
    """A network in torch, frozen."""

    has_stages = True
    network: "nn.Module"

    def as_network(self) -> "Network":
        """Its network, with the names of its modules as stages where it is none of ours."""
        from gliodistill.networks import Network
        from gliodistill.teachers.wrapped import Wrapped

        own = self.network
        return own if isinstance(own, Network) else Wrapped(own, self.divisor)

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's first output."""
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.inference_mode():
            found = self.network.to(device)(torch.from_numpy(image).to(device))
        finest = found[0] if isinstance(found, list | tuple) else found
        logits: NDArray[np.float32] = finest.float().cpu().numpy()
        return logits


@register_teacher("network")
class FromStateDict(_InTorch):
    """A state dict (``.safetensors``, ``.pt``) for a network of the registry, which is declared.

    Args:
        source: the file; ``.pt`` is read with ``weights_only``.
        name: of the network: ``gliodistill networks``, or one that a plug-in adds.
        options: of the network, without input and output channels.
        sequences: of the input channels; this and the rest as of :class:`Declared`.
        channels: of the output.
        spacing: voxel size.
        window: sides in voxels.
        overlap: of windows.
        normalise: of the images.
        outputs: of the network.
        tta: mirrorings.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str = "unet",
        options: dict[str, Any] | None = None,
        sequences: list[MRSequence] | None = None,
        channels: list[str] | None = None,
        spacing: tuple[float, float, float] | None = None,
        window: Sides | None = None,
        overlap: float = 0.5,
        normalise: Literal["brain", "none"] = "brain",
        outputs: Literal["logits", "probabilities"] = "logits",
        tta: str = "none",
    ) -> None:
        from gliodistill.networks import build
        from gliodistill.teachers.state import load_state, read_weights

        super().__init__(
            source, sequences=sequences, channels=channels, spacing=spacing, window=window,
            overlap=overlap, normalise=normalise, outputs=outputs, tta=tta,
        )  # fmt: skip
        self.declared |= {"name": name, "options": options}
        built = build(
            name, in_channels=len(self.sequences), out_channels=self.channels.count,
            **(options or {}),
        )  # fmt: skip
        self.divisor = built.divisor
        self.network = load_state(built, read_weights(self.path), self.path)


@register_teacher("monai")
class MonaiBundle(_InTorch):
    """A MONAI bundle: its network, weights, channels, window and normalisation.

    Its configuration is read as data: expressions (``$…``) would run code and are refused where
    they matter.

    Args:
        source: folder of the bundle.
        sequences: of the input channels; None = told by ``metadata.json``.
        channels: of the output; None = told by ``metadata.json``.
        tta: mirrorings to average probabilities over.

    Raises:
        CheckpointError: no bundle, or one whose network or preparation is not understood.
        RecipeError: sequences or channels that nothing tells.
    """

    def __init__(
        self,
        source: str,
        *,
        sequences: list[MRSequence] | None = None,
        channels: list[str] | None = None,
        tta: str = "none",
    ) -> None:
        from gliodistill.teachers.state import load_state, read_weights

        folder = Path(source)
        data = read_json(folder / METADATA, _NO_BUNDLE).get("network_data_format", {})
        config = read_json(folder / INFERENCE, _NO_BUNDLE)
        spacing, normalise, self.reorients = _preparation(config, folder / INFERENCE)
        window, overlap = _window(config)
        super().__init__(
            source,
            sequences=sequences or _sequences(data, folder / METADATA),
            channels=channels or _regions(data),
            spacing=spacing,
            window=window,
            overlap=overlap,
            normalise=normalise,
            tta=tta,
        )
        self.network = load_state(
            _network(config, folder / INFERENCE), read_weights(folder / WEIGHTS), folder / WEIGHTS
        )

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether it is a bundle."""
        return (path / METADATA).is_file() and (path / INFERENCE).is_file()

    @property
    def files(self) -> Sequence[Path]:
        """Weights and configuration."""
        return [self.path / name for name in (WEIGHTS, INFERENCE, METADATA)]


def _sequences(data: Any, file: Path) -> list[MRSequence] | None:
    try:
        names = data["inputs"]["image"]["channel_def"]
    except (KeyError, TypeError):
        return None
    found = channel_sequences(names, file, "network_data_format.inputs.image.channel_def")
    return [found[index][0] for index in sorted(found)]


def _regions(data: Any) -> list[str] | None:
    try:
        names = data["outputs"]["pred"]["channel_def"]
        return [REGION_NAMES[names[str(index)].lower()] for index in range(len(names))]
    except (KeyError, TypeError, AttributeError):
        return None


def _network(config: Mapping[str, Any], file: Path) -> "nn.Module":
    """The network of ``network_def``, from MONAI's own networks, built from plain values."""
    from monai.networks import nets

    described = config.get("network_def", config.get("network"))
    if not isinstance(described, Mapping):
        raise CheckpointError("no network_def", file=file, field="network_def", got=described)
    name = str(described.get("_target_")).removeprefix("monai.networks.nets.")
    kind = getattr(nets, name, None) if name.isidentifier() else None
    options = {key: value for key, value in described.items() if not key.startswith("_")}
    if not inspect.isclass(kind) or _expression(options):
        raise CheckpointError(
            "network of the bundle is not opened",
            file=file,
            field="network_def",
            got=_expression(options) or described.get("_target_"),
            expected="a network of monai.networks.nets with plain options",
            hint="use its predictions: {files: FOLDER}",
        )
    try:
        built: Any = kind(**options)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            "cannot build the bundle's network", file=file, field="network_def", got=error
        ) from error
    network: nn.Module = built
    return network


def _expression(value: Any) -> str | None:
    """The first text that MONAI would evaluate."""
    if isinstance(value, str):
        return value if value.startswith(("$", "@", "%")) else None
    items = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list):
        return None
    return next(filter(None, map(_expression, items)), None)


def _window(config: Mapping[str, Any]) -> tuple[Sides | None, float]:
    """Sides and overlap of the sliding window; MONAI's default overlap is a quarter."""
    inferer = config.get("inferer", {})
    sides = inferer.get("roi_size") if isinstance(inferer, Mapping) else None
    if isinstance(sides, list) and len(sides) == 3 and all(type(s) is int for s in sides):
        overlap = inferer.get("overlap", 0.25)
        return (sides[0], sides[1], sides[2]), overlap if type(overlap) is float else 0.25
    return None, 0.25


def _preparation(
    config: Mapping[str, Any], file: Path
) -> tuple[tuple[float, float, float] | None, Literal["brain", "none"], bool]:
    """Voxel size and normalisation of the bundle's transforms, and whether they turn images to RAS.

    Raises:
        CheckpointError: a transform that is not understood.
    """
    part = config.get("preprocessing", {})
    transforms = part.get("transforms", []) if isinstance(part, Mapping) else []
    spacing: tuple[float, float, float] | None = None
    normalise: Literal["brain", "none"] = "none"
    for transform in transforms:
        name = str(transform.get("_target_")) if isinstance(transform, Mapping) else ""
        plain = name.rpartition(".")[2]
        if plain == "NormalizeIntensityd" and transform.get("nonzero"):
            if not transform.get("channel_wise"):
                raise _not_understood(file, f"{name} without channel_wise")
            normalise = "brain"
        elif plain == "Spacingd":
            x, y, z = (float(side) for side in transform["pixdim"])
            spacing = x, y, z
        elif plain == "Orientationd" and transform.get("axcodes") != "RAS":
            raise _not_understood(file, f"{name} to {transform.get('axcodes')}")
        elif plain not in RECOGNISED:
            raise _not_understood(file, name or str(transform))
    names = {str(each.get("_target_")).rpartition(".")[2] for each in transforms}
    return spacing, normalise, "Orientationd" in names


def _not_understood(file: Path, got: str) -> CheckpointError:
    known = ("NormalizeIntensityd (nonzero, channel_wise)", "Spacingd", *sorted(RECOGNISED))
    return CheckpointError(
        "preprocessing of the bundle is not understood",
        file=file,
        field="preprocessing.transforms",
        got=got,
        expected=", ".join(known),
        hint="use its predictions: {files: FOLDER}",
    )
