"""Every local patient as one cohort: whole label maps, whole tumour only, and cubes around lesions.

    python -m benchmarks.shipped.cohort --data DATA -o runs/shipped6/cohort

writes `manifest.json` (docs/layouts.md, "Labels that tell a part"), what it has to convert beside
it, `folds.json` (patient → stratum, and the fold of five that leaves it out) and, with `--shapes`,
the tumours that synthetic studies of each fold may have. Images that are fit to read are named
where they lie; what is there is left alone. Nothing of it may be committed.

Strata: challenge HGG and LGG (patients 260 to 335 of BraTS 2020 are LGG; four patients of unknown
grade count as HGG) and hospital LGG. Studies are joined by the ids of BraTS 2020; whoever has none
is found in no other folder. Groups, for `sampling.groups`: none for challenge patients, `lgg`,
`masks` (whole tumour only) and `cubes`.
"""

import argparse
import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from gliodistill.files import write_text
from gliodistill.images import Volume, read_nifti, write_nifti
from gliodistill.images.nifti import write_channels

FOLDS = 5
LGG_OF_2020 = range(260, 336)
KINDS = ("t1", "t1ce", "t2", "flair")
CUBE_STEP = (239 / 127, 239 / 127, 154 / 127)
"""Voxel size of the cubes in mm."""
CUBE_SCALE, CUBE_SHIFT = (1.06, 1.18, 1.16, 1.14), -0.05
"""Per sequence, to z-scores as the preparation has them (mean and deviation without extremes):
medians of fits to six patients who are in both.
"""
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of all patients")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--shapes", action="store_true", help="label maps for synthetic studies too"
    )
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.output
    out.mkdir(parents=True, exist_ok=True)
    rows = [*challenge(data), *hospital(data, out / "lgg"), *cubes(data, out / "cubes")]
    write_text(out / "manifest.json", json.dumps({"studies": rows}, indent=1))
    folds = split(rows)
    write_text(out / "folds.json", json.dumps(folds, indent=1))
    if arguments.shapes:
        shapes(data, folds, out / "shapes")
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.get("group", "challenge")] += 1
    print(f"{len(rows)} studies ({dict(counts)}); {len(folds)} patients in {FOLDS} folds")


def challenge(data: Path) -> list[Row]:
    """Patients with four sequences and every label, where they lie."""
    rows = []
    for part, table in (
        ("labelled", "patients.csv"),
        ("labelled_more", "labelled_more/patients.csv"),
    ):
        for line in read_table(data / table):
            case = line["case"]
            images = {kind: str(data / part / case / f"{case}_{kind}.nii.gz") for kind in KINDS}
            truth = str(data / part / case / f"{case}_seg.nii.gz")
            rows.append(
                {"id": case, "patient": line["brats2020_id"] or case, **images, "truth": truth}
            )
    return rows


def hospital(data: Path, out: Path) -> list[Row]:
    """Hospital LGG studies, cropped to the brain mask; raw duplicates are left out."""
    rows = []
    for line in read_table(data / "lgg" / "lgg.csv"):
        case, whole = line["id"], line["role"] == "whole_tumour_only"
        if line["role"] not in ("full_labels", "whole_tumour_only"):
            continue
        masks = data / "lgg" / "masks"
        brain = read_nifti(masks / f"{case}_brain.nii.gz").data > 0
        (out / case).mkdir(parents=True, exist_ok=True)
        row: Row = {"id": case, "patient": line["brats2020_id"] or case}
        for kind in line["sequences"].split("+"):
            file = out / case / f"{kind}.nii.gz"
            if not file.exists():
                image = read_nifti(data / "lgg" / case / f"{case}_{kind}.nii.gz")
                masked = np.where(brain, image.data, 0).astype(np.float32)
                write_nifti(image.with_data(masked), file)
            row[kind] = f"lgg/{case}/{kind}.nii.gz"
        row["truth"] = str(
            masks / f"{case}_wt.nii.gz" if whole else data / "lgg" / case / f"{case}_seg.nii.gz"
        )
        row |= {"known_regions": "WT", "group": "masks"} if whole else {"group": "lgg"}
        rows.append(row)
    return rows


def cubes(data: Path, out: Path) -> list[Row]:
    """Cubes around lesions: z-scores, nothing known beyond."""
    out.mkdir(parents=True, exist_ok=True)
    content = np.load(data / "lesion_cubes" / "lesion_cubes.npz")
    affine = np.diag([-CUBE_STEP[0], -CUBE_STEP[1], CUBE_STEP[2], 1.0])
    sides = content["seg"].shape[1:]
    valid = np.unpackbits(content["valid"], axis=1).reshape(-1, *sides).astype(bool)
    write_nifti(Volume(np.ones(sides, dtype=np.uint8), affine), out / "known.nii.gz")
    rows = []
    for number, patient in enumerate(content["patient"].tolist()):
        file, truth = out / f"{number:03}.nii", out / f"{number:03}_seg.nii"
        if not truth.exists():
            levels = content["image"][number].astype(np.float32)
            scores = 0.2 * np.array(CUBE_SCALE)[:, None, None, None] * levels + CUBE_SHIFT
            brain = np.where(valid[number], scores, 0).astype(np.float32)
            write_channels([Volume(channel, affine) for channel in brain], file)
            write_nifti(Volume(content["seg"][number], affine), truth)
        images = {kind: f"cubes/{file.name}#{channel}" for channel, kind in enumerate(KINDS)}
        rows.append(
            {
                "id": f"cube_{number:03}",
                "patient": patient,
                **images,
                "truth": f"cubes/{truth.name}",
                "known": "cubes/known.nii.gz",
                "normalised": "yes",
                "group": "cubes",
            }
        )
    return rows


def split(rows: list[Row]) -> dict[str, Row]:
    """Patient → stratum and fold, for those with a whole label map; every stratum is in every fold."""
    strata: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if "known" in row or "known_regions" in row:
            continue
        number = row["patient"].removeprefix("BraTS20_Training_")
        low = number.isdecimal() and int(number) in LGG_OF_2020
        grade = "challenge LGG" if low else "challenge HGG"
        strata["hospital LGG" if row.get("group") == "lgg" else grade].append(row["patient"])
    folds: dict[str, Row] = {}
    for stratum, patients in strata.items():
        ordered = sorted(patients, key=lambda p: hashlib.sha256(f"6:{p}".encode()).digest())
        for place, patient in enumerate(ordered):
            folds[patient] = {"stratum": stratum, "fold": place % FOLDS + 1}
    return folds


def shapes(data: Path, folds: dict[str, Row], out: Path) -> None:
    """Label maps for `gliodistill phantom --shapes`; of each fold, links to those of everyone whom
    it does not leave out, and in `outside` to those of patients of no fold.
    """
    affine = np.diag([-CUBE_STEP[0], -CUBE_STEP[1], CUBE_STEP[2], 1.0])
    affine[1, 3] = 239
    names = {fold: f"fold{fold}" for fold in range(1, FOLDS + 1)} | {None: "outside"}
    for name in ("all", *names.values()):
        (out / name).mkdir(parents=True, exist_ok=True)
    for source in sorted((data / "tumour_shapes").glob("*.npz")):
        file = out / "all" / f"{source.stem}.nii.gz"
        if not file.exists():
            write_nifti(Volume(np.load(source)["seg"], affine), file)
        left_out = folds.get(source.stem, {}).get("fold")
        for fold, name in names.items():
            link = out / name / file.name
            serves = left_out != fold if fold else left_out is None
            if serves and not link.is_symlink():
                link.symlink_to(Path("..") / "all" / file.name)


def read_table(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    main()
