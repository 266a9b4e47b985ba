"""From the scanner to the result: raw heads and DICOM end to end, beside the same patients as BraTS
prepared them, and with disturbances.

    python -m benchmarks.scanner_to_result ../shared/data
    python -m benchmarks.scanner_to_result ../shared/data --only heads

Every study runs in a process of its own, so that the peak of memory is its own. The Dice of the
whole tumour (WT) is computed on the grid of FLAIR, as scanned. References of raw heads are BraTS'
labels mapped onto that grid, or the data set's own mask of the FLAIR abnormality; of BRAINIX the
region that comes with it. The shipped model was trained on the patients of `labelled/`, so their
Dice is optimistic in both columns; the difference is what preprocessing costs.

Results say nothing that tells a patient: heads are numbered in order of their Dice.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.provenance import command, load, processor, versions, write_results
from gliodistill.dicom.scan import Scan
from gliodistill.errors import GliodistillError
from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.images.volume import Volume
from gliodistill.inference.cases.base import SCANNED_NIFTI, Ready
from gliodistill.inference.cases.finding import one_case
from gliodistill.inference.cases.scanned import align_scans
from gliodistill.inference.predictor import Predictor, load_model
from gliodistill.inference.segmentation import Segmentation
from gliodistill.phantom.anatomy import rotation
from gliodistill.studies.records import Sources
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

RESULTS = Path(__file__).parent / "results" / "scanner_to_result"
FLAIR, THREADS = MRSequence.FLAIR, 2
DISTURBED = 3
"""Raw heads that are disturbed, too: the first of those with BraTS' labels."""

Images = dict[MRSequence, Volume]


# Disturbances: images and reference → images and reference


