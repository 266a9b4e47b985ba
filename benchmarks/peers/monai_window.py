"""MONAI's sliding window on the same weights as a model package, files to file.

``python -m benchmarks.peers.monai_window MODEL STUDY_FOLDER OUT_FOLDER`` prints seconds per stage as JSON: patches
of 128³, overlap 0.5, Gaussian weights, float32, one patch at a time, as MONAI's BraTS bundles run;
at the model's voxel size, without its correction of bias fields.
One window is timed and multiplied by their number, unless ``--all-windows``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.stopwatch import Stopwatch, images

watch = Stopwatch()
import monai.transforms as mt  # noqa: E402
import torch  # noqa: E402
from monai.data.utils import dense_patch_slices  # noqa: E402
from monai.inferers import SlidingWindowInferer  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from gliodistill.inference.runtimes import open_runtime  # noqa: E402
from gliodistill.models.package import ModelPackage  # noqa: E402
from gliodistill.networks import build  # noqa: E402
from gliodistill.preparation.quantise import quantise  # noqa: E402

SIDE, OVERLAP = 128, 0.5


def network_of(package: ModelPackage, threads: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The package's weights in torch, or its OpenVINO graph if it holds no weights for torch."""
    weights = package.folder / "model.safetensors"
    if not weights.exists():
        graph = open_runtime("openvino", package, threads, "f32")
        return lambda patch: torch.from_numpy(graph(quantise(patch.numpy(), patch.numpy() != 0)))
    network = build(package.spec.network.name, **package.spec.network.options)
    network.strip()
    network.load_state_dict(load_file(weights))
    network.eval()
    return lambda patch: network(patch)[0]  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--all-windows", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    watch.lap("import")
    package = ModelPackage.open(options.model)
    network = network_of(package, options.threads)
    watch.lap("build")
    image = mt.LoadImage(image_only=True, ensure_channel_first=True)(images(options.study))
    watch.lap("read")
    image = mt.Orientation("RAS")(image)
    brain = mt.CropForeground()(image)
    spacing = package.preparation.spacing
    small = brain if spacing is None else mt.Spacing(spacing, mode="bilinear")(brain)
    data = mt.NormalizeIntensity(nonzero=True, channel_wise=True)(small)[None].as_tensor()
    watch.lap("prepare")
    padded = tuple(max(side, SIDE) for side in data.shape[2:])
    windows = len(dense_patch_slices(padded, (SIDE,) * 3, (int(SIDE * (1 - OVERLAP)),) * 3))
    with torch.inference_mode():
        if options.all_windows:
            logits = SlidingWindowInferer((SIDE,) * 3, 1, OVERLAP, mode="gaussian")(data, network)[
                0
            ]
            watch.lap("network")
        else:
            patch = torch.nn.functional.pad(
                data, [pad for side in data.shape[:1:-1] for pad in (0, max(SIDE - side, 0))]
            )
            network(patch[..., :SIDE, :SIDE, :SIDE])
            watch.lap("network")
            watch.seconds["network"] *= windows
            logits = torch.randn(3, *data.shape[2:])
            watch.restart()
    if small is not brain:
        logits = torch.nn.functional.interpolate(
            logits[None, :, : small.shape[1], : small.shape[2], : small.shape[3]],
            brain.shape[1:], mode="trilinear",
        )[0]  # fmt: skip
    drawn = (logits > 0).to(torch.uint8)
    labels = torch.where(drawn[2] > 0, 4, torch.where(drawn[1] > 0, 1, drawn[0] * 2))
    whole = torch.zeros(image.shape[1:], dtype=torch.uint8)
    corner = [round(float(v)) for v in torch.linalg.solve(image.affine, brain.affine[:, 3])[:3]]
    whole[tuple(slice(c, c + side) for c, side in zip(corner, labels.shape, strict=True))] = (
        labels.to(torch.uint8)
    )
    import nibabel

    nibabel.save(
        nibabel.Nifti1Image(whole.numpy(), image.affine.numpy()), options.out / "monai.nii.gz"
    )
    watch.lap("restore and write")
    watch.report(windows, options.all_windows, list(data.shape[2:]))


if __name__ == "__main__":
    main()
