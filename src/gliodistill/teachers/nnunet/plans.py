"""nnU-Net's ``plans.json`` and ``dataset.json``: what its network was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import CheckpointError
from gliodistill.studies.layouts.dataset_json import channel_sequences
from gliodistill.studies.sequence import MRSequence
from gliodistill.teachers.channels import Channels

PLANS, DATASET = "plans.json", "dataset.json"
READERS = {"SimpleITKIO": False, "NibabelIO": False, "NibabelIOWithReorient": True}
"""Readers whose axes we know → whether they turn images to RAS."""
_NOT_OURS = Refusal(
    CheckpointError, "not a results folder of nnU-Net v2", "give the folder with plans.json"
)
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Plans:
    """What decides how a trained nnU-Net sees a study.

    Axes are nnU-Net's, Z Y X, transposed by ``transpose``, but for ``transpose`` itself.

    Attributes:
        folder: of the trainer's results, ``Trainer__Plans__configuration``.
        sequences: of its input channels.
        outputs: meaning of its output channels.
        transpose: order of Z, Y, X in its arrays.
        reorients: whether it turns images to RAS first.
        patch: sides of its windows.
        spacing: mm.
        schemes: normalisation of each channel, and whether in the mask of the brain.
        intensities: of the foreground for each channel, which CT needs.
        resampling: of images and of probabilities: name of the function and its options.
        architecture: class and arguments of its network.
    """

    folder: Path
    sequences: tuple[MRSequence, ...]
    outputs: Channels
    transpose: Triple
    reorients: bool
    patch: Triple
    spacing: tuple[float, float, float]
    schemes: tuple[tuple[str, bool], ...]
    intensities: Mapping[str, Mapping[str, float]]
    resampling: Mapping[str, tuple[str, Mapping[str, Any]]]
    architecture: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path, configuration: str) -> "Plans":
        """Read both files.

        Raises:
            CheckpointError: a key is missing, or a configuration that is not supported: 2-D, a
                cascade, or a reader with axes of its own.
            StudyError: channels that are none of the four sequences.
            LabelError: labels that are not understood.
        """
        file = folder / PLANS
        plans = Fields(read_json(file, _NOT_OURS), _NOT_OURS.of(file))
        dataset = read_json(folder / DATASET, _NOT_OURS)
        named = plans.part("configurations").parts()
        found = Fields(_inherited(named, configuration, file), _NOT_OURS.of(file))
        sides = found.listed("patch_size", int, "three sides")
        reader = plans.text("image_reader_writer")
        for problem, field, got, expected in (
            (len(sides) != 3, "patch_size", sides, "three sides: a 3-D configuration"),
            (found.values.get("previous_stage"), "previous_stage", "a cascade", "one stage"),
            (reader not in READERS, "image_reader_writer", reader, ", ".join(READERS)),
        ):
            if problem:
                raise CheckpointError(
                    "configuration is not supported as a live teacher",
                    file=file,
                    field=field,
                    got=got,
                    expected=expected,
                    hint="use its predictions: {files: FOLDER}",
                )
        names = dataset.get("channel_names", dataset.get("modality"))
        channels = channel_sequences(names, folder / DATASET, "channel_names")
        order = plans.listed("transpose_forward", int, "an order of three axes")
        if len(channels) != len(found.texts("normalization_schemes")):
            raise CheckpointError(
                "channels are not of the plans",
                file=folder / DATASET,
                field="channel_names",
                got=len(channels),
                expected=len(found.texts("normalization_schemes")),
            )
        masks = found.listed("use_mask_for_norm", bool, "true or false")
        schemes = found.texts("normalization_schemes")
        properties = plans.values.get("foreground_intensity_properties_per_channel", {})
        return cls(
            folder,
            tuple(channels[index][0] for index in sorted(channels)),
            Channels.of_labels(dataset, folder / DATASET),
            (order[0], order[1], order[2]),
            READERS[reader],
            (sides[0], sides[1], sides[2]),
            _spacing(found),
            tuple(zip(schemes, masks, strict=True)),
            properties if isinstance(properties, Mapping) else {},
            {
                kind: (
                    found.text(f"resampling_fn_{kind}"),
                    found.part(f"resampling_fn_{kind}_kwargs").values,
                )
                for kind in ("data", "probabilities")
            },
            _architecture(found),
        )

    def along_xyz(
        self, spacing: tuple[float, float, float], patch: Triple
    ) -> tuple[tuple[float, float, float], Triple]:
        """Voxel size and patch in the order X, Y, Z."""
        back = [self.transpose.index(axis) for axis in (2, 1, 0)]
        first, second, third = back
        return (
            (spacing[first], spacing[second], spacing[third]),
            (patch[first], patch[second], patch[third]),
        )


def _spacing(found: Fields) -> tuple[float, float, float]:
    sides = found.get("spacing", list, "three numbers in mm")
    if len(sides) != 3 or not all(type(s) in (int, float) and s > 0 for s in sides):
        raise found.refusal("spacing", sides, "three numbers in mm")
    x, y, z = map(float, sides)
    return x, y, z


def _inherited(named: Mapping[str, Fields], name: str, file: Path) -> dict[str, Any]:
    """A configuration with what it inherits."""
    if name not in named:
        raise CheckpointError(
            "no such configuration", file=file, field="configurations", got=name,
            expected=", ".join(named),
        )  # fmt: skip
    chain, parent = [dict(named[name].values)], named[name].values.get("inherits_from")
    while isinstance(parent, str) and parent in named and len(chain) < len(named):
        chain.append(dict(named[parent].values))
        parent = named[parent].values.get("inherits_from")
    merged: dict[str, Any] = {}
    for part in reversed(chain):
        merged |= part
    return merged


def _architecture(found: Fields) -> dict[str, Any]:
    """``architecture``; for plans of nnU-Net 2.0 to 2.3 rebuilt as nnU-Net itself does it."""
    if "architecture" in found:
        part = found.part("architecture")
        return {
            "network_class_name": part.text("network_class_name"),
            "arch_kwargs": dict(part.part("arch_kwargs").values),
            "imported": part.texts("_kw_requires_import"),
        }
    convolutions = found.listed("n_conv_per_stage_encoder", int, "whole numbers")
    base, most = found.whole("UNet_base_num_features"), found.whole("unet_max_num_features")
    described = unet_in_plans(
        [min(base * 2**i, most) for i in range(len(convolutions))],
        found.values["pool_op_kernel_sizes"],
        convolutions,
        found.values["n_conv_per_stage_decoder"],
        kernels=found.values["conv_kernel_sizes"],
        kind=found.text("UNet_class_name", ("PlainConvUNet", "ResidualEncoderUNet")),
    )
    return {**described, "imported": described.pop("_kw_requires_import")}


def unet_in_plans(
    features: Sequence[int],
    strides: Sequence[Any],
    convolutions: Sequence[int],
    decoder: Sequence[int],
    *,
    kernels: Sequence[Any] | None = None,
    kind: str = "PlainConvUNet",
) -> dict[str, Any]:
    """``architecture`` of a 3-D U-Net as nnU-Net's planner writes it.

    Args:
        features: of each stage.
        strides: of each stage, along its axes.
        convolutions: or residual blocks, of each stage of the encoder.
        decoder: the same of the decoder.
        kernels: sides of each stage's; None = 3.
        kind: of ``dynamic_network_architectures.architectures.unet``.
    """
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": len(features),
            "features_per_stage": list(features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": kernels or [[3, 3, 3]] * len(features),
            "strides": strides,
            blocks: convolutions,
            "n_conv_per_stage_decoder": decoder,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