def as_it_is(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """Nothing."""
    return images, truth


def turned(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """The head lies turned by 30° to the side, the scanner's axes as they were."""
    by = np.eye(4)
    by[:3, :3] = rotation((0.0, 0.0, 30.0))
    return {s: Volume(i.data, by @ i.affine) for s, i in images.items()}, Volume(
        truth.data, by @ truth.affine
    )


def moved(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """All but FLAIR moved by 10 mm, each in another direction."""
    found = {}
    for number, (sequence, image) in enumerate(images.items()):
        affine = image.affine.copy()
        if sequence is not FLAIR:
            affine[number % 3, 3] += 10.0 if number % 2 else -10.0
        found[sequence] = Volume(image.data, affine)
    return found, truth


def thicker(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """Pairs of slices averaged (10 to 16 mm) in all but FLAIR."""
    found = {}
    for sequence, image in images.items():
        if sequence is FLAIR:
            found[sequence] = image
            continue
        n = image.shape[2] // 2 * 2
        data = (image.data[:, :, 0:n:2] + image.data[:, :, 1:n:2]) / 2
        affine = image.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
        affine[:3, 3] += image.affine[:3, 2] / 2
        found[sequence] = Volume(data, affine)
    return found, truth


def half(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """Only the half of the head, left or right, that has more of the tumour, in every sequence."""
    middle = truth.shape[0] // 2
    filled = truth.data > 0
    side = (
        slice(0, middle) if filled[:middle].sum() > filled[middle:].sum() else slice(middle, None)
    )

    def cut(image: Volume) -> Volume:
        affine = image.affine.copy()
        affine[:3, 3] += image.affine[:3, 0] * (side.start or 0)
        return Volume(np.ascontiguousarray(image.data[side]), affine)

    return {s: cut(image) for s, image in images.items()}, cut(truth)


def one_cut(images: Images, truth: Volume) -> tuple[Images, Volume]:
    """T1CE without its upper half."""
    image = images[MRSequence.T1CE]
    kept = image.data[:, :, : image.shape[2] // 2]
    return images | {MRSequence.T1CE: Volume(np.ascontiguousarray(kept), image.affine)}, truth


DISTURBANCES = {
    function.__name__: function for function in (as_it_is, turned, moved, thicker, half, one_cut)
}


# Studies


def heads(data: Path) -> list[dict[str, str]]:
    """Rows of the raw heads."""
    with (data / "lgg" / "lgg.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["form"] == "head"]


def prepared_folder(data: Path, brats2020: str) -> Path | None:
    """The same patient as BraTS prepared it."""
    for name in ("labelled", "labelled_more"):
        file = data / "patients.csv" if name == "labelled" else data / name / "patients.csv"
        with file.open() as handle:
            for row in csv.DictReader(handle):
                if brats2020 and row["brats2020_id"] == brats2020:
                    folder = data / name / row["case"]
                    return folder if folder.is_dir() else None
    return None


def head(data: Path, id: str) -> tuple[Images, Volume]:
    """Images and reference of a raw head."""
    folder = data / "lgg" / id
    images = {
        s: read_nifti(file)
        for s in MRSequence
        if (file := folder / f"{id}_{s.lower()}.nii.gz").exists()
    }
    truth = folder / f"{id}_seg.nii.gz"
    if not truth.exists():
        truth = data / "lgg" / "masks" / f"{id}_wt.nii.gz"
    return images, read_labels(truth)


def dice(one: Volume, other: Volume) -> float:
    """Of all that is not 0, on one grid."""
    a, b = one.canonical().data > 0, other.canonical().data > 0
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def facts(answer: Segmentation, truth: Volume | None) -> dict[str, Any]:
    """What a row says."""
    flair = answer.on_series.get(FLAIR, answer.labels)
    predicted = (answer.quality.predicted_dice or {}).get("WT")
    return {
        "sequences": [str(s) for s in answer.sources.used],
        "wt_dice": None if truth is None else round(dice(flair, truth), 4),
        "predicted_wt_dice": predicted and round(predicted, 3),
        "wt_ml": round(answer.volumes_ml["WT"], 2),
        "done": answer.preprocessing.done,
        "flags": [flag.code for flag in answer.quality.flags],
        "seconds": {stage: round(took, 2) for stage, took in answer.seconds.items()},
    }


def one(data: Path, what: str, id: str, disturbance: str) -> dict[str, Any]:
    """Run one study, in this process."""
    predictor = load_model(threads=THREADS)
    began, cpu = time.perf_counter(), time.process_time()
    found = globals()[f"run_{what}"](data, id, disturbance, predictor)
    found["wall_seconds"] = round(time.perf_counter() - began, 2)
    found["cpu_seconds"] = round(time.process_time() - cpu, 2)
    found["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return found


def run_head(data: Path, id: str, disturbance: str, predictor: Predictor) -> dict[str, Any]:
    """A raw head."""
    images, truth = DISTURBANCES[disturbance](*head(data, id))
    ready = align_scans(
        "head",
        "head",
        images,
        SCANNED_NIFTI,
        sources=Sources(dict.fromkeys(images)),
        threads=THREADS,
    )
    return facts(predictor.segment_ready(ready), truth)


def run_prepared(data: Path, id: str, disturbance: str, predictor: Predictor) -> dict[str, Any]:
    """The same patient as BraTS prepared it, with the sequences of the raw head."""
    folder = prepared_folder(data, id)
    assert folder is not None
    study = Study.open(folder)
    assert study.truth is not None
    images = {s: i for s, i in study.images.items() if s is not MRSequence.T2}
    used = Study("prepared", "prepared", images, sources=Sources(dict.fromkeys(images)))
    return facts(predictor.segment_ready(Ready(used)), study.truth)


def run_brainix(data: Path, id: str, disturbance: str, predictor: Predictor) -> dict[str, Any]:
    """The DICOM study; its drawn region is the reference."""
    path = data / "dicom" / "BRAINIX"
    answer = predictor.segment(path)
    with Scan(path) as scan:
        (region,) = [series for series in scan.series if "ROI" in series.description]
        truth = region.volume()
    return facts(answer, truth.with_data((truth.data > truth.data.min()).astype(np.uint8)))


def run_native(data: Path, id: str, disturbance: str, predictor: Predictor) -> dict[str, Any]:
    """Multiple sclerosis as scanned: the right answer is hardly any tumour."""
    with one_case(data / "native" / "ms_patient01") as case:
        return facts(predictor.segment_ready(case.ready(THREADS)), None)


# All


def ask(data: Path, what: str, id: str = "-", disturbance: str = "as_it_is") -> dict[str, Any]:
    """Run one study in a process of its own; a failure is a row, too."""
    words = [sys.executable, "-m", "benchmarks.scanner_to_result", str(data)]
    done = subprocess.run(
        [*words, "--one", what, id, disturbance], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no reason told"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run all, or a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "ID", "DISTURBANCE"))
    parser.add_argument("--only", choices=["dicom", "native", "heads", "disturbed"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.one:
        try:
            print(json.dumps(one(given.data, *given.one)))
        except GliodistillError as error:
            sys.exit(str(error.problem))
        return
    file = given.out / "results.json"
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part, run in PARTS.items():
        if given.only not in (None, part):
            continue
        for found in run(given.data):  # more and more of the part: a stopped run leaves the rest
            result[part] = found
            result |= {
                "machine": {"processor": processor(), "threads": THREADS, "load": load()},
                "packages": versions("numpy", "openvino"),
            }
            result.setdefault("commands", {})[part] = command()
            for key in ("command", "versions"):
                result.pop(key, None)
            write_results(file, result, page(result))


def all_heads(data: Path) -> Iterator[list[dict[str, Any]]]:
    """Every raw head, and then the same patients as BraTS prepared them."""
    rows: list[dict[str, Any]] = []
    wanted = heads(data)

    def ordered() -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: -(row["raw"].get("wt_dice") or 0))

    for row in wanted:
        labels = data / "lgg" / row["id"] / f"{row['id']}_seg.nii.gz"
        reference = "BraTS" if labels.exists() else "mask"
        rows.append({"raw": ask(data, "head", row["id"]), "reference": reference})
        yield ordered()
    for row, found in zip(wanted, list(rows), strict=True):
        if prepared_folder(data, row["brats2020_id"]):
            found["prepared"] = ask(data, "prepared", row["brats2020_id"])
            yield ordered()


def disturbed(data: Path) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Some raw heads, with each disturbance."""
    some = [
        row["id"]
        for row in heads(data)
        if (data / "lgg" / row["id"] / f"{row['id']}_seg.nii.gz").exists()
    ][:DISTURBED]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in DISTURBANCES:
        found[name] = [ask(data, "head", id, name) for id in some]
        yield found


PARTS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "dicom": lambda data: iter([ask(data, "brainix")]),
    "native": lambda data: iter([ask(data, "native")]),
    "heads": all_heads,
    "disturbed": disturbed,
}


def page(result: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = ["# From the scanner to the result", ""]
    lines += [(__doc__ or "").split("\n\n")[2].replace("\n", " "), ""]
    if "heads" in result:
        lines += _heads(result["heads"])
    for part, title in (("dicom", "BRAINIX (DICOM)"), ("native", "Multiple sclerosis, as scanned")):
        if part in result:
            lines += [f"## {title}", "", *_row_words(result[part]), ""]
    if "disturbed" in result:
        lines += _disturbed(result["disturbed"])
    return "\n".join(lines) + "\n"


def _heads(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Raw heads",
        "",
        "| head | reference | WT Dice | as prepared by BraTS | wall s | CPU s | peak GB | flags |",
        "|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for number, row in enumerate(rows, 1):
        raw, other = row["raw"], row.get("prepared", {})
        if "failed" in raw:
            lines.append(f"| {number} | {row['reference']} | failed: {raw['failed']} | | | | | |")
            continue
        flags = ", ".join(dict.fromkeys(raw["flags"])) or "–"
        beside = other.get("wt_dice")
        lines.append(
            f"| {number} | {row['reference']} | {raw['wt_dice']:.3f}"
            f" | {'–' if beside is None else f'{beside:.3f}'} | {raw['wall_seconds']:.1f}"
            f" | {raw['cpu_seconds']:.1f} | {raw['peak_gb']:.2f} | {flags} |"
        )
    good = [row["raw"] for row in rows if "failed" not in row["raw"]]
    pairs = [
        (row["raw"]["wt_dice"], row["prepared"]["wt_dice"])
        for row in rows
        if "wt_dice" in row.get("prepared", {})
        and "wt_dice" in row["raw"]
        and row["reference"] == "BraTS"
    ]
    lines += [
        "",
        f"Mean WT Dice {mean(r['wt_dice'] for r in good):.3f}, median"
        f" {median(r['wt_dice'] for r in good):.3f}, of {len(good)}; median"
        f" {median(r['wall_seconds'] for r in good):.1f} s wall,"
        f" {median(r['cpu_seconds'] for r in good):.1f} s of one core,"
        f" {max(r['peak_gb'] for r in good):.2f} GB at most.",
    ]
    if pairs:
        raw, other = (mean(side) for side in zip(*pairs, strict=True))
        lines += [
            f"The {len(pairs)} patients with BraTS' labels that BraTS prepared too: {raw:.3f} from"
            f" the raw head, {other:.3f} as prepared, with the same sequences.",
        ]
    stages = sorted({stage for r in good for stage in r["seconds"]})
    took = ", ".join(
        f"{stage} {median(r['seconds'].get(stage, 0.0) for r in good):.1f} s" for stage in stages
    )
    return [*lines, f"Median wall time by stage: {took}.", ""]


def _row_words(row: Mapping[str, Any]) -> list[str]:
    if "failed" in row:
        return [f"Failed: {row['failed']}"]
    told = "no reference" if row["wt_dice"] is None else f"WT Dice {row['wt_dice']:.3f}"
    return [
        f"{told}; WT {row['wt_ml']:.1f} ml; sequences {', '.join(row['sequences'])}; {row['done']};"
        f" {row['wall_seconds']:.1f} s wall, {row['cpu_seconds']:.1f} s of one core,"
        f" {row['peak_gb']:.2f} GB; flags: {', '.join(dict.fromkeys(row['flags'])) or 'none'}."
    ]


def _disturbed(rows: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        f"## Disturbances, {DISTURBED} heads",
        "",
        "| disturbance | mean WT Dice | lowest | flagged | failed |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, found in rows.items():
        good = [row for row in found if "failed" not in row]
        values = [row["wt_dice"] for row in good] or [0.0]
        flagged = sum(any(flag != "thick_slices" for flag in row["flags"]) for row in good)
        what = (DISTURBANCES[name].__doc__ or "").rstrip(".")
        lines.append(
            f"| {what} | {mean(values):.3f} | {min(values):.3f} | {flagged} |"
            f" {len(found) - len(good)} |"
        )
    note = "Flagged: by anything but thick slices, which all of these heads have."
    return [*lines, "", note, ""]


if __name__ == "__main__":
    main()
