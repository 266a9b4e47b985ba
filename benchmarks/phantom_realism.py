"""How real are the phantoms? Volumes, shapes and contrasts beside real patients.

    python -m benchmarks.phantom_realism [-n 60] [--data ../shared/data]

Reads the labelled studies and tumour shapes of the data folder (or of $GLIODISTILL_DATA), measures
them and as many phantoms in the same way, and writes quantiles (aggregate numbers alone, of either)
and a figure to benchmarks/results/phantom_realism/. The pictures in the figure are phantoms.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliodistill.images.bounds import filled_box
from gliodistill.phantom import make_phantom
from gliodistill.phantom.atlas import load_atlas
from gliodistill.progress import track
from gliodistill.studies.labels import BRATS2021
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

RESULTS = Path(__file__).parent / "results" / "phantom_realism"
QUANTILES = (5, 25, 50, 75, 95)
TISSUES = ("WM", "GM", "CSF", "ED", "NCR", "ET")
SHAPE_MEASURES = (
    "wt_ml",
    "tc_ml",
    "et_ml",
    "tc_of_wt",
    "et_of_tc",
    "wt_roughness",
    "tc_roughness",
    "offset",
    "pieces",
)
Measures = dict[str, float]


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=60, help="phantoms to make")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("GLIODISTILL_DATA", "../shared/data"))
    )
    parser.add_argument("--shapes", type=int, default=360, help="real tumour shapes to measure")
    parser.add_argument("-o", type=Path, default=RESULTS)
    options = parser.parse_args()

    phantom_shapes, phantom_looks, pictures = [], [], []
    for index in track(range(options.n), "phantoms", total=options.n):
        study = make_phantom(options.seed, index, spacing=2.0)
        assert study.truth is not None
        phantom_shapes.append(measure_shape(study.truth.data, study.truth.spacing))
        phantom_looks.append(measure_look(arrays(study, 1)))
        if index < 6:
            pictures.append(study)

    real_shapes, real_looks = [], []
    for file in track(
        sorted((options.data / "tumour_shapes").glob("*.npz"))[: options.shapes], "real shapes"
    ):
        with np.load(file) as stored:
            real_shapes.append(measure_shape(stored["seg"], (1.875, 1.875, 1.211)))
    for folder in track(sorted((options.data / "labelled").iterdir()), "real studies"):
        real_looks.append(measure_look(arrays(Study.open(folder), 2)))

    report = {
        "phantoms": {"n": options.n, "seed": options.seed, "spacing_mm": 2.0},
        "real": {"shapes": len(real_shapes), "studies": len(real_looks)},
        "quantiles": list(QUANTILES),
        "shape": {
            name: {"real": quantiles(real_shapes, name), "phantom": quantiles(phantom_shapes, name)}
            for name in SHAPE_MEASURES
        },
        "without_enhancement": {
            "real": share_without(real_shapes),
            "phantom": share_without(phantom_shapes),
        },
        "look": {
            name: {"real": quantiles(real_looks, name), "phantom": quantiles(phantom_looks, name)}
            for name in sorted(set().union(*real_looks))
        },
    }
    options.o.mkdir(parents=True, exist_ok=True)
    (options.o / "realism.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(
        options.o / "realism.png",
        (real_shapes, phantom_shapes),
        (real_looks, phantom_looks),
        pictures,
    )
    print_table(report)


def arrays(study: Study, step: int) -> dict[str, NDArray[np.float32]]:
    """A study's images and truth in RAS+, every ``step``-th voxel of the brain's box."""
    volumes = {str(sequence): image.canonical().data for sequence, image in study.images.items()}
    assert study.truth is not None
    volumes["truth"] = study.truth.canonical().data
    box = filled_box(volumes["T1CE"] > 0)
    return {
        name: np.asarray(data[box][::step, ::step, ::step], np.float32)
        for name, data in volumes.items()
    }


def measure_shape(labels: NDArray[np.uint8], spacing: tuple[float, float, float]) -> Measures:
    """Volumes (ml), their ratios, roughness (surface over a ball's of that volume), offset of core
    in tumour, pieces.
    """
    whole, core, enhancing = BRATS2021.to_regions(labels)
    voxel = float(np.prod(spacing)) / 1000
    wt, tc, et = (float(region.sum()) * voxel for region in (whole, core, enhancing))
    pieces, count = ndimage.label(whole)
    sizes = np.bincount(pieces.ravel())[1:] * voxel if count else np.zeros(1)
    result = {
        "wt_ml": wt,
        "tc_ml": tc,
        "et_ml": et,
        "tc_of_wt": tc / wt,
        "et_of_tc": et / max(tc, 1e-9),
        "pieces": float((sizes > 0.5).sum()),
    }
    for name, region, volume in (("wt", whole, wt), ("tc", core, tc)):
        if volume > 1:
            result[f"{name}_roughness"] = surface(region, spacing) / (
                4.836 * (volume * 1000) ** (2 / 3)
            )
    if tc > 1:
        middles = [np.array(ndimage.center_of_mass(region)) * spacing for region in (whole, core)]
        result["offset"] = float(np.linalg.norm(middles[0] - middles[1])) / (
            0.62 * (wt * 1000) ** (1 / 3)
        )
    return result


def surface(region: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Area in mm² of the voxel faces between in and out, over 3/2 (what a staircase adds on
    average).
    """
    area = 0.0
    for axis in range(3):
        other = float(np.prod(spacing)) / spacing[axis]
        area += other * float(
            np.count_nonzero(np.diff(np.pad(region, 1).astype(np.int8), axis=axis))
        )
    return area / 1.5


def measure_look(study: dict[str, NDArray[np.float32]]) -> Measures:
    """Brain volume, tissue shares, and per sequence the tissues' medians over white matter's,
    spreads and fine noise.
    """
    labels = study["truth"]
    images = {sequence: study[sequence] for sequence in MRSequence}
    tissue = segment_tissue(images, labels)
    masks = {name: tissue == number for number, name in enumerate(("GM", "WM", "CSF"), start=1)}
    masks |= {"NCR": labels == 1, "ED": labels == 2, "ET": labels == 4}
    total = max(1, int((tissue > 0).sum()))
    brain = images[MRSequence.T1CE] > 0
    result = {"brain_ml": float(brain.sum()) * 8 / 1000} | {
        f"share {name}": float(masks[name].sum()) / total for name in ("GM", "WM", "CSF")
    }
    for sequence, image in images.items():
        seen = image > 0
        white = float(np.median(image[masks["WM"] & seen]))
        mean, deviation = float(image[brain & seen].mean()), float(image[brain & seen].std())
        result[f"{sequence} z WM"] = (white - mean) / deviation
        for name in TISSUES:
            values = image[masks[name] & seen]
            if values.size < 30:
                continue
            low, middle, high = np.percentile(values, (16, 50, 84))
            result[f"{sequence} spread {name}"] = float(high - low) / 2 / white
            if name != "WM":
                result[f"{sequence} median {name}"] = float(middle) / white
                result[f"{sequence} z {name}"] = (float(middle) - mean) / deviation
        inner = ndimage.binary_erosion(masks["WM"]) & seen
        if inner.sum() > 30:
            fine = image - ndimage.gaussian_filter(image, 1.0)
            result[f"{sequence} grain"] = float(np.median(np.abs(fine[inner]))) * 1.4826 / white
    return result


def segment_tissue(
    images: dict[MRSequence, NDArray[np.float32]], labels: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Grey 1, white 2, fluid 3 (0: unsure or near the tumour): a Gaussian mixture on four sequences
    with the atlas as prior.
    """
    atlas = load_atlas(2)
    clear = ~ndimage.binary_dilation(labels > 0, iterations=3)
    for image in images.values():
        clear &= image > 0
    maps = [
        ndimage.gaussian_filter(tissue, 1.5) for tissue in (atlas.grey, atlas.white, atlas.fluid)
    ]
    # The brain's box is laid on the atlas's: near enough for a prior.
    index = np.ix_(
        *(
            np.linspace(0, n - 1, m).round().astype(int)
            for n, m in zip(maps[0].shape, labels.shape, strict=True)
        )
    )
    prior = np.stack([tissue[index][clear] for tissue in maps]) + 0.02
    prior /= prior.sum(axis=0)
    values = np.stack([image[clear] for image in images.values()])
    values = np.clip(
        (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True), -4, 4
    )
    share = prior.copy()
    for _ in range(20):
        logs = []
        for k in range(3):
            weight = share[k] / share[k].sum()
            away = values - (values * weight).sum(axis=1)[:, None]
            covariance = (away * weight) @ away.T + 0.02 * np.eye(len(values))
            square = (away * np.linalg.solve(covariance, away)).sum(axis=0)
            logs.append(np.log(prior[k]) - 0.5 * (np.linalg.slogdet(covariance)[1] + square))
        share = np.exp(np.stack(logs) - np.max(logs, axis=0))
        share /= share.sum(axis=0)
    tissue = np.zeros(labels.shape, np.uint8)
    tissue[clear] = np.where(share.max(axis=0) > 0.9, share.argmax(axis=0) + 1, 0)
    return tissue


def quantiles(rows: list[Measures], name: str) -> list[float]:
    """Of one measure, over the rows that have it."""
    values = [row[name] for row in rows if name in row]
    return [round(float(q), 3) for q in np.percentile(values, QUANTILES)] if values else []


def share_without(rows: list[Measures]) -> float:
    """Share of tumours that do not enhance."""
    return round(float(np.mean([row["et_ml"] == 0 for row in rows])), 3)


def draw(
    file: Path,
    shapes: tuple[list[Measures], ...],
    looks: tuple[list[Measures], ...],
    pictures: list[Study],
) -> None:
    """Box plots, real beside phantom, above a row of phantoms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(6, 6, figsize=(15, 16))
    for axis, name in zip(
        axes[0],
        ("wt_ml", "tc_of_wt", "et_of_tc", "wt_roughness", "tc_roughness", "offset"),
        strict=True,
    ):
        axis.boxplot(
            [[row[name] for row in rows if name in row] for rows in shapes],
            whis=(5, 95),
            showfliers=False,
            tick_labels=("real", "phantom"),
        )
        axis.set_title(name, fontsize=9)
    for place, sequence in enumerate(MRSequence):
        axis = plt.subplot2grid((6, 6), (1 + place // 2, 3 * (place % 2)), colspan=3, fig=figure)
        for side, (rows, colour) in enumerate(zip(looks, ("tab:blue", "tab:orange"), strict=True)):
            values = [
                [row[key] for row in rows if (key := f"{sequence} median {name}") in row]
                for name in TISSUES[1:]
            ]
            boxes = axis.boxplot(
                values,
                positions=np.arange(5) * 3 + side,
                widths=0.8,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
            )
            for patch in boxes["boxes"]:
                patch.set_facecolor(colour)
        axis.set_xticks(np.arange(5) * 3 + 0.5, TISSUES[1:])
        axis.axhline(1, color="grey", lw=0.5)
        axis.set_title(
            f"{sequence}: tissue median / white matter (blue real, orange phantom)", fontsize=9
        )
    for row in axes[1:3]:
        for axis in row:
            axis.remove()
    for column, study in enumerate(pictures):
        assert study.truth is not None
        labels = study.truth.data
        z = int(np.argmax((labels > 0).sum(axis=(0, 1)) + 3 * (labels == 4).sum(axis=(0, 1))))
        panels = [
            (study.images[s].data, "gray", None)
            for s in (MRSequence.T1CE, MRSequence.T2, MRSequence.FLAIR)
        ]
        for row, (data, colours, top) in enumerate(panels):
            axis = axes[3 + row, column]
            top = top or np.percentile(data[data > 0], 99.7)
            axis.imshow(data[12:-12, 8:-8, z].T, cmap=colours, vmin=0, vmax=top)
            if row == 2:
                axis.contour(
                    labels[12:-12, 8:-8, z].T > 0, levels=[0.5], colors="tab:orange", linewidths=0.7
                )
            axis.axis("off")
    figure.suptitle(
        "Phantoms beside real patients: shapes (360), contrasts (25 studies); pictures are"
        " phantoms: T1CE, T2, FLAIR"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(file, dpi=70)


def print_table(report: dict) -> None:  # type: ignore[type-arg]
    """Quantiles side by side."""
    for part in ("shape", "look"):
        for name, sides in report[part].items():
            print(f"{name:18s} real {sides['real']}  phantom {sides['phantom']}")
    print("without enhancement", report["without_enhancement"])


if __name__ == "__main__":
    main()
